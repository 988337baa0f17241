"""Trainings that replay what a teacher has said about their views before."""

import dataclasses
import shutil
import threading

import numpy as np
import pytest
from run_files import Killed, assert_close, before_call, kill, quiet, result_bits

from keras_deit import Distillation, InputError
from keras_deit.core.files import lock_if_free
from keras_deit.evaluation import evaluate_run, train_seeds
from keras_deit.planning import plan_report, plan_training
from keras_deit.teachers import Replay, load_teacher_model, replay, save_teacher_model
from keras_deit.training import Run, make_job, train_job
from keras_deit.training.labeling import label_job

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")
pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def job(tiny_job):
    """What a label depends on, together: mixed images, micro-batches, repeated augmentation."""
    job = tiny_job({"ema_decay": 0.75, "accumulation_steps": 2}, {"checkpoint_seconds": 0.0})
    return with_augmentation(job, mixup_alpha=0.8, cutmix_alpha=1.0, repeated_augmentation=2)


def with_augmentation(job, **changes):
    augmentation = dataclasses.replace(job.recipe.augmentation, **changes)
    return dataclasses.replace(
        job, recipe=dataclasses.replace(job.recipe, augmentation=augmentation)
    )


def with_objective(job, **changes):
    objective = job.recipe.objective.copy(**changes)
    return dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, objective=objective))


def replaying(job, labels):
    return with_objective(job, teacher=f"replay:{labels}")


@pytest.fixture(scope="module")
def labels(job, tmp_path_factory, eager):
    path = tmp_path_factory.mktemp("labels") / "hard"
    label_job(job, path, print_fn=quiet)
    return path


@pytest.fixture(scope="module")
def live(job, tmp_path_factory, eager):
    return train_job(job, str(tmp_path_factory.mktemp("live") / "run"), quiet)


def trained(run):
    """Returns what a training has computed; in the end only a live teacher is scored too."""
    bits = result_bits(run)
    for split in ("test", "test_ema"):
        del bits[split]
    return bits


@every_backend
def test_a_replayed_teacher_is_the_live_one_to_the_bit(job, labels, live, tmp_path, monkeypatch):
    again = replaying(job, labels)
    # Killed in the second epoch, and resumed.
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "step_ends", 8, kill)
        train_job(again, str(tmp_path / "run"), quiet)
    found, wanted = map(trained, (train_job(again, str(tmp_path / "run"), quiet), live))
    assert found == wanted
    assert "agreement" in found["history"]


@every_backend
@pytest.mark.nightly("jax")
def test_soft_labels_train_nearly_like_the_teacher(job, tmp_path):
    job = with_objective(job, kind="soft", temperature=2.0)
    stored = label_job(job, tmp_path / "soft", print_fn=quiet)
    assert stored.distance()[1] < 1e-3
    live = train_job(job, str(tmp_path / "live"), quiet)
    run = train_job(replaying(job, tmp_path / "soft"), str(tmp_path / "run"), quiet)
    assert_close(run, live, "final_weights", atol=1e-3)


@pytest.mark.backends("torch")
def test_another_student_learns_from_the_same_labels(job, labels, live, tmp_path):
    again = replaying(job, labels)
    values = {**again.recipe.model_values, "embed_dim": 12, "num_heads": 1}
    recipe = dataclasses.replace(again.recipe, model_values=values)
    run = train_job(dataclasses.replace(again, recipe=recipe), str(tmp_path / "run"), quiet)
    # An evaluation finds the teacher that the labels are of.
    found, wanted = (evaluate_run(r.path, "validation", print_fn=quiet) for r in (run, live))
    assert found["scores"]["teacher"] == wanted["scores"]["teacher"]
    assert 0 <= found["scores"]["fused"]["agreement"] <= 1


@pytest.fixture
def small_files(monkeypatch):
    """Files of two batches."""
    monkeypatch.setattr(replay, "_FILE_VIEWS", 800)


def test_labeling_goes_on_where_it_was_stopped(job, labels, tmp_path, monkeypatch, small_files):
    path, written = tmp_path / "labels", []

    def stop(self, number, stored):
        if written:
            raise KeyboardInterrupt
        written.append(number)
        return write(self, number, stored)

    write = Replay.write
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Replay, "write", stop)
        label_job(job, path, print_fn=quiet)
    begun = Replay(path)
    assert begun.labeled_batches() == 2
    with pytest.raises(InputError, match="labels for 2 of the 6 steps"):
        train_job(replaying(job, path), str(tmp_path / "run"), quiet)
    time = begun.file(0).stat().st_mtime_ns
    label_job(job, path, print_fn=quiet)
    assert begun.file(0).stat().st_mtime_ns == time
    assert_same_labels(Replay(path), Replay(labels))


def assert_same_labels(some, others):
    assert some.batches == others.batches
    rows = range(some.batch_size)
    for batch in range(some.batches):
        pair = [x.targets(batch, rows)["teacher"] for x in (some, others)]
        np.testing.assert_array_equal(*pair)


def test_processes_share_the_files_and_wait_for_each_other(job, labels, tmp_path, small_files):
    path = tmp_path / "labels"
    label_job(job, path, print_fn=quiet)
    stored = Replay(path)
    for number in range(3):
        stored.file(number).unlink()
    with lock_if_free(stored.file(0).with_suffix(".lock")) as held:
        assert held
        other = threading.Thread(target=label_job, args=(job, path), kwargs={"print_fn": quiet})
        other.start()
        for _ in range(600):
            if stored.is_labeled(2):
                break
            other.join(0.1)
        assert other.is_alive() and stored.is_labeled(2) and not stored.is_labeled(0)
    other.join(60)
    assert not other.is_alive()
    assert_same_labels(Replay(path), Replay(labels))


def test_more_epochs_keep_the_labels_that_are_there(job, tmp_path, small_files):
    path = tmp_path / "labels"
    label_job(job, path, print_fn=quiet)
    time = Replay(path).file(2).stat().st_mtime_ns
    optimization = dataclasses.replace(job.recipe.optimization, epochs=3)
    longer = dataclasses.replace(
        job, recipe=dataclasses.replace(job.recipe, optimization=optimization)
    )
    label_job(longer, path, print_fn=quiet)
    assert Replay(path).labeled_batches() == 9
    assert Replay(path).file(2).stat().st_mtime_ns == time


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda job: dataclasses.replace(job, seed=1), "seed the default there, 1 here"),
        (
            lambda job: with_augmentation(job, mixup_alpha=0.1),
            "augmentation.mixup_alpha the default there",
        ),
        (lambda job: dataclasses.replace(job, minutes=1.0), "give --steps or --epochs"),
        (lambda job: with_objective(job, kind="soft"), "has hard ones"),
        (lambda job: with_objective(job, validate_agreement=True), "none for validation"),
    ],
)
def test_labels_of_another_training_are_refused(job, labels, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        train_job(change(replaying(job, labels)), str(tmp_path / "run"), quiet)
    assert not Run(tmp_path / "run").config_file.exists()


def test_smoothing_of_the_labels_of_the_data_changes_no_view(job, labels):
    assert label_job(with_augmentation(job, label_smoothing=0.3), labels, print_fn=quiet)


def test_labels_of_another_teacher_are_not_mixed_in(job, labels, teacher_file, tmp_path):
    model, contract = load_teacher_model(str(teacher_file))
    model.layers[-1].bias.assign_add(np.ones(10))
    save_teacher_model(model, contract, tmp_path / "other.keras")
    other = with_objective(job, teacher=str(tmp_path / "other.keras"))
    with pytest.raises(InputError, match="labels of another teacher"):
        label_job(other, labels, print_fn=quiet)


def test_labels_by_other_pixels_are_not_mixed_in(job, teacher_file, tmp_path):
    """The file of the teacher is the same, and what is said to go into it is not."""
    file = tmp_path / "bare.keras"
    shutil.copy(teacher_file, file)
    first, second = (
        with_objective(job, teacher=str(file), teacher_pixels=pixels, teacher_outputs="logits")
        for pixels in ("0-255", "0-1")
    )
    label_job(first, tmp_path / "labels", print_fn=quiet)
    with pytest.raises(InputError, match=r"another teacher .teacher_contract"):
        label_job(second, tmp_path / "labels", print_fn=quiet)


def test_labels_of_another_format_are_not_mixed_in(job, labels):
    with pytest.raises(InputError, match=r"has hard labels, and not soft .temperature 3, top_k 4"):
        label_job(with_objective(job, kind="soft"), labels, top_k=4, print_fn=quiet)


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b""])
def test_a_damaged_file_is_found_before_the_training_and_made_again(
    job, labels, tmp_path, damage, capsys
):
    path = tmp_path / "labels"
    shutil.copytree(labels, path)
    file = Replay(path).file(0)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=r"labels-000000.npz is corrupt"):
        train_job(replaying(job, path), str(tmp_path / "run"), quiet)
    label_job(job, path)
    assert "made again" in capsys.readouterr().out
    assert_same_labels(Replay(path), Replay(labels))


def test_an_objective_with_other_targets_cannot_replay(job, labels):
    class Mine(Distillation):
        views = 2

    values = {**job.recipe.objective.values, "teacher": f"replay:{labels}"}
    recipe = dataclasses.replace(job.recipe, objective=Mine(**values))
    with pytest.raises(InputError, match="Mine cannot learn from stored labels"):
        train_job(dataclasses.replace(job, recipe=recipe), "never", quiet)


def test_a_path_is_the_same_however_it_is_written(labels, monkeypatch):
    monkeypatch.chdir(labels.parent)
    names = (f"replay:{labels}", f"replay:{labels.name}/", f"replay:{labels.name}")
    teachers = {
        make_job(teacher=name, distillation="hard").recipe.objective.teacher_request.name
        for name in names
    }
    assert teachers == {f"replay:{labels}"}


def test_several_seeds_need_the_teacher_itself(labels):
    with pytest.raises(InputError, match="of one seed"):
        train_seeds("0:2", teacher=f"replay:{labels}")


def test_a_training_without_a_teacher_has_nothing_to_label(job, tmp_path):
    with pytest.raises(InputError, match="give --teacher"):
        label_job(with_objective(job, teacher=None, kind="none"), tmp_path, print_fn=quiet)


def test_a_plan_counts_no_teacher(labels):
    plan = plan_training(teacher=f"replay:{labels}")
    assert plan.memory.teacher == 0
    assert "its stored labels" in plan_report(plan)
