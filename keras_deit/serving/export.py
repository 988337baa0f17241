"""Export of a finished run as a SavedModel."""

import pathlib

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.files import temporary_folder, user_path
from keras_deit.serving.versions import check_name, publish
from keras_deit.training import Run, load_run

# Largest difference between the logits of the SavedModel and of the Keras model.
TOLERANCE = 1e-5
# Photographs of nearly every camera, and 0.2 GB as RGB. A server decodes several at once.
MAX_SERVED_PIXELS = 64 * 10**6


def export_run(
    run_dir: str | pathlib.Path,
    output_dir: str | pathlib.Path = "savedmodels",
    name: str | None = None,
    top_k: int = 5,
    weights: str = "final",
    max_image_pixels: int = MAX_SERVED_PIXELS,
    print_fn=print,
) -> pathlib.Path:
    """Writes the model of a finished run as a SavedModel with two signatures.

    `serving_default` takes `image`, RGB pixels in [0, 1] of any size, float32 (B, H, W, 3);
    `serve_bytes` takes `image_bytes`, JPEG, PNG, GIF, BMP or WebP files, strings (B,). Both resize,
    crop and normalize as the evaluation of the run, and return `logits` and `probabilities`,
    float32 (B, K); `top_probabilities`, the highest first, float32 (B, k); and their `top_labels`,
    strings (B, k). `serve_bytes` also returns `valid`, bool (B,); where a file cannot be decoded it
    is false, numbers are 0 and labels are empty.

    The SavedModel is loaded and compared with the Keras model before it is moved to its final path.
    It computes in float32, whatever the precision of the training.

    Args:
        run_dir: the directory of a finished run, trained on any backend.
        output_dir: the directory of the served models; it is created if needed.
        name: the name of the served model; None for the name of the run's directory.
        top_k: the number k of labels to return, at most K.
        weights: "final", "best" or "ema", see `Run.model`.
        max_image_pixels: the most pixels of an image file that `serve_bytes` decodes.
        print_fn: called with each line for the user.

    Returns:
        The path of the version, `output_dir/name/VERSION`; VERSION is one above the highest one.

    Raises:
        InputError: Keras does not run on TensorFlow; the run is not finished or cannot be read; the
            name or `top_k` is invalid; or the output cannot be written.
        RuntimeError: the logits of the SavedModel differ from those of the Keras model.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(
            "Export needs the TensorFlow backend (KERAS_BACKEND=tensorflow, pip install "
            f"'keras-deit[tensorflow]'); Keras runs on {backend}. A run of any backend can be "
            "exported."
        )
    if top_k < 1:
        raise InputError(f"top_k should be 1 or more. Received: {top_k}.")
    run = load_run(run_dir)
    name = run.path.resolve().name if name is None else name
    check_name(name)
    output = user_path(output_dir)
    served = _load(run, top_k, weights, max_image_pixels)
    try:
        return _write(served, output, name, print_fn)
    except OSError as error:
        path = error.filename or output_dir
        raise InputError(f"Cannot write to {path}: {error.strerror or error}.") from error


def _load(run: Run, top_k: int, weights: str, max_image_pixels: int):
    """Returns the `ServedClassifier` of a run."""
    from keras_deit.serving.served_classifier import ServedClassifier

    config = run.config
    model, names = run.model(weights, "float32"), config["class_names"]
    if len(names) != model.num_classes:
        raise InputError(
            f"{run.path} is corrupt: {len(names)} class names for the {model.num_classes} classes "
            "of its model."
        )
    view = (config["crop_ratio"], config["interpolation"])
    return ServedClassifier(model, names, *view, min(top_k, len(names)), max_image_pixels)


def _write(served, output_dir: pathlib.Path, name: str, print_fn) -> pathlib.Path:
    """Saves and compares in a temporary directory, then moves the result to its final path."""
    from keras_deit.serving.verification import SavedModel

    output_dir.mkdir(parents=True, exist_ok=True)
    with temporary_folder(output_dir) as partial:
        path = partial / "saved_model"
        served.save(path)
        saved_model = SavedModel(path)
        difference = saved_model.largest_difference(served)
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"The SavedModel's logits differ from the Keras model's by {difference:.2e}, "
                f"which is more than {TOLERANCE:.0e}; it is not exported."
            )
        version = publish(path, output_dir / name)
    for line in (str(version), *saved_model.describe()):
        print_fn(line)
    print_fn(f"largest difference from the logits of the Keras model: {difference:.1e}")
    return version
