"""README says what is true: its code runs, its table is the registry's."""

import os
import pathlib
import re
import subprocess
import sys

import keras

from keras_deit.models import list_models, model_table

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_python_examples_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    names = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks[0].strip().splitlines()) <= 11
    assert names["model"].history.history["accuracy"][-1] > 0.7
    assert keras.models.load_model("student.keras").output_shape == (None, 10)


def test_the_model_table_is_the_registry():
    table = README.split("<!-- models -->\n")[1].split("\n<!-- /models -->")[0]
    assert table == model_table(list_models()), "stale: run `make readme`"


def test_the_commands_are_those_of_the_makefile():
    commands = re.search(r"```sh\n(.+?)```", README, re.DOTALL)[1].split("\n")[:-1]
    assert commands == ["make train", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{command.split()[1]}:" in makefile for command in commands)
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text()


def test_every_flag_in_the_text_exists():
    known = {"help"}
    scripts = [path for path in (ROOT / "scripts").glob("*.py") if "def main" in path.read_text()]
    for script in scripts:
        command = [sys.executable, str(script), "--help"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        shown = subprocess.run(command, capture_output=True, text=True, env=environment).stdout
        known |= set(re.findall(r"--(?:\[no\])?(\w+):", shown))
    flags = set(re.findall(r"--(\w+)", README))
    assert {"dataset", "run_dir", "teacher_batch_size"} < flags
    assert flags <= known, flags - known
