"""The pipeline if TensorFlow, TFDS and KerasCV cannot be imported."""

import cv2
import numpy as np
import pytest
from processes import end, start

SCRIPT = """
import sys
from refusing import refuse, require_none

refused = ("tensorflow", "tensorflow_datasets", "keras_cv")
refuse(refused)

import numpy as np
from keras_deit.data import *
from keras_deit.core.image_format import ImageFormat

augmentation = Augmentation(
    auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25, repeated_augmentation=3
)
for name in ("digits", "folder:" + sys.argv[1]):
    dataset, image_format = load_dataset(name), ImageFormat(8, 8)
    shard = Shard(1, 2, 2)
    classes = dataset.num_classes
    train = train_pipeline(
        dataset.train, image_format, augmentation, classes, 8, 0, shard=shard, start=3, stop=12
    )
    elements = list(train)
    assert len(elements) == 9
    for images, targets in elements:
        assert images.shape == (2, 8, 8, 3) and np.isfinite(images).all() and images.std() > 0.1
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
    labels, weights = [], []
    for batch in evaluation_pipeline(dataset.test, image_format, 16, weighted=True):
        labels.extend(batch[1]), weights.extend(batch[2])
    assert np.array_equal(np.compress(weights, labels), dataset.test.labels)
try:
    import tensorflow
except ImportError:
    print("worked without TensorFlow")
require_none(refused)
"""


@pytest.mark.slow
def test_digits_and_folders_need_no_tensorflow(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(10):
            pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{number}.jpg"), pixels)
    assert end(start("-c", SCRIPT, tmp_path, backend="jax")).strip() == "worked without TensorFlow"
