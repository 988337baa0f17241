"""The names that weights of the models for small data sets have in the authors' files."""

from keras_deit.models.weight_names import COPY, DENSE, NORM, Layout, Table

# The temperatures of locality self-attention.
SCALE: Layout = {"scale": (".scale", COPY)}


def shifted_patches(module: str) -> Table:
    """Returns the names of shifted patch tokenization, as the layer `patch_embedding`.

    Args:
        module: its module in the file.
    """
    return {
        "patch_embedding/norm": (f"{module}.merging.1", NORM),
        "patch_embedding/projection": (f"{module}.merging.2", DENSE),
    }
