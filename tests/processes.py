"""Python in processes of their own, which find the package and the tests' modules."""

import os
import pathlib
import socket
import subprocess
import sys

TESTS = pathlib.Path(__file__).parent
_FOLDERS = (TESTS.parent, TESTS, TESTS / "distillation")


def start(*command, backend: str, **environment: str) -> subprocess.Popen:
    """Starts Python with a script, or "-c" and code, and arguments on a backend."""
    return subprocess.Popen(
        [sys.executable, *command],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(map(str, _FOLDERS)),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_training(*command, backend: str) -> subprocess.Popen:
    """`start` for a few steps of a small model, of which compiling takes all the time."""
    return start(*command, backend=backend, JAX_DISABLE_MOST_OPTIMIZATIONS="1")


def end(process: subprocess.Popen, returncode: int = 0) -> str:
    """Waits for a process; what it has printed."""
    printed, notes = process.communicate(timeout=400)
    assert process.returncode == returncode, notes[-3000:]
    return printed


def end_all(processes) -> None:
    """Waits for processes; ends all of them where one fails."""
    try:
        for process in processes:
            end(process)
    finally:
        for process in processes:
            process.kill()


def free_port() -> int:
    """Of this machine, for a moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
