"""Processes that train the seeds of studies, one after the other or a number at once."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import keras

from keras_deit.core.errors import InputError
from keras_deit.evaluation.report import training_command
from keras_deit.evaluation.seed_study import main_figures, run_figures, same_data
from keras_deit.training import Interruption, Stopped
from keras_deit.training.paths import with_absolute_names

# What a seed's process runs: the command `keras-deit`. The pipe that is its input ends with the
# process that has started it, in whatever way; then the training is stopped as by SIGTERM.
_PROGRAM = """
import os, signal, sys, threading

def stop_with_parent():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=stop_with_parent, daemon=True).start()
sys.argv[0] = "keras-deit"
from keras_deit.cli.main import main
main()
"""
_POLL_SECONDS = 0.2
# What a process takes of a GPU before it needs it, unless these variables say otherwise.
SHARED_MEMORY = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def recipe_of(config: dict) -> dict:
    """Returns the identity of a run without what may differ in a study: the seed, and the place of
    the data, which are compared by their contents."""
    run = with_absolute_names(config["run"])
    return {name: v for name, v in run.items() if name not in ("seed", "dataset")}


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a task has ended.

    Attributes:
        failure: the exit code or the signal, and the last line that was printed; empty if it has
            not failed.
        seconds: how long it took.
    """

    failure: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Task:
    """A command that is run in a process of its own.

    Attributes:
        name: what it does, for the line that says what was stopped.
        words: the command and its flags.
        log: file to which what it prints is added.
        ended: called with how it has ended.
        environment: variables of the process.
        gpus: names of the GPUs that such processes take in turn; empty for no choice.
    """

    name: str
    words: Sequence[str]
    log: pathlib.Path
    ended: Callable[[Ending], None]
    environment: Mapping[str, str]
    gpus: Sequence[str] = ()

    def start(self, slot: int) -> "_Running":
        """Starts the process.

        Args:
            slot: its place among the processes that run at once, from 0.
        """
        # The process finds what this one does.
        path = os.pathsep.join(folder or os.curdir for folder in sys.path)
        backend = keras.backend.backend()
        environment = {**self.environment, "PYTHONPATH": path, "KERAS_BACKEND": backend}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *self.words],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C of a terminal is for this process, which hands it on.
                start_new_session=True,
            )
            return _Running(self, process, time.monotonic(), log.tell())


@dataclasses.dataclass(frozen=True)
class _Running:
    """A task that runs.

    Attributes:
        task: the task.
        process: its process.
        started: time of `time.monotonic()`.
        log_start: size of its log before it, in bytes.
    """

    task: Task
    process: subprocess.Popen
    started: float
    log_start: int

    def end(self) -> None:
        """Tells the task how its process has ended."""
        self.process.stdin.close()
        seconds = time.monotonic() - self.started
        self.task.ended(Ending(self._failure(self.process.returncode), seconds))

    def _failure(self, code: int) -> str:
        if code == 0:
            return ""
        with self.task.log.open("rb") as file:
            file.seek(self.log_start)
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        last = lines[-1].removeprefix("error: ") if lines else "it has printed nothing"
        return f"{f'exit code {code}' if code >= 0 else signal.Signals(-code).name}: {last}"


def run_side_by_side(next_task: Callable[[], Task | None], parallel: int) -> None:
    """Runs tasks, a number at once, until there are no more.

    Args:
        next_task: called whenever there is room, returns the task that starts next; None if there
            is none, or if all that are left need one that still runs.
        parallel: number of processes at once.

    Raises:
        Stopped: by a signal.
    """
    running: dict[int, _Running] = {}
    with _stopping_at_the_end(running), Interruption().active() as interruption:
        while True:
            if number := interruption.received():
                raise _stopped(number, running)
            for slot in range(parallel):
                if slot not in running and (task := next_task()) is not None:
                    running[slot] = task.start(slot)
            if not running:
                return
            for slot, each in [*running.items()]:
                if each.process.poll() is not None:
                    del running[slot]
                    each.end()
            time.sleep(_POLL_SECONDS)


def environment_beside(others: int) -> dict[str, str]:
    """Returns the environment of a process that runs beside others.

    Args:
        others: their number.
    """
    if not others:
        return dict(os.environ)
    threads = max(1, (os.cpu_count() or 1) // (others + 1))
    return {"OMP_NUM_THREADS": str(threads), **SHARED_MEMORY, **os.environ}


class SeedTrainings:
    """The trainings of a study of seeds, each in a process of its own.

    Attributes:
        study: the study.
        failed: seeds whose training has failed.
        finished: seeds whose figures are known.
    """

    def __init__(self, study, config, options, imports, environment, gpus, print_fn):
        self.study, self._config, self._print = study, config, print_fn
        self._options, self._imports = options, imports
        self._environment, self._gpus = environment, gpus
        self.failed: set[int] = set()

    @property
    def finished(self) -> set[int]:
        return {*self._config["results"]}

    def waiting(self, seeds: Iterable[int]) -> list[int]:
        """Returns the seeds that are not finished, after a look at what there is."""
        return [seed for seed in seeds if not self._take_result(seed)]

    def _take_result(self, seed: int) -> bool:
        """Takes over the figures of a seed's run, if it is finished and of this study.

        Of a run that cannot be read its own process says why.
        """
        run = self.study.run(seed)
        with contextlib.suppress(InputError):
            if run.config_file.is_file() and run.summary is not None:
                same_recipe = recipe_of(run.config) == recipe_of(self._config)
                if same_recipe and same_data(run.config, self._config):
                    self._config["results"][seed] = run_figures(run)
                    self.study.write(self._config)
                    return True
        self._config["results"].pop(seed, None)
        return False

    def task(self, seed: int) -> Task:
        """Returns the training of a seed."""
        options = {**self._options, "seed": seed, "run_dir": str(self.study.run(seed).path)}
        _, name, *flags = training_command(options)
        imports = [f"--import={file}" for file in self._imports]
        return Task(
            f"the training of seed {seed} of {self.study.path}",
            [name, *imports, *flags],
            self.study.log(seed),
            functools.partial(self._ended, seed),
            self._environment,
            self._gpus,
        )

    def _ended(self, seed: int, ending: Ending) -> None:
        """Takes over what a process has left, and says how it has ended."""
        if not ending.failure and self._take_result(seed):
            row = self._config["results"][seed]
            figures = ", ".join(f"{name} {row[name]:.4f}" for name in main_figures(row))
            self._print(f"Seed {seed}: {figures}, {ending.seconds:,.0f} s.")
            return
        how = ending.failure or "it has left no run of this study"
        log = self.study.log(seed)
        self._print(f"Seed {seed} has failed ({how}); {log} has what it printed.")
        self.failed.add(seed)


def _stopped(number: int, running: dict[int, _Running]) -> Stopped:
    """Stops all processes, waits until they have saved, and returns the exception."""
    for each in running.values():
        each.process.send_signal(number)
    for each in running.values():
        each.process.wait()
    names = " and ".join(each.task.name for each in running.values())
    running.clear()
    return Stopped(number, f"Stopped in {names}. The same command goes on from there.")


@contextlib.contextmanager
def _stopping_at_the_end(running: dict[int, _Running]) -> Iterator[None]:
    """Stops the processes that still run when the block ends by an exception."""
    try:
        yield
    finally:
        for each in running.values():
            each.process.terminate()
        for each in running.values():
            each.process.wait()


def visible_gpus(environment: dict[str, str]) -> list[str]:
    """Returns the names of NVIDIA's GPUs that may be used, as CUDA_VISIBLE_DEVICES has them."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    return shown.stdout.split()
