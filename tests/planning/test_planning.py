"""The numbers of a plan are those of what is built, and nothing gets memory for it."""

import dataclasses
import os
import re

import keras
import numpy as np
import pytest
from two_views import TwoViews

from keras_deit import InputError, Supervised, create_model
from keras_deit.core.abstract import build_abstract
from keras_deit.core.precision import precision
from keras_deit.data import Augmentation
from keras_deit.models import abstract_model
from keras_deit.objectives import Dino, Grafit, TrainingLength, TrainingModel
from keras_deit.optimizers import build_optimizer, select_trainable
from keras_deit.planning import PlanOverrides, advice, make_plan, plan_report
from keras_deit.planning.device import device_memory
from keras_deit.planning.memory import (
    optimizer_size,
    trained_model_variables,
    variable_bytes,
)
from keras_deit.teachers import load_teacher_model
from keras_deit.training import train_job
from keras_deit.training.checkpoints.file import write_checkpoint
from keras_deit.training.checkpoints.state import TrainingState


def nbytes(variables):
    return sum(np.asarray(keras.ops.convert_to_numpy(v.value)).nbytes for v in variables)


def plan(job, **overrides):
    return make_plan(job, PlanOverrides(**{"device_memory_gb": 8.0, **overrides}))


def built(job, objective):
    """Returns the compiled model of a job; the teacher is left out."""
    recipe = job.recipe
    with precision(job.mixed_precision):
        student = create_model(recipe.model, num_classes=10, **recipe.model_values)
        select_trainable(student, recipe.optimization.trainable)
        model = TrainingModel(student, objective, ema_decay=recipe.optimization.ema_decay)
        model.compile(build_optimizer(model, recipe.optimization, 3), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize(
    ("policy", "optimization", "model_values"),
    [
        ("float32", {}, {}),
        ("float32", {"optimizer": "sgd", "ema_decay": 0.99, "layer_decay": 0.9}, {}),
        ("float32", {"optimizer": "lamb", "accumulation_steps": 4}, {"distilled": False}),
        ("mixed_bfloat16", {"trainable": "attention"}, {}),
        ("mixed_float16", {"trainable": "head", "accumulation_steps": 2}, {}),
    ],
)
def test_bytes_are_those_of_what_is_built(tiny_job, policy, optimization, model_values):
    supervised = Supervised() if "distilled" in model_values else None
    job = tiny_job(optimization, {"mixed_precision": policy}, supervised, model_values=model_values)
    memory, recipe = plan(job).memory, job.recipe
    model = built(job, Supervised())
    assert memory.weights == nbytes(model.student.variables)
    assert memory.gradients == nbytes(model.student.trainable_variables)
    assert memory.optimizer == nbytes(model.optimizer.variables)
    assert memory.ema == (nbytes(model.ema.variables) if recipe.optimization.ema_decay else 0)
    copies = 0 if policy == "float32" else nbytes(model.student.weights) // 2
    assert memory.copies == copies
    teacher = 0
    if not supervised:
        teacher = nbytes(load_teacher_model(recipe.objective.teacher_request.name)[0].variables)
    assert memory.teacher == teacher
    images = 400 // recipe.optimization.accumulation_steps
    assert memory.batches == 4 * images * (16 * 16 * 3 + 10)
    # The largest layer of the teacher is its convolution.
    largest = 0 if supervised else 16 * 16 * 3 + 7 * 7 * 8
    assert memory.teacher_activations == 4 * images * largest


def test_jax_prefetches_a_batch(tiny_job, monkeypatch):
    here = plan(tiny_job())
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    on_jax = plan(tiny_job())
    assert on_jax.memory.batches == 2 * here.memory.batches


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_bytes_of_an_objective_with_layers_of_its_own(tiny_job, policy):
    optimization = {"ema_decay": 0.9, "layer_decay": 0.9, "accumulation_steps": 2}
    job = tiny_job(optimization, {"mixed_precision": policy}, TwoViews(width=40))
    planned, model = plan(job), built(job, TwoViews(width=40))
    memory, student, projector = planned.memory, model.student, model.objective.projector
    own = [variable for layer in projector for variable in layer.variables]
    assert memory.weights == nbytes([*student.variables, *own])
    assert memory.gradients == nbytes([*student.trainable_variables, *own])
    assert memory.optimizer == nbytes(model.optimizer.variables)
    # The EMA is that of the student.
    assert memory.ema == nbytes(student.weights)
    copies = 0 if policy == "float32" else nbytes([*student.weights, *own]) // 2
    assert memory.copies == copies
    assert memory.batches == 4 * 200 * (2 * 16 * 16 * 3 + 10)
    assert memory.teacher == memory.teacher_activations == 0
    assert planned.teacher_parameters is None
    count = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert planned.parameters.startswith(f"{count:,}, ")


FEATURES = {
    # 8 arrays of the student's scores and 6 of the teacher's, and 6 of the prototypes.
    "dino": (
        Dino(prototypes=1000, projector_width=8, bottleneck=4, local_crops=0),
        4 * (400 * 14 * 1000 + 6 * 4 * 1000),
    ),
    # Five arrays of images times those of the memory, and a copy of this.
    "grafit": (
        Grafit(projection_dim=4, projection_hidden_dim=6, augmentations=2),
        4 * (400 * 5 * 1257 + 1257 * 4),
    ),
}


@pytest.mark.parametrize("name", FEATURES)
def test_a_plan_counts_the_arrays_of_the_loss_and_the_target_network(tiny_job, name):
    objective, loss = FEATURES[name]
    job = tiny_job({"ema_decay": 0.0}, objective=objective, augmentation=plain_augmentation())
    memory = plan(job).memory
    objective = objective.copy()
    objective.use_length(TrainingLength(6, 3, 1257))
    model = built(job, objective)
    assert memory.weights == nbytes(trained_model_variables(model))
    assert nbytes(objective.target.weights) > nbytes(objective.features.weights)
    assert memory.weights > nbytes(objective.target.weights) + nbytes(model.student.weights)
    # Its MLP has 24 inputs, 96 hidden units and 24 outputs for each of the 17 tokens and more.
    target = memory.loss - loss
    assert 4 * 2 * 400 * 17 * (24 + 96) <= target <= 4 * 2 * 400 * 20 * (24 + 4 * 96)
    assert f"{memory.loss / 1e6:.2f} MB  (estimate)" in plan_report(plan(job))
    small = tiny_job({"batch_size": 200}, objective=objective, augmentation=plain_augmentation())
    assert plan(small).memory.loss < 0.51 * memory.loss


def plain_augmentation():
    return Augmentation(mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0)


class _Unbuilt(TwoViews):
    def build(self, model):
        super().build(model)
        self.projector.append(keras.layers.Dense(3, name="lazy"))


def test_an_objective_that_does_not_build_its_layers_is_refused(tiny_job):
    with pytest.raises(InputError, match=r"_Unbuilt .* lazy"):
        plan(tiny_job(objective=_Unbuilt()))


@pytest.mark.parametrize(
    ("optimization", "objective"),
    [
        ({"accumulation_steps": 2}, Supervised),
        ({"optimizer": "sgd", "ema_decay": 0.9}, Supervised),
        ({"optimizer": "lamb", "ema_decay": 0.9}, TwoViews),
    ],
)
def test_size_of_a_checkpoint_file(tiny_job, tmp_path, optimization, objective):
    job = tiny_job(optimization, objective=objective(), model_values={"embed_dim": 96})
    file = tmp_path / "checkpoint.safetensors"
    write_checkpoint(file, TrainingState(built(job, objective())).read(), {})
    assert file.stat().st_size == pytest.approx(plan(job).checkpoint, rel=0.02)


@pytest.mark.slow
def test_steps_and_checkpoints_of_a_training(tiny_job, tmp_path):
    job = tiny_job({"epochs": 1, "ema_decay": 0.9}, model_values={"embed_dim": 96})
    planned = plan(job)
    run = train_job(job, str(tmp_path / "run"), lambda line: None)
    assert planned.steps == run.summary["steps"] == 3
    files = list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    assert files
    for file in files:
        assert file.stat().st_size == pytest.approx(planned.checkpoint, rel=0.02)


def test_nothing_gets_memory(tiny_job):
    """The 346 MB of DeiT-B and its slots would show."""
    student = abstract_model("deit_base_distilled_patch16_384")
    model = build_abstract(lambda: TrainingModel(student, Supervised()))
    trained = variable_bytes(model.trainable_variables)
    assert trained == 4 * 87_630_032
    assert all(variable._value is None for variable in student.variables)
    size = optimizer_size(model, tiny_job().recipe.optimization)
    assert size.bytes(trained) == 2 * trained + size.counter_bytes
    assert size.counter_bytes < 100


def test_the_report_says_whether_it_fits(tiny_job):
    fits = plan(tiny_job())
    assert fits.fits is True
    report = plan_report(fits)
    assert re.search(r"^  together +[\d.]+ MB +\(estimate", report, re.MULTILINE)
    assert re.search(r"8\.00 GB +as --device_memory_gb says: fits", report)
    small = plan(tiny_job(), device_memory_gb=fits.memory.total / 3e9)
    assert small.fits is False
    assert "DOES NOT FIT" in plan_report(small)
    unknown = dataclasses.replace(fits, device_bytes=None)
    assert unknown.fits is None
    assert "--device_memory_gb" in plan_report(unknown)


def test_the_report_counts_a_teacher_that_is_trained_first(tiny_job):
    named = plan(tiny_job(objective={"teacher": "applications:MobileNetV3Small"}))
    assert named.trains_teacher
    assert f"MobileNetV3Small, {named.teacher_parameters:,} parameters, trained" in plan_report(
        named
    )
    from_file = plan(tiny_job())
    assert not from_file.trains_teacher


def test_advice_says_what_would_help(tiny_job):
    job = tiny_job()
    memory = plan(job).memory
    small = plan(job, device_memory_gb=memory.total / 3e9)
    line = advice(small)
    assert "--mixed_precision bfloat16" in line and "\n" not in line
    assert "--activation_checkpointing" in line
    steps = int(re.search(r"--accumulation_steps (\d+)", line)[1])
    accumulated = tiny_job({"accumulation_steps": steps})
    assert plan(accumulated, device_memory_gb=small.device_bytes / 1e9).fits is True
    hopeless = plan(job, device_memory_gb=memory.weights / 1e9)
    assert "accumulation_steps" not in advice(hopeless)


def test_activation_checkpointing_needs_less_memory_and_is_advised_once(tiny_job):
    job = tiny_job(model_values={"depth": 3})
    without, checkpointed = (
        plan(dataclasses.replace(job, activation_checkpointing=on)) for on in (False, True)
    )
    assert checkpointed.memory.activations < without.memory.activations
    small = dataclasses.replace(checkpointed, device_bytes=1)
    assert "--activation_checkpointing" not in advice(small)


def test_memory_of_the_present_machine():
    found, source = device_memory(1)
    shared, _ = device_memory(4)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < found <= total
    assert shared == pytest.approx(found / 4, rel=0.2)
    assert source


def test_data_are_not_read_if_their_size_is_given(tiny_job):
    job = dataclasses.replace(tiny_job(objective=Supervised()), dataset="not/prepared")
    planned = plan(job, examples=1_281_167, classes=1000)
    assert planned.steps == 2 * (1_281_167 // 400)
    assert "1,281,167 training images, 1,000 classes" in plan_report(planned)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"device_memory_gb": 0.0}, "device_memory_gb"),
        ({"examples": 100}, "examples and classes"),
        ({"devices": 2}, "--plan_devices 2 .*--strategy"),
        ({"examples": 100, "classes": 2}, "batch_size 400 .*100"),
    ],
    ids=lambda values: " ".join(values) if isinstance(values, dict) else "",
)
def test_impossible_plans_are_refused(tiny_job, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(tiny_job(), **overrides)
