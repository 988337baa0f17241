"""What the flags of the training make of a recipe's warm-up."""

import pathlib
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from keras_deit.recipes import get_recipe


@pytest.fixture(scope="module")
def recipe_flags():
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))
    try:
        import recipe_flags
    finally:
        sys.path.pop(0)
    recipe_flags.define_data()
    recipe_flags.define_overrides()
    return recipe_flags


@pytest.mark.parametrize(
    ("recipe", "arguments", "epochs", "steps"),
    [
        ("augreg", [], 0, 10_000),
        # A shorter training keeps the warm-up's share.
        ("augreg", ["--epochs=30"], 0, 1_000),
        ("augreg", ["--epochs=600"], 0, 10_000),
        ("augreg", ["--epochs=30", "--warmup_steps=7"], 0, 7),
        ("augreg", ["--warmup_epochs=2"], 2, None),
        ("augreg", ["--epochs=30", "--warmup_epochs=2"], 2, None),
        ("deit", ["--epochs=30"], 0.5, None),
        ("deit", ["--schedule=cosine", "--warmup_steps=9"], 5, 9),
    ],
)
def test_warm_up(recipe_flags, recipe, arguments, epochs, steps):
    with flagsaver.flagsaver():
        flags.FLAGS(["train", *arguments])
        optimization = recipe_flags.overridden(get_recipe(recipe)).optimization
    assert optimization.warmup_epochs == pytest.approx(epochs)
    assert optimization.warmup_steps == steps
