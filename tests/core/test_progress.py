"""Progress is a bar on a terminal and lines in a file."""

import io
import logging
import sys

import pytest

from keras_deit import InputError
from keras_deit.core import progress
from keras_deit.core.progress import Progress, say
from keras_deit.training.log import log_file


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time that only the test moves on."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def count_to(total, clock, seconds):
    with Progress("Checking images", total, "image") as bar:
        bar.show({"loss": "1.5"})
        for _ in range(total):
            clock[0] += seconds
            bar.update()


def test_a_file_gets_a_line_from_time_to_time(clock, monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    count_to(5000, clock, 0.01)
    assert stderr.getvalue() == ("Checking images: 3,000 of 5,000 images, loss 1.5, 100 images/s\n")
    stderr.truncate(0)
    count_to(1000, clock, 0.01)
    assert stderr.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with Progress("test", 3, "batch") as bar:
        bar.update(3)
    assert "test: 100%" in stderr.getvalue()
    say("an epoch")
    assert "an epoch" not in stderr.getvalue()


def test_the_log_is_appended_to_and_begins_with_the_training(tmp_path):
    path = tmp_path / "run" / "train.log"
    with pytest.raises(InputError), log_file(path):
        raise InputError("refused before a step")
    assert not path.exists()
    for number in range(2):
        with pytest.raises(InputError), log_file(path):
            say("before")
            say("epoch 1", trains=True)
            logging.getLogger("keras_deit.data").warning("a warning, é")
            raise InputError(f"number {number}")
    lines = [line[20:] for line in path.read_text("utf-8").splitlines()]
    said = ["before", "epoch 1", "a warning, é", "error: number"]
    assert [line[: len(word)] for line, word in zip(lines[1:5], said, strict=True)] == said
    assert len(lines) == 10 and lines[0].startswith("keras-deit ")
