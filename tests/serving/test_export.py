"""Where exports go, what they say, and what they refuse."""

import json
import re
import subprocess
import sys

import keras
import pytest

from keras_deit.core.errors import InputError
from keras_deit.serving import export_run

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export runs on the TensorFlow backend"
)


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "tiny-digits")


def contents(path):
    return sorted(str(entry.relative_to(path)) for entry in path.rglob("*"))


def test_versions_count_up_and_say_what_they_are(run, tmp_path):
    lines = []
    first = export_run(run.path, tmp_path, top_k=2, print_fn=lines.append)
    (tmp_path / "tiny-digits" / "9").mkdir()
    second = export_run(run.path, tmp_path, print_fn=lambda line: None)
    assert first == tmp_path / "tiny-digits" / "1"
    assert second == tmp_path / "tiny-digits" / "10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-digits"]
    assert sorted(path.name for path in first.parent.iterdir()) == ["1", "10", "9"]
    outputs = [
        "  gives logits: float32 (any, 3)",
        "  gives probabilities: float32 (any, 3)",
        "  gives top_labels: string (any, 2)",
        "  gives top_probabilities: float32 (any, 2)",
    ]
    assert lines[:-1] == [
        str(first),
        "signature serving_default",
        "  takes image: float32 (any, any, any, 3)",
        *outputs,
        "signature serve_bytes",
        "  takes image_bytes: string (any)",
        *outputs,
    ]
    difference = re.fullmatch("largest difference of its logits from .*: (.*)", lines[-1])
    assert float(difference[1]) <= 1e-5


def test_the_comparison_sees_other_weights(run, tmp_path):
    import tensorflow as tf

    from keras_deit.serving.served_classifier import ServedClassifier
    from keras_deit.serving.verification import SavedModel

    model = run.load_student()
    served = ServedClassifier(model, ["a", "b", "c"], 0.9, "bicubic", 3)
    served.save(tmp_path / "saved")
    saved = SavedModel(tmp_path / "saved")
    assert saved.largest_difference(served) <= 1e-5
    bias = model.get_layer("class_head").bias
    bias.assign_add(tf.constant([0.0, 0.0, 1e-3]))
    # The mean of two heads moves by half.
    assert saved.largest_difference(served) == pytest.approx(5e-4, rel=0.05)


def test_a_failed_export_leaves_nothing_behind(run, tmp_path, monkeypatch):
    from keras_deit.serving import verification

    monkeypatch.setattr(verification.SavedModel, "largest_difference", lambda *_: float("nan"))
    with pytest.raises(RuntimeError, match="differ from the Keras model's by nan"):
        export_run(run.path, tmp_path)
    assert contents(tmp_path) == []


def test_not_a_run(tmp_path):
    with pytest.raises(
        InputError, match=r"absent is not a run directory: config\.json cannot be read"
    ):
        export_run(tmp_path / "absent", tmp_path / "out")
    (tmp_path / "config.json").write_text(json.dumps({"model": {}, "crop_ratio": 1}))
    with pytest.raises(
        InputError, match=r"config\.json has no class_names, data_dir, interpolation"
    ):
        export_run(tmp_path, tmp_path / "out")
    assert contents(tmp_path) == ["config.json"]


def test_an_unfinished_run(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    run.final_weights.unlink()
    with pytest.raises(InputError, match="run is not finished"):
        export_run(run.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_class_names_that_do_not_fit_the_model(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    config = {**run.read_config(), "class_names": ["ant", "bee"]}
    run.config_file.write_text(json.dumps(config))
    with pytest.raises(InputError, match="2 class names for the 3 classes"):
        export_run(run.path, tmp_path / "out")


@pytest.mark.parametrize("name", ["a/b", "..", "", ".hidden", "a\\b", "a:b", "-v", "a b"])
def test_bad_names(run, tmp_path, name):
    with pytest.raises(InputError, match=f"Received: {re.escape(repr(name))}"):
        export_run(run.path, tmp_path / "out", name=name)
    assert not (tmp_path / "out").exists()


def test_bad_top_k(run, tmp_path):
    with pytest.raises(InputError, match=r"top_k should be 1 or more\. Received: 0"):
        export_run(run.path, tmp_path, top_k=0)


def test_places_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    for output_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=rf"Cannot write to {re.escape(str(output_dir))}"):
            export_run(run.path, output_dir)
    with pytest.raises(InputError, match=r"Cannot write to .*/file: File exists"):
        export_run(run.path, tmp_path, name="file")
    assert contents(tmp_path) == ["file"]


def test_another_backend_is_refused_and_tensorflow_is_not_imported():
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from keras_deit.core.errors import InputError\n"
        "from keras_deit.serving import export_run\n"
        "try: export_run('run')\n"
        "except InputError as error: print(error)"
    )
    environment = {"KERAS_BACKEND": "jax", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert "needs the TensorFlow backend" in done.stdout and "runs on jax" in done.stdout, done
