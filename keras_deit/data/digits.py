"""The embedded dataset of handwritten digits, which needs no download."""

import numpy as np
from sklearn.datasets import load_digits as load_sklearn_digits

from keras_deit.data.source import ArraySource, Dataset, Subset
from keras_deit.data.splits import TEST_PERCENT, VALIDATION_PERCENT, stratified_split


def load_digits() -> Dataset:
    """Returns the 1,797 handwritten digits of scikit-learn's wheel as 8x8 RGB images.

    They are the test set of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak,
    1998), whose 17 gray levels 0 to 16 are scaled to 0 to 255 here. The training split has 1,257
    images, validation 180 and test 360, the same for every training seed.
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
