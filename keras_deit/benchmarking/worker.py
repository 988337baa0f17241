"""A process of one contender of a benchmark: it builds its step, then runs it when it is told to.

It is run as a file and imports of this package only what its contender needs, because peers have
Python environments of their own. Its argument is a JSON object, the fields of `Task`. It prints a
JSON object in a line when its first step is done and for each command: "go N" runs N steps, "rate"
measures a large matrix product, and "memory" returns the peak.
"""

import dataclasses
import importlib
import json
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

# Rows of the matrices whose product is timed: without and with an accelerator.
_MATRIX = {False: 2048, True: 8192}
# The modes in which nothing is computed with a model.
_READING = ("input", "load")


@dataclasses.dataclass(frozen=True)
class Task:
    """What a contender does.

    Attributes:
        kind: "keras_deit", "timm" or "keras_hub".
        backend: backend of Keras, or "onnx" or "openvino" for an exported model; "torch" for timm.
        compiled: whether timm's model goes through `torch.compile`.
        mode: "inference", "train", "distill", "input" or "load".
        model: name of the model.
        image_size: side of the images in pixels.
        resized: whether that is another size than the model's own.
        family: name of the model's class, for KerasHub.
        values: what KerasHub needs to build the same model.
        teacher: name of the teacher, in mode "distill".
        batch_size: images of a step.
        precision: "float32" or "bfloat16".
        threads: number of threads.
        tf32: whether products of float32 may be computed in TensorFloat-32 on a GPU.
        classes: number of classes.
        files: folder of images in mode "input", file of weights in mode "load".
        epoch: number of images of an epoch in mode "input", which repeats those of the folder.
    """

    kind: str
    backend: str
    compiled: bool
    mode: str
    model: str
    image_size: int
    resized: bool
    family: str
    values: dict
    teacher: str | None
    batch_size: int
    precision: str
    threads: int
    tf32: bool
    classes: int = 1000
    files: str | None = None
    epoch: int = 100_000


class _Framework:
    """What PyTorch, JAX or TensorFlow is asked for.

    Attributes:
        device: name of the device, for the report.
        accelerated: whether it is a GPU.
    """

    device: str
    accelerated: bool

    def on_device(self, array: np.ndarray):
        """Returns an array on the device."""

    def product(self, rows: int, precision: str) -> Callable[[], object]:
        """Returns a function that computes a product of square matrices and waits for it."""

    def inference(self, model) -> Callable:
        """Returns a compiled function from images to a finished forward pass of a Keras model."""

    def peak_memory(self) -> int | None:
        """Returns the bytes of the GPU that were in use at most; None if it does not say."""


class _Torch(_Framework):
    def __init__(self, threads: int, tf32: bool):
        import torch

        self.torch = torch
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        self.accelerated = torch.cuda.is_available()
        self.place = "cuda" if self.accelerated else "cpu"
        self.device = torch.cuda.get_device_name() if self.accelerated else "CPU"

    def on_device(self, array):
        return self.torch.from_numpy(array).to(self.place)

    def wait(self) -> None:
        if self.accelerated:
            self.torch.cuda.synchronize()

    def product(self, rows, precision):
        matrix = self.torch.randn(rows, rows, device=self.place)
        matrix = matrix.to(getattr(self.torch, precision))
        result = self.torch.empty_like(matrix)

        def multiply():
            self.torch.matmul(matrix, matrix, out=result)
            self.wait()

        return multiply

    def inference(self, model):
        def forward(images):
            with self.torch.inference_mode():
                model(images, training=False)
            self.wait()

        return forward

    def peak_memory(self):
        return self.torch.cuda.max_memory_allocated() if self.accelerated else None


class _Jax(_Framework):
    def __init__(self, threads: int, tf32: bool):
        import jax

        del threads  # XLA takes the processor's cores that the process may use.
        self.jax = jax
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32 else "highest")
        self.accelerated = jax.default_backend() == "gpu"
        self.device = jax.devices()[0].device_kind if self.accelerated else "CPU"

    def on_device(self, array):
        return self.jax.device_put(array)

    def product(self, rows, precision):
        matrix = self.jax.random.normal(self.jax.random.key(0), (rows, rows)).astype(precision)
        multiply = self.jax.jit(lambda a: a @ a)
        return lambda: multiply(matrix).block_until_ready()

    def inference(self, model):
        states = [
            [variable.value for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        ]
        forward = self.jax.jit(
            lambda *state: model.stateless_call(*state[:2], state[2], training=False)[0]
        )
        return lambda images: self.jax.block_until_ready(forward(*states, images))

    def peak_memory(self):
        statistics = self.jax.devices()[0].memory_stats() or {}
        return statistics.get("peak_bytes_in_use") if self.accelerated else None


class _TensorFlow(_Framework):
    def __init__(self, threads: int, tf32: bool):
        import tensorflow as tf

        self.tf = tf
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        gpus = tf.config.list_physical_devices("GPU")
        self.accelerated = bool(gpus)
        self.device = "CPU"
        if gpus:
            details = tf.config.experimental.get_device_details(gpus[0])
            self.device = details.get("device_name", "GPU")

    def on_device(self, array):
        return self.tf.constant(array)

    def product(self, rows, precision):
        matrix = self.tf.cast(self.tf.random.normal((rows, rows)), precision)
        return lambda: self.tf.matmul(matrix, matrix)[0, 0].numpy()

    def inference(self, model):
        forward = self.tf.function(lambda images: model(images, training=False), jit_compile=True)
        return lambda images: forward(images).numpy()

    def peak_memory(self):
        if not self.accelerated:
            return None
        return self.tf.config.experimental.get_memory_info("GPU:0")["peak"]


_FRAMEWORKS = {"torch": _Torch, "jax": _Jax, "tensorflow": _TensorFlow}


def main() -> None:
    """Serves the commands of the benchmark until its input ends."""
    start = time.perf_counter()
    commands = queue.SimpleQueue()
    threading.Thread(target=_read_commands, args=[commands], daemon=True).start()
    # What a framework prints goes to stderr, and the answers alone to stdout.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**values) -> None:
        print(json.dumps(values), file=answers)

    task = Task(**json.loads(sys.argv[1]))
    # TensorFlow exports models.
    os.environ["KERAS_BACKEND"] = task.backend if task.backend in _FRAMEWORKS else "tensorflow"
    framework, step, versions = _prepared(task)
    step()
    answer(first_step=time.perf_counter() - start, versions=versions, device=framework.device)
    while True:
        command, *numbers = commands.get().split()
        if command == "go":
            # Loaders have made batches during the others' turns, and the others make theirs now.
            uncounted = 1 + 4 * task.threads * (task.mode == "input")
            answer(seconds=_seconds(step, int(numbers[0]), uncounted))
        elif command == "rate":
            measured = hasattr(framework, "product")
            answer(flops=_product_rate(framework, task.precision) if measured else 0.0)
        elif command == "memory":
            peak = framework.peak_memory()
            # Linux counts in kB.
            answer(bytes=peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _prepared(task: Task) -> tuple[_Framework, Callable, dict[str, str]]:
    """Returns the framework of a task, its step, and versions of packages by name."""
    if task.backend not in _FRAMEWORKS:
        from keras_deit.benchmarking.exported import exported_step

        return exported_step(task, _batch)
    framework = _FRAMEWORKS[task.backend](task.threads, task.tf32)
    if task.kind == "timm":
        # The folder of this file is the first one that Python looks into.
        from timm_contender import timm_step

        return framework, *timm_step(task, framework, _batch)
    if task.mode not in _READING:
        return framework, *_keras_step(task, framework)
    if task.kind != "keras_deit":
        sys.exit(f"There is nothing of {task.kind} to measure in mode {task.mode}.")
    from keras_deit.benchmarking.reading import reading_step

    return framework, *reading_step(task, framework)


def _read_commands(commands: queue.SimpleQueue) -> None:
    """Passes on what the benchmark sends. Without the benchmark this process ends at once."""
    # A process that is forked from this one closes `sys.stdin`, which must not be in use then.
    for line in os.fdopen(os.dup(0)):
        commands.put(line)
    os._exit(0)


def _seconds(step: Callable, steps: int, uncounted: int = 1) -> float:
    """Returns the seconds of a step, after some that wake what slept during the others' turns."""
    for _ in range(uncounted):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def _product_rate(framework: _Framework, precision: str) -> float:
    """Returns the operations per second of a large matrix product, the best of five."""
    rows = _MATRIX[framework.accelerated]
    multiply = framework.product(rows, precision)
    multiply()
    return 2 * rows**3 / min(_seconds(multiply, 3) for _ in range(5))


def _batch(task: Task, framework: _Framework, channels_first: bool) -> tuple:
    rng = np.random.default_rng(0)
    shape = (task.batch_size, task.image_size, task.image_size, 3)
    images = rng.normal(size=shape).astype("float32")
    if channels_first:
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    labels = rng.integers(task.classes, size=task.batch_size)
    return framework.on_device(images), framework.on_device(labels)


def _keras_step(task: Task, framework: _Framework) -> tuple[Callable, dict]:
    import keras

    if task.precision != "float32":
        keras.config.set_dtype_policy(f"mixed_{task.precision}")
    package = importlib.import_module(task.kind)
    make = _keras_hub_model if task.kind == "keras_hub" else _own_model
    model = make(task, task.model)
    images, labels = _batch(task, framework, channels_first=False)
    versions = {
        "keras": keras.__version__,
        task.backend: importlib.import_module(task.backend).__version__,
        task.kind: package.__version__,
    }
    if task.mode == "inference":
        forward = framework.inference(model)
        return lambda: forward(images), versions
    # XLA wherever Keras has it; on PyTorch it would go through torch.compile, which it is not
    # tested with.
    settings = {"jit_compile": "auto" if task.backend == "torch" else True}
    if task.kind == "keras_deit":
        teacher = _own_model(task, task.teacher) if task.mode == "distill" else None
        model = package.Distiller(model, teacher, kind="none" if teacher is None else "hard")
    else:
        settings["loss"] = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-4, weight_decay=0.05), **settings)
    return lambda: model.train_on_batch(images, labels), versions


def _own_model(task: Task, name: str):
    from keras_deit.pretrained import create_model

    return create_model(name, image_size=task.image_size, num_classes=task.classes)


def _keras_hub_model(task: Task, name: str):
    import keras
    import keras_hub

    # A classifier made of its backbone, since its own head expects presets.
    backbone = getattr(keras_hub.models, f"{task.family}Backbone", None)
    if backbone is None or task.mode == "distill":
        sys.exit(f"KerasHub has no {task.family}Backbone to {task.mode} {name}.")
    backbone = backbone(image_shape=(task.image_size, task.image_size, 3), **task.values)
    return keras.Model(backbone.input, keras.layers.Dense(task.classes)(backbone.output[:, 0]))


if __name__ == "__main__":
    main()
