"""The data sets for Keras's `fit` and `evaluate`: the batches of the trainer, bit for bit."""

import zlib

import cv2
import keras
import numpy as np
import pytest

from keras_deit import Distiller, InputError, Supervised, create_model
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import evaluation_dataset, load_dataset, train_dataset
from keras_deit.data.batch_datasets import TrainBatchDataset
from keras_deit.objectives import TrainingModel
from keras_deit.objectives.scoring import score_student
from keras_deit.recipes import get_recipe
from keras_deit.training import input_pipeline, train_job

SIZES = {"patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2}
PLAIN_DATA = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "label_smoothing": 0.0}
on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")


def small(name="deit_tiny_patch16_224", num_classes=10, image_size=16):
    return create_model(name, num_classes=num_classes, image_size=image_size, **SIZES)


def checksum(batch):
    return zlib.crc32(batch[0].tobytes()), zlib.crc32(batch[1].tobytes())


@pytest.fixture
def asked_for(monkeypatch):
    """The batches that Keras gets, in the order in which it does."""
    batches, original = [], TrainBatchDataset.__getitem__

    def recorded(self, index):
        batch = original(self, index)
        batches.append(checksum(batch))
        return batch

    monkeypatch.setattr(TrainBatchDataset, "__getitem__", recorded)
    return batches


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of 20 photos each."""
    path, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        (path / name).mkdir()
        for number in range(20):
            pixels = rng.integers(255, size=(24, 30, 3), dtype=np.uint8)
            cv2.imwrite(str(path / name / f"{number}.png"), pixels)
    return f"folder:{path}"


@on_all_backends
def test_fit_takes_the_batches_in_the_order_of_the_trainer(asked_for):
    """Also with Keras's `shuffle`, which is on by default, and over several calls of `fit`."""
    stream = [checksum(batch) for _, batch in zip(range(9), train_batches(), strict=False)]
    model = small()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    data = train_dataset("digits", model=model, batch_size=400, seed=5)
    checks = evaluation_dataset("digits", model=model, batch_size=70)
    assert (len(data), len(checks)) == (3, 3) and data.class_names == tuple("0123456789")
    history = model.fit(data, epochs=2, validation_data=checks, verbose=0).history
    assert asked_for[-6:] == stream[:6] and len(set(stream)) == 9
    assert np.isfinite(history["loss"]).all() and len(history["val_accuracy"]) == 2
    model.fit(data, verbose=0)
    assert asked_for[-3:] == stream[6:] and data.epoch == 3
    found = model.evaluate(checks, return_dict=True, verbose=0)["accuracy"]
    scores = score_student(model, None, evaluation_batches(model), 3, "scores")
    assert round(found, 6) == scores["fused"]["top1"] and checks[0][1].shape == (70, 10)


def evaluation_batches(model):
    """Returns the batches of the validation of the trainer."""
    pipeline = input_pipeline.InputPipeline(model.image_format, 10, 1.0, "bilinear")
    return pipeline.evaluation_batches(load_dataset("digits").validation, 70)


def train_batches():
    """Yields the batches of the trainer with the seed 5."""
    recipe, data = get_recipe("digits"), load_dataset("digits")
    pipeline = input_pipeline.InputPipeline(small().image_format, 10, 1.0, "bilinear")
    optimization = recipe.optimization.__class__(batch_size=400)
    return pipeline.train_batches(data.train, recipe.augmentation, optimization, seed=5)(0)


def test_a_training_by_the_command_gets_the_same_batches(tiny_job, tmp_path, eager, monkeypatch):
    fed, original = [], input_pipeline.train_pipeline

    def recorded(*arguments, **options):
        for batch in original(*arguments, **options):
            fed.append(checksum(batch))
            yield batch

    monkeypatch.setattr(input_pipeline, "train_pipeline", recorded)
    job = tiny_job({"epochs": 2, "warmup_epochs": 0}, {"seed": 3}, objective=Supervised())
    run = train_job(job, str(tmp_path), print_fn=lambda line: None)
    data = train_dataset("digits", model=run.model(), batch_size=400, seed=3)
    assert [checksum(batch) for _ in range(2) for batch in data] == fed[:6]


@on_all_backends
def test_a_distiller_and_its_evaluation():
    student = small("deit_tiny_distilled_patch16_224")
    distiller = Distiller(student, small(), kind="soft")
    distiller.compile("adam")
    data = train_dataset("digits", model=distiller, batch_size=400)
    checks = evaluation_dataset("digits", model=distiller, batch_size=90)
    assert checks[0][1].dtype == np.int32
    history = distiller.fit(data, validation_data=checks, verbose=0).history
    assert np.isfinite(history["distillation_loss"]).all()
    found = distiller.evaluate(checks, return_dict=True, verbose=0)
    assert found["accuracy"] == history["val_accuracy"][-1]
    if keras.backend.backend() == "tensorflow":
        by_rows = evaluation_dataset("digits", model=student, batch_size=90)
        expected = distiller.evaluate(by_rows, return_dict=True, verbose=0)
        assert found == pytest.approx(expected, rel=1e-5)


def test_a_training_model_whose_objective_wants_views_and_indices():
    class Views(Supervised):
        views = 2
        uses_index = True

    data = train_dataset("digits", model=TrainingModel(small(), Views()), batch_size=100)
    images, targets = data[0]
    assert images.shape == (100, 2, 16, 16, 3)
    assert targets["labels"].shape == (100, 10) and targets["index"].shape == (100,)


def test_other_epochs_and_seeds_are_other_batches_and_the_same_again():
    first, second = (train_dataset("digits", model=small(), batch_size=500) for _ in range(2))
    assert len(first) == 2 and len(list(first)) == 2 and first.epoch == 1
    again = [checksum(batch) for batch in first]
    assert first.epoch == 2
    second.epoch = 1
    assert [checksum(second[1]), checksum(second[0])] == again[::-1]
    other = train_dataset("digits", model=small(), batch_size=500, seed=1, workers=1)
    other.epoch = 1
    assert checksum(other[0]) != again[0]
    with pytest.raises(IndexError, match="0 to 1"):
        other[2]


@on_all_backends
def test_steps_per_epoch_go_on_in_the_epoch_and_a_break_repeats_it(asked_for):
    model = small()
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    data = train_dataset("digits", model=model, batch_size=200)
    stream = [checksum(batch) for batch in data]
    data.epoch = 0
    model.fit(data, epochs=3, steps_per_epoch=2, verbose=0)
    assert asked_for[-6:] == stream and len(set(stream)) == 6 and data.epoch == 1
    data.epoch = 0
    model.fit(data, steps_per_epoch=2, verbose=0)
    assert data.epoch == 0
    model.fit(data, verbose=0)
    assert asked_for[-6:] == stream and data.epoch == 1


def test_a_folder_with_the_recipe_and_the_normalization_of_the_model(folder):
    model = small(num_classes=2, image_size=(16, 24))
    model.set_normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    data = train_dataset(folder, recipe="deit", model=model, batch_size=12)
    assert len(data) == 28 // 12 and data.class_names == ("cat", "dog")
    images, labels = data[0]
    assert images.shape == (12, 16, 24, 3) and images.dtype == np.float32
    assert labels.shape == (12, 2) and labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert len(np.unique(labels)) > 2
    [(images, labels)] = evaluation_dataset(folder, "deit", model, split="test")
    assert images.shape == (8, 16, 24, 3) and labels.tolist() == [[1, 0]] * 4 + [[0, 1]] * 4
    usual = ImageFormat(16, 24)
    mean, std = np.array(usual.mean, "float32"), np.array(usual.std, "float32")
    [(others, _)] = evaluation_dataset(folder, "deit", usual, split="test", crop_ratio=0.875)
    np.testing.assert_allclose(others * std + mean, images / 4 + 0.5, atol=1e-6)


def test_integers_for_a_sparse_loss_of_a_recipe_without_mixing():
    model = small()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = train_dataset("digits", model=model, batch_size=300, **PLAIN_DATA)
    rows = train_dataset("digits", model=small(), batch_size=300, **PLAIN_DATA)
    assert data[0][1].shape == (300,) and np.issubdtype(data[0][1].dtype, np.integer)
    np.testing.assert_array_equal(data[1][1], rows[1][1].argmax(-1))
    np.testing.assert_array_equal(data[1][0], rows[1][0])
    checks = evaluation_dataset("digits", model=model)
    assert checks[0][1].shape == (64,)
    model.fit(data, validation_data=checks, verbose=0)
    with pytest.raises(InputError, match=r"no integers \(.*label_smoothing.*Categorical"):
        train_dataset("digits", model=model)


def test_values_of_a_recipe_and_balanced_classes(folder):
    recipe = get_recipe("deit")
    data = load_dataset(folder)
    found = train_dataset(data, recipe, "deit_tiny_patch16_224", 8, **PLAIN_DATA)
    assert found.image_format.height == 224 and set(np.unique(found[0][1])) == {0.0, 1.0}
    balanced = train_dataset(
        *(data, recipe, ImageFormat(8, 8), 28),
        **{"sampling": "balanced", "repeated_augmentation": 1, **PLAIN_DATA},
    )
    assert balanced[0][1].sum(axis=0).tolist() == [14, 14]


def test_unreadable_images_are_skipped_and_do_not_count(folder, tmp_path):
    for name in ("cat", "dog"):
        for number in range(20):
            (tmp_path / name).mkdir(exist_ok=True)
            pixels = np.full((8, 8, 3), number, np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{number:02d}.png"), pixels)
    split = load_dataset(f"folder:{tmp_path}").test
    model = small(num_classes=2)
    checks = evaluation_dataset(f"folder:{tmp_path}", "deit", model, split="test")
    assert len(checks[0]) == 2 and len(checks[0][0]) == len(split)
    for path in tmp_path.rglob("0*.png"):
        path.write_bytes(path.read_bytes()[:60])
    name = f"folder:{tmp_path}"
    with pytest.raises(InputError):
        evaluation_dataset(name, "deit", model, split="test")
    skipping = evaluation_dataset(name, "deit", model, split="test", on_bad_image="skip")
    images, labels, weights = skipping[0]
    assert len(images) == len(labels) == len(weights) == 64
    assert 0 < np.count_nonzero(weights) < len(split)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "digit"}, "recipe 'digit'.*digits"),
        ({"model": "deit_tiny_patch16_22"}, "model 'deit_tiny_patch16_22'.*224"),
        ({"model": {"num_classes": 7}}, "has 7 classes and digits has 10"),
        ({"model": {"num_classes": 10, "in_channels": 1}}, "3 channels"),
        ({"model": keras.Sequential(name="own")}, "own does not say"),
        ({"batch_size": 2000}, "from 1 to 1257"),
        ({"split": "training"}, "split of digits 'training'.*train"),
        ({"mixup": 0.0}, "option 'mixup'.*mixup_alpha"),
        ({"mixup_alpha": "a"}, "mixup_alpha should be of the type float"),
        ({"label_mode": "binary"}, "label_mode 'binary'.*categorical"),
        ({"label_mode": "int"}, "no integers"),
        ({"seed": -1}, "seed should be 0"),
        ({"dataset": "folder:/nowhere"}, "/nowhere"),
        ({"on_bad_image": "ignore"}, "ignore"),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    if isinstance(arguments.get("model"), dict):
        values = {"image_size": 16, **SIZES, **arguments["model"]}
        arguments = {"model": create_model("deit_tiny_patch16_224", **values)}
    with pytest.raises(InputError, match=message) as error:
        train_dataset(**{"dataset": "digits", "recipe": "digits", **arguments})
    assert "\n" not in str(error.value)


def test_an_empty_folder_is_one_line(tmp_path):
    for function in (train_dataset, evaluation_dataset):
        with pytest.raises(InputError, match=str(tmp_path)) as error:
            function(f"folder:{tmp_path}", model=small())
        assert "\n" not in str(error.value)
