"""The evaluation sets of ImageNet from prepared data of TensorFlow Datasets."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from keras_deit import InputError
from keras_deit.data import load_imagenet_sets
from keras_deit.models.imagenet import imagenet_synsets

CLASS = tfds.features.ClassLabel(names=list(imagenet_synsets()))
IMAGE = tfds.features.Image(encoding_format="jpeg")


def prepare(data_dir, dataset_name, split, features, values, config=None):
    """Writes six images as TFDS prepares the dataset of that name."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = dataset_name
        VERSION = tfds.builder_cls(dataset_name).VERSION
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            spec = {"image": IMAGE, "file_name": tfds.features.Text(), **features}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(spec))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples()}

        def _generate_examples(self):
            for index in range(6):
                name = f"ILSVRC2012_val_{index + 1:08}.JPEG"
                pixels = np.full((8, 9, 3), 20 * index, np.uint8)
                yield index, {"image": pixels, "file_name": name, **values(index)}

    Builder(data_dir=data_dir, file_format="array_record").download_and_prepare()


def by_brightness(values, source):
    """Returns values in the order in which the images were written."""
    order = np.argsort([source[index][0].mean() for index in range(len(source))])
    return [values[index] for index in order]


def labels(source):
    return by_brightness([source[index][1] for index in range(len(source))], source)


def test_prepared_data_is_used(tmp_path):
    folder = str(tmp_path)
    with pytest.raises(InputError, match=r"has none of imagenet2012, imagenet2012_real"):
        load_imagenet_sets(data_dir=folder)
    prepare(
        *(folder, "imagenet_v2", "test", {"label": CLASS}, lambda index: {"label": 999 - index}),
        config="matched-frequency",
    )
    found = load_imagenet_sets(data_dir=folder)
    assert list(found) == ["v2"] and labels(found["v2"].source) == [999, 998, 997, 996, 995, 994]
    prepare(folder, "imagenet2012", "validation", {"label": CLASS}, lambda index: {"label": index})
    val = load_imagenet_sets(data_dir=folder)["val"]
    assert labels(val.source) == [0, 1, 2, 3, 4, 5] and val.real is None
    # ReaL's own labels, by the numbers in the names.
    file = tmp_path / "real.json"
    file.write_text(json.dumps([[index, 9] for index in range(6)]))
    val = load_imagenet_sets(data_dir=folder, real=str(file))["val"]
    assert by_brightness(val.real, val.source) == [{index, 9} for index in range(6)]
    real = {"original_label": CLASS, "real_label": tfds.features.Sequence(CLASS)}
    prepare(
        *(folder, "imagenet2012_real", "validation", real),
        lambda index: {"original_label": index, "real_label": [7, 8][: index % 3]},
    )
    val = load_imagenet_sets(data_dir=folder)["val"]
    assert labels(val.source) == [0, 1, 2, 3, 4, 5]
    assert by_brightness(val.real, val.source) == [set(), {7}, {7, 8}] * 2
