"""Translation datasets of TFDS: mocked without a network, and array_record files written here."""

import pytest
import tensorflow_datasets as tfds

from keras_deit.core.errors import InputError
from keras_deit.data.tfds_pairs import load_tfds_pairs


def prepare(folder, features, make):
    """Writes a dataset to a folder, as TFDS prepares it."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "tiny_pairs"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {
                split: list(enumerate(make(split, number) for number in range(3)))
                for split in ("train", "validation", "test")
            }

        def _generate_examples(self):
            raise NotImplementedError

    Builder(data_dir=folder, file_format="array_record").download_and_prepare()


def test_wmt14_is_loaded_by_its_name(monkeypatch):
    monkeypatch.setattr("keras_deit.data.tfds_downloads.why_unreachable", lambda url: "")
    with tfds.testing.mock_data(num_examples=4):
        found = load_tfds_pairs("wmt14_translate/de-en")
    assert {*found} == {"train", "validation", "test"}
    assert all(isinstance(text, str) for pair in found["train"] for text in pair)


def test_pairs_have_the_languages_asked_for(tmp_path):
    features = tfds.features.Translation(languages=["de", "en"])
    prepare(tmp_path, features, lambda split, n: {"de": f"{split} Öl {n}", "en": f"oil {n}"})
    own = load_tfds_pairs("tiny_pairs", None, str(tmp_path))
    other = load_tfds_pairs("tiny_pairs", ("en", "de"), str(tmp_path))
    assert sorted(own["test"])[1] == ("test Öl 1", "oil 1")
    assert sorted(other["train"])[2] == ("oil 2", "train Öl 2")
    with pytest.raises(InputError, match=r"de and en.*en-fr"):
        load_tfds_pairs("tiny_pairs", ("en", "fr"), str(tmp_path))


def test_other_datasets_are_refused(tmp_path):
    features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    prepare(tmp_path, features, lambda split, n: {"text": "x"})
    with pytest.raises(InputError, match=r"not for translation.*text"):
        load_tfds_pairs("tiny_pairs", None, str(tmp_path))
