"""ResNet strikes back's A1, A2 and A3 train a convnet teacher as published."""

import json

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import InputError, train
from keras_deit.core.abstract import build_abstract
from keras_deit.core.image_format import ImageFormat
from keras_deit.data.pipeline import train_pipeline
from keras_deit.data.source import ArraySource
from keras_deit.losses import BinaryLabelCrossentropy
from keras_deit.models.macs import count_macs
from keras_deit.objectives import TrainingModel
from keras_deit.optimizers import build_optimizer
from keras_deit.recipes import CONVNET_RECIPES
from keras_deit.teachers import build_teacher_model, load_teacher_model, resnet
from keras_deit.training import train_teacher
from keras_deit.training.steps import count_steps

# Epochs, learning rate, weight decay, Mixup's α, smoothing of the targets, stochastic depth,
# repetitions, RandAugment's magnitude, side of the training images, top-1 of ResNet-50.
PUBLISHED = {
    "resnet_a1": (600, 5e-3, 0.01, 0.2, 0.1, 0.05, 3, 7, 224, 80.38),
    "resnet_a2": (300, 5e-3, 0.02, 0.1, 0.0, 0.05, 3, 7, 224, 79.83),
    "resnet_a3": (100, 8e-3, 0.02, 0.1, 0.0, 0.0, 1, 6, 160, 78.05),
}
# 1,281,167 · epochs / 2,048, with the part of a batch that is left over in each epoch.
STEPS = {"resnet_a1": 375_342, "resnet_a2": 187_671, "resnet_a3": 62_557}
# Parameters as torchvision counts them, and multiply-adds in millions.
RESNETS = {
    "resnet18": (11_689_512, 1814),
    "resnet34": (21_797_672, 3664),
    "resnet50": (25_557_032, 4089),
    "resnet101": (44_549_160, 7801),
    "resnet152": (60_192_808, 11_514),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_values(name):
    recipe = CONVNET_RECIPES[name]
    training = recipe.training
    optimization, augmentation = training.optimization, training.augmentation
    magnitude = augmentation.auto_augment.removeprefix("rand-m").removesuffix("-mstd0.5-inc1")
    found = (
        *(optimization.epochs, optimization.peak_learning_rate, optimization.weight_decay),
        *(augmentation.mixup_alpha, training.target_smoothing, training.drop_path_rate),
        *(augmentation.repeated_augmentation, int(magnitude)),
        training.train_image_size or recipe.image_size,
    )
    assert found == PUBLISHED[name][:-1]
    assert f"ResNet-50 {PUBLISHED[name][-1]:.2f}" in recipe.expected
    assert (recipe.image_size, recipe.crop_ratio) == (224, 0.95)
    assert (optimization.optimizer, optimization.gradient_clip) == ("lamb", 1.0)
    assert (optimization.batch_size, optimization.warmup_epochs) == (2048, 5)
    assert optimization.min_learning_rate == 1e-6
    assert training.loss == "binary_cross_entropy" and augmentation.label_smoothing == 0
    assert (augmentation.cutmix_alpha, augmentation.mix_probability) == (1.0, 1.0)
    assert augmentation.erase_probability == augmentation.color_jitter == 0
    assert augmentation.crop == "random_resized_crop" and augmentation.flip_probability == 0.5


@pytest.mark.parametrize("name", STEPS)
def test_steps_on_imagenet(name):
    recipe = CONVNET_RECIPES[name].training
    optimization, steps = count_steps(recipe.optimization, "imagenet2012", 1_281_167, 1)
    assert STEPS[name] == round(1_281_167 * optimization.epochs / 2048)
    # Each epoch leaves out less than one batch.
    assert 0 <= STEPS[name] - optimization.epochs * steps < optimization.epochs


@pytest.mark.parametrize("name", RESNETS)
def test_parameters_and_multiply_adds(name):
    model, _ = build_abstract(lambda: build_teacher_model(f"keras_deit:{name}", 1000, 224, 224))
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert (parameters, round(count_macs(model) / 1e6)) == RESNETS[name]


def test_a_mixed_image_has_at_most_two_classes_and_zero_logits_cost_ln_2_for_each():
    images = np.zeros((16, 8, 8, 3), "uint8")
    source = ArraySource(images, np.arange(16) % 10)
    loss = BinaryLabelCrossentropy()
    ones = set()
    for name in PUBLISHED:
        augmentation = CONVNET_RECIPES[name].training.augmentation
        batches = train_pipeline(source, ImageFormat(8, 8), augmentation, 10, 16, seed=0, stop=3)
        for _, targets in batches:
            ones |= set((targets > 0).sum(1).tolist())
            value = float(loss(targets, np.zeros((16, 10), "float32")))
            assert value == pytest.approx(np.log(2), rel=1e-6)
    assert ones == {1, 2}


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_the_targets_of_a1_are_smoothed_after_every_class_is_a_target():
    targets = np.array([[0.3, 0.7, 0, 0], [0, 0, 1, 0]], "float32")
    logits = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    hot = np.where(targets > 0, 0.9 + 0.025, 0.025)
    probability = 1 / (1 + np.exp(-logits.astype("float64")))
    expected = -(hot * np.log(probability) + (1 - hot) * np.log(1 - probability)).mean()
    loss = BinaryLabelCrossentropy(label_smoothing=0.1)
    again = BinaryLabelCrossentropy.from_config(loss.get_config())
    assert float(again(targets, logits)) == pytest.approx(expected, rel=1e-5)
    assert float(BinaryLabelCrossentropy()(targets, logits)) != pytest.approx(expected, rel=1e-3)


@pytest.fixture
def tiny(monkeypatch):
    """The name of a ResNet of two blocks."""
    monkeypatch.setitem(resnet._RESNETS, "resnet_tiny", ((1, 1), True))
    return "keras_deit:resnet_tiny"


def test_kernels_decay_and_vectors_do_not(tiny):
    model, _ = build_teacher_model(tiny, 10, 16, 16, drop_path_rate=0.05)
    training_model = TrainingModel(model, CONVNET_RECIPES["resnet_a2"].training.objective())
    optimizer = build_optimizer(
        training_model, CONVNET_RECIPES["resnet_a2"].training.optimization, 9
    )
    vectors = {v.path for v in model.trainable_variables if len(v.shape) < 2}
    assert set(optimizer.no_weight_decay) == vectors and len(vectors) == 19
    assert optimizer.epsilon == 1e-6


def test_stochastic_depth_grows_linearly_and_the_branches_start_at_zero(tiny):
    model, _ = build_teacher_model("keras_deit:resnet18", 10, 32, 32, drop_path_rate=0.07)
    rates = [x.rate for x in model.layers if x.name.endswith("drop_path")]
    np.testing.assert_allclose(rates, np.arange(1, 8) * 0.01)
    model, _ = build_teacher_model(tiny, 10, 16, 16)
    last = [x for x in model.layers if x.name.endswith("block1_3_norm")]
    assert len(last) == 2 and all(not numpy(x.gamma).any() for x in last)


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_a_convolution_pads_as_pytorch_does(tiny):
    """A stride of 2 starts at the first pixel, not at the second one as with Keras's "same"."""
    model, _ = build_teacher_model(tiny, 10, 16, 16)
    stem = keras.Model(model.input, model.get_layer("stem_conv").output)
    image = np.zeros((1, 16, 16, 3), "float32")
    image[0, 0, 0] = 1
    kernel = numpy(model.get_layer("stem_conv").kernel)
    expected = np.zeros((8, 8, 64), "float32")
    for row in range(2):
        for column in range(2):
            expected[row, column] = kernel[3 - 2 * row, 3 - 2 * column].sum(0)
    np.testing.assert_allclose(numpy(stem(image))[0], expected, atol=1e-5)


@pytest.mark.backends("tensorflow", "torch")
def test_a3_trains_on_small_images_and_is_used_on_larger_ones(tiny, tmp_path):
    file = tmp_path / "teacher.keras"
    values = {"image_size": 24, "train_image_size": 16, "batch_size": 60, "warmup_steps": 1}
    scores = train_teacher(
        teacher=tiny, recipe="resnet_a3", output=str(file), dataset="digits", steps=8, **values
    )
    model, contract = load_teacher_model(file)
    assert model.input_shape == (None, 24, 24, 3) and contract.image_format == ImageFormat(24, 24)
    record = json.loads(file.with_suffix(".json").read_text())
    assert record["top1"] == scores and set(scores) == {"validation", "test"}
    assert record["recipe"]["train_image_size"] == 16
    assert record["recipe"]["loss"] == "binary_cross_entropy"
    norm = model.get_layer("stem_norm")
    assert norm.momentum == 0.9 and numpy(norm.moving_mean).any()
    # The branches, which start at zero, have been trained.
    assert numpy(model.get_layer("stage1_block1_3_norm").gamma).any()


def test_what_a_teacher_cannot_do_is_one_line(tmp_path):
    output = str(tmp_path / "teacher.keras")
    with pytest.raises(
        InputError, match=r"ResNet50 has no stochastic depth: .*keras_deit:resnet50"
    ):
        train_teacher(teacher="applications:ResNet50", recipe="resnet_a1", output=output)
    with pytest.raises(InputError, match=r"'resnet_a1' trains a convnet.*train-teacher --recipe"):
        train(recipe="resnet_a1")
    with pytest.raises(InputError, match=r"takes images of one size, .*train_image_size"):
        values = {"recipe": "resnet_a3", "steps": 1, "batch_size": 10, "warmup_steps": 0}
        values |= {"image_size": 32, "train_image_size": 16, "dataset": "digits"}
        train_teacher(teacher="deit_tiny_patch16_224", output=output, **values)
    with pytest.raises(InputError, match="has no weights"):
        build_teacher_model("keras_deit:resnet50", 10, 32, 32, weights="imagenet")
    with pytest.raises(InputError, match="label_smoothing 0"):
        values = {"recipe": "resnet_a2", "label_smoothing": 0.1}
        train_teacher(teacher="keras_deit:resnet50", output=output, **values)
