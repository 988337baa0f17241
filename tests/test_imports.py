"""What `import keras_deit` needs, and which part of the package may import which."""

import ast
import importlib.util
import pathlib

import pytest
from processes import end, start

PACKAGE = pathlib.Path(__file__).parents[1] / "keras_deit"
REFUSED = (
    *("tensorflow", "keras_cv", "tensorflow_datasets", "grain", "cv2", "sklearn"),
    *("safetensors", "huggingface_hub", "torch"),
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

# What stands higher may import what stands lower or beside it.
LEVELS = {
    "version": 0,
    "errors": 0,
    "layers": 1,
    "models": 2,
    "data": 3,
    "distillation": 3,
    "pretrained": 3,
    "recipes": 3,
    "serving": 4,
    "training": 4,
}
STRANGERS = ({"data", "distillation"},)

# Distribution, and the one part of the package that imports it.
AT_HOME = {
    **{"keras_cv": "distillation", "tensorflow_datasets": "data", "grain": "data"},
    "huggingface_hub": "pretrained",
}


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_package_works_where_importing_tensorflow_and_others_raises(backend):
    refused = [name for name in REFUSED if name != backend]
    printed = end(start("-c", SCRIPT, *refused, backend=backend))
    assert printed.strip() == f"{backend} did without"


def imports(path):
    """Names of the modules that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if node.module == "keras_deit" else [node.module]


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    part = path.relative_to(PACKAGE).parts[0]
    for name in imports(path):
        if name.startswith("keras_deit."):
            other = name.split(".")[1]
            assert LEVELS[other] <= LEVELS[part], f"{part} imports {name}"
            assert {part, other} not in STRANGERS, f"{part} imports {name}"
        home = AT_HOME.get(name.split(".")[0])
        assert home in (None, part), f"{part} imports {name}, at home in {home}"


def test_the_distributions_that_are_done_without_are_there_to_be_missed():
    """Otherwise the test above would prove nothing."""
    assert all(importlib.util.find_spec(name) for name in REFUSED)
