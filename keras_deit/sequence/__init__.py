"""Sequences to sequences: the Transformer and ResMLP, their training, and beam search."""

from keras_deit.sequence.batches import PairBatches
from keras_deit.sequence.blocks import DecoderBlock, EncoderBlock
from keras_deit.sequence.datasets import load_pairs
from keras_deit.sequence.decoding import END, START, decode, padded
from keras_deit.sequence.mixers import Attention, LinearMixing
from keras_deit.sequence.model import PADDING, SequenceToSequence
from keras_deit.sequence.pairs import Pairs, read_pairs, split_pairs
from keras_deit.sequence.recipes import SEQUENCE_RECIPES, SequenceRecipe, sequence_recipe
from keras_deit.sequence.subwords import Subwords
from keras_deit.sequence.training import (
    InverseSquareRoot,
    LinearWarmup,
    TokenAccuracy,
    TokenCrossentropy,
    teacher_forcing,
)
from keras_deit.sequence.translator import Translator, translation_scores

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
    "PairBatches",
    "Pairs",
    "SequenceRecipe",
    "SequenceToSequence",
    "Subwords",
    "TokenAccuracy",
    "TokenCrossentropy",
    "Translator",
    "decode",
    "load_pairs",
    "padded",
    "read_pairs",
    "sequence_recipe",
    "split_pairs",
    "teacher_forcing",
    "translation_scores",
]
