"""At least one case for each layer of the package; the first one of a layer has its effects."""

import class_attention_cases
import conv_cases
import numpy_reference as reference
from binary_layer_cases import CASES as BINARY_CASES
from fixup_cases import CASES as FIXUP_CASES
from grouped_conv_cases import CASES as REGNET_CASES
from harness import Case, Effect
from hmlp_layer_cases import CASES as HMLP_CASES
from locality_cases import CASES as LOCALITY_CASES
from pit_t2t_layer_cases import CASES as PIT_T2T_CASES
from residual_stem_cases import CASES as RESIDUAL_STEM_CASES
from resmlp_layer_cases import CASES as RESMLP_CASES
from resnet_stem_cases import CASES as RESNET_STEM_CASES
from small_data_cases import CASES as SMALL_DATA_CASES
from swin_layer_cases import CASES as SWIN_CASES

from keras_deit import layers

TOKENS = (3, 5, 12)

CASES = (
    Case(
        layers.PatchEmbedding,
        {"patch_size": 4, "embed_dim": 10},
        (2, 11, 9, 3),
        (
            Effect("patch_size", 3, "shapes"),
            Effect("embed_dim", 6, "shapes"),
            Effect("kernel_init", "normal", "initial values"),
        ),
        reference.patch_tokens,
    ),
    Case(
        layers.PrependToken,
        {},
        TOKENS,
        (
            Effect("count", 3, "shapes"),
            Effect("weight_decay", True, "weight decay"),
            Effect("initializer", "unit_normal", "initial values"),
        ),
        lambda x, w: reference.prepend(x, w["token"]),
    ),
    Case(
        layers.PositionEmbedding,
        {"grid": (2, 2)},
        TOKENS,
        (
            Effect("grid", (1, 4), "position grid"),
            Effect("grid", None, "position grid"),
            Effect("initializer", "zeros", "initial values"),
            Effect("rows", 9, "shapes"),
        ),
        lambda x, w: x + w["positions"],
    ),
    Case(
        layers.BatchPositions,
        {"rows": 4},
        TOKENS,
        (
            Effect("rows", 5, "shapes"),
            Effect("initializer", "zeros", "initial values"),
        ),
        lambda x, w: x + w["positions"][: len(x)],
    ),
    Case(
        layers.MultiHeadSelfAttention,
        {"num_heads": 3},
        TOKENS,
        (
            Effect("num_heads", 2, "output"),
            Effect("qkv_bias", False, "shapes"),
            Effect("head_dim", 5, "shapes"),
            Effect("kernel_init", "xavier_uniform", "initial values"),
            Effect("use_projection", False, "shapes"),
            Effect("scale_of_logits", 0.1, "output"),
        ),
        lambda x, w: reference.attention(x, w, num_heads=3),
    ),
    Case(
        layers.MLP,
        {"hidden_dim": 20},
        TOKENS,
        (
            Effect("hidden_dim", 7, "shapes"),
            Effect("dropout_rate", 0.5, "training output"),
            Effect("approximate_gelu", True, "output"),
            Effect("kernel_init", "xavier_uniform", "initial values"),
            Effect("gates", True, "shapes"),
            Effect("kept_inputs", (0, 2, 7), "shapes"),
        ),
        reference.mlp,
    ),
    Case(
        layers.Channels,
        {"kept": (0, 3, 7), "gates": True},
        TOKENS,
        (Effect("kept", (0, 3, 8), "output"), Effect("gates", False, "shapes")),
        lambda x, w: x[..., [0, 3, 7]] * w["gate"],
    ),
    Case(
        layers.LayerScale,
        {"initial_value": 0.1},
        TOKENS,
        (
            Effect("initial_value", 1e-4, "initial values"),
            Effect("scalar", True, "shapes"),
            Effect("uniform", True, "initial values"),
        ),
        lambda x, w: x * w["gamma"],
    ),
    Case(
        layers.StochasticDepth,
        {"rate": 0.5, "seed": 3},
        (16, 5, 2),
        (Effect("rate", 0.2, "training output"), Effect("seed", 4, "training output")),
        lambda x, w: x,
    ),
    Case(
        layers.TransformerBlock,
        {"num_heads": 3, "layer_scale_init": 0.1},
        TOKENS,
        (
            Effect("num_heads", 2, "output"),
            Effect("mlp_ratio", 2.5, "shapes"),
            Effect("qkv_bias", False, "shapes"),
            Effect("drop_path_rate", 0.5, "training output"),
            Effect("layer_scale_init", 1e-4, "initial values"),
            Effect("layer_scale_init", None, "shapes"),
            Effect("branches", 2, "shapes"),
            Effect("talking_heads", True, "shapes"),
            Effect("dropout_rate", 0.5, "training output"),
            Effect("head_dim", 5, "shapes"),
            Effect("lsa", True, "shapes"),
            Effect("norm_epsilon", 0.1, "output"),
            Effect("approximate_gelu", True, "output"),
            Effect("kernel_init", "torch", "initial values"),
            Effect("use_projection", False, "shapes"),
            Effect("residual", "scalar", "shapes"),
            Effect("residual", "layer_scale_uniform", "initial values"),
            Effect("residual", "fixup", "shapes"),
            Effect("attention_scale", 0.1, "output"),
            Effect("gates", True, "shapes"),
            Effect("kept", {"attention_output": [0, 4, 5, 9]}, "shapes"),
        ),
        lambda x, w: reference.block(x, w, num_heads=3),
    ),
    *BINARY_CASES,
    *LOCALITY_CASES,
    *FIXUP_CASES,
    *HMLP_CASES,
    *REGNET_CASES,
    *PIT_T2T_CASES,
    *RESIDUAL_STEM_CASES,
    *RESNET_STEM_CASES,
    *RESMLP_CASES,
    *SMALL_DATA_CASES,
    *SWIN_CASES,
    *class_attention_cases.CASES,
    *conv_cases.CASES,
)
