"""The layer that holds a teacher: logits, frozen weights, checks of what the contract declares."""

import json

import keras
import numpy as np
import pytest
from harness import numpy
from keras import layers, ops

from keras_deit import InputError
from keras_deit.core.image_format import IMAGENET_MEAN, IMAGENET_STD, ImageFormat
from keras_deit.teachers import Teacher, TeacherContract, pixel_format

STUDENT = ImageFormat(16, 16)
on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")


def pixels01(batch: int = 4, size: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, size, size, 3), dtype="float32")


def student_images(pixels: np.ndarray) -> np.ndarray:
    return ((pixels - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)).astype("float32")


def convnet(num_classes: int = 3, activation: str | None = None, size: int = 16) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same"),
            layers.BatchNormalization(momentum=0.5),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(num_classes, activation=activation),
        ]
    )


def convnet_teacher(outputs: str = "logits", **kwargs) -> Teacher:
    activation = "softmax" if outputs == "probabilities" else None
    contract = TeacherContract(pixel_format("-1-1", 16, 16), outputs, 3)
    return Teacher(convnet(activation=activation), contract, STUDENT, **kwargs)


def test_probabilities_become_their_logarithms():
    teacher = convnet_teacher("probabilities")
    images = student_images(pixels01())
    probabilities = numpy(teacher.model(pixels01() * 2 - 1, training=False))
    logits = numpy(teacher(images))
    np.testing.assert_allclose(logits, np.log(probabilities), atol=1e-5)
    np.testing.assert_array_equal(logits.argmax(-1), probabilities.argmax(-1))


def test_a_probability_of_0_has_a_finite_logit():
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(2)])
    model.add(layers.Softmax())
    kernel = np.zeros((768, 2), "float32")
    kernel[:, 0] = 10
    model.layers[1].set_weights([kernel, np.zeros(2, "float32")])
    contract = TeacherContract(pixel_format("0-1", 16, 16), "probabilities", 2)
    logits = numpy(Teacher(model, contract, STUDENT)(student_images(pixels01())))
    np.testing.assert_allclose(logits, [[0, np.log(np.finfo("float32").tiny)]] * 4, atol=1e-4)


def test_logits_are_float32_under_mixed_precision():
    images = ops.cast(student_images(pixels01()), "bfloat16")
    assert keras.backend.standardize_dtype(convnet_teacher()(images).dtype) == "float32"


class Pair(keras.Model):
    """A student that is trained on the sum of its logits and the teacher's."""

    def __init__(self, student, teacher):
        super().__init__()
        self.student, self.teacher = student, teacher

    def call(self, images, training=None):
        return self.student(images, training=training) + self.teacher(images, training=True)


def pair() -> Pair:
    return Pair(convnet(), convnet_teacher())


@on_all_backends
def test_teacher_is_bit_identical_after_fit():
    model = pair()
    model.trainable = True  # does not reach the teacher
    before = [value.copy() for value in model.teacher.get_weights()]
    student_before = model.student.get_weights()
    model.compile(
        optimizer=keras.optimizers.AdamW(0.1, weight_decay=0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images = student_images(pixels01(16))
    model.fit(images, np.arange(16) % 3, batch_size=8, epochs=2, verbose=0)
    assert len(before) == 8
    for old, new in zip(before, model.teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(student_before, model.student.get_weights(), strict=True):
        assert old.ndim == 1 or np.abs(old - new).min() > 0
    assert len(model.trainable_variables) == 6  # the student's


@on_all_backends
def test_metrics_of_a_compiled_teacher_do_not_overwrite_the_log_of_a_model_around_it(tmp_path):
    images, labels = student_images(pixels01(8)), np.arange(8) % 3
    expected = None
    for is_compiled in (False, True):
        keras.utils.set_random_seed(1)
        teacher = convnet_teacher()
        if is_compiled:
            teacher.model.compile("sgd", "mse", metrics=["accuracy"])
            teacher.model.evaluate(pixels01(8), keras.ops.one_hot(labels, 3), verbose=0)
        assert teacher.metrics == []
        inputs = keras.Input((16, 16, 3))
        logits = layers.Dense(3)(layers.Concatenate()([teacher(inputs), layers.Flatten()(inputs)]))
        model = keras.Model(inputs, logits)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.0), loss, metrics=["accuracy"], jit_compile=False)
        logs = model.fit(images, labels, validation_data=(images, labels), verbose=0).history
        logs |= model.evaluate(images, labels, verbose=0, return_dict=True)
        expected = expected or logs
        assert logs == expected and logs["loss"] > 0.1
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = loaded.evaluate(images, labels, verbose=0, return_dict=True)
    assert again["accuracy"] == logs["accuracy"]
    assert again["loss"] == pytest.approx(logs["loss"], abs=1e-6)


def gradient_of_sum(teacher: Teacher, images: np.ndarray) -> np.ndarray | None:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        images = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch([images, *(variable.value for variable in teacher.variables)])
            loss = tf.reduce_sum(teacher(images))
        gradients = tape.gradient(loss, [images, *(v.value for v in teacher.variables)])
        assert all(gradient is None for gradient in gradients)
        return None
    if keras.backend.backend() == "jax":
        import jax

        def loss(values, images):
            return teacher.stateless_call([], values, images)[0].sum()

        # The state of the dropout's generator, among the variables, is integers.
        gradients = jax.grad(loss, argnums=(0, 1), allow_int=True)(
            [variable.value for variable in teacher.variables], images
        )
        gradients = [g for g in jax.tree.leaves(gradients) if g.dtype == "float32"]
        return max(float(abs(gradient).max()) for gradient in gradients)
    import torch

    images = torch.tensor(images, requires_grad=True)
    assert not teacher(images).requires_grad
    return None


@on_all_backends
def test_neither_the_teacher_nor_its_images_get_a_gradient():
    assert gradient_of_sum(convnet_teacher(), student_images(pixels01())) in (None, 0.0)


@pytest.mark.backends("jax")
def test_teacher_variables_are_arguments_of_the_jax_program():
    import jax

    model = pair()
    images = student_images(pixels01())
    model(images)
    program = jax.make_jaxpr(lambda t, n: model.stateless_call(t, n, images * 1))(
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
    )
    shapes = {np.shape(constant) for constant in program.consts}
    kernels = {tuple(v.shape) for v in model.teacher.variables if len(v.shape) > 1}
    assert kernels == {(3, 3, 3, 8), (8, 3)}
    assert not shapes & kernels


def test_teacher_cannot_be_made_trainable():
    teacher = convnet_teacher()
    teacher.trainable = True
    assert teacher.trainable is False
    assert teacher.trainable_variables == []
    assert all(not variable.trainable for variable in teacher.variables)


def test_a_teacher_is_restored_from_its_configuration():
    teacher = convnet_teacher("probabilities", name="frozen")
    copy = Teacher.from_config(teacher.get_config())
    copy.set_weights(teacher.get_weights())
    images = student_images(pixels01())
    assert copy.name == "frozen"
    assert copy.contract == teacher.contract
    assert copy.conversion.source == teacher.conversion.source
    np.testing.assert_array_equal(numpy(copy(images)), numpy(teacher(images)))


def test_a_contract_is_restored_from_json():
    contract = TeacherContract(pixel_format("caffe", 32, 24), "probabilities", 10)
    assert TeacherContract.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract


def test_check_accepts_what_the_contract_declares():
    images = student_images(pixels01())
    for outputs in ("logits", "probabilities"):
        convnet_teacher(outputs).check(images)


def test_check_refuses_images_in_another_format():
    teacher = convnet_teacher()
    with pytest.raises(InputError, match=r"format.*\[0\.4.*, 58\."):
        teacher.check(pixels01() * 255)
    with pytest.raises(InputError, match="format"):
        teacher.check(np.full((1, 16, 16, 3), np.nan, "float32"))
    with pytest.raises(InputError, match=r"\(batch, 16, 16, 3\).* \(4, 8, 8, 3\)"):
        teacher.check(student_images(pixels01(size=8)))


def teacher_of(activation: str | None, outputs: str, bias: float = 0.0) -> Teacher:
    model = convnet(activation=activation)
    kernel, _ = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, np.full(3, bias, "float32")])
    return Teacher(model, TeacherContract(pixel_format("-1-1", 16, 16), outputs, 3), STUDENT)


@pytest.mark.parametrize(
    ("activation", "outputs", "bias", "message"),
    [
        (None, "probabilities", -5.0, "--teacher_outputs logits"),
        ("sigmoid", "probabilities", 0.0, "--teacher_outputs logits"),
        ("softmax", "logits", 0.0, "--teacher_outputs probabilities"),
        (None, "logits", np.inf, "12 .*finite"),
    ],
)
def test_check_refuses_other_outputs(activation, outputs, bias, message):
    with pytest.raises(InputError, match=message):
        teacher_of(activation, outputs, bias).check(student_images(pixels01()))


def test_check_refuses_outputs_of_another_shape():
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(3, 1)])
    contract = TeacherContract(pixel_format("-1-1", 16, 16), "logits", 3)
    teacher = Teacher(model, contract, STUDENT)
    with pytest.raises(InputError, match=r"\(batch, 3\).* \(4, 16, 16, 3\)"):
        teacher.check(student_images(pixels01()))


def test_a_contract_that_does_not_fit_the_model_is_refused():
    with pytest.raises(InputError, match=r"\(32, 32, 3\).*\(16, 16, 3\)"):
        Teacher(convnet(), TeacherContract(pixel_format("0-1", 32, 32), "logits", 3), STUDENT)
    with pytest.raises(InputError, match="5 classes"):
        Teacher(convnet(), TeacherContract(STUDENT, "logits", 5), STUDENT)
    with pytest.raises(InputError, match=r"logits, probabilities.*'scores'"):
        TeacherContract(STUDENT, "scores", 5)
    with pytest.raises(InputError, match="num_classes=0"):
        TeacherContract(STUDENT, "logits", 0)
    with pytest.raises(InputError, match=r"'0-25'.*0-255"):
        pixel_format("0-25", 16, 16)
