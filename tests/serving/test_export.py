"""Export: its versions, its output for the user, its verification, and bad input."""

import json
import re

import pytest

from keras_deit.core.errors import InputError
from keras_deit.serving import export_run, verification
from keras_deit.serving.served_classifier import ServedClassifier
from keras_deit.serving.verification import SavedModel


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "tiny-digits")


def contents(path):
    return sorted(str(entry.relative_to(path)) for entry in path.rglob("*"))


@pytest.mark.slow
def test_versions_count_up_and_the_output_describes_them(run, tmp_path):
    lines = []
    first = export_run(run.path, tmp_path, top_k=2, print_fn=lines.append)
    (tmp_path / "tiny-digits" / "9").mkdir()
    second = export_run(run.path, tmp_path, print_fn=lambda line: None)
    assert first == tmp_path / "tiny-digits" / "1"
    assert second == tmp_path / "tiny-digits" / "10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-digits"]
    assert sorted(path.name for path in first.parent.iterdir()) == ["1", "10", "9"]
    outputs = [
        "  returns logits: float32 (any, 3)",
        "  returns probabilities: float32 (any, 3)",
        "  returns top_labels: string (any, 2)",
        "  returns top_probabilities: float32 (any, 2)",
    ]
    assert lines[:-1] == [
        str(first),
        "signature serving_default",
        "  takes image: float32 (any, any, any, 3)",
        *outputs,
        "signature serve_bytes",
        "  takes image_bytes: string (any)",
        *outputs,
        "  returns valid: bool (any)",
    ]
    assert float(lines[-1].rpartition(": ")[2]) <= 1e-5


@pytest.mark.slow
def test_the_comparison_notices_different_weights(run, tmp_path):
    model = run.model(dtype="float32")
    served = ServedClassifier(model, ["a", "b", "c"], 0.9, "bicubic", True, 3)
    served.save(tmp_path / "saved")
    saved = SavedModel(tmp_path / "saved")
    assert saved.largest_difference(served) <= 1e-5
    bias = model.get_layer("class_head").bias
    bias.assign_add([0.0, 0.0, 1e-3])
    # The logits are the mean of two heads.
    assert saved.largest_difference(served) == pytest.approx(5e-4, rel=0.05)


def test_a_failed_export_leaves_nothing_behind(run, tmp_path, monkeypatch):
    monkeypatch.setattr(verification.SavedModel, "largest_difference", lambda *_: float("nan"))
    with pytest.raises(RuntimeError, match="nan"):
        export_run(run.path, tmp_path)
    assert contents(tmp_path) == []


def test_a_path_that_is_not_a_run_is_rejected(tmp_path):
    with pytest.raises(InputError, match="absent"):
        export_run(tmp_path / "absent", tmp_path / "out")
    assert contents(tmp_path) == []


def test_an_unfinished_run_is_rejected(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    run.final_weights.unlink()
    with pytest.raises(InputError, match="not finished"):
        export_run(run.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_class_names_that_do_not_match_the_model_are_rejected(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    config = {**run.config, "class_names": ["ant", "bee"]}
    run.config_file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"2 class names .* 3 classes"):
        export_run(run.path, tmp_path / "out")


@pytest.mark.parametrize("name", ["a/b", "..", "", ".hidden", "a\\b", "a:b", "-v", "a b"])
def test_invalid_names_are_rejected(run, tmp_path, name):
    with pytest.raises(InputError, match=re.escape(repr(name))):
        export_run(run.path, tmp_path / "out", name=name)
    assert not (tmp_path / "out").exists()


def test_an_invalid_top_k_is_rejected(run, tmp_path):
    with pytest.raises(InputError, match="top_k"):
        export_run(run.path, tmp_path, top_k=0)


@pytest.mark.slow
def test_paths_that_cannot_be_written_are_rejected(run, tmp_path):
    (tmp_path / "file").write_text("")
    for output_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=re.escape(str(output_dir))):
            export_run(run.path, output_dir)
    with pytest.raises(InputError, match="/file: File exists"):
        export_run(run.path, tmp_path, name="file")
    assert contents(tmp_path) == ["file"]
