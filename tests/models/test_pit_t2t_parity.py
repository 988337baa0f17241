"""PiT and T2T for small data sets compute what the authors' code computes."""

import dataclasses

import numpy as np
import pytest
from harness import numpy
from parity_systems import PUBLISHED, cases, check_counts, check_model, check_module, load, module

from keras_deit.layers import T2TAttention, T2TBlock
from keras_deit.layers.initializers import skip_init
from keras_deit.models import SmallDataPiT, SmallDataT2T, abstract_model
from keras_deit.models.weight_names import COPY, DENSE, NORM

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")

PIT_DEFAULTS = {"dim_head": 64}
PIT = {
    "img_size": "image_size",
    "patch_size": "patch_size",
    "dim": "embed_dim",
    "depth": "depth",
    "heads": "num_heads",
    "dim_head": "head_dim",
    "num_classes": "num_classes",
    "mlp_dim_ratio": "mlp_ratio",
    "stochastic_depth": "drop_path_rate",
    "is_SPT": "spt",
    "is_LSA": "lsa",
}
T2T_DEFAULTS = {"img_size": 224, "num_classes": 1000, "token_dim": 64}
T2T = {
    "img_size": "image_size",
    "in_chans": "in_channels",
    "num_classes": "num_classes",
    "embed_dim": "embed_dim",
    "depth": "depth",
    "num_heads": "num_heads",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "qk_scale": "qk_scale",
    "drop_rate": "dropout_rate",
    "drop_path_rate": "drop_path_rate",
    "token_dim": "token_dim",
    "is_SPT": "spt",
    "is_LSA": "lsa",
    # The rate of a dropout that is not here and that does nothing in inference.
    "attn_drop_rate": lambda rate: {},
}
LAYER = {
    "num_heads": "num_heads",
    "in_dim": "embed_dim",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "qk_scale": "qk_scale",
    "is_LSA": "lsa",
    "drop": "dropout_rate",
    "proj_drop": "dropout_rate",
    "drop_path": "drop_path_rate",
    "attn_drop": lambda rate: {},
    # Both are in the shape of the tokens.
    "dim": lambda width: {},
    "num_patches": lambda number: {},
}
ATTENTION_TABLE = {
    "layer": ("", {"scale": ("scale", COPY)}),
    "layer/qkv": ("qkv", DENSE),
    "layer/projection": ("proj", DENSE),
}
BLOCK_TABLE = {
    "layer/norm1": ("norm1", NORM),
    "layer/attention": ("attn", {"scale": (".scale", COPY)}),
    "layer/attention/qkv": ("attn.qkv", DENSE),
    "layer/attention/projection": ("attn.proj", DENSE),
    "layer/norm2": ("norm2", NORM),
    "layer/mlp/expand": ("mlp.fc1", DENSE),
    "layer/mlp/contract": ("mlp.fc2", DENSE),
}


def by_case(original, **kwargs):
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(case, marks=pytest.mark.slow if case.is_full else ())
            for case in cases(original, **kwargs)
        ],
        ids=str,
    )


def build(case, kind, known, defaults):
    """Returns our model; both dropouts of PiT have one rate here and do nothing in inference."""
    rates = [case.arguments.get(name, 0) for name in ("dropout", "emb_dropout")]
    dropouts = dict.fromkeys(("dropout", "emb_dropout"), lambda rate: {"dropout_rate": max(rates)})
    given = {known[name]: value for name, value in defaults.items()}
    with skip_init():
        return kind(**{**given, **case.constructor({**dropouts, **known})})


@every_backend
@pytest.mark.nightly("jax")
@by_case("models.pit.PiT")
def test_pit(case, tmp_path):
    model = build(case, SmallDataPiT, PIT, PIT_DEFAULTS)
    check_counts(case, model)
    load(case, model, tmp_path)
    stages = {}
    for block in model.blocks:
        stage, index = block.name.removeprefix("stage_").split("_block_")
        stages |= {f"stage_{stage}_block_{index}": block.output, f"stage_{stage}": block.output}
    pools = {
        f"pool_{index}": model.get_layer(f"pooling_{index}").output
        for index in range(len(case.arguments["depth"]) - 1)
    }
    maps = model.attention_model().output
    check_model(
        case,
        model,
        {
            **stages,
            **pools,
            "attention_0": maps["stage_0_block_0"],
            "patch_embedding": model.get_layer("patch_embedding").output,
            "tokens": model.get_layer("position_embedding").output,
            "blocks": model.blocks[-1].output,
        },
    )


def unused(case):
    """Returns how many values the authors' unused norm has."""
    names = [name for name in case.tensors if name.startswith("tokens_to_token.norm.")]
    assert set(names) <= set(case.spec.get("no_effect", names))
    return sum(case.tensors[name].size for name in names)


def fixed_positions(case):
    """Returns the table by the formula, one number after the other."""
    width, side = case.arguments.get("embed_dim", 256), case.arguments.get("img_size", 224)
    length = (side // (8 if side == 64 else 4)) ** 2 + 1
    table = [
        [
            (np.cos if column % 2 else np.sin)(place / 10000 ** (column // 2 * 2 / width))
            for column in range(width)
        ]
        for place in range(length)
    ]
    return np.float32([table])


def with_positions(case, positions):
    """Returns a case of a published size with the fixed positions, which no rule makes."""
    whole = dataclasses.replace(case)
    object.__setattr__(whole, "tensors", {**case.tensors, "pos_embed": positions})
    return whole


@every_backend
@pytest.mark.nightly("jax")
@by_case("models.t2t.T2T_ViT")
def test_t2t(case, tmp_path):
    model = build(case, SmallDataT2T, T2T, T2T_DEFAULTS)
    positions = fixed_positions(case)
    if case.is_full:
        case = with_positions(case, positions)
    own = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    extra = unused(case)
    assert model.count_params() + extra == case.spec["params"]
    assert own + extra == case.spec["trainable"]
    computed = numpy(model.get_layer("position_embedding").positions)
    np.testing.assert_allclose(computed, positions, rtol=0, atol=1e-6)
    load(case, model, tmp_path)
    maps = model.attention_model().output
    check_model(
        case,
        model,
        {
            **{block.name: block.output for block in model.blocks},
            "attention_0": maps["block_0"],
            "patch_embedding": model.get_layer("patch_projection").output,
            "tokens": model.get_layer("position_embedding").output,
            "blocks": model.blocks[-1].output,
            "norm": model.get_layer("norm").output,
        },
    )


@every_backend
@pytest.mark.parametrize(
    ("case", "kind", "table"),
    [
        pytest.param(case, kind, table, id=str(case))
        for original, kind, table in (
            ("models.t2t.Attention", T2TAttention, ATTENTION_TABLE),
            ("models.t2t.Token_transformer", T2TBlock, BLOCK_TABLE),
            ("models.t2t.Block", T2TBlock, BLOCK_TABLE),
        )
        for case in cases(original)
    ],
)
def test_layers_of_t2t(case, kind, table, tmp_path):
    defaults = {"num_heads": 8}
    if "Token_transformer" in case.spec["original"]["class"]:
        defaults = {"mlp_ratio": 1.0}
    elif kind is T2TBlock:
        defaults = {"mlp_ratio": 4.0}
    elif "in_dim" not in case.arguments:
        defaults["embed_dim"] = 256
    layer = kind(**{**defaults, **case.constructor(LAYER)}, name="layer")
    tokens = case.arrays["tokens"]
    model = module(layer, tokens.shape[1:], table)
    check_counts(case, model)
    load(case, model, tmp_path)
    probabilities = layer.attention_maps if kind is T2TBlock else layer.attention_probabilities
    check_module(case, model, tokens, {"attention": probabilities(model.input)})


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n.startswith(("pit", "t2t"))])
@pytest.mark.backends("torch")
def test_parameters_of_the_published_configurations(name):
    """The authors' norm that is never called has 1,152 values."""
    kind, size, classes = name.replace("px_", "_").split("_")
    base, *added = kind.split("+")
    patch = {"pit": {"32": "patch2_", "64": "patch4_"}, "t2t": {"32": "", "64": ""}}[base][size]
    model = abstract_model(
        f"{base}_small_data_{patch}{size}",
        num_classes=int(classes),
        spt="spt" in added,
        lsa="lsa" in added,
    )
    own = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    extra = 1152 if base == "t2t" else 0
    expected = PUBLISHED[name]
    assert model.count_params() + extra == expected["params"]
    assert own + extra == expected.get("trainable", expected["params"])
