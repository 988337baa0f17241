"""Some scripts are only other names of the commands."""

import pathlib
import runpy
import sys

import pytest
from processes import end, start

from keras_deit.cli.commands import COMMANDS
from keras_deit.recipes import get_recipe, recipe_table

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
COMMAND_OF = {
    **{name: name for name in ("train", "evaluate", "export", "convert")},
    "train_teacher": "train-teacher",
    "list_models": "models",
    "list_recipes": "recipes",
}


def test_every_script_is_tested():
    others = {"soak", "soak_files", "soak_requests", "soak_results"}
    assert {path.stem for path in SCRIPTS.glob("*.py")} - others == set(COMMAND_OF)
    assert set(COMMAND_OF.values()) <= set(COMMANDS)


@pytest.mark.parametrize("script", COMMAND_OF)
def test_a_script_runs_its_command_with_its_flags(script, monkeypatch):
    calls = []
    monkeypatch.setattr("keras_deit.cli.main.main", lambda: calls.append(list(sys.argv)))
    path = SCRIPTS / f"{script}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--model=a", "--help"])
    runpy.run_path(str(path), run_name="__main__")
    assert calls == [["keras-deit", COMMAND_OF[script], "--model=a", "--help"]]


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("script", ["soak"])
def test_the_help_of_the_other_scripts_ends_with_0(script, flag, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{script}.py", flag])
    # As it is when Python runs a script.
    monkeypatch.syspath_prepend(SCRIPTS)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {script}.py")


@pytest.mark.slow
def test_a_script_prints_what_its_command_prints():
    printed = end(start(SCRIPTS / "list_recipes.py", "--recipe=cait", backend="jax"))
    assert printed == recipe_table(get_recipe("cait")) + "\n"
