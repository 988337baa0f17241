"""The entry point finds commands, prints help, imports files, and sets exit codes and stderr."""

import dataclasses
import re
import sys

import pytest
from commands import call, run_process, start_command

from keras_deit.cli.commands import COMMANDS
from keras_deit.core.errors import InputError
from keras_deit.optimizers import Optimization
from keras_deit.recipes.recipe import RECIPES
from keras_deit.recipes.teacher_recipe import STUDENT_ONLY
from keras_deit.version import __version__


def flags_in_help(command):
    text = call(command, "--help").stdout
    return set(re.findall(r"^  --(?:\[no\])?(\w+)", text, re.M))


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",), ("-h",)])
def test_the_help_lists_the_commands(arguments):
    lines = call(*arguments).stdout.splitlines()
    for name, command in COMMANDS.items():
        assert any(line.split() == [name, *command.summary.split()] for line in lines)


def test_the_version_is_printed():
    assert call("--version").stdout == f"{__version__}\n"


def test_an_unknown_command_is_rejected_with_close_names():
    with pytest.raises(InputError, match=r"'trian'.*train"):
        call("trian")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_a_text_for_every_flag(command):
    text = call(command, "--help").stdout
    assert COMMANDS[command].summary in text and COMMANDS[command].example in text
    flags = {option.name for option in COMMANDS[command].options()} | {"import"}
    assert flags_in_help(command) == flags
    blocks = re.findall(r"^  --.+\n((?: {6}.+\n)*)", text, re.M)
    assert all(block.strip() for block in blocks) and len(blocks) == len(flags)
    # A Greek letter at the start of a text would be changed to upper case.
    assert all(re.match(r'["A-Z]', block.strip()) for block in blocks)
    assert len(set(blocks)) == len(blocks) and "Value of" not in text


def test_the_help_of_train_has_the_flags_of_student_and_teacher():
    flags = flags_in_help("train")
    fields = {field.name for field in dataclasses.fields(Optimization)}
    assert fields | {"model", "teacher", "embed_dim", "mixup_alpha", "run_dir", "strategy"} <= flags
    of_teacher = {name for name in fields if f"teacher_{name}" in flags}
    assert fields - of_teacher == set(STUDENT_ONLY)


RECIPE = """
from keras_deit import register_recipe

register_recipe("{name}", "digits", epochs=7)
"""


@pytest.mark.parametrize(
    ("name", "form"), [("recipe_of_mine", "--import={}"), ("other_of_mine", "--import {}")]
)
def test_an_imported_file_registers_recipes(name, form, tmp_path, monkeypatch):
    monkeypatch.setattr(RECIPES, "_values", dict(RECIPES._values))
    file = tmp_path / f"{name}.py"
    file.write_text(RECIPE.format(name=name))
    flags = form.format(file).split()
    table = call("recipes", *flags, f"--recipe={name}").stdout
    assert re.search(r"^ +epochs +7$", table, re.M)
    # The second time it is not run again.
    file.write_text("raise RuntimeError")
    assert call("recipes", *flags, f"--recipe={name}").stdout == table


def test_files_that_cannot_be_imported_are_rejected(tmp_path):
    taken = tmp_path / "json.py"
    taken.touch()
    assert "json" in sys.modules
    for flags, words in (
        (["--import"], "--import"),
        ([f"--import={tmp_path / 'absent.py'}"], "absent"),
        ([f"--import={tmp_path}"], "Python file"),
        ([f"--import={taken}"], "'json'"),
    ):
        with pytest.raises(InputError, match=words):
            call("recipes", *flags)


@pytest.mark.slow
def test_a_warning_and_bad_input_are_a_line_each_on_stderr_and_the_exit_code_is_2(tmp_path):
    output = run_process(tmp_path, "train", "--rematerialise", "--optimizer=lion", code=2)
    assert output.stdout == ""
    warning, error = output.stderr.splitlines()
    # Nothing comes before the text of a warning, such as a date or a level.
    assert re.match(r"[A-Z][a-z]+ .*rematerialise.*activation_checkpointing", warning)
    assert re.match(r"error: .*'lion'", error)


@pytest.mark.slow
def test_another_exception_keeps_its_traceback(tmp_path):
    (tmp_path / "mine.py").write_text("1 / 0")
    output = run_process(tmp_path, "recipes", "--import=mine.py", code=1)
    assert "Traceback" in output.stderr and "ZeroDivisionError" in output.stderr


@pytest.mark.slow
def test_a_closed_output_ends_a_command_silently(tmp_path):
    process = start_command(tmp_path, "models")
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (1, "")


@pytest.mark.slow
def test_what_a_terminal_cannot_show_is_escaped(tmp_path, monkeypatch):
    """Here the ⁹ of a help text; a name of a file that is not UTF-8 is the same everywhere."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    output = run_process(tmp_path, "plan", "--help")
    assert r"10\u2079 bytes" in output.stdout


WITHOUT_TENSORFLOW = """
import sys

sys.modules["tensorflow"] = None
sys.argv[0] = "keras-deit"
from keras_deit.cli.main import main

main()
"""


@pytest.mark.parametrize(("command", "backend"), [("train", "tensorflow"), ("export", "jax")])
def test_a_missing_backend_is_one_line_and_exit_code_2(command, backend, tmp_path):
    """Export needs TensorFlow whatever the environment sets."""
    output = run_process(
        tmp_path,
        *(command, "--run_dir=run"),
        program=WITHOUT_TENSORFLOW,
        backend=backend,
        code=2,
    )
    assert output.stdout == ""
    assert re.fullmatch(r"error: .*'keras-deit\[tensorflow\]'.*\n", output.stderr), output.stderr
