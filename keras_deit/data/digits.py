"""The embedded dataset: real handwritten digits, no download."""

import numpy as np
from sklearn.datasets import load_digits as load_sklearn_digits

from keras_deit.data.source import ArraySource, Dataset, Subset
from keras_deit.data.splits import TEST_PERCENT, VALIDATION_PERCENT, stratified_split


def load_digits() -> Dataset:
    """The 1,797 handwritten digits inside scikit-learn's wheel, as 8x8 RGB images.

    They are the test part of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin and
    Kaynak, 1998): 16 gray levels and white, here scaled from 0..16 to 0..255. 1,257 are for
    training, 180 for validation and 360 for testing, the same for every training seed.
    """
    data = load_sklearn_digits()
    gray = np.rint(data.images * (255 / 16)).astype(np.uint8)
    source = ArraySource(np.repeat(gray[..., None], 3, axis=-1), data.target)
    class_names = tuple(str(name) for name in data.target_names)
    percents = {"test": TEST_PERCENT, "validation": VALIDATION_PERCENT}
    splits = stratified_split(source.labels, percents, class_names, "digits")
    return Dataset(
        name="digits",
        class_names=class_names,
        **{name: Subset(source, indices) for name, indices in splits.items()},
    )
