"""README and docs say what is true: code runs, commands and links exist, the table is current."""

import dataclasses
import fnmatch
import functools
import pathlib
import re
import shlex

import keras
import numpy as np
import pytest

import keras_deit
from keras_deit.cli import main
from keras_deit.cli.commands import COMMANDS
from keras_deit.models import list_models, model_table
from keras_deit.objectives import get_objective
from keras_deit.recipes import CONVNET_RECIPES, get_recipe, list_recipes
from keras_deit.sequence import SEQUENCE_RECIPES
from keras_deit.training import make_job

ROOT = pathlib.Path(__file__).parents[1]
RECIPES = [*list_recipes(), *CONVNET_RECIPES]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(text, language):
    return re.findall(rf"```{language}\n(.+?)```", text, re.DOTALL)


def commands_in(text):
    """Returns the arguments of each call of keras-deit in the blocks of a page."""
    script = "\n".join(blocks(text, "sh")).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in script.splitlines()]
    return [line[line.index("keras-deit") + 1 :] for line in lines if "keras-deit" in line]


@functools.cache
def known_flags():
    options = [option for command in COMMANDS.values() for option in command.options()]
    names = {option.name for option in options} | {option.old_name for option in options}
    return names | {"help", "import", "version"}


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.slow
@pytest.mark.backends("torch")
def test_the_python_examples_of_readme_run(tmp_path, monkeypatch, request):
    """They are shorter, but for the nightly tests."""
    monkeypatch.chdir(tmp_path)
    as_they_stand = request.config.getoption("nightly")
    names = {}
    for block in blocks(README, "python"):
        exec(block if as_they_stand else re.sub(r"epochs=\d+", "epochs=1", block), names)
    assert names["run"].summary["test"]
    accuracy = names["model"].history.history["accuracy"]
    assert accuracy[-1] > (0.7 if as_they_stand else 0.1)
    assert keras.models.load_model("student.keras").output_shape == (None, 10)
    assert names["wider"].input_shape == (None, 16, 24, 3)


def test_the_model_table_is_the_registry():
    text = (ROOT / "docs" / "models.md").read_text("utf-8")
    table = text.split("<!-- models -->\n")[1].split("\n<!-- /models -->")[0]
    assert table == model_table(list_models()), "stale: run `make docs`"


def test_the_two_commands_are_those_of_the_makefile():
    commands = blocks(README, "sh")[0].splitlines()
    assert commands == ["make train", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{command.split()[1]}:" in makefile for command in commands)
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text()


@of_each_page
def test_commands_and_flags_exist(page):
    text = page.read_text("utf-8")
    used = set(re.findall(r"(?<![-\w])--(\w+)", text))
    of_scripts = {"what", "rounds", "kills", "work_dir", "requests"}
    of_servers = {
        *("rm", "memory", "cpus", "port", "rest_api_port", "rest_api_timeout_in_ms"),
        *("model_name", "model_base_path", "enable_batching", "batching_parameters_file"),
        *("model_config_file", "model_config_file_poll_wait_seconds"),
        *("tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism"),
    }
    flags = known_flags()
    known = flags | {f"no{flag}" for flag in flags} | of_scripts | of_servers
    assert used <= known, used - known
    commands = set(re.findall(r"keras-deit ([a-z][\w-]*)", "\n".join(blocks(text, "sh"))))
    assert commands <= set(COMMANDS), commands
    for recipe in re.findall(r"--recipe (\w+)", text):
        known = recipe in RECIPES or recipe in SEQUENCE_RECIPES or recipe.endswith("_digits")
        assert known, recipe
    for model in re.findall(r"--model (\w+)", text):
        assert model in list_models(), model


@of_each_page
def test_every_command_has_values_that_its_flags_accept(page, monkeypatch):
    """The commands are read as they stand, up to the point where they would start."""
    started = []
    for name, command in COMMANDS.items():
        monkeypatch.setitem(COMMANDS, name, dataclasses.replace(command, run=started.append))
    imported = []
    monkeypatch.setattr(main, "_import_file", imported.append)
    commands = commands_in(page.read_text("utf-8"))
    for arguments in commands:
        main.run_command(arguments)
    assert len(started) == len(commands)
    assert all((ROOT / "docs" / "examples" / name).is_file() for name in imported)


def test_the_commands_of_a_page_are_found_whole():
    text = "```sh\nA=b keras-deit train --x 1 \\\n  --y 2  # why\nmake test\n```\nkeras-deit plan"
    assert commands_in(text) == [["train", "--x", "1", "--y", "2"]]


@of_each_page
def test_python_compiles_and_names_of_the_package_exist(page):
    for block in blocks(page.read_text("utf-8"), "python"):
        compile(block, page.name, "exec")
        for name in re.findall(r"keras_deit\.(\w+)", block):
            assert hasattr(keras_deit, name), name


def python_of(page, heading=""):
    """Returns the first Python block after a heading of a page in docs/."""
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    return blocks(text[text.index(heading) :], "python")[0]


def test_the_example_of_models_runs():
    names = {}
    exec(python_of("models"), names)
    assert names["model"].output_shape == (None, 37)


def test_the_example_of_distillation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"image_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 3}
    create = keras_deit.create_model
    monkeypatch.setattr(
        keras_deit, "create_model", lambda name, **values: create(name, **values, **small)
    )
    pixels = (keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(10))
    names = {"keras": keras, "keras_deit": keras_deit, "teacher": keras.Sequential(pixels)}
    names |= {"images": np.zeros((2, 16, 16, 3), "float32"), "labels": np.array([0, 1])}
    exec(python_of("distillation"), names)
    text = (ROOT / "docs" / "distillation.md").read_text("utf-8")
    logged = text.split("Logged are ")[1].split("\n\n")[0]
    assert set(names["distiller"].history.history) <= set(re.findall(r"`(\w+)`", logged))
    assert (tmp_path / "student.keras").is_file()


def test_the_example_of_recipes_starts_a_training(monkeypatch):
    started = []
    monkeypatch.setattr(keras_deit, "train", lambda **values: started.append(values))
    exec(python_of("recipes"), {"keras_deit": keras_deit})
    (values,) = started
    job = make_job(**values)
    optimization = job.recipe.optimization
    assert (optimization.optimizer, optimization.layer_decay) == ("lamb", 0.75)


def test_the_sketches_of_extending_register_what_they_define():
    names = {"keras": keras, "keras_deit": keras_deit, "logits": None}
    for heading in ("## A model family", "## A recipe", "## An objective"):
        exec(python_of("extending", heading), names)
    assert keras_deit.list_models("mine*") == ["mine_tiny"]
    assert get_recipe("mine").model == "mine_tiny"
    assert get_objective("mine")().values == {"width": 64}


@of_each_page
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_readme_links_every_page():
    links = set(re.findall(r"\]\(docs/([^)#]+)\)", README))
    assert links == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_recipes_of_the_page_are_those_that_exist():
    """Every recipe is named or has a documented pattern, and every name and pattern a recipe."""
    text = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.+?) \|", text, re.M)
    named = {name for row in rows for name in re.findall(r"`([\w*]+)`", row)}
    missing = {x for x in RECIPES if not any(fnmatch.fnmatch(x, name) for name in named)}
    assert not missing, missing
    surplus = {name for name in named - {"auto"} if not fnmatch.filter(RECIPES, name)}
    assert not surplus, surplus
