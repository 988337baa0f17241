"""A plan's numbers are those of what is then built, and nothing is built for it."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras_deit.planning.speed import largest_product, measured_flops, step_flops

from keras_deit import Distiller, InputError, count_macs, create_model
from keras_deit.core.precision import precision
from keras_deit.models import abstract_model
from keras_deit.optimizers import build_optimizer, select_trainable
from keras_deit.planning import PlanOverrides, advice, make_plan, plan_report
from keras_deit.planning.activations import activation_bytes
from keras_deit.planning.device import device_memory
from keras_deit.planning.memory import held_bytes, optimizer_size
from keras_deit.teachers import load_teacher_model
from keras_deit.training import train

ROOT = pathlib.Path(__file__).parents[2]
GIVEN = {"device_tflops": 0.05, "device_memory_gb": 8.0}


def nbytes(variables):
    return sum(np.asarray(keras.ops.convert_to_numpy(v.value)).nbytes for v in variables)


def plan(job, **overrides):
    return make_plan(job, PlanOverrides(**{**GIVEN, **overrides}))


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
    distillation = "hard" if model_values.get("distilled", True) else "none"
    job = tiny_job(
        optimization, {"mixed_precision": policy}, model_values=model_values,
        distillation=distillation,
    )  # fmt: skip
    memory = plan(job).memory
    recipe = job.recipe
    with precision(policy):
        student = create_model(recipe.model, num_classes=10, **recipe.model_values)
        select_trainable(student, recipe.optimization.trainable)
        ema = recipe.optimization.ema_decay
        distiller = Distiller(student, kind="none", ema_decay=ema)
        distiller.compile(build_optimizer(student, recipe.optimization, 3))
    distiller.optimizer.build(student.trainable_variables)
    assert memory.weights == nbytes(student.variables)
    assert memory.gradients == nbytes(student.trainable_variables)
    assert memory.optimizer == nbytes(distiller.optimizer.variables)
    assert memory.average == (nbytes(distiller.ema.variables) if ema else 0)
    assert memory.copies == (0 if policy == "float32" else nbytes(student.weights) // 2)
    teacher = 0
    if distillation != "none":
        teacher = nbytes(load_teacher_model(recipe.teacher)[0].variables)
    assert memory.teacher == teacher
    parts = recipe.optimization.accumulation_steps
    ahead = 2 if keras.backend.backend() == "jax" else 1
    assert memory.batches == ahead * 4 * (400 // parts) * (16 * 16 * 3 + 10)


@pytest.mark.parametrize("optimization", [{}, {"optimizer": "sgd", "ema_decay": 0.9}])
def test_the_size_of_a_checkpoint(tiny_job, tmp_path, optimization):
    job = tiny_job({"epochs": 1, **optimization}, model_values={"embed_dim": 96})
    planned = plan(job)
    summary, _ = train(job, str(tmp_path / "run"), lambda line: None)
    assert planned.steps == summary["steps"]
    files = list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    assert files
    for file in files:
        assert file.stat().st_size == pytest.approx(planned.checkpoint, rel=0.02)


# Of each: the name, the values, the devices, and how many of them share a model.
STEPS = {
    "deit": ("deit_tiny_patch16_224", {"patch_size": 8, "depth": 2, "num_heads": 3}, 1, 1),
    "long": ("deit_tiny_patch16_224", {"patch_size": 4, "depth": 2, "num_heads": 4}, 1, 1),
    "cait": ("cait_xxs24_224", {"patch_size": 8, "depth": 2, "drop_path_rate": 0.1}, 1, 1),
    "resmlp": ("resmlp_12_224", {"patch_size": 8, "depth": 2}, 1, 1),
    "patchconvnet": ("patchconvnet_s20_224", {"depth": 2}, 1, 1),
    "hmlp": ("deit_small_patch16_18x2_LS", {"depth": 2, "num_heads": 3, "stem": "hmlp"}, 1, 1),
    "split": ("deit_tiny_patch16_224", {"patch_size": 8, "depth": 2, "num_heads": 4}, 2, 2),
}


@pytest.fixture(scope="module")
def step_memory():
    """By case, what is counted and what JAX's compiled step needs, in bytes."""
    process = subprocess.run(
        [sys.executable, str(ROOT / "tests/training/step_memory.py"), json.dumps(STEPS)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", STEPS)
def test_activations_are_nearly_what_jax_needs(case, step_memory):
    counted, needed = step_memory[case]
    assert counted == pytest.approx(needed, rel=0.2)


def test_what_activations_grow_with():
    sizes = {"image_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 2, "num_classes": 10}
    outlines = {
        depth: abstract_model("deit_tiny_patch16_224", **{**sizes, "depth": depth})
        for depth in (2, 3, 4)
    }
    kept = {depth: activation_bytes(outline, 8, "jax") for depth, outline in outlines.items()}
    assert kept[3] - kept[2] == kept[4] - kept[3] > 0
    assert activation_bytes(outlines[2], 16, "jax") == 2 * kept[2]
    again = {
        depth: activation_bytes(outline, 8, "jax", activation_checkpointing=True)
        for depth, outline in outlines.items()
    }
    # One block more costs its input alone: 17 tokens of 24 numbers for each of 8 images.
    assert again[3] - again[2] == again[4] - again[3] == 4 * 8 * 17 * 24
    assert activation_bytes(outlines[2], 8, "torch") < kept[2]
    select_trainable(outlines[2], "head")
    assert activation_bytes(outlines[2], 8, "jax") == 4 * 8 * 24
    with precision("mixed_bfloat16"):
        lower = abstract_model("deit_tiny_patch16_224", **{**sizes, "depth": 2})
    assert kept[2] / 2 < activation_bytes(lower, 8, "jax") < kept[2]


def test_operations_of_a_step_and_time(tiny_job):
    job = tiny_job()
    planned = plan(job)
    student = create_model(job.recipe.model, num_classes=10, **job.recipe.model_values)
    teacher, _ = load_teacher_model(job.recipe.teacher)
    assert planned.flops == 2 * 400 * (3 * count_macs(student) + count_macs(teacher))
    assert planned.flops == step_flops(count_macs(student), count_macs(teacher), 400, False)
    assert step_flops(5, 0, 2, True) == 2 * 2 * 4 * 5
    assert planned.step_seconds == planned.flops / 0.05e12
    assert planned.steps == 6
    # A teacher by name is trained first: 20 epochs of 19 steps of 64 images.
    named = plan(tiny_job(teacher="applications:MobileNetV3Small"))
    assert named.teacher_flops == 20 * 19 * 2 * 64 * 3 * named.teacher.macs
    assert planned.teacher_flops == 0


def test_the_speed_is_measured_on_the_largest_product():
    student = abstract_model(
        "deit_tiny_patch16_224", image_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2
    )
    assert largest_product(student, 8) == (8 * 17, 24, 96)
    assert largest_product(student, 10**6) == (2**14, 24, 96)
    # Any machine: from a slow core to a large accelerator.
    assert 1e7 < measured_flops(student, 8) < 1e16


def test_nothing_gets_memory(tiny_job):
    """The 346 MB of DeiT-B, its slots and its teacher would show."""
    student = abstract_model("deit_base_distilled_patch16_384")
    assert held_bytes(student.variables) == 4 * 87_630_032
    assert all(variable._value is None for variable in student.variables)
    size = optimizer_size(student, tiny_job().recipe.optimization)
    assert size.bytes(student) == 2 * 4 * 87_630_032 + size.single_bytes
    assert size.single_bytes < 100


def test_it_says_whether_it_fits_and_what_would_help(tiny_job):
    job = tiny_job()
    fits = plan(job)
    assert fits.fits is True
    report = plan_report(fits)
    assert re.search(r"^  together +[\d.]+ MB +\(estimate", report, re.MULTILINE)
    assert "8.00 GB  as --device_memory_gb says: fits" in report
    assert re.search(r"^time of the training .*\(estimate", report, re.MULTILINE)

    small = plan(job, device_memory_gb=fits.memory.total / 3e9)
    assert small.fits is False
    assert "DOES NOT FIT" in plan_report(small)
    line = advice(small)
    assert "--mixed_precision bfloat16" in line and "\n" not in line
    assert "--activation_checkpointing" in line
    deep = tiny_job(model_values={"depth": 3})
    once, twice = plan(deep), plan(dataclasses.replace(deep, activation_checkpointing=True))
    assert twice.memory.activations < once.memory.activations
    assert twice.flops > once.flops
    assert "--activation_checkpointing" not in advice(dataclasses.replace(twice, device_bytes=1))
    parts = int(re.search(r"--accumulation_steps (\d+)", line)[1])
    in_parts = dataclasses.replace(job.recipe.optimization, accumulation_steps=parts)
    recipe = dataclasses.replace(job.recipe, optimization=in_parts)
    job = dataclasses.replace(job, recipe=recipe)
    assert plan(job, device_memory_gb=small.device_bytes / 1e9).fits is True
    hopeless = plan(job, device_memory_gb=fits.memory.weights / 1e9)
    assert "accumulation_steps" not in advice(hopeless)


def test_memory_of_the_present_machine():
    found, source = device_memory(1)
    shared, _ = device_memory(4)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < found <= total
    assert shared == pytest.approx(found / 4, rel=0.2)
    assert source


def test_data_may_be_told_and_are_then_not_looked_at(tiny_job):
    job = dataclasses.replace(tiny_job(distillation="none"), dataset="not/prepared")
    planned = plan(job, examples=1_281_167, classes=1000)
    assert planned.steps == 2 * (1_281_167 // 400)
    assert "1,281,167 training images, 1,000 classes" in plan_report(planned)


@pytest.mark.parametrize(
    ("job", "overrides", "message"),
    [
        ({}, {"device_tflops": 0.0}, "device_tflops should be above 0"),
        ({}, {"examples": 100}, "go together"),
        ({}, {"devices": 2}, "--plan_devices 2 needs a --strategy"),
        ({}, {"examples": 100, "classes": 2}, "larger than the 100 training examples"),
    ],
)
def test_what_cannot_be_planned(tiny_job, job, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(tiny_job(job=job), **overrides)


@pytest.mark.parametrize(("gigabytes", "code"), [(4.0, 0), (0.001, 2)])
def test_the_command(teacher_file, tmp_path, gigabytes, code):
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--plan"]
    arguments = (f"--teacher={teacher_file}", f"--device_memory_gb={gigabytes}")
    # As a user has it: the test's own process may have set how much TensorFlow says.
    inherited = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    process = subprocess.run(
        [*command, *arguments],
        cwd=tmp_path,
        env={**inherited, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == code, process.stderr
    assert "679,796, 670,176 with weight decay and 9,620 without" in process.stdout
    assert "measured here" in process.stdout
    wanted = r"error: This does not fit: .*more devices.*\n" if code else ""
    assert re.fullmatch(wanted, process.stderr), process.stderr
    assert not list(tmp_path.iterdir())
