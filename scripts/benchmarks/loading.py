"""Measures loading DeiT-B's published weights beside reading the same file: seconds and memory.

The tasks take turns, on the backend that is set. The file is written by this package first, so the
operating system has it in its cache.
"""

import pathlib
import statistics
import tempfile
import time

import keras
from safetensors.numpy import load_file

from keras_deit import create_model, load_pretrained
from keras_deit.pretrained import save_safetensors

_MODEL = "deit_base_patch16_224"


def run(rounds: int) -> str:
    """Returns a table of seconds, and how much memory loading takes besides the model's own.

    Args:
        rounds: number of measurements of each task, after one for warm-up; the median is reported.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "weights.safetensors"
        model = create_model(_MODEL)
        save_safetensors(model, file)
        tasks = {
            "reading the file": file.read_bytes,
            "safetensors.numpy.load_file": lambda: load_file(file),
            "load_pretrained": lambda: load_pretrained(model, file),
            "create_model": lambda: create_model(_MODEL),
            "create_model with weights": lambda: create_model(_MODEL, weights=file),
        }
        extra = _peak_memory(tasks["load_pretrained"])
        times = {name: [] for name in tasks}
        for number in range(rounds + 1):
            for name, task in tasks.items():
                start = time.perf_counter()
                task()
                if number:
                    times[name].append(time.perf_counter() - start)
        size = file.stat().st_size / 1e6
    lines = [f"{_MODEL}, {size:.0f} MB, {keras.backend.backend()}: seconds"]
    lines += [f"{name:30} {statistics.median(values):8.3f}" for name, values in times.items()]
    return "\n".join([*lines, f"peak memory of the first load_pretrained: {extra:.0f} MB more"])


def _peak_memory(task) -> float:
    """Returns by how many MB the process grows at most while the task runs."""
    # Linux resets the process's peak when 5 is written here.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    task()
    return (_status("VmHWM") - before) / 1e3


def _status(key: str) -> int:
    """Returns a value of /proc/self/status in kB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))
