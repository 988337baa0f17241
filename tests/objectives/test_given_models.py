"""Images in 0-255, and copies that have lost their heads."""

import pickle
import warnings

import keras
import numpy as np
import pytest
from harness import Case, configuration, numpy

from keras_deit import Distiller, InputError, Supervised
from keras_deit.models import DeiT

SIZES = {"image_size": (12, 8), "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2}
DISTILLED = Case(DeiT, {**SIZES, "distilled": True, "num_classes": 5}, (3, 12, 8, 3), ())
PLAIN = Case(DeiT, {**SIZES, "num_classes": 5}, (3, 12, 8, 3), ())
RAW = np.random.default_rng(0).integers(0, 256, size=(4, 12, 8, 3)).astype("uint8")
LABELS = np.arange(4)


def compiled(model):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def distiller(student):
    distiller = Distiller(student, keras.models.clone_model(PLAIN.build()))
    distiller.compile("sgd")
    return distiller


def batches(images):
    yield images, LABELS


def dataset(images):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(2)


def loader(images):
    import torch

    return torch.utils.data.DataLoader(list(zip(images, LABELS, strict=True)), batch_size=2)


def grain_data(images):
    import grain

    return grain.MapDataset.source(list(zip(images, LABELS, strict=True))).batch(2)


USES = {
    "call": lambda model, x: model(x),
    "fit": lambda model, x: compiled(model).fit(x, LABELS, validation_data=(x, LABELS), verbose=0),
    "predict": lambda model, x: model.predict(x, verbose=0),
    "generator": lambda model, x: compiled(model).fit(batches(x), verbose=0),
    "tf.data": lambda model, x: compiled(model).fit(dataset(x), epochs=2, verbose=0),
    "DataLoader": lambda model, x: compiled(model).fit(loader(x), epochs=2, verbose=0),
    "Grain": lambda model, x: compiled(model).fit(grain_data(x), epochs=2, verbose=0),
    "heads": lambda model, x: model.heads.predict(x, verbose=0),
    "call of heads": lambda model, x: model.heads(x),
    "features": lambda model, x: model.feature_model().predict(x, verbose=0),
    "tokens": lambda model, x: model.token_model()(x),
    "attention": lambda model, x: model.attention_model()(x),
    "forward_features": lambda model, x: model.forward_features(x),
    "Distiller": lambda model, x: distiller(model).fit(x, LABELS, verbose=0),
}


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.nightly("jax")
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_images_in_0_255_are_warned_of_once_and_normalized_ones_never(use):
    with pytest.warns(UserWarning, match=r"image_format\.normalize") as caught:
        use(PLAIN.build(name="mine"), RAW)
    assert sum("normalize" in str(warning.message) for warning in caught) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*image_format.normalize.*")
        use(PLAIN.build(), PLAIN.build().image_format.normalize(RAW))


def test_a_loader_of_data_without_indices_is_trained_on():
    import torch

    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(zip(RAW, LABELS, strict=True))

    model = compiled(PLAIN.build())
    model.fit(torch.utils.data.DataLoader(Endless(), batch_size=2), verbose=0)
    assert model.optimizer.iterations.numpy() > 0


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_parts_of_a_model_are_saved_and_cloned_as_plain_models(tmp_path):
    model = DISTILLED.build()
    images = model.image_format.normalize(RAW)
    for part in (model.heads, model.feature_model()):
        plain = keras.Model(part.input, part.output, name=part.name)
        serialize = keras.saving.serialize_keras_object
        assert configuration(part) == configuration(plain)
        assert {**serialize(part), "config": 0} == {**serialize(plain), "config": 0}
        assert part.image_format == model.image_format
        part.save(tmp_path / "part.keras")
        copies = (keras.models.load_model(tmp_path / "part.keras"), keras.models.clone_model(part))
        copies[1].set_weights(part.get_weights())
        for copy in (*copies, pickle.loads(pickle.dumps(part))):
            found, expected = (
                keras.tree.flatten(x.predict(images, verbose=0)) for x in (copy, part)
            )
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_normalize_takes_arrays_and_tensors():
    image_format = PLAIN.build().image_format
    expected = (RAW / 255 - np.array(image_format.mean)) / np.array(image_format.std)
    for pixels in (RAW, keras.ops.convert_to_tensor(RAW)):
        normalized = image_format.normalize(pixels)
        np.testing.assert_allclose(numpy(normalized), expected, rtol=0, atol=1e-5)


def test_a_clone_that_has_lost_its_heads_is_refused():
    clone = keras.models.clone_model(DISTILLED.build())
    with pytest.raises(InputError, match=r"mean of 2 heads .*clone_model.*from_config"):
        Supervised().build(clone)
    with pytest.raises(InputError, match=r"mean of 2 heads .*clone_model.*from_config"):
        Distiller(clone, PLAIN.build())
    copy = DISTILLED.build()
    copy = type(copy).from_config(copy.get_config())
    assert list(Distiller(copy, PLAIN.build()).objective.heads.output) == ["class", "distillation"]


def test_a_model_around_the_heads_is_said_to_hide_them():
    student = DISTILLED.build()
    images = keras.Input(DISTILLED.input_shape[1:])
    around = keras.Model(images, student(keras.layers.GaussianNoise(0.1)(images)))
    message = rf"mean of the heads class, distillation of {student.name}"
    with pytest.warns(UserWarning, match=message):
        Distiller(around, PLAIN.build())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Distiller(student, PLAIN.build())
        Supervised().build(around)


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("call", ["fit", "evaluate", "predict"])
def test_an_error_of_a_generator_is_raised_as_it_is(call):
    model = compiled(PLAIN.build())
    images = model.image_format.normalize(RAW)

    def broken():
        yield (images, LABELS) if call != "predict" else (images,)
        raise InputError("Cannot read image a.jpg.")

    with pytest.raises(InputError, match=r"^Cannot read image a\.jpg\.$"):
        getattr(model, call)(broken(), verbose=0)
