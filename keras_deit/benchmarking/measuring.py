"""Measures this package and its peers in turns, each contender in a process of its own."""

import contextlib
import dataclasses
import importlib.util
import itertools
import pathlib
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from keras_deit.benchmarking.contenders import Contender, ContenderProcess, cores_for
from keras_deit.benchmarking.worker import Task
from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import user_path
from keras_deit.models import abstract_model, get_spec
from keras_deit.recipes import get_recipe

# What is measured without computing with a model.
READING = ("input", "load")
MODES = ("inference", "train", "distill", *READING)
PRECISIONS = ("float32", "bfloat16")
BACKENDS = ("tensorflow", "jax", "torch")
# What runs exported models.
RUNTIMES = ("onnx", "openvino")
PEERS = ("timm", "timm_compiled", "keras_hub")
# KerasHub on another backend is slower on a CPU, so the strongest is the peer.
_KERAS_HUB_BACKEND = "tensorflow"
# KerasHub's names of what its backbones are made of.
_KERAS_HUB_VALUES = {
    "patch_size": "patch_size",
    "depth": "num_layers",
    "num_heads": "num_heads",
    "embed_dim": "hidden_dim",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """The figures of a contender.

    Attributes:
        model: name of the model.
        precision: "float32" or "bfloat16".
        contender: name of the contender.
        is_peer: whether it is not of this package.
        rate: images per second, in mode "load" files per second: median, smallest and largest of
            the rounds.
        mfu: share of the measured rate of a large matrix product in that precision, the highest
            of the contenders'; None if none of them can measure one, as exported models cannot, and
            in the modes "input" and "load".
        peak_memory: bytes in use at most: of the GPU, without one of the whole process.
        first_step: seconds from the start of the process to the end of the first step, imports
            and compilation included.
    """

    model: str
    precision: str
    contender: str
    is_peer: bool
    rate: tuple[float, float, float]
    mfu: float | None
    peak_memory: int
    first_step: float


@dataclasses.dataclass(frozen=True)
class Result:
    """What a benchmark has measured.

    Attributes:
        rows: the figures, by model, precision and contender.
        conditions: what they were measured with, by name.
        failures: reason by what could not be measured.
        unit: of the rates, "images/s" or "files/s".
    """

    rows: list[Row]
    conditions: dict[str, str]
    failures: dict[str, str]
    unit: str = "images/s"


def benchmark(
    models: Sequence[str] = (),
    mode: str = "inference",
    batch_size: int = 16,
    precision: Sequence[str] = ("float32",),
    backends: Sequence[str] = (),
    peers: Sequence[str] = (),
    teacher: str | None = None,
    image_size: int | None = None,
    rounds: int = 7,
    steps: int = 5,
    threads: int | None = None,
    tf32: bool = True,
    images: str | None = None,
    print_fn: Callable[[str], None] = print,
) -> Result:
    """Measures images per second of models in this package and in its peers, in turns.

    All contenders of a model and a precision are started one after the other and then take turns:
    in each round each does a step that is not counted and then `steps` steps. Images and labels
    are on the device already, models have random weights and 1,000 classes, and training is
    cross-entropy with AdamW. Figures of different runs should not be compared, only those of one.

    Args:
        models: names of models; by default the model of the recipe "digits".
        mode: "inference" for the forward pass, "train" for `train_on_batch` of a `Distiller`
            without a teacher, "distill" for hard distillation from a teacher, "input" for reading
            JPEG files into batches with the augmentation of DeiT's recipe, on all cores, "load" for
            loading the file of a model's weights.
        batch_size: images of a step.
        precision: "float32", "bfloat16" or both. bfloat16 is Keras's mixed precision and PyTorch's
            autocast.
        backends: backends of this package; by default those that are installed. "onnx" and
            "openvino" are the exported model on the CPU, in ONNX Runtime and OpenVINO.
        peers: "timm", "timm_compiled" and "keras_hub", each possibly followed by = and the path of
            the Python interpreter that has it.
        teacher: name of the teacher's model, in mode "distill".
        image_size: side of the images in pixels; by default that of each model.
        rounds: number of turns of each contender.
        steps: counted steps of a turn.
        threads: number of processor cores and of threads; by default all that the process may use.
        tf32: whether products of float32 may be computed in TensorFloat-32 on a GPU.
        images: folder with a folder of images for each class, in mode "input"; by default 64 JPEG
            files of 500×375 pixels, made of noise like photographs.
        print_fn: called with each line of progress.

    Returns:
        The figures. What a contender cannot do is among the failures.

    Raises:
        InputError: a name is unknown, a number is below 1, or no contender could be measured.
    """
    settings = {
        "mode": mode,
        "batch_size": batch_size,
        "teacher": teacher,
        "tf32": tf32,
        "threads": len(cores_for(threads)),
    }
    _check(settings, precision, rounds, steps, images)
    if mode == "load":
        settings["batch_size"] = 1
    contenders = [*_own_contenders(backends, mode), *_peer_contenders(peers)]
    run = _Run(settings, contenders, rounds, steps, print_fn)
    facts = [_facts(model, image_size) for model in models or (get_recipe("digits").model,)]
    for one, one_precision in itertools.product(facts, precision):
        with _files(mode, one, images) as files:
            run.measure({**one, "precision": one_precision, "files": files})
    if not run.rows:
        raise InputError(f"Nothing could be measured. {next(iter(run.failures.values()))}")
    size = "that of each model" if image_size is None else f"{image_size} pixels"
    unit = "files/s" if mode == "load" else "images/s"
    return Result(run.rows, {"image size": size, **run.conditions()}, run.failures, unit)


@contextlib.contextmanager
def _files(mode: str, model: dict, images: str | None) -> Iterator[str | None]:
    """Yields the path of what a contender reads; None if it reads nothing."""
    if mode not in READING:
        yield None
        return
    from keras_deit.benchmarking.reading import image_files, write_images, write_weights

    if images is not None:
        folder = user_path(images).absolute()
        image_files(folder)
        yield str(folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        if mode == "input":
            write_images(path)
            yield folder
        else:
            path /= "model.safetensors"
            write_weights(model["model"], model["image_size"], Task.classes, path)
            yield str(path)


class _Run:
    """Measures one model in one precision after the other."""

    def __init__(self, settings: dict, contenders, rounds: int, steps: int, print_fn):
        self.rows: list[Row] = []
        self.failures: dict[str, str] = {}
        self._settings = settings
        self._contenders = contenders
        self._rounds, self._steps = rounds, steps
        self._print = print_fn
        self._versions: dict[str, str] = {}
        self._devices: set[str] = set()

    def measure(self, settings: dict) -> None:
        """Adds the rows of a model in a precision, or the reasons why there are none."""
        macs = settings.pop("macs")
        settings = self._settings | settings
        what = f"{settings['model']}, {settings['precision']}"
        with contextlib.ExitStack() as stack:
            processes = []
            for contender in self._contenders:
                process = ContenderProcess(contender, settings)
                stack.callback(process.close)
                if self._is_ready(process, what):
                    processes.append(process)
            times = self._times(processes, what)
            reads = settings["mode"] in READING
            rates = [0.0 if reads else process.ask("rate")["flops"] for process in times]
            operations = 2 * settings["batch_size"] * self._step_macs(macs, settings["image_size"])
            for process, seconds in times.items():
                flops = operations / statistics.median(seconds)
                mfu = flops / max(rates) if max(rates) else None
                self.rows.append(_row(process, settings, seconds, mfu))

    def _step_macs(self, macs: int, image_size: int) -> int:
        """Returns the multiply-adds of a step for one image, whose side is `image_size` pixels."""
        if self._settings["mode"] in ("inference", *READING):
            return macs
        teacher = self._settings["teacher"]
        # Forward and backward pass are three products for each one of the forward pass.
        if teacher is None:
            return 3 * macs
        return 3 * macs + abstract_model(teacher, image_size=image_size).macs()

    def conditions(self) -> dict[str, str]:
        """Returns what the figures were measured with."""
        settings = self._settings
        conditions = {
            "mode": settings["mode"],
            "batch": f"{settings['batch_size']} images",
            "rounds": f"{self._rounds} of {self._steps} steps",
            "processor": _processor(),
            "cores and threads": str(settings["threads"]),
            "device": ", ".join(sorted(self._devices)),
            "versions": ", ".join(f"{name} {self._versions[name]}" for name in self._versions),
        }
        if self._devices != {"CPU"}:
            conditions["TF32"] = "on" if settings["tf32"] else "off"
        if settings["mode"] == "load":
            del conditions["batch"]
        if settings["teacher"] is not None:
            conditions["teacher"] = settings["teacher"]
        return conditions

    def _is_ready(self, process: ContenderProcess, what: str) -> bool:
        if process.ready is None:
            self._fail(process, what)
            return False
        self._versions |= process.ready["versions"]
        self._devices.add(process.ready["device"])
        name, seconds = process.contender.name, process.ready["first_step"]
        self._print(f"{what}, {name}: the first step ended after {seconds:.1f} s")
        return True

    def _times(self, processes: list[ContenderProcess], what: str) -> dict:
        """Returns the seconds of a step in each round by process, of those that do not fail."""
        times = {process: [] for process in processes}
        for number in range(self._rounds):
            for process in tuple(times):
                answer = process.ask(f"go {self._steps}")
                if answer is None:
                    self._fail(process, what)
                    del times[process]
                else:
                    times[process].append(answer["seconds"])
            self._print(f"round {number + 1} of {self._rounds}")
        return times

    def _fail(self, process: ContenderProcess, what: str) -> None:
        what = f"{what}, {process.contender.name}"
        self.failures[what] = process.reason()
        self._print(f"{what}: {self.failures[what]}")


def _row(process: ContenderProcess, settings: dict, seconds: list[float], mfu: float | None) -> Row:
    rate = [settings["batch_size"] / one for one in seconds]
    return Row(
        model=settings["model"],
        precision=settings["precision"],
        contender=process.contender.name,
        is_peer=process.contender.is_peer,
        rate=(statistics.median(rate), min(rate), max(rate)),
        mfu=mfu,
        peak_memory=process.ask("memory")["bytes"],
        first_step=process.ready["first_step"],
    )


def _check(
    settings: dict, precision: Sequence[str], rounds: int, steps: int, images: str | None
) -> None:
    numbers = {"batch_size": settings["batch_size"], "rounds": rounds, "steps": steps}
    for name, value in numbers.items():
        if value < 1:
            raise InputError(f"{name} should be 1 or more. Received: {value}")
    mode, teacher = settings["mode"], settings["teacher"]
    _check_name("mode", mode, MODES)
    for one in precision:
        _check_name("precision", one, PRECISIONS)
    if mode in READING and tuple(precision) != ("float32",):
        raise InputError(f"mode {mode} is measured in float32. Received: {', '.join(precision)}")
    if images is not None and mode != "input":
        raise InputError(f"images are for mode input. Received: mode {mode}")
    if mode == "distill" and teacher is None:
        raise InputError("mode distill needs a teacher, the name of a model.")
    if mode != "distill" and teacher is not None:
        raise InputError(f"teacher is for mode distill. Received: mode {mode}")
    if teacher is not None:
        get_spec(teacher)


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise unknown_name(what, name, known)


def _own_contenders(backends: Sequence[str], mode: str) -> list[Contender]:
    for backend in backends:
        _check_name("backend", backend, (*BACKENDS, *RUNTIMES))
    installed = [backend for backend in BACKENDS if importlib.util.find_spec(backend) is not None]
    if mode == "input":
        # No backend takes part in reading images.
        installed = installed[:1]
    return [
        Contender(f"keras_deit, {backend}", "keras_deit", backend)
        for backend in backends or installed
    ]


def _peer_contenders(peers: Sequence[str]) -> list[Contender]:
    contenders = []
    for peer in peers:
        name, _, python = peer.partition("=")
        _check_name("peer", name, PEERS)
        python = shutil.which(user_path(python)) if python else sys.executable
        if python is None:
            raise InputError(f"There is no Python interpreter {peer.partition('=')[2]!r}.")
        kind = "keras_hub" if name == "keras_hub" else "timm"
        backend = _KERAS_HUB_BACKEND if kind == "keras_hub" else "torch"
        contenders.append(Contender(name, kind, backend, name == "timm_compiled", python))
    return contenders


def _facts(name: str, image_size: int | None) -> dict:
    """Returns the fields of `Task` that say which model it is, and its multiply-adds."""
    sizes = {} if image_size is None else {"image_size": image_size}
    model = abstract_model(name, **sizes)
    own = abstract_model(name).image_format.height if sizes else None
    config = model.get_config()
    values = {theirs: config[ours] for ours, theirs in _KERAS_HUB_VALUES.items() if ours in config}
    if "hidden_dim" in values:
        values["intermediate_dim"] = round(values["hidden_dim"] * config.get("mlp_ratio", 4))
    return {
        "model": name,
        "image_size": model.image_format.height,
        "resized": image_size not in (None, own),
        "family": type(model).__name__,
        "values": values,
        "macs": model.macs(),
    }


def _processor() -> str:
    """Returns the name of the processor."""
    file = pathlib.Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
