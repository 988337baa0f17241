"""What `import keras_deit` needs, and which part of the package may import which."""

import ast
import importlib.util
import pathlib

import pytest
from processes import end, start

import keras_deit

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_deit"
# Nobody should need these to build, load and distill models.
REFUSED = (
    *("tensorflow", "keras_cv", "tensorflow_datasets", "grain", "cv2", "sklearn"),
    *("safetensors", "huggingface_hub", "torch", "absl", "tqdm"),
)

SCRIPT = """
import sys
from refusing import refuse, require_none

refused = sys.argv[1:]
refuse(refused)

import numpy as np
import keras
import keras_deit

model = keras_deit.create_model(
    "deit_tiny_distilled_patch16_224",
    image_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=3,
)
images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
assert tuple(model(images).shape) == (4, 3)
teacher = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
distiller = keras_deit.Distiller(model, teacher, kind="soft")
distiller.compile(optimizer="sgd")
history = distiller.fit(images, np.array([0, 1, 2, 0]), verbose=0).history
assert np.isfinite(history["loss"][0]) and history["distillation_loss"][0] > 0
require_none(refused)
print(keras.backend.backend(), "did without")
"""

# A part of the package may import those of earlier sets; the parts of one set do not import each
# other. `keras_deit` itself, with the public names of all parts, is above them.
LEVELS = (
    *({"core", "version"}, {"layers"}, {"models"}),
    {"pretrained", "data", "losses", "optimizers", "distributed"},
    *({"teachers", "sequence"}, {"objectives"}, {"recipes"}, {"training"}),
    {"planning", "evaluation"},
    *({"studies"}, {"serving"}, {"benchmarking"}, {"cli"}, {"scripts"}),
)
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}

# A distribution, and the one part of the package that imports it.
AT_HOME = {
    **{"keras_cv": "teachers", "tensorflow_datasets": "data", "grain": "data"},
    **{"huggingface_hub": "pretrained", "absl": "cli"},
}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_package_works_where_importing_tensorflow_and_others_raises(backend):
    refused = [name for name in REFUSED if name != backend]
    # Keras itself imports absl.
    refused.remove("absl")
    printed = end(start("-c", SCRIPT, *refused, backend=backend))
    assert printed.strip() == f"{backend} did without"


def test_the_distributions_that_are_done_without_are_installed():
    """Otherwise the test above would prove nothing."""
    assert all(importlib.util.find_spec(name) for name in REFUSED)


def imports(path):
    """Yields the names of the modules that a file imports, at its top or inside a function.

    Imports for type checkers only do not count.
    """
    tree = ast.parse(path.read_text("utf-8"))
    ignored = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if node.module == "keras_deit" else [node.module]


def part_of(path):
    parts = path.relative_to(ROOT).parts
    return pathlib.Path(parts[1]).stem if parts[0] == "keras_deit" else parts[0]


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]
FILES += sorted((ROOT / "scripts").rglob("*.py"))


def goes_down(name, part):
    """Returns whether a part of the package may import a module, or a name of `keras_deit`."""
    package, *rest = name.split(".")
    if package != "keras_deit" or rest[:1] == [part]:
        return True
    # A public name, such as `keras_deit.train`, is above all parts.
    level = LEVEL_OF.get(rest[0], len(LEVELS)) if rest else len(LEVELS)
    return level < LEVEL_OF[part] or part == "scripts"


def test_a_public_name_of_the_package_is_above_its_parts():
    assert goes_down("keras_deit.core.errors", "data")
    assert goes_down("keras_deit.train", "scripts")
    for name in ("keras_deit.train", "keras_deit", "keras_deit.training.run", "keras_deit.losses"):
        assert not goes_down(name, "data"), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_strictly_down(path):
    part = part_of(path)
    for name in imports(path):
        assert goes_down(name, part), name
        home = AT_HOME.get(name.split(".")[0])
        assert home is None or home == part or part == "scripts", f"{name} belongs to {home}"
        assert name.split(".")[0] not in ("tests", "conftest"), name


def test_every_part_of_the_package_has_a_level():
    parts = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert parts | {"version", "scripts"} == set(LEVEL_OF)


def test_scripts_import_no_test():
    tests = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    own = {path.stem for path in (ROOT / "scripts").rglob("*.py")}
    for path in (ROOT / "scripts").rglob("*.py"):
        found = {name.split(".")[0] for name in imports(path)} & tests
        assert not found - own, path


@pytest.mark.parametrize("name", sorted(keras_deit.__all__))
def test_every_public_name_is_there(name):
    assert getattr(keras_deit, name) is not None
    assert name in dir(keras_deit)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = keras_deit.nothing_of_this_name
