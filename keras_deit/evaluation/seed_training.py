"""Training of several seeds: a process for each, one after the other or a number at once."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.files import check_writable, disk_errors_as_input_errors, exclusive_lock
from keras_deit.data import Dataset
from keras_deit.evaluation.report import training_command
from keras_deit.evaluation.seed_study import (
    Study,
    main_figures,
    parse_seeds,
    run_figures,
    same_data,
    seeds_text,
    study_table,
)
from keras_deit.teachers import is_replay
from keras_deit.training import (
    Interruption,
    Job,
    Stopped,
    check_recipe,
    data_summary,
    dataset_of,
    default_run_dir,
    different_values,
    make_job,
    run_identity,
    training_options,
)

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
_SHARED_MEMORY = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
# Options with which the runs would not differ in their seed alone, or that are of one run.
_OF_ONE_RUN = {
    "seed": "seeds says which seeds are trained; leave seed out.",
    "minutes": "minutes would give each seed another number of steps; give epochs or steps.",
    "extend": "extend is of one run; more epochs are another study, in another run_dir.",
    "accept_changed_data": "the seeds of a study have the same data; give another run_dir.",
    "num_processes": "seeds are trained by processes of their own; leave num_processes out.",
}


class SeedsFailed(InputError):
    """Some seeds of a study have failed; the others are finished."""


def train_seeds(
    seeds: str | Iterable[int],
    parallel_seeds: int = 1,
    run_dir: str | None = None,
    imports: Sequence[str] = (),
    print_fn: Callable[[str], None] = print,
    **options,
) -> Study:
    """Trains a recipe with several seeds, exactly as `keras-deit train --seeds` does.

    Each seed is a run of its own, `seed_0` and so on in the directory, in a process of its own. The
    same call goes on where it was stopped, trains what has failed again, and adds further seeds.
    Data and teacher are the same for all: a teacher that has to be trained is trained once, with
    its own seed, and kept in `teacher_dir`.

    Args:
        seeds: see `parse_seeds`.
        parallel_seeds: number of seeds that are trained at once.
        run_dir: directory of the study; None for one below runs/ with a name made from the options.
        imports: Python files that register models, recipes or objectives of the user.
        print_fn: called with each line for the user.
        **options: those of `train`, without `seed`.

    Returns:
        The study; `config` has its figures.

    Raises:
        InputError: what was asked for is not possible, or the directory holds something else.
        SeedsFailed: a seed has failed; the others are trained before that.
        Stopped: by SIGTERM or Ctrl-C; everything is saved.
    """
    seeds = parse_seeds(seeds)
    if parallel_seeds < 1:
        raise InputError(f"parallel_seeds should be 1 or more. Received: {parallel_seeds}")
    options = {name: value for name, value in options.items() if value is not None}
    for name, reason in _OF_ONE_RUN.items():
        if options.get(name, False) is not False:
            raise InputError(reason)
    if len(seeds) > 1 and is_replay(options.get("teacher") or ""):
        raise InputError(
            "Stored labels are of one seed: give --seeds one number, or the teacher itself."
        )
    environment = dict(os.environ)
    # This process needs no GPU, but choosing a recipe for the data asks whether there is one.
    for name, value in _SHARED_MEMORY.items():
        os.environ.setdefault(name, value)
    job = make_job(**options)
    check_recipe(job.recipe, job.recipe.objective.copy())
    study = Study(run_dir or default_run_dir(job, "seeds"))
    config = _checked_config(study, job, dataset_of(job), seeds)
    with (
        disk_errors_as_input_errors("The disk", "Once it can, the same command goes on."),
        exclusive_lock(study.lock),
    ):
        study.write(config)
        trainer = _Trainer(study, config, _flags(options), imports, environment, print_fn)
        failed = trainer.train(seeds, parallel_seeds, job.devices.strategy == "none")
    print_fn(study_table(study))
    if failed:
        raise SeedsFailed(
            f"Seeds {seeds_text(failed)} of {study.path} have failed; the same command trains them "
            "again."
        )
    return study


def _checked_config(study: Study, job: Job, dataset: Dataset, seeds: list[int]) -> dict:
    """Returns the configuration of a study, after a check that the directory is free for it."""
    config = {
        "run": run_identity(job),
        "data": data_summary(dataset),
        "class_names": list(dataset.class_names),
        "split": dataset.reported_split,
        "examples": dataset.examples,
        "seeds": seeds,
        "results": {},
    }
    if not study.file.is_file():
        _check_free(study)
        check_writable(study.file)
        return config
    stored = study.config
    if different := different_values(*map(_recipe_of, (stored, config))):
        shown = [f"{n} {a} there, {b} here" for n, (a, b) in [*different.items()][:5]]
        more = f" and {len(different) - 5} more" if len(different) > 5 else ""
        raise InputError(
            f"{study.path} holds a study of another recipe ({', '.join(shown)}{more}); give "
            "another --run_dir."
        )
    if not same_data(stored, config):
        raise InputError(
            f"{study.path} holds a study of other data, or the data has changed since it began; "
            "give another --run_dir."
        )
    return {**stored, "seeds": sorted({*stored["seeds"], *seeds})}


def _recipe_of(config: dict) -> dict:
    """Returns the identity of a run without what may differ in a study: the seed, and the place of
    the data, which are compared by their contents."""
    return {name: v for name, v in config["run"].items() if name not in ("seed", "dataset")}


def _check_free(study: Study) -> None:
    path = study.path
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is not a directory; give another --run_dir.")
    if (path / "config.json").is_file():
        raise InputError(f"{path} holds a run of one seed, and no study; give another --run_dir.")
    if path.is_dir() and any(each.name != study.lock.name for each in path.iterdir()):
        raise InputError(
            f"{path} holds files that do not belong to a study of seeds; give another --run_dir."
        )


def _flags(options: dict) -> dict:
    """Returns the options that are not what they are by default."""
    defaults = {option.name: option.default for option in training_options()}
    return {n: v for n, v in options.items() if v != defaults.get(n) and n not in _OF_ONE_RUN}


@dataclasses.dataclass(frozen=True)
class _Running:
    """The process of a seed.

    Attributes:
        seed: its seed.
        slot: its place among those that run at once, from 0.
        process: the process.
        started: time of `time.monotonic()`.
        log_start: size of its log before it, in bytes.
    """

    seed: int
    slot: int
    process: subprocess.Popen
    started: float
    log_start: int


class _Trainer:
    """Trains the seeds of a study that are not finished."""

    def __init__(self, study, config, options, imports, environment, print_fn):
        self._study, self._config, self._print = study, config, print_fn
        self._options, self._imports, self._environment = options, imports, environment

    def train(self, seeds: list[int], parallel: int, one_device_each: bool) -> list[int]:
        """Trains seeds, each in a process, and returns which have failed.

        Args:
            seeds: all that should be finished at the end.
            parallel: number of processes at once.
            one_device_each: whether a process uses a single GPU.

        Raises:
            Stopped: by a signal.
        """
        waiting = [seed for seed in seeds if not self._take_result(seed)]
        if not waiting:
            self._print(f"{self._study.path} holds this study, finished.")
            return []
        self._print(
            f"{self._study.path}: {len(seeds) - len(waiting)} of {len(seeds)} seeds are finished; "
            f"seeds {seeds_text(waiting)} are trained, {min(parallel, len(waiting))} at once. What "
            "each prints is in its seed_N.log."
        )
        gpus = _gpus(self._environment) if parallel > 1 and one_device_each else []
        failed, running = [], {}
        with _stopping_at_the_end(running), Interruption().active() as interruption:
            while waiting or running:
                if number := interruption.received():
                    raise self._stopped(number, running)
                for slot in range(parallel):
                    if slot not in running and waiting:
                        gpu = gpus[slot % len(gpus)] if gpus else None
                        running[slot] = self._start(waiting.pop(0), slot, parallel, gpu)
                for each in [r for r in running.values() if r.process.poll() is not None]:
                    del running[each.slot]
                    if not self._succeeded(each):
                        failed.append(each.seed)
                time.sleep(_POLL_SECONDS)
        return sorted(failed)

    def _take_result(self, seed: int) -> bool:
        """Takes over the figures of a seed's run, if it is finished and of this study.

        Of a run that cannot be read its own process says why.
        """
        run = self._study.run(seed)
        with contextlib.suppress(InputError):
            if run.config_file.is_file() and run.summary is not None:
                same_recipe = _recipe_of(run.config) == _recipe_of(self._config)
                if same_recipe and same_data(run.config, self._config):
                    self._config["results"][seed] = run_figures(run)
                    self._study.write(self._config)
                    return True
        self._config["results"].pop(seed, None)
        return False

    def _start(self, seed: int, slot: int, parallel: int, gpu: str | None) -> _Running:
        study = self._study
        options = {**self._options, "seed": seed, "run_dir": str(study.run(seed).path)}
        _, name, *flags = training_command(options)
        imports = [f"--import={file}" for file in self._imports]
        # The process finds what this one does.
        path = os.pathsep.join(folder or os.curdir for folder in sys.path)
        backend = keras.backend.backend()
        environment = {**self._environment, "PYTHONPATH": path, "KERAS_BACKEND": backend}
        if parallel > 1:
            threads = max(1, (os.cpu_count() or 1) // parallel)
            environment = {"OMP_NUM_THREADS": str(threads), **_SHARED_MEMORY, **environment}
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        with study.log(seed).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, name, *imports, *flags],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C of a terminal is for this process, which hands it on.
                start_new_session=True,
            )
            return _Running(seed, slot, process, time.monotonic(), log.tell())

    def _succeeded(self, ended: _Running) -> bool:
        """Takes over what a process has left, and says how it has ended."""
        seed, code = ended.seed, ended.process.returncode
        ended.process.stdin.close()
        if code == 0 and self._take_result(seed):
            row = self._config["results"][seed]
            figures = ", ".join(f"{name} {row[name]:.4f}" for name in main_figures(row))
            seconds = time.monotonic() - ended.started
            self._print(f"Seed {seed}: {figures}, {seconds:,.0f} s.")
            return True
        log = self._study.log(seed)
        with log.open("rb") as file:
            file.seek(ended.log_start)
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        last = lines[-1].removeprefix("error: ") if lines else "it has printed nothing"
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        self._print(f"Seed {seed} has failed ({how}: {last}); {log} has what it printed.")
        return False

    def _stopped(self, number: int, running: dict[int, _Running]) -> Stopped:
        """Stops all processes, waits until they have saved, and returns the exception."""
        for each in running.values():
            each.process.send_signal(number)
        for each in running.values():
            each.process.wait()
        seeds = seeds_text(sorted(each.seed for each in running.values()))
        running.clear()
        return Stopped(
            number,
            f"Stopped in the training of seeds {seeds}; {len(self._config['results'])} of "
            f"{len(self._config['seeds'])} are finished. The same command goes on from there.",
        )


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


def _gpus(environment: dict[str, str]) -> list[str]:
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
