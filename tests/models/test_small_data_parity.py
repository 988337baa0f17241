"""ViT and CaiT for small data sets, and the attentions and SPT, against the authors' code."""

import keras
import numpy as np
import pytest
from parity_systems import cases, check_counts, check_model, check_module, load, module

from keras_deit.layers import (
    LocalitySelfAttention,
    MixedHeadsAttention,
    MultiHeadSelfAttention,
    ShiftedPatchPooling,
    ShiftedPatchTokenization,
)
from keras_deit.layers.initializers import skip_init
from keras_deit.models import SmallDataCaiT, SmallDataViT
from keras_deit.models.weight_names import COPY, DENSE, NORM

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")

_COMMON = {
    "img_size": "image_size",
    "patch_size": "patch_size",
    "num_classes": "num_classes",
    "dim": "embed_dim",
    "depth": "depth",
    "heads": "num_heads",
    "dim_head": "head_dim",
    "dropout": "dropout_rate",
    "stochastic_depth": "drop_path_rate",
    "is_SPT": "spt",
    "is_LSA": "lsa",
}


def by_case(original, **kwargs):
    return pytest.mark.parametrize("case", cases(original, **kwargs), ids=str)


def vit(case):
    known = {
        **_COMMON,
        "mlp_dim_ratio": "mlp_ratio",
        "channels": "in_channels",
        # Both dropouts have one rate here; they do nothing in inference.
        "emb_dropout": lambda rate: {"dropout_rate": max(rate, case.arguments.get("dropout", 0))},
    }
    with skip_init():
        return SmallDataViT(**case.constructor(known))


def cait(case):
    width = case.arguments.get("dim", 192)
    known = {
        **_COMMON,
        "cls_depth": "class_depth",
        "mlp_dim": lambda hidden: {"mlp_ratio": hidden / width},
        "emb_dropout": lambda rate: {"dropout_rate": max(rate, case.arguments.get("dropout", 0))},
        "layer_dropout": no_layer_dropout,
    }
    with skip_init():
        return SmallDataCaiT(**case.constructor(known))


def no_layer_dropout(rate):
    """The authors' code leaves out layers in inference, too, so that no output is the right one."""
    assert rate == 0
    return {}


def block_results(model):
    return {block.name: block.output for block in model.blocks}


@every_backend
@pytest.mark.nightly("jax")
@by_case("models.vit.ViT")
def test_vit(case, tmp_path):
    model = vit(case)
    check_counts(case, model)
    load(case, model, tmp_path)
    maps = model.attention_model().output
    check_model(
        case,
        model,
        {
            **block_results(model),
            **{f"attention_{index}": x for index, x in enumerate(maps.values())},
            "patch_embedding": model.get_layer("patch_embedding").output,
            "tokens": model.get_layer("position_embedding").output,
            "blocks": model.blocks[-1].output,
        },
    )


@every_backend
@pytest.mark.nightly("jax")
@by_case("models.cait.CaiT")
def test_cait(case, tmp_path):
    model = cait(case)
    check_counts(case, model)
    load(case, model, tmp_path)
    maps = model.attention_model().output
    depth = sum(name.startswith("block_") for name in maps)
    classes = [f"class_block_{index}" for index in range(len(maps) - depth)]
    check_model(
        case,
        model,
        {
            **block_results(model),
            **{f"attention_{index}": maps[f"block_{index}"] for index in range(depth)},
            **{f"class_attention_{index}": maps[name] for index, name in enumerate(classes)},
            "block_0_attention": _AttentionBranch(model.blocks[0])(model.blocks[0].input),
            "patch_embedding": model.get_layer("patch_embedding").output,
            "tokens": model.get_layer("position_embedding").output,
            "patch_stage": model.get_layer(f"block_{depth - 1}").output,
            "class_stage": model.get_layer(classes[-1]).output[:, :1],
        },
    )


class _AttentionBranch(keras.layers.Layer):
    """The first branch of a block, with its LayerScale."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def call(self, tokens):
        return self.block.residual_branches(tokens)["attention"][0]


class _Maps(keras.layers.Layer):
    """The probabilities of an attention layer."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def call(self, tokens):
        return self.attention.attention_probabilities(tokens)


def check_attention(case, layer, table, inputs, tmp_path):
    model = module(layer, inputs.shape[1:], table)
    check_counts(case, model)
    load(case, model, tmp_path)
    check_module(case, model, inputs, {"attention": _Maps(layer)(model.input)})


@every_backend
@by_case("models.vit.Attention")
def test_attention_of_vit(case, tmp_path):
    given = {"heads": 8, "dim_head": 64, "is_LSA": False, **case.arguments}
    values = case.constructor(
        {
            "heads": "num_heads",
            "dim_head": "head_dim",
            # Both are in the shape of the tokens.
            "dim": lambda width: {},
            "num_patches": lambda number: {},
            "is_LSA": lambda lsa: {},
            "dropout": lambda rate: {},
        }
    )
    kind = LocalitySelfAttention if given["is_LSA"] else MultiHeadSelfAttention
    alone = given["heads"] == 1 and given["dim_head"] == given["dim"]
    values = {"num_heads": 8, "head_dim": 64, **values, "use_projection": not alone}
    layer = kind(qkv_bias=False, **values, name="attention")
    table = {
        "attention": ("", {"scale": ("scale", COPY)}),
        "attention/qkv": ("to_qkv", DENSE),
        "attention/projection": ("to_out.0", DENSE),
    }
    check_attention(case, layer, table, case.arrays["tokens"], tmp_path)


@every_backend
@by_case("models.cait.Attention")
def test_attention_of_cait(case, tmp_path):
    known = {
        "heads": "num_heads",
        "dim_head": "head_dim",
        "is_LSA": "lsa",
        "if_patch_attn": lambda among_patches: {"class_token": not among_patches},
        "dim": lambda width: {},
        "num_patches": lambda number: {},
        "dropout": lambda rate: {},
    }
    values = {"num_heads": 8, "head_dim": 64, "class_token": True, **case.constructor(known)}
    tokens = case.arrays["tokens"]
    if values["class_token"]:
        tokens = np.concatenate([tokens, case.arrays["context"]], axis=1)
    table = {
        "attention": ("", {"scale": ("scale", COPY)}),
        "attention/query": ("to_q", DENSE),
        "attention/key_value": ("to_kv", DENSE),
        "attention/projection": ("to_out.0", DENSE),
        "attention/heads_before_softmax": ("mix_heads_pre_attn", {"kernel": ("", COPY)}),
        "attention/heads_after_softmax": ("mix_heads_post_attn", {"kernel": ("", COPY)}),
    }
    layer = MixedHeadsAttention(**values, name="attention")
    check_attention(case, layer, table, tokens, tmp_path)


@every_backend
@by_case("models.SPT.ShiftedPatchTokenization")
def test_shifted_patches(case, tmp_path):
    known = {
        "dim": "embed_dim",
        "merging_size": "patch_size",
        "exist_class_t": "class_token",
        "in_dim": lambda channels: {},
        "is_pe": lambda of_images: {},
    }
    values = {"patch_size": 2, **case.constructor(known)}
    inputs = case.arrays["images" if "images" in case.arrays else "tokens"]
    if not case.arguments.get("is_pe"):
        length, rows = inputs.shape[1], int(inputs.shape[1] ** 0.5)
        grid = (rows, (length - values.get("class_token", False)) // rows)
        if values["patch_size"] != 2:
            # Our layer pools by 2 only; without a class token the other one does the same.
            inputs = inputs.reshape(-1, *grid, inputs.shape[-1])
    if inputs.ndim == 4:
        layer = ShiftedPatchTokenization(**values, name="spt")
    else:
        del values["patch_size"]
        layer = ShiftedPatchPooling(**values, grid=grid, name="spt")
    table = {
        "spt/norm": ("merging.1", NORM),
        "spt/projection": ("merging.2", DENSE),
        "spt/class_projection": ("class_linear", DENSE),
    }
    model = module(layer, inputs.shape[1:], table)
    check_counts(case, model)
    load(case, model, tmp_path)
    check_module(case, model, inputs)
