"""The layers that the models consist of, written in `keras.ops` only."""

from keras_deit.layers.attention import (
    HeadMixing,
    MultiHeadSelfAttention,
    TalkingHeadsAttention,
)
from keras_deit.layers.binary import BinaryConv, BinaryDense, BinaryUnit, RPReLU
from keras_deit.layers.binary_attention import BinaryAttention
from keras_deit.layers.binary_block import BinaryBlock, BinaryMerging
from keras_deit.layers.block import Block
from keras_deit.layers.channels import Channels
from keras_deit.layers.class_attention import ClassAttention
from keras_deit.layers.class_attention_block import ClassAttentionBlock
from keras_deit.layers.conv_block import ConvBlock, SqueezeExcitation
from keras_deit.layers.dense_patches import DensePatchEmbedding
from keras_deit.layers.fixup import FixupAttention, FixupMLP
from keras_deit.layers.grouped_conv_block import ConvNormStem, GroupedConvBlock
from keras_deit.layers.locality import LocalitySelfAttention
from keras_deit.layers.mixed_heads import (
    HeadMatrix,
    MixedHeadsAttention,
    MixedHeadsBlock,
)
from keras_deit.layers.mlp import MLP
from keras_deit.layers.mlp_blocks import Affine, ClassMLPBlock, ResMLPBlock
from keras_deit.layers.pooling import ConvPooling
from keras_deit.layers.residual import LayerScale, StochasticDepth
from keras_deit.layers.resnet_stem import (
    BottleneckUnit,
    GroupNorm,
    ResNetRoot,
    StandardizedConv,
)
from keras_deit.layers.shifted_patches import ShiftedPatchPooling, ShiftedPatchTokenization
from keras_deit.layers.stems import (
    ConvStem,
    HierarchicalMLPStem,
    PatchEmbedding,
    ResidualConvStem,
)
from keras_deit.layers.swin import PatchMerging, SwinBlock, WindowAttention
from keras_deit.layers.tokens import (
    BatchPositions,
    PerClassHead,
    PositionEmbedding,
    PrependToken,
)
from keras_deit.layers.tokens_to_token import (
    SinusoidalPositions,
    SoftSplit,
    T2TAttention,
    T2TBlock,
)
from keras_deit.layers.transformer_block import TransformerBlock

__all__ = [
    "MLP",
    "Affine",
    "BatchPositions",
    "BinaryAttention",
    "BinaryBlock",
    "BinaryConv",
    "BinaryDense",
    "BinaryMerging",
    "BinaryUnit",
    "Block",
    "BottleneckUnit",
    "Channels",
    "ClassAttention",
    "ClassAttentionBlock",
    "ClassMLPBlock",
    "ConvBlock",
    "ConvNormStem",
    "ConvPooling",
    "ConvStem",
    "DensePatchEmbedding",
    "FixupAttention",
    "FixupMLP",
    "GroupNorm",
    "GroupedConvBlock",
    "HeadMatrix",
    "HeadMixing",
    "HierarchicalMLPStem",
    "LayerScale",
    "LocalitySelfAttention",
    "MixedHeadsAttention",
    "MixedHeadsBlock",
    "MultiHeadSelfAttention",
    "PatchEmbedding",
    "PatchMerging",
    "PerClassHead",
    "PositionEmbedding",
    "PrependToken",
    "RPReLU",
    "ResMLPBlock",
    "ResNetRoot",
    "ResidualConvStem",
    "ShiftedPatchPooling",
    "ShiftedPatchTokenization",
    "SinusoidalPositions",
    "SoftSplit",
    "SqueezeExcitation",
    "StandardizedConv",
    "StochasticDepth",
    "SwinBlock",
    "T2TAttention",
    "T2TBlock",
    "TalkingHeadsAttention",
    "TransformerBlock",
    "WindowAttention",
]
