"""Sequences to sequences: the Transformer and ResMLP, their training, and beam search."""

from keras_deit.sequence.blocks import DecoderBlock, EncoderBlock
from keras_deit.sequence.decoding import END, START, decode, padded
from keras_deit.sequence.mixers import Attention, LinearMixing
from keras_deit.sequence.model import PADDING, SequenceToSequence
from keras_deit.sequence.training import (
    SEQUENCE_RECIPES,
    InverseSquareRoot,
    LinearWarmup,
    SequenceRecipe,
    TokenAccuracy,
    TokenCrossentropy,
    teacher_forcing,
)

__all__ = [
    "END",
    "PADDING",
    "SEQUENCE_RECIPES",
    "START",
    "Attention",
    "DecoderBlock",
    "EncoderBlock",
    "InverseSquareRoot",
    "LinearMixing",
    "LinearWarmup",
    "SequenceRecipe",
    "SequenceToSequence",
    "TokenAccuracy",
    "TokenCrossentropy",
    "decode",
    "padded",
    "teacher_forcing",
]
