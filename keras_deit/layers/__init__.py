"""The layers that the models are made of, in `keras.ops` only."""

from keras_deit.layers.affine import Affine
from keras_deit.layers.attention import MultiHeadSelfAttention
from keras_deit.layers.class_attention import ClassAttention
from keras_deit.layers.class_attention_block import ClassAttentionBlock
from keras_deit.layers.class_mlp_block import ClassMLPBlock
from keras_deit.layers.conv_block import ConvBlock
from keras_deit.layers.conv_stem import ConvStem
from keras_deit.layers.hierarchical_mlp_stem import HierarchicalMLPStem
from keras_deit.layers.layer_scale import LayerScale
from keras_deit.layers.mlp import MLP
from keras_deit.layers.patch_embedding import PatchEmbedding
from keras_deit.layers.per_class_head import PerClassHead
from keras_deit.layers.resmlp_block import ResMLPBlock
from keras_deit.layers.squeeze_excitation import SqueezeExcitation
from keras_deit.layers.stochastic_depth import StochasticDepth
from keras_deit.layers.talking_heads import HeadMixing, TalkingHeadsAttention
from keras_deit.layers.tokens import PositionEmbedding, PrependToken
from keras_deit.layers.transformer_block import TransformerBlock

__all__ = [
    "MLP",
    "Affine",
    "ClassAttention",
    "ClassAttentionBlock",
    "ClassMLPBlock",
    "ConvBlock",
    "ConvStem",
    "HeadMixing",
    "HierarchicalMLPStem",
    "LayerScale",
    "MultiHeadSelfAttention",
    "PatchEmbedding",
    "PerClassHead",
    "PositionEmbedding",
    "PrependToken",
    "ResMLPBlock",
    "SqueezeExcitation",
    "StochasticDepth",
    "TalkingHeadsAttention",
    "TransformerBlock",
]
