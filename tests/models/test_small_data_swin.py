"""Swin for small data sets, and its block, against the authors' code."""

import keras
import numpy as np
import pytest
from parity_systems import cases, check_counts, check_model, check_module, load, module

from keras_deit import InputError, create_model
from keras_deit.layers import SwinBlock
from keras_deit.layers.initializers import skip_init
from keras_deit.models import SmallDataSwin
from keras_deit.models.small_data.weights import SWIN_TABLES

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")

# Our arguments by the authors'; what is missing in a case has the authors' default.
_COMMON = {
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "qk_scale": "qk_scale",
    "window_size": "window_size",
    "num_heads": "num_heads",
    "is_LSA": "lsa",
}
_MODEL = {
    **_COMMON,
    "img_size": "image_size",
    "patch_size": "patch_size",
    "in_chans": "in_channels",
    "num_classes": "num_classes",
    "embed_dim": "embed_dim",
    "depths": "depth",
    "drop_rate": "dropout_rate",
    "attn_drop_rate": "attention_dropout_rate",
    "drop_path_rate": "drop_path_rate",
    "patch_norm": "patch_norm",
    "is_SPT": "spt",
    # The authors' code takes it and adds the positions always.
    "ape": lambda is_added: {},
    # A setting of a training.
    "use_checkpoint": lambda is_set: {},
}
_MODEL_DEFAULTS = {
    "image_size": 224,
    "patch_size": 4,
    "num_classes": 1000,
    "depth": (2, 2, 6, 2),
    "num_heads": (3, 6, 12, 24),
    "window_size": 7,
    "mlp_ratio": 4.0,
    "drop_path_rate": 0.1,
}
_BLOCK = {
    **_COMMON,
    "input_resolution": "grid",
    "shift_size": "shift",
    "drop": "dropout_rate",
    "attn_drop": "attention_dropout_rate",
    "drop_path": "drop_path_rate",
    # The width of the tokens.
    "dim": lambda width: {},
}


def by_case(name):
    found = [case for case in cases(name) if case.spec["original"]["class"] == name]
    return pytest.mark.parametrize("case", found, ids=str)


def results(model):
    """Returns the symbolic results by the names of the parity cases."""
    found = {layer.name: layer.output for layer in model.layers if layer.name != "image"}
    of_stage = {block.name.partition("_block")[0]: block.output for block in model.blocks}
    return {
        **found,
        **of_stage,
        **{f"merge_{name[8:]}": x for name, x in found.items() if name.startswith("merging")},
        "patch_embedding": found.get("patch_norm", found["patch_embedding"]),
        "tokens": found["position_embedding"],
        "blocks": model.blocks[-1].output,
    }


@every_backend
@by_case("models.swin.SwinTransformer")
def test_swin_is_that_of_the_authors(case, tmp_path):
    with skip_init():
        model = SmallDataSwin(**{**_MODEL_DEFAULTS, **case.constructor(_MODEL)})
    check_counts(case, model)
    load(case, model, tmp_path)
    check_model(case, model, results(model))


@every_backend
@by_case("models.swin.SwinTransformerBlock")
def test_a_block_is_that_of_the_authors(case, tmp_path):
    block = SwinBlock(norm_epsilon=1e-5, name="block", **case.constructor(_BLOCK))
    ours, theirs = "stage_{stage}_block_{block}", "layers.{stage}.blocks.{block}."
    table = {
        path.replace(ours, "block"): (name.replace(theirs, ""), layout)
        for path, (name, layout) in SWIN_TABLES["authors"].items()
        if path.startswith(ours)
    }
    model = module(block, case.arrays["tokens"].shape[1:], table)
    type(model).ignored_weights = SmallDataSwin.ignored_weights
    check_counts(case, model)
    load(case, model, tmp_path)
    check_module(case, model, case.arrays["tokens"])
