"""What others call the variables of our models, architecture by architecture."""

from keras_deit.pretrained.naming.architectures import NAMINGS, describe, table_to_write, tables
from keras_deit.pretrained.naming.entries import Entry, count_classes, model_entries
from keras_deit.pretrained.naming.layouts import Table

__all__ = [
    "NAMINGS",
    "Entry",
    "Table",
    "count_classes",
    "describe",
    "model_entries",
    "table_to_write",
    "tables",
]
