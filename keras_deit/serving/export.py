"""From a finished run to a SavedModel in its place."""

import pathlib
import tempfile

import keras

from keras_deit.core.errors import InputError
from keras_deit.serving.versions import check_name, publish
from keras_deit.training import Run, load_run

TOLERANCE = 1e-5


def export_run(
    run_dir: str | pathlib.Path,
    output_dir: str | pathlib.Path = "savedmodels",
    name: str | None = None,
    top_k: int = 5,
    print_fn=print,
) -> pathlib.Path:
    """Writes the student of a finished run as a SavedModel, with two signatures.

    `serving_default` takes `image`, float32 (B, H, W, 3), RGB pixels in [0, 1] of any size;
    `serve_bytes` takes `image_bytes`, strings (B,), JPEG or PNG files. Both resize, crop and
    normalize as the run's evaluation does and give `logits` and `probabilities`, float32 (B, K),
    `top_labels`, strings (B, k), and `top_probabilities`, float32 (B, k), the highest first.

    The SavedModel is read back and compared with the Keras model before it gets its place. It
    computes in float32, whatever the precision of the training.

    Args:
        run_dir: of a finished run; the backend it was trained on does not matter.
        output_dir: where models lie; made where there is none.
        name: of the served model; None for the name of the run's directory.
        top_k: how many labels to name; all K where there are fewer.
        print_fn: called with each line for the user.

    Returns:
        The path of the version: `output_dir/name/VERSION`, one more than the highest there.

    Raises:
        InputError: Keras runs on another backend than TensorFlow, the run is not finished or
            cannot be read, or a name, place or number that cannot be.
        RuntimeError: the SavedModel's logits are not the Keras model's.
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
    served = _load(run, top_k)
    try:
        return _write(served, pathlib.Path(output_dir), name, print_fn)
    except OSError as error:
        where = error.filename or output_dir
        raise InputError(f"Cannot write to {where}: {error.strerror or error}.") from error


def _load(run: Run, top_k: int):
    """The `ServedClassifier` of a run."""
    from keras_deit.serving.served_classifier import ServedClassifier

    config = run.config
    model, names = run.model(), config["class_names"]
    if len(names) != model.num_classes:
        raise InputError(
            f"{run.path} is broken: {len(names)} class names for the {model.num_classes} classes "
            "of its model."
        )
    view = (config["crop_ratio"], config["interpolation"])
    return ServedClassifier(model, names, *view, top_k=min(top_k, len(names)))


def _write(served, output_dir: pathlib.Path, name: str, print_fn) -> pathlib.Path:
    """Saves, compares, and only then moves it into place."""
    from keras_deit.serving.verification import SavedModel

    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="partial-", dir=output_dir) as partial:
        path = pathlib.Path(partial) / "saved_model"
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
    print_fn(f"largest difference of its logits from the Keras model's: {difference:.1e}")
    return version
