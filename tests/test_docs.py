"""README and docs say what is true: code runs, commands and links exist, the table is current."""

import pathlib
import re

import keras
import pytest

from keras_deit.cli.commands import COMMANDS
from keras_deit.models import list_models, model_table
from keras_deit.recipes import list_recipes

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(text, language):
    return re.findall(rf"```{language}\n(.+?)```", text, re.DOTALL)


def known_flags():
    options = [option for command in COMMANDS.values() for option in command.options()]
    names = {option.name for option in options} | {option.old_name for option in options}
    return names | {"help", "import", "version"}


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.slow
def test_the_python_examples_of_readme_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(README, "python"):
        exec(block, names)
    assert names["run"].summary["test"]
    assert names["model"].history.history["accuracy"][-1] > 0.7
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
    of_scripts = {"what", "rounds", "kills", "work_dir"}
    assert used <= known_flags() | of_scripts, used - known_flags()
    commands = set(re.findall(r"keras-deit ([a-z][\w-]*)", "\n".join(blocks(text, "sh"))))
    assert commands <= set(COMMANDS), commands
    for recipe in re.findall(r"--recipe (\w+)", text):
        assert recipe in list_recipes() or recipe.endswith("_digits"), recipe
    for model in re.findall(r"--model (\w+)", text):
        assert model in list_models(), model


@of_each_page
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_readme_links_every_page():
    links = set(re.findall(r"\]\(docs/([^)#]+)\)", README))
    assert links == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_every_recipe_is_on_its_page():
    text = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    families = {name.split("_")[0] for name in list_recipes()} - {"attention"}
    assert all(f"`{family}" in text for family in families), families
