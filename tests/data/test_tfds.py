"""TFDS datasets: mocked without a network, and array_record files that are written here."""

import socket
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from processes import end, start

from keras_deit.core.errors import InputError
from keras_deit.data.datasets import DatasetSize, dataset_size, load_dataset, take_examples
from keras_deit.data.tfds_downloads import why_not_downloadable
from keras_deit.data.tfds_source import choose_splits

LABELS = tfds.features.ClassLabel(names=["ant", "bee", "cat"])
PHOTOS = {"image": tfds.features.Image(shape=(None, None, 3)), "label": LABELS}


def example(index):
    """Returns an example whose pixels and size depend on its index."""
    image = np.full((4 + index % 3, 5, 3), (index % 256, index // 256, 7), np.uint8)
    return {"image": image, "label": index % 3}


def prepare(
    data_dir, dataset_name, splits, features=None, make=example, file_format="array_record"
):
    """Writes a dataset to `data_dir`, as TFDS prepares it."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = dataset_name
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            spec = tfds.features.FeaturesDict(features or PHOTOS)
            return tfds.core.DatasetInfo(builder=self, features=spec)

        def _split_generators(self, dl_manager):
            starts = np.cumsum([0, *splits.values()])
            return {
                split: self._generate_examples(start, count)
                for (split, count), start in zip(splits.items(), starts, strict=False)
            }

        def _generate_examples(self, start, count):
            for index in range(start, start + count):
                yield index, make(index)

    Builder(data_dir=data_dir, file_format=file_format).download_and_prepare()


def indices(source):
    """Returns the indices of the examples, which their pixels contain."""
    return [
        int(source[i][0][0, 0, 0]) + 256 * int(source[i][0][0, 0, 1]) for i in range(len(source))
    ]


@pytest.fixture
def mocked(monkeypatch):
    """Lets TFDS's mocked data be prepared without a network."""
    monkeypatch.setattr("keras_deit.data.tfds_downloads.why_unreachable", lambda url: "")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("name", "shape", "num_classes"),
    [
        ("cifar10", (32, 32, 3), 10),
        ("cifar100", (32, 32, 3), 100),
        ("mnist", (28, 28, 3), 10),
        ("imagenet2012", None, 1000),
    ],
)
def test_mocked_datasets_need_no_network(name, shape, num_classes, no_network, mocked):
    with tfds.testing.mock_data(num_examples=40):
        dataset = load_dataset(name)
    assert dataset.num_classes == num_classes == len(set(dataset.class_names))
    for source in (dataset.train, dataset.validation, dataset.test):
        image, label = source[3]
        assert image.dtype == np.uint8 and image.shape[2] == 3
        assert shape in (None, image.shape)
        assert type(label) is int and 0 <= label < num_classes
        if name == "mnist":
            np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_files_prepared_on_disk(tmp_path):
    prepare(tmp_path, "tiny_photos", {"train": 30, "validation": 6, "test": 9})
    dataset = load_dataset("tiny_photos", str(tmp_path))
    assert dataset.class_names == ("ant", "bee", "cat")
    assert sorted(indices(dataset.train)) == list(range(30))
    assert sorted(indices(dataset.validation)) == list(range(30, 36))
    assert sorted(indices(dataset.test)) == list(range(36, 45))
    groups = {"ant": "insect", "bee": "insect", "cat": "mammal"}
    size = dataset_size("tiny_photos", str(tmp_path), coarse=groups)
    assert size == DatasetSize("tiny_photos", 2, 30)
    with pytest.raises(InputError, match="no coarse class for cat"):
        dataset_size("tiny_photos", str(tmp_path), coarse={"ant": "a", "bee": "b"})
    for i in range(9):
        image, label = dataset.test[i]
        expected = example(int(image[0, 0, 0]))
        np.testing.assert_array_equal(image, expected["image"])
        assert label == expected["label"]


def test_missing_splits_are_held_out_of_train_and_stay_the_same(tmp_path):
    prepare(tmp_path, "tiny_without_validation", {"train": 45, "test": 6})
    prepare(tmp_path, "tiny_only_train", {"train": 45})
    for name, sizes in (("tiny_without_validation", (40, 5, 6)), ("tiny_only_train", (31, 5, 9))):
        dataset = load_dataset(name, str(tmp_path))
        found = [indices(s) for s in (dataset.train, dataset.validation, dataset.test)]
        assert tuple(map(len, found)) == sizes
        assert dataset_size(name, str(tmp_path)) == DatasetSize(name, 3, sizes[0])
        assert sorted(index for part in found for index in part) == list(range(sum(sizes)))
        again = load_dataset(name, str(tmp_path))
        assert [indices(s) for s in (again.train, again.validation, again.test)] == found
        assert len(take_examples(dataset.train, 7)) == 7


def test_the_size_of_unprepared_data_is_unknown(tmp_path, no_network):
    with pytest.raises(InputError, match=r"'cifar10' .*--plan_examples"):
        dataset_size("cifar10", str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_at_most_10000_examples_are_held_out_for_validation(mocked):
    with tfds.testing.mock_data(num_examples=200_000):
        dataset = load_dataset("imagenet2012")
    assert (len(dataset.train), len(dataset.validation)) == (190_000, 10_000)


@pytest.mark.parametrize(
    ("name", "available", "validation", "test"),
    [
        ("cifar10", ["train", "test"], None, "test"),
        ("oxford_flowers102", ["train", "validation", "test"], "validation", "test"),
        ("imagenet2012", ["train", "validation", "test"], None, "validation"),
        ("imagenette", ["train", "validation"], None, "validation"),
        ("i_naturalist2021", ["mini", "train", "val", "test"], "val", "test"),
        ("eurosat", ["train"], None, None),
    ],
)
def test_the_published_splits_are_chosen(name, available, validation, test):
    expected = {"train": "train", "validation": validation, "test": test}
    assert choose_splits(name, available) == expected


def test_data_to_evaluate_on_need_no_split_train():
    assert choose_splits("imagenet_v2", ["test"], True) == {
        "train": None,
        "validation": None,
        "test": "test",
    }
    for values in (("imagenet_v2", ["test"]), ("imagenet2012", ["test"], True)):
        with pytest.raises(InputError, match="no split 'train', only: test"):
            choose_splits(*values)


def test_the_place_of_prepared_data_can_be_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    prepare(tmp_path / "prepared", "photos", {"train": 60, "test": 6})
    assert len(load_dataset("photos", "~/prepared").test) == 6


def assert_rejected(name, data_dir, *parts):
    with pytest.raises(InputError) as caught:
        load_dataset(name, str(data_dir))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_unprepared_data_without_a_network_is_rejected(tmp_path, no_network):
    # Of an earlier dataset.
    (tmp_path / "downloads" / "extracted").mkdir(parents=True)
    (tmp_path / "downloads" / "other.tar.gz").touch()
    start = time.monotonic()
    assert_rejected(
        "cifar10",
        tmp_path,
        f"'cifar10' is not prepared in {tmp_path}",
        f"tfds build cifar10 --data_dir={tmp_path} --file_format=array_record",
    )
    assert_rejected("huggingface:mnist", tmp_path, "'huggingface:mnist': huggingface.co")
    # TFDS itself tries for minutes.
    assert time.monotonic() - start < 10


def test_what_was_downloaded_needs_no_network(tmp_path, no_network):
    builder = tfds.builder("cifar10", data_dir=tmp_path, file_format="array_record")
    assert why_not_downloadable(builder).startswith("www.cs.toronto.edu: ")
    (url, info), *others = builder.url_infos.items()
    assert not others
    name = tfds.core.download.resource.get_dl_fname(url, info.checksum)
    for folder, file in (("downloads/cifar10", name), ("downloads/manual", info.filename)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / file).touch()
        assert why_not_downloadable(builder) == ""
        (tmp_path / folder / file).unlink()


def test_files_of_another_configuration_may_be_missing(tmp_path, no_network):
    builder = tfds.builder("imagenet_v2", data_dir=tmp_path, file_format="array_record")
    assert why_not_downloadable(builder)
    url, info = next(iter(builder.url_infos.items()))
    (tmp_path / "downloads").mkdir()
    name = tfds.core.download.resource.get_dl_fname(url, info.checksum)
    (tmp_path / "downloads" / name).touch()
    assert len(builder.url_infos) > 1 and why_not_downloadable(builder) == ""


def test_a_name_with_an_argument_is_no_path(tmp_path):
    with pytest.raises(InputError) as caught:
        load_dataset("cifar10/plain:1.0.0/depth=3", str(tmp_path))
    assert "folder 'cifar10" not in str(caught.value)


@pytest.mark.parametrize("name", ["cifar10:9.9.9", "cifar10/none", ""])
def test_names_that_tfds_cannot_open_are_rejected(name, tmp_path):
    assert_rejected(name, tmp_path, f"dataset '{name}'")


@pytest.mark.parametrize(
    "name", ["./photo", "../cifar10", "/x/y", "~/z", "~", "d/god", "d/god/", "a/b/c", "D/cifar10"]
)
def test_a_path_that_does_not_exist_is_a_missing_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert_rejected(name, tmp_path, f"folder {name!r} does not exist", "folder:PATH")
    with pytest.raises(InputError, match="folder:PATH"):
        dataset_size(name, str(tmp_path))


def test_a_file_is_no_dataset(tmp_path):
    (tmp_path / "photos.zip").touch()
    assert_rejected(
        f"{tmp_path}/photos.zip", tmp_path, "photos.zip' is not a dataset", "folder:PATH"
    )
    assert_rejected("photo", tmp_path, "dataset 'photo'", "Close names: ", "folder:PATH")


def test_a_misspelled_name_with_a_configuration_is_no_path(tmp_path):
    assert_rejected("wmt14_translat/de-en", tmp_path, "Close names: wmt14_translate", "folder:PATH")


def test_a_dataset_without_train_is_rejected(tmp_path):
    prepare(tmp_path, "tiny_test_only", {"test": 5})
    assert_rejected("tiny_test_only", tmp_path, "'train', only: test")


def test_a_dataset_for_another_task_is_rejected(tmp_path):
    features = {"image": PHOTOS["image"], "age": tfds.features.Scalar(np.int64)}

    def make(index):
        return {"image": example(index)["image"], "age": index}

    prepare(tmp_path, "tiny_ages", {"train": 5}, features, make)
    assert_rejected("tiny_ages", tmp_path, "age, image")


def test_a_test_split_without_labels_is_rejected(tmp_path):
    def make(index):
        return {**example(index), "label": index % 3 if index < 12 else -1}

    prepare(tmp_path, "tiny_unlabeled", {"train": 12, "test": 5}, make=make)
    assert_rejected("tiny_unlabeled", tmp_path, "'test'", "labels")


def test_a_format_without_random_access_is_rejected(tmp_path):
    prepare(tmp_path, "tiny_records", {"train": 5}, file_format="tfrecord")
    assert_rejected("tiny_records", tmp_path, "array_record")


@pytest.mark.slow
def test_reading_prepared_data_does_not_import_tensorflow(tmp_path):
    prepare(tmp_path, "tiny_photos", {"train": 30, "validation": 6, "test": 9})
    program = (
        "import sys\n"
        "from keras_deit.data.datasets import load_dataset\n"
        f"dataset = load_dataset('tiny_photos', {str(tmp_path)!r})\n"
        "print(dataset.train[0][0].shape, 'tensorflow' in sys.modules)\n"
    )
    assert end(start("-c", program, backend="jax")).strip().endswith("5, 3) False")


@pytest.mark.parametrize("legacy", [False, True])
def test_prepared_data_runs_no_code_of_its_own(legacy, tmp_path, monkeypatch):
    prepare(tmp_path, "tiny_photos", {"train": 30, "validation": 6, "test": 9})
    (tmp_path / "harmful_module.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(tmp_path)
    (features,) = tmp_path.glob("tiny_photos/*/features.json")
    harmful = '{"type": "harmful_module.Image", "content": {}}'
    if not legacy:
        harmful = features.read_text().replace(
            "tensorflow_datasets.core.features.image_feature.Image", "harmful_module.Image"
        )
        assert "harmful" in harmful
    features.write_text(harmful)
    for name in ("tiny_photos", "TinyPhotos", "tiny_photos:1.0.0"):
        with pytest.raises(InputError, match=r"harmful_module\.Image"):
            load_dataset(name, str(tmp_path))
    features.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"features\.json cannot be read"):
        load_dataset("tiny_photos", str(tmp_path))
