"""Export of a trained model, as a SavedModel or in formats that run without TensorFlow."""

import dataclasses
import importlib.util
import os
import pathlib
from collections.abc import Sequence

import keras

from keras_deit.core.errors import InputError, not_installed, unknown_name
from keras_deit.core.files import temporary_folder, user_path
from keras_deit.serving.bits_format import BITS, check_binary, describe, write_bits
from keras_deit.serving.calibration import Calibration, load_calibration
from keras_deit.serving.converters import (
    CONVERTERS,
    check_answers,
    check_installed,
    converter_errors,
    write_file,
)
from keras_deit.serving.model_card import write_model_card
from keras_deit.serving.other_process import export_on_tensorflow
from keras_deit.serving.sources import ExportSource, load_source
from keras_deit.serving.versions import LABELS, check_name, next_version, publish, write_labels

SAVED_MODEL = "tf_saved_model"
FORMATS = (SAVED_MODEL, *CONVERTERS, BITS)
# Largest difference between the logits of the SavedModel and of the Keras model.
TOLERANCE = 1e-5
# Photographs of nearly every camera, and 0.2 GB as RGB. A server decodes several at once.
MAX_SERVED_PIXELS = 64 * 10**6
# A loss of top-1 by 8-bit integers that the user is told of.
_MUCH = 0.01


def export_run(
    run_dir: str | pathlib.Path,
    output_dir: str | pathlib.Path = "savedmodels",
    name: str | None = None,
    top_k: int = 5,
    weights: str = "final",
    max_image_pixels: int = MAX_SERVED_PIXELS,
    print_fn=print,
) -> pathlib.Path:
    """Writes the model of a finished run as a SavedModel: `export_model` with that one format.

    Returns:
        The path of the version, `output_dir/name/VERSION`.
    """
    paths = export_model(
        run_dir,
        weights=weights,
        output_dir=output_dir,
        name=name,
        top_k=top_k,
        max_image_pixels=max_image_pixels,
        print_fn=print_fn,
    )
    return paths[SAVED_MODEL]


def export_model(
    run_dir: str | pathlib.Path | None = None,
    model: str | None = None,
    weights: str | None = None,
    formats: Sequence[str] = (SAVED_MODEL,),
    quantize: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    heads: str = "fused",
    dataset: str | None = None,
    data_dir: str | None = None,
    output_dir: str | pathlib.Path = "savedmodels",
    name: str | None = None,
    top_k: int = 5,
    max_image_pixels: int = MAX_SERVED_PIXELS,
    print_fn=print,
) -> dict[str, pathlib.Path]:
    """Writes a trained model in one or several formats.

    A SavedModel has two signatures. `serving_default` takes `image`, RGB pixels in [0, 1] of any
    size, float32 (B, H, W, 3); `serve_bytes` takes `image_bytes`, JPEG, PNG, GIF, BMP or WebP
    files, strings (B,). Both resize, crop and normalize as the evaluation, and return `logits` and
    `probabilities`, float32 (B, K); `top_probabilities`, the highest first, float32 (B, k); and
    their `top_labels`, strings (B, k). `serve_bytes` also returns `valid`, bool (B,); where a file
    cannot be decoded it is false, numbers are 0 and labels are empty. Requests that warm a server
    up are beside it.

    "bits" is a weight file of a binary model for this package, with a bit for each binary weight;
    `create_model` and every command load it as any weight file. It needs no TensorFlow.

    The other formats take `image`, RGB pixels in [0, 1] of the model's size, float32 (B, height,
    width, 3), and return `logits` and `probabilities`. They normalize, but do not resize.

    Every file is loaded and compared with the Keras model before it is moved to its final path. It
    computes in float32, whatever the precision of the training. On another backend than TensorFlow
    a process of its own does the export.

    Args:
        run_dir: the directory of a finished run, trained on any backend; or None.
        model, weights: of a run, weights "final" (also None), "best" or "ema". Else the name of a
            model, and a weight file of any format, `hf://OWNER/NAME` or a run; without weights
            those that were released with the model.
        formats: some of "tf_saved_model", "onnx", "litert", "openvino" and "bits".
        quantize: "int8" for a second file with 8-bit integers in each format but "tf_saved_model"
            and "bits".
            It is calibrated on validation images, and its top-1 is measured.
        image_size: a side or (height, width) in pixels, to which positions are resized; None for
            the size of the model.
        heads: whose logits are exported: "fused", the mean of all heads, "class" or "distillation".
        dataset, data_dir: the images for `quantize`, as for a training; None for those of the run.
        output_dir: the directory of the served models; it is created if needed.
        name: the name of the served model; None for that of the run's directory or of the model.
        top_k: the number k of labels that a SavedModel returns, at most K.
        max_image_pixels: the most pixels of an image file that `serve_bytes` decodes.
        print_fn: called with each line for the user.

    Returns:
        By format the path of the version: `output_dir/name/VERSION` of a SavedModel, and
        `output_dir/name/FORMAT/VERSION` of the others. VERSION is the same for all, and above
        every earlier one.

    Raises:
        InputError: TensorFlow or a converter is not installed; there is no such run, model, head,
            format or data; a name or number is invalid; a format cannot hold the model; or the
            output cannot be written.
        RuntimeError: the logits of the SavedModel differ from those of the Keras model.
    """
    arguments = {key: value for key, value in locals().items() if key != "print_fn"}
    _check(arguments)
    if keras.backend.backend() != "tensorflow" and set(formats) != {BITS}:
        print_fn("The export runs in a process of its own, with the TensorFlow backend.")
        paths = {key: arguments[key] for key in ("run_dir", "output_dir", "weights", "dataset")}
        paths = {k: v if v is None else os.fspath(v) for k, v in paths.items()}
        return export_on_tensorflow({**arguments, **paths, "formats": list(formats)}, print_fn)
    output = user_path(output_dir)
    source = load_source(run_dir, model, weights, image_size, heads)
    name = source.name if name is None else name
    check_name(name)
    if BITS in formats:
        check_binary(source.model)
    calibration = load_calibration(source, dataset, data_dir) if quantize else None
    top_k = min(top_k, len(source.class_names))
    try:
        output.mkdir(parents=True, exist_ok=True)
        with temporary_folder(output) as partial:
            written = {}
            for each in dict.fromkeys(formats):
                folder = partial / each
                if each == BITS:
                    written[each] = _binary(source, folder)
                elif each == SAVED_MODEL:
                    written[each] = _saved_model(source, name, folder, top_k, max_image_pixels)
                else:
                    written[each] = _converted(source, each, folder, calibration)
                _describe(folder, name, source, written[each])
            versions = _publish(partial, output / name, list(written))
    except OSError as error:
        path = error.filename or output_dir
        raise InputError(f"Cannot write to {path}: {error.strerror or error}.") from error
    for each, exported in written.items():
        for line in (str(versions[each]), *exported.interface, *exported.results):
            print_fn(line)
    if calibration and calibration.bad_images.names:
        print_fn(f"Unreadable images, not counted: {len(calibration.bad_images.names)}.")
    return versions


def _check(arguments: dict) -> None:
    """Checks arguments before anything is loaded.

    Raises:
        InputError: one is not possible, or a package is missing.
    """
    run_dir, formats = arguments["run_dir"], arguments["formats"]
    if run_dir is not None and arguments["model"] is not None:
        raise InputError("Give a run or the name of a model, not both.")
    if run_dir is None and arguments["model"] is None and arguments["weights"] is None:
        raise InputError("Give a run, the name of a model, or weights.")
    for name in formats:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    if not formats:
        raise InputError(f"Give at least one format: {', '.join(FORMATS)}.")
    if arguments["quantize"] not in (None, "int8"):
        raise unknown_name("quantization", arguments["quantize"], ["int8"])
    if arguments["quantize"] and not set(formats) & set(CONVERTERS):
        title = "A SavedModel" if SAVED_MODEL in formats else f"The format {BITS}"
        raise InputError(f"{title} has no int8; give another format: {', '.join(CONVERTERS)}.")
    if not arguments["quantize"] and arguments["dataset"]:
        raise InputError("A dataset is for the calibration of quantize=int8, which is not given.")
    if arguments["quantize"] and run_dir is None and arguments["dataset"] is None:
        raise InputError("The calibration of int8 needs images: give a dataset.")
    if arguments["top_k"] < 1:
        raise InputError(f"top_k should be 1 or more. Received: {arguments['top_k']}.")
    if arguments["name"] is not None:
        check_name(arguments["name"])
    if set(formats) != {BITS} and importlib.util.find_spec("tensorflow") is None:
        raise not_installed("Export", "tensorflow", "A run of any backend can be exported.")
    check_installed(formats)


@dataclasses.dataclass(frozen=True)
class _Exported:
    """What was written in one format.

    Attributes:
        interface: lines that say what it takes and returns.
        results: lines that say what was measured.
        measured: the same figures by what they are, for the model card.
    """

    interface: list[str]
    results: list[str]
    measured: dict[str, float]


def _saved_model(
    source: ExportSource, name: str, folder: pathlib.Path, top_k: int, max_image_pixels: int
) -> _Exported:
    """Writes a SavedModel and compares it."""
    from keras_deit.serving.served_classifier import ServedClassifier
    from keras_deit.serving.verification import SavedModel
    from keras_deit.serving.warm_up import write_warm_up

    served = ServedClassifier(
        source.model, list(source.class_names), *source.view, top_k, max_image_pixels
    )
    served.save(folder)
    saved_model = SavedModel(folder)
    difference = saved_model.largest_difference(served)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"The SavedModel's logits differ from the Keras model's by {difference:.2e}, "
            f"which is more than {TOLERANCE:.0e}; it is not exported."
        )
    write_warm_up(folder, name, *served.model.input_shape[1:3])
    what = "largest difference from the logits of the Keras model"
    results = [f"{what}: {difference:.1e}"]
    return _Exported(saved_model.describe(), results, {what: difference})


def _binary(source: ExportSource, folder: pathlib.Path) -> _Exported:
    """Writes the weights of a binary model as bits and compares them."""
    folder.mkdir()
    results, measured = write_bits(source.model, folder)
    return _Exported(describe(source.model), results, measured)


def _converted(
    source: ExportSource, name: str, folder: pathlib.Path, calibration: Calibration | None
) -> _Exported:
    """Writes a model in another format and compares it."""
    from keras_deit.serving.pixel_classifier import PixelClassifier

    folder.mkdir()
    classifier = PixelClassifier(source.model)
    path, answers = write_file(classifier, name, folder)
    difference = check_answers(classifier, name, answers)
    what = "largest difference from the answers of the Keras model"
    results = [f"{path.name}, {_megabytes(path)}, {what}: {difference:.1e}"]
    measured = {what: difference}
    if calibration is not None:
        path, int8 = write_file(classifier, name, folder, calibration.images)
        with converter_errors(name, source.model.name):
            top1, count = calibration.top1({"float": answers, "int8": int8})
        of = f"top-1 on {count} {calibration.split} images"
        results += [
            f"{path.name}, {_megabytes(path)}, calibrated on {len(calibration.images)} validation "
            f"images, {of}: {top1['int8']:.4f}, float {top1['float']:.4f}"
        ]
        measured |= {f"{of}, {kind}": value for kind, value in top1.items()}
        if (loss := top1["float"] - top1["int8"]) > _MUCH:
            results.append(f"8-bit integers lose {100 * loss:.1f} points: better serve the float.")
    return _Exported(classifier.describe(), results, measured)


def _describe(folder: pathlib.Path, name: str, source: ExportSource, exported: _Exported) -> None:
    """Writes the names of the classes, a line each, and the model card beside an export."""
    if not (folder / "assets" / LABELS).is_file():  # Where a SavedModel has them.
        write_labels(folder, source.class_names)
    write_model_card(folder, name, source, exported.interface, exported.measured)


def _megabytes(path: pathlib.Path) -> str:
    """Returns the size of a file, together with that of its weights beside it."""
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.stem}.*"))
    return f"{size / 1e6:.1f} MB"


def _publish(
    partial: pathlib.Path, directory: pathlib.Path, formats: Sequence[str]
) -> dict[str, pathlib.Path]:
    """Moves what was written into the directory of its model, all with the same new version."""
    places = {name: directory if name == SAVED_MODEL else directory / name for name in FORMATS}
    version = max(map(next_version, places.values()))
    return {name: publish(partial / name, places[name], version) for name in formats}
