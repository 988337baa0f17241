"""On how many images the answers of models, of their heads and of the labels differ."""

from collections.abc import Mapping

import numpy as np

from keras_deit.core.errors import InputError


def disagreement(predictions: Mapping[str, np.ndarray]) -> dict[str, list]:
    """Returns the share of images on which each two of several classifiers differ.

    It is table 3.4 of H. Touvron's thesis, which compares ground truth, teacher, a model without
    distillation, and the class head, the distillation head and both of a distilled model. The row
    of the ground truth holds the errors, 1 - top-1.

    Args:
        predictions: by the name of a classifier, in the order of the table, the class that it
            gives to each image, integers (images,). The true classes are one of them.

    Returns:
        {"names": the names, "matrix": a row for each, floats in [0, 1]}, of plain JSON values. The
        matrix is symmetric, and its diagonal 0.

    Raises:
        InputError: there are no images, or the predictions are not integers for the same number of
            images.
    """
    columns = {name: np.asarray(classes) for name, classes in predictions.items()}
    counts = {column.shape for column in columns.values()}
    are_classes = all(np.issubdtype(column.dtype, np.integer) for column in columns.values())
    if len(counts) != 1 or not are_classes or len(*counts) != 1 or counts == {(0,)}:
        received = ", ".join(f"{name}: {c.dtype} {c.shape}" for name, c in columns.items())
        raise InputError(
            "Predictions to compare should be one class index per image, as many for each name. "
            f"Received: {received or 'none'}"
        )
    matrix = [[float(np.mean(a != b)) for b in columns.values()] for a in columns.values()]
    return {"names": list(columns), "matrix": matrix}
