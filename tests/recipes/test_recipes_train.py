"""Every recipe trains: two steps with a small model.

All run nightly on every backend; every kind runs on PyTorch, which does not compile.
"""

import keras
import numpy as np
import pytest

from keras_deit import create_model, list_recipes, train
from keras_deit.core.image_format import NORMALIZATIONS
from keras_deit.models import get_spec, model_values
from keras_deit.pretrained import save_safetensors
from keras_deit.recipes import get_recipe
from keras_deit.teachers import TeacherContract, pixel_format, save_teacher_model

SMALL = {"image_size": 16, "patch_size": 8, "embed_dim": 24, "num_heads": 2, "depth": 1}
SMALL["class_depth"] = 1
SMALL_OBJECTIVE = {
    **{"projection_hidden_dim": 8, "augmentations": 2},
    **{"prototypes": 32, "projector_width": 16, "bottleneck": 8, "local_crops": 1},
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    save_teacher_model(model, TeacherContract(pixel_format("0-255", 16, 16), "logits", 10), path)
    return path


# What runs on the other backends not only nightly: the start of the heads, plain momentum, binary
# cross-entropy with LAMB, distillation, attention only, weight decay of every variable, DINO,
# CViT, ResMLP and PatchConvNet. Others take up to half a minute each.
ORDINARY = {
    "tensorflow": ("augreg_finetune", "cait_distilled", "attention_only", "cvit", "resmlp"),
    "jax": (
        *("augreg", "deit3_1k", "spt_lsa", "cvit"),
        *("resmlp", "dino_digits", "patchconvnet_finetune"),
    ),
}


def cases():
    """Yields all recipes, with the backends on which they run nightly: on PyTorch those with
    family, objective and optimizer of one before."""
    kinds = set()
    for name in list_recipes():
        recipe = get_recipe(name)
        family, optimizer = get_spec(recipe.model).family, recipe.optimization.optimizer
        kind = (family, type(recipe.objective), optimizer, recipe.fine_tunes)
        rare = ["torch"] if kind in kinds else []
        rare += [backend for backend, names in ORDINARY.items() if name not in names]
        yield pytest.param(name, marks=[pytest.mark.nightly(*rare)] if rare else [])
        kinds.add(kind)


@pytest.mark.slow
@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("name", cases())
def test_a_recipe_trains(name, teacher, tmp_path):
    recipe = get_recipe(name)
    known = model_values(recipe.model)
    sizes = {key: value for key, value in SMALL.items() if key in known}
    if "stem_channels" in known:
        sizes |= {"stem_depths": (1,), "stem_channels": (4,)}
    if "widths" in known:  # A RegNet.
        sizes |= {"widths": (8, 8), "group_width": 8, "stem_width": 8}
    elif "stem_depths" not in known and "stem_width" in known:  # A ResNet.
        sizes["stem_width"] = 8
    if name == "binaryvit":
        sizes |= {"reduction": 1, "mlp_ratio": 2}  # One stage.
    values = {**sizes, "epochs": 1, "batch_size": 600, "warmup_epochs": 0}
    values |= {k: v for k, v in SMALL_OBJECTIVE.items() if k in recipe.objective.values}
    if recipe.objective.teacher_request is not None:
        values |= {"teacher": teacher, "accept_teacher": True}
    if recipe.fine_tunes:
        values["weights"] = tmp_path / "start.safetensors"
        save_safetensors(create_model(recipe.model, num_classes=10, **sizes), values["weights"])
    run = train(print, recipe=name, run_dir=tmp_path / "run", **values)
    assert run.summary["steps"] == 2 * recipe.optimization.passes_per_epoch
    assert np.isfinite(run.history[0]["loss"]) and run.final_weights.is_file()
    if "normalization" in recipe.model_values:
        mean, _ = NORMALIZATIONS[recipe.model_values["normalization"]]
        assert run.model().image_format.mean == mean
