"""Nothing outside of models, recipes, tests and docs knows a model family by name."""

import ast
import pathlib
import re

import pytest

from keras_deit.models import list_models, registered_families

ROOT = pathlib.Path(__file__).parents[1]
# A study is data as a recipe is; a benchmark says which model was measured.
FREE = (
    *(ROOT / "keras_deit" / folder for folder in ("models", "recipes")),
    ROOT / "keras_deit" / "sequence" / "recipes.py",
    ROOT / "keras_deit" / "studies" / "catalog",
    ROOT / "scripts" / "benchmarks",
)
FILES = [
    path
    for folder in ("keras_deit", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not any(free in (path, *path.parents) for free in FREE)
]
FAMILIES = {family.__name__ for family in registered_families()}
MODEL_NAMES = re.compile("|".join(map(re.escape, list_models())))
FAMILIES |= {family.__module__.split(".")[2] for family in registered_families()}
# How layers and blocks are named, as a pattern, a format or a test of a name would have it.
BLOCK_NAMES = re.compile(
    r"\bblocks?[_.](\{|\\d|\d|\Z)|blocks\\\.|class_head|class_token|attention/|mlp/"
)


def names_and_strings(path):
    """Yields the identifiers and strings of a file, without its docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                yield node.value
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def family_in(text):
    words = set(re.split(r"[\W_]+", text.replace("keras_deit", "").replace("keras-deit", "")))
    return (words & FAMILIES) | {*MODEL_NAMES.findall(text)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_family_and_no_name_of_a_block(path):
    for text in names_and_strings(path):
        assert not family_in(text), text
        layers_name = "keras_deit/layers" in str(path)
        assert layers_name or not BLOCK_NAMES.search(text), text


def test_the_search_finds_what_it_looks_for():
    spec = ROOT / "keras_deit" / "models" / "deit"
    texts = [text for path in spec.glob("*.py") for text in names_and_strings(path)]
    assert any(family_in(text) for text in texts)
    assert any(BLOCK_NAMES.search(text) for text in texts)
