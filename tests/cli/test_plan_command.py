"""The command `plan` and `train --plan` print what a training takes, and do not train."""

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


@pytest.mark.parametrize("command", [("plan",), ("train", "--plan")], ids=" ".join)
def test_a_plan_that_does_not_fit_is_printed_and_an_error_with_advice(command, capsys):
    with pytest.raises(InputError, match=r"fit.*--accumulation_steps"):
        run_command([*command, *FLAGS, "--device_memory_gb=0.003"])
    assert "DOES NOT FIT" in capsys.readouterr().out
