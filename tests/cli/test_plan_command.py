"""The command `plan` and `train --plan` print what a training takes, and do not train."""

import cv2
import numpy as np
import pytest
from commands import call

from keras_deit.cli.main import run_command
from keras_deit.core.errors import InputError

FLAGS = ("--depth=1", "--embed_dim=24", "--distillation=none")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_training_is_planned_but_not_done(folder):
    text = call("plan", *FLAGS, "--device_memory_gb=4").stdout
    assert "1,257 training images" in text and "4.00 GB" in text
    assert list(folder.iterdir()) == []
    assert call("train", *FLAGS, "--plan", "--device_memory_gb=4").stdout == text


def test_coarse_labels_are_planned_and_have_to_fit(tmp_path):
    plain = "--mixup_alpha=0", "--cutmix_alpha=0"
    assert "3 classes" in call("plan", *FLAGS, *plain, "--coarse=digits").stdout
    file = tmp_path / "labels.json"
    file.write_text('{"0": "round", "1": "straight"}')
    with pytest.raises(InputError, match="has no coarse class for 2"):
        run_command(["train", "--plan", *FLAGS, *plain, f"--coarse={file}"])


def test_the_size_of_the_data_can_be_given():
    flags = ("--dataset=imagenet2012", "--recipe=deit", "--plan_examples=5000", "--plan_classes=7")
    text = call("plan", *FLAGS, *flags, "--plan_devices=2", "--strategy=mirrored").stdout
    assert "5,000 training images, 7 classes" in text and "2 device(s)" in text


def test_a_plan_says_what_a_folder_holds(tmp_path):
    for split, count in (("train", 8), ("valid", 3)):
        for name in ("ant", "bee"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                path = tmp_path / "data" / split / name / f"{number}.png"
                path.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1])
    (tmp_path / "data" / "notes.txt").touch()
    flags = (f"--dataset=folder:{tmp_path / 'data'}", "--recipe=digits", "--batch_size=4")
    text = call("plan", *FLAGS, *flags).stdout
    assert "16 training images, 2 classes, validation 6" in text
    assert "test: none; the validation split is reported" in text
    assert "not used: 1 files beside the folders of the splits" in text and "notes.txt" in text


@pytest.mark.parametrize("command", [("plan",), ("train", "--plan")], ids=" ".join)
def test_a_plan_that_does_not_fit_is_printed_and_an_error_with_advice(command, capsys):
    with pytest.raises(InputError, match=r"fit.*--accumulation_steps"):
        run_command([*command, *FLAGS, "--device_memory_gb=0.003"])
    assert "DOES NOT FIT" in capsys.readouterr().out
