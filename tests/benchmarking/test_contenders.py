"""The benchmark: real contenders take turns, and what fails is said."""

import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from keras_deit import InputError
from keras_deit.benchmarking import (
    Result,
    Row,
    benchmark,
    csv_table,
    markdown,
    measuring,
    picture,
    worker,
)
from keras_deit.benchmarking.contenders import Contender
from keras_deit.benchmarking.worker import Task

_MODEL = "deit_tiny_distilled_patch16_224"
_SMALL = {"models": [_MODEL], "batch_size": 2, "image_size": 32, "rounds": 2, "steps": 1}
# What the worker asks of timm, with a model of one layer.
_TIMM = """
import torch

__version__ = "0.0"


class Model(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.heads = torch.nn.ModuleList(torch.nn.LazyLinear(classes) for _ in range(2))
        self.distilled = False
        self(torch.zeros(1, 3, 32, 32))

    def set_distilled_training(self, enable):
        self.distilled = enable

    def forward(self, images):
        outputs = tuple(head(images.flatten(1)) for head in self.heads)
        return outputs if self.distilled else sum(outputs) / 2


def is_model(name):
    return name != "unknown"


def create_model(name, num_classes, img_size=None):
    assert img_size in (32, None)
    return Model(num_classes)
"""
# A loader of timm that forks a process and reads the images in it.
_LOADER = """
import pathlib

import torch


class FastCollateMixup:
    def __init__(self, mixup_alpha, cutmix_alpha, label_smoothing, num_classes):
        pass


class ImageDataset:
    def __init__(self, root):
        self.files = sorted(pathlib.Path(root).glob("*/*.jpg"))
        self.transform = None

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return self.transform(self.files[index].read_bytes())


def create_loader(dataset, input_size, batch_size, is_training, num_workers, device, **options):
    assert is_training and options["auto_augment"] and options["re_prob"] == 0.25
    dataset.transform = lambda data: torch.zeros(input_size) + data[0]
    return torch.utils.data.DataLoader(dataset, batch_size, num_workers=num_workers)
"""


@pytest.fixture
def timm(tmp_path, monkeypatch):
    (tmp_path / "timm.py").write_text(_TIMM)
    paths = [str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


@pytest.mark.slow
def test_distillation_beside_peers_and_one_that_is_not_installed(timm):
    lines = []
    result = benchmark(
        **_SMALL,
        mode="distill",
        teacher="deit_tiny_patch16_224",
        backends=["torch"],
        peers=["timm", "keras_hub"],
        threads=1,
        print_fn=lines.append,
    )
    assert [row.contender for row in result.rows] == ["keras_deit, torch", "timm"]
    for row in result.rows:
        median, least, most = row.rate
        assert 0 < least <= median <= most and row.first_step > 0 and row.peak_memory > 1e8
        assert row.mfu > 0
    (what, reason), *others = result.failures.items()
    assert "keras_hub" in what and "keras_hub" in reason.lower() and not others
    assert result.conditions["teacher"] == "deit_tiny_patch16_224"
    assert result.conditions["cores and threads"] == "1"
    assert "timm 0.0" in result.conditions["versions"]
    assert "round 2 of 2" in lines


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode, precision, backend",
    [
        ("inference", "float32", "tensorflow"),
        pytest.param("train", "bfloat16", "jax", marks=pytest.mark.nightly),
        pytest.param("inference", "bfloat16", "openvino", marks=pytest.mark.nightly),
    ],
)
def test_a_step_on_a_backend(mode, precision, backend):
    result = benchmark(
        **_SMALL, mode=mode, precision=[precision], backends=[backend], print_fn=lambda line: None
    )
    (row,) = result.rows
    assert (row.model, row.precision, row.is_peer) == (_MODEL, precision, False)
    assert row.rate[0] > 0 and not result.failures
    assert (row.mfu is None) == (backend == "openvino")


def test_reading_images_and_weights(tmp_path):
    for mode, unit in (("input", "images/s"), ("load", "files/s")):
        result = benchmark(**_SMALL, mode=mode, backends=["jax"], print_fn=lambda line: None)
        (row,) = result.rows
        assert row.rate[0] > 0 and row.mfu is None
        assert result.unit == unit
        assert ("batch" in result.conditions) == (mode == "input")


def test_timm_reads_the_images_of_a_folder(monkeypatch, tmp_path):
    """What is asked of timm's loader, in its own place: the worker starts others, as it would."""
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text('__version__ = "0.0"\n')
    (tmp_path / "timm" / "data.py").write_text(_LOADER)
    paths = [str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    result = benchmark(
        **_SMALL, mode="input", backends=["torch"], peers=["timm"], print_fn=lambda line: None
    )
    assert [row.contender for row in result.rows] == ["keras_deit, torch", "timm"]
    assert not result.failures


def test_a_contender_ends_with_the_benchmark():
    task = Task(
        **{"kind": "keras_deit", "backend": "torch", "compiled": False, "mode": "inference"},
        **{"model": _MODEL, "image_size": 32, "resized": True, "family": "", "values": {}},
        **{"teacher": None, "batch_size": 2, "precision": "float32", "threads": 1, "tf32": True},
    )
    command = [sys.executable, worker.__file__, json.dumps(dataclasses.asdict(task))]
    # Its input has ended before its first step, as if the benchmark had been killed.
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


def test_nothing_could_be_measured(monkeypatch):
    own = [Contender("timm", "timm", "torch")]
    monkeypatch.setattr(measuring, "_own_contenders", lambda backends, mode: own)
    with pytest.raises(InputError, match=r"measured.*timm"):
        benchmark(**_SMALL, print_fn=lambda line: None)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"models": ["deit_tiny"]}, "deit_tiny_patch16_224"),
        ({"mode": "training"}, "train"),
        ({"precision": ["float16"]}, "float16"),
        ({"backends": ["pytorch"]}, "torch"),
        ({"peers": ["tim"]}, "timm"),
        ({"peers": ["timm=/no/such/python"]}, "/no/such/python"),
        ({"mode": "distill"}, "teacher"),
        ({"teacher": _MODEL}, "distill"),
        ({"mode": "distill", "teacher": "resnet"}, "resnet"),
        ({"batch_size": 0}, "batch_size"),
        ({"rounds": 0}, "rounds"),
        ({"threads": 10_000}, "threads"),
        ({"mode": "load", "precision": ["bfloat16"]}, "float32"),
        ({"images": "folder"}, "mode input"),
    ],
)
def test_bad_input_is_said_before_anything_starts(values, message):
    with pytest.raises(InputError, match=message):
        benchmark(**values)


def _result():
    def row(contender, is_peer, rate, precision="float32"):
        return Row(
            "mine", precision, contender, is_peer, (rate, rate - 1, rate + 2), 0.25, 10**9, 3
        )

    rows = [
        row("keras_deit, jax", False, 30.0),
        row("timm", True, 20.0),
        row("keras_deit, jax", False, 1500.0, "bfloat16"),
    ]
    return Result(
        rows,
        {"mode": "train", "batch": "2 images"},
        {"mine, keras_hub": "No <module>"},
    )


def test_the_tables_have_ratios_to_the_first_peer():
    text = markdown(_result(), "keras-deit benchmark")
    assert "| keras_deit, jax | 30.0 (29.0 to 32.0) | 1.50 | 25% | 1.00 GB | 3.0 s |" in text
    assert "| timm | 20.0 (19.0 to 22.0) | 1.00 |" in text
    assert "| keras_deit, jax | 1,500 (1,499 to 1,502) | 1.00 |" in text
    assert "- mine, keras_hub: No <module>" in text and "- batch: 2 images" in text


def test_the_csv_has_every_row():
    rows = list(csv.DictReader(io.StringIO(csv_table(_result()))))
    assert [float(row["ratio"]) for row in rows] == [1.5, 1.0, 1.0]
    assert (rows[1]["contender"], rows[1]["least"], rows[1]["most"]) == ("timm", "19.0", "22.0")


def test_the_picture_has_a_bar_for_each_row():
    root = ET.fromstring(picture(_result()))
    bars = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("x")]
    widths = [float(bar.get("width")) for bar in bars]
    assert len(widths) == 3 and widths[0] == pytest.approx(1.5 * widths[1], rel=1e-2)
