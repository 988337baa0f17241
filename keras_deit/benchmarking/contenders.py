"""Contenders of a benchmark, and the processes in which they are measured."""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from keras_deit.benchmarking.worker import Task
from keras_deit.core.errors import InputError

# The first line of an exception below its traceback.
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception)\b")
_WORKER = pathlib.Path(__file__).with_name("worker.py")
# GPU memory is shared by the contenders, so none may take all of it.
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


@dataclasses.dataclass(frozen=True)
class Contender:
    """What is measured beside the others.

    Attributes:
        name: name in the tables.
        kind, backend, compiled: see `Task`.
        python: path of the interpreter that has its packages.
    """

    name: str
    kind: str
    backend: str
    compiled: bool = False
    python: str = sys.executable

    @property
    def is_peer(self) -> bool:
        return self.kind != "keras_deit"


class ContenderProcess:
    """The process of a contender.

    Attributes:
        contender: the contender.
        ready: what it answered after its first step; None if it failed.
    """

    def __init__(self, contender: Contender, settings: dict):
        self.contender = contender
        task = Task(
            kind=contender.kind,
            backend=contender.backend,
            compiled=contender.compiled,
            **settings,
        )
        cores = cores_for(task.threads)
        variables = {"OMP_NUM_THREADS": str(task.threads)}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [contender.python, str(_WORKER), json.dumps(dataclasses.asdict(task))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **_ENVIRONMENT, **variables},
            start_new_session=True,
            preexec_fn=_restriction(cores),
        )
        self.ready = self._answer()

    def ask(self, command: str) -> dict | None:
        """Returns the answer to a command; None if the process has ended."""
        with contextlib.suppress(BrokenPipeError):
            print(command, file=self._process.stdin, flush=True)
        return self._answer()

    def reason(self) -> str:
        """Returns why it ended: the exception that it wrote to stderr, or its last line there."""
        self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        exceptions = [line for line in lines if _EXCEPTION.match(line)]
        return (exceptions or lines or [f"exit code {self._process.returncode}"])[-1]

    def close(self) -> None:
        """Ends it, and what a runtime has forked from it, which would keep its pipes open."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):
                file.close()

    def _answer(self) -> dict | None:
        line = self._process.stdout.readline()
        return json.loads(line) if line else None


def cores_for(threads: int | None) -> list[int]:
    """Returns the processor cores for a number of threads; all that are possible for None."""
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
    else:
        cores = list(range(os.cpu_count()))
    if threads is not None and not 1 <= threads <= len(cores):
        raise InputError(f"threads should be 1 to {len(cores)}. Received: {threads}")
    return cores[:threads]


def _restriction(cores: Sequence[int]) -> Callable[[], None] | None:
    """Returns what gives a new process these cores alone; None where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    return functools.partial(os.sched_setaffinity, 0, cores)
