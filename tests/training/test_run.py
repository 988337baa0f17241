"""The directory of a run: what it holds, and which directories are refused."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from run_files import files_below, files_no_longer_than

from keras_deit import InputError, create_model, load_run
from keras_deit.training import Run
from keras_deit.training.changes import changes_by_count
from keras_deit.training.identity import FORMAT

SIZES = {
    **{"image_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 3},
    "num_classes": 10,
}
CONFIG = {
    "run": {"dataset": "digits", "seed": 0, "optimization": {"epochs": 3}},
    "model": {"name": "deit_tiny_patch16_224", **SIZES},
    "data_dir": None,
    "class_names": list("0123456789"),
    "crop_ratio": 1.0,
    "interpolation": "bilinear",
    "teacher": None,
    "teacher_contract": None,
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return create_model("deit_tiny_patch16_224", **SIZES)


@pytest.fixture
def run(tmp_path):
    """A run that was started."""
    run = Run(tmp_path / "run")
    run.start(CONFIG)
    return run


def test_a_run_that_was_not_started_has_nothing(tmp_path):
    run = Run(str(tmp_path / "run"))
    assert run.history == [] and run.summary is None
    run.check(CONFIG["run"])
    assert not run.path.exists()


def test_a_run_is_opened_with_what_was_written(run, model):
    rows = [
        {"epoch": 0, "loss": 2.5, "learning_rate": 1e-3},
        {"epoch": 1, "loss": 1 / 3, "learning_rate": 1e-4, "val_accuracy": 0.5},
    ]
    run.write_metrics(rows)
    run.save_weights(model, run.final_weights)
    assert load_run(run.path).summary is None
    run.finish({"test": {"fused": {"top1": 0.5}}})
    opened = load_run(str(run.path))
    assert opened.config == {"format": FORMAT, **CONFIG}
    assert opened.history == rows
    assert opened.summary["test"] == {"fused": {"top1": 0.5}}
    assert {*opened.summary["digests"]} == {"config.json", "metrics.csv", "final.weights.h5"}
    opened.check(CONFIG["run"])


def test_a_run_has_a_model_with_its_final_weights_or_their_average(run, model):
    run.save_weights(model, run.final_weights)
    with pytest.raises(InputError, match=r"ema\.weights\.h5"):
        run.model("ema")
    averages = [weight + 1 for weight in model.get_weights()]
    final = model.get_weights()
    model.set_weights(averages)
    run.save_weights(model, run.ema_weights)
    model.set_weights(final)
    run.save_weights(model, run.best_weights)
    for weights, expected in (("final", final), ("ema", averages), ("best", final)):
        for found, value in zip(run.model(weights).get_weights(), expected, strict=True):
            np.testing.assert_array_equal(found, value)
    assert run.model().name == "deit_tiny_patch16_224"
    with pytest.raises(InputError, match=r"first.*best, ema, final"):
        run.model("first")


def test_a_run_that_is_not_finished_has_no_model(run):
    with pytest.raises(InputError, match="not finished"):
        run.model()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        '{"run": {}}',
        '{"model": 1, "name": "of another program"}',
    ],
)
def test_a_config_of_another_program_is_not_that_of_a_run(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    for use in (lambda: load_run(tmp_path), lambda: Run(tmp_path).check(CONFIG["run"])):
        with pytest.raises(InputError, match="not a run directory") as error:
            use()
        assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_what_is_not_there_cannot_be_loaded(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(InputError, match=str(path)):
            load_run(path)


def test_a_run_of_a_newer_format_is_refused(run):
    run.start({**CONFIG, "format": FORMAT + 1})
    with pytest.raises(InputError, match=f"format {FORMAT + 1}"):
        load_run(run.path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("data", {"data": ["a"]}),
        (r"data\.digest", {"data": {"digest": 1}}),
        ("examples", {"examples": "many"}),
        (r"run\.optimization", {"run": {**CONFIG["run"], "optimization": None}}),
        (r"run\.dataset", {"run": {**CONFIG["run"], "dataset": 7}}),
        ("model", {"model": []}),
    ],
)
def test_a_config_with_a_value_of_another_kind_is_one_line(run, name, values):
    run.config_file.write_text(json.dumps({**CONFIG, "format": FORMAT, **values}))
    for use in (lambda: load_run(run.path), lambda: run.check(CONFIG["run"])):
        with pytest.raises(InputError, match=rf"corrupt config\.json: .*{name}"):
            use()


@pytest.mark.parametrize("content", [b"epoch\n0,1\n", b"epoch\nabc\n", b"epoch\n\xff\n"])
def test_a_corrupt_log_is_one_line(run, content):
    run.metrics_file.write_bytes(content)
    with pytest.raises(InputError, match=r"corrupt metrics\.csv"):
        _ = run.history


def test_classes_in_another_order_are_another_data_set():
    """Of data without a fingerprint only names and numbers are known."""
    dataset = SimpleNamespace(class_names=("a", "b"), examples={"train": 3})
    assert changes_by_count(["a", "b"], {"train": 3}, dataset) == ""
    assert "another order" in changes_by_count(["b", "a"], {"train": 3}, dataset)
    assert changes_by_count(["a"], {"train": 3}, dataset) == "class 'b' is new"


def test_a_corrupt_summary_is_not_taken_for_a_missing_one(run):
    run.summary_file.write_text('{"test":')
    with pytest.raises(InputError, match="summary"):
        _ = run.summary


def test_a_directory_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="do not belong to a run"):
        Run(tmp_path).check(CONFIG["run"])
    with pytest.raises(InputError, match="not a directory"):
        Run(tmp_path / "thesis.txt").check(CONFIG["run"])
    assert files_below(tmp_path) == {tmp_path / "thesis.txt": b"mine"}


def test_what_a_killed_start_leaves_behind_does_not_block_a_directory(run):
    run.config_file.rename(run.path / "partial-config.json")
    run.lock.touch()
    run.check(CONFIG["run"])


def test_a_directory_with_a_different_run_is_refused_and_its_values_are_named(run):
    wanted = {"dataset": "digits", "seed": 1, "optimization": {}, "train_examples": 7}
    before = files_below(run.path)
    with pytest.raises(InputError) as error:
        run.check(wanted)
    message = str(error.value)
    assert "\n" not in message
    for part in (
        "optimization.epochs 3 there, the default here",
        "seed 0 there, 1 here",
        "train_examples the default there, 7 here",
    ):
        assert part in message
    assert files_below(run.path) == before


def test_of_many_different_values_the_first_are_named(run):
    wanted = {**CONFIG["run"], **{f"value_{index}": index for index in range(8)}}
    with pytest.raises(InputError, match=r"value_4 .*and 3 more"):
        run.check(wanted)


def test_a_full_disk_leaves_the_weights_that_are_there(run, model):
    path = run.final_weights
    run.save_weights(model, path)
    before = path.read_bytes()
    weights = model.get_weights()
    model.set_weights([2 + weight for weight in weights])
    # Without the reserved space HDF5 would end the process.
    with files_no_longer_than(3000), pytest.raises(OSError, match="File too large"):
        run.save_weights(model, path)
    assert path.read_bytes() == before
    assert {file.name for file in run.path.iterdir()} == {path.name, run.config_file.name}
    run.save_weights(model, path)
    model.set_weights(weights)
    assert path.read_bytes() != before
