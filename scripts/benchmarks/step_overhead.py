"""Measures what a training does around its steps: `python scripts/benchmarks/step_overhead.py`.

Two trainings of the same student on the same batch take turns in one process:

- bare: a compiled step of forward pass, cross-entropy, gradient and Keras's AdamW, nothing else;
- training: the loop of `keras-deit train` with its metrics, finite checks, progress bar, log,
  TensorBoard events, checkpoints and optimizer.

The backend is that of KERAS_BACKEND. What reads and augments images is left out of both.
"""

import itertools
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from absl import app, flags

from keras_deit.training import dataset_of, make_job
from keras_deit.training.callbacks import tensorboard_events
from keras_deit.training.checkpoints import CheckpointManager
from keras_deit.training.log import log_file
from keras_deit.training.loop import TrainingData, objective_loop
from keras_deit.training.preparation import build_student, compile_training
from keras_deit.training.steps import dataset_steps

FLAGS = flags.FLAGS
flags.DEFINE_integer("steps", 100, "Steps of each in a round.")
flags.DEFINE_integer("rounds", 12, "Number of rounds; the first one compiles and is left out.")
flags.DEFINE_multi_string("option", [], "NAME=VALUE of the training; by default that of digits.")


def main(_):
    options = dict(option.split("=", 1) for option in FLAGS.option)
    job = make_job(**{"dataset": "digits", "distillation": "none", **options})
    optimization, _ = dataset_steps(job.recipe.optimization, dataset_of(job))
    bare = _bare_steps(build_student(job, 10), *_batch(job, optimization))
    seconds = {"bare": [], "training": []}
    with tempfile.TemporaryDirectory() as folder, log_file(Path(folder) / "train.log"):
        loop = _loop(job, optimization, Path(folder))
        loop.restore()
        with loop.running():
            for _ in range(FLAGS.rounds):
                seconds["bare"].append(_timed(lambda: bare(FLAGS.steps)))
                seconds["training"].append(_timed(lambda: _epoch(loop)))
    _report(seconds)


def _batch(job, optimization):
    """Returns a batch of images and labels as a training gets them."""
    student = build_student(job, 10)
    rng = np.random.default_rng(0)
    shape = (optimization.batch_size, *student.input_shape[1:])
    labels = rng.integers(0, 10, shape[0])
    return rng.normal(size=shape).astype("float32"), np.eye(10, dtype="float32")[labels]


def _loop(job, optimization, folder: Path):
    student = build_student(job, 10)
    objective = job.recipe.objective.copy()
    model = compile_training(job, student, objective, optimization, FLAGS.steps, None)
    batch = _batch(job, optimization)
    return objective_loop(
        *(model, "student", TrainingData(lambda _: itertools.repeat(batch), FLAGS.steps)),
        optimization,
        CheckpointManager(folder / "checkpoints", print_fn=lambda line: None),
        tuple(tensorboard_events(folder / "tensorboard")),
    )


def _epoch(loop) -> None:
    loop.train_epoch()
    loop.validate()
    loop.end_epoch()


def _bare_steps(student, images, labels):
    """Returns a function that does so many steps and waits for the last one."""
    optimizer = keras.optimizers.AdamW(1e-3)
    optimizer.build(student.trainable_variables)
    images, labels = (keras.ops.convert_to_tensor(x) for x in (images, labels))

    def loss_of(logits):
        return keras.ops.mean(
            keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
        )

    make = {"tensorflow": _on_tensorflow, "jax": _on_jax, "torch": _on_torch}
    step = make[keras.backend.backend()](student, optimizer, images, loss_of)

    def steps(count: int) -> None:
        for _ in range(count):
            loss = step()
        keras.ops.convert_to_numpy(loss)

    return steps


def _on_tensorflow(student, optimizer, images, loss_of):
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def step():
        with tf.GradientTape() as tape:
            loss = loss_of(student(images, training=True))
        variables = student.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    return step


def _on_jax(student, optimizer, images, loss_of):
    import jax

    def loss_and_state(trainable, other):
        logits, other = student.stateless_call(trainable, other, images, training=True)
        return loss_of(logits), other

    @jax.jit
    def step(trainable, other, slots):
        gradient = jax.value_and_grad(loss_and_state, has_aux=True)
        (loss, other), gradients = gradient(trainable, other)
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return loss, (trainable, other, slots)

    states = [
        tuple(
            [v.value for v in variables]
            for variables in (
                student.trainable_variables,
                student.non_trainable_variables,
                optimizer.variables,
            )
        )
    ]

    def one():
        loss, states[0] = step(*states[0])
        return loss

    return one


def _on_torch(student, optimizer, images, loss_of):
    import torch

    def step():
        student.zero_grad()
        loss = loss_of(student(images, training=True))
        loss.backward()
        variables = student.trainable_variables
        with torch.no_grad():
            optimizer.apply([v.value.grad for v in variables], variables)
        return loss.detach()

    return step


def _timed(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _report(seconds: dict[str, list[float]]) -> None:
    rounds = {name: [1000 * s / FLAGS.steps for s in each[1:]] for name, each in seconds.items()}
    for name, each in rounds.items():
        spread = f"{min(each):.2f} to {max(each):.2f}"
        print(f"{name:10} {statistics.median(each):7.2f} ms a step ({spread})")
    pairs = zip(rounds["training"], rounds["bare"], strict=True)
    print(f"ratio      {statistics.median(a / b for a, b in pairs):7.3f}, median of the rounds")


if __name__ == "__main__":
    app.run(main)
