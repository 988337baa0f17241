"""Runs Python in separate processes that can import the package and the tests' modules."""

import functools
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

TESTS = pathlib.Path(__file__).parent
_FOLDERS = (TESTS.parent, TESTS, TESTS / "objectives")


def start(*command, backend: str, cwd=None, **environment: str) -> subprocess.Popen:
    """Starts Python with a script, or "-c" and code, and arguments on a backend.

    In a test a small model does a few steps, so that compiling takes most of the time: JAX
    optimizes little and finds what another test has compiled. PyTorch runs one thread.
    """
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env={
            **os.environ,
            **{name.upper(): str(value) for name, value in _jax_cache().items()},
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "OMP_NUM_THREADS": "1",
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(map(str, _FOLDERS)),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen, returncode: int = 0) -> str:
    """Waits for a process and returns what it printed."""
    printed, notes = process.communicate(timeout=400)
    assert process.returncode == returncode, notes[-3000:]
    return printed


def end_all(processes) -> list[str]:
    """Waits for processes and returns what each printed; ends all of them if one fails."""
    try:
        return [end(process) for process in processes]
    finally:
        for process in processes:
            process.kill()


def free_port() -> int:
    """Returns a port of this machine that is free at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def prepare_backend() -> None:
    """Prepares the backend of this process for many trainings of small models.

    JAX has the settings of `start`. PyTorch runs one thread: with more it is many times slower as
    soon as another process of the tests uses the other cores.
    """
    backend = os.environ.get("KERAS_BACKEND")
    if backend == "jax":
        import jax

        for name, value in {**_jax_cache(), "jax_disable_most_optimizations": True}.items():
            jax.config.update(name, value)
    if backend == "torch":
        import torch

        torch.set_num_threads(1)


def _jax_cache() -> dict:
    """Returns the settings with which JAX finds what was compiled before in these tests."""
    return {
        "jax_compilation_cache_dir": _cache_folder().name,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }


@functools.cache
def _cache_folder() -> tempfile.TemporaryDirectory:
    """Returns a folder that is removed when the tests end."""
    return tempfile.TemporaryDirectory(prefix="keras_deit_tests_")
