"""The teacher adapter: what the teacher sees, what it gives, and that it stays as it is."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import IMAGENET_MEAN, IMAGENET_STD, ImageFormat
from keras_deit.teachers import pixel_format
from keras_deit.teachers.applications import MODELS
from keras_deit.teachers.teacher import Teacher, TeacherContract

STUDENT = ImageFormat(16, 16)


def pixels01(batch: int = 4, size: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, size, size, 3), dtype="float32")


def student_images(pixels: np.ndarray) -> np.ndarray:
    return ((pixels - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)).astype("float32")


def mirror(image_format: ImageFormat, student_format: ImageFormat = STUDENT) -> Teacher:
    """A teacher whose logits are the very image its model was given."""
    size = (image_format.height, image_format.width)
    model = keras.Sequential([keras.Input((*size, 3)), layers.Flatten()])
    contract = TeacherContract(image_format, "logits", size[0] * size[1] * 3)
    return Teacher(model, contract, student_format)


def seen_by(teacher: Teacher, images: np.ndarray) -> np.ndarray:
    image_format = teacher.contract.image_format
    flat = ops.convert_to_numpy(teacher(images))
    return flat.reshape(len(images), image_format.height, image_format.width, 3)


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


def resize_matrix(size: int, new_size: int) -> np.ndarray:
    """Bilinear weights with half-pixel centers, antialiased: a triangle as wide as the step."""
    scale = new_size / size
    width = max(1, 1 / scale)
    centers = (np.arange(new_size) + 0.5) / scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(size)[None] - centers[:, None]) / width)
    return weights / weights.sum(axis=1, keepdims=True)


def resized(images: np.ndarray, size: int) -> np.ndarray:
    matrix = resize_matrix(images.shape[1], size)
    return np.einsum("ih,jw,bhwc->bijc", matrix, matrix, images)


@pytest.mark.parametrize("size", [16, 32, 24, 9])
@pytest.mark.parametrize("name", ["0-255", "0-1", "-1-1", "imagenet", "caffe"])
def test_teacher_sees_its_own_format(name: str, size: int):
    pixels = pixels01()
    image_format = pixel_format(name, size, size)
    expected = (resized(pixels, size) - np.array(image_format.mean)) / np.array(image_format.std)
    if name == "caffe":
        expected = expected[..., ::-1]
    received = seen_by(mirror(image_format), student_images(pixels))
    np.testing.assert_allclose(received, expected, atol=2e-6 / min(image_format.std))


def test_equal_formats_leave_the_image_bit_identical():
    images = student_images(pixels01())
    np.testing.assert_array_equal(seen_by(mirror(STUDENT), images), images)


def test_a_bgr_student_is_swapped_for_an_rgb_teacher():
    pixels = pixels01()
    student = pixel_format("caffe", 16, 16)
    images = ((pixels - np.array(student.mean)) / np.array(student.std))[..., ::-1]
    teacher = mirror(pixel_format("0-1", 16, 16), student)
    received = seen_by(teacher, images.astype("float32"))
    np.testing.assert_allclose(received, pixels, atol=1e-6)


FAMILIES = {
    "convnext": "ConvNeXtTiny",
    "densenet": "DenseNet121",
    "efficientnet": "EfficientNetB0",
    "efficientnet_v2": "EfficientNetV2S",
    "inception_resnet_v2": "InceptionResNetV2",
    "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3": "MobileNetV3Small",
    "nasnet": "NASNetMobile",
    "resnet": "ResNet50",
    "resnet_v2": "ResNet50V2",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "xception": "Xception",
}


@pytest.mark.parametrize("module", FAMILIES)
def test_format_is_the_family_s_own_preprocess_input(module: str):
    pixels = pixels01()
    preprocess_input = getattr(keras.applications, module).preprocess_input
    expected = preprocess_input(pixels * 255)
    image_format = pixel_format(MODELS[FAMILIES[module]][0], 16, 16)
    received = seen_by(mirror(image_format), student_images(pixels))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=2e-4)


def test_probabilities_become_their_logarithms():
    teacher = convnet_teacher("probabilities")
    images = student_images(pixels01())
    probabilities = ops.convert_to_numpy(teacher.model(pixels01() * 2 - 1, training=False))
    logits = ops.convert_to_numpy(teacher(images))
    np.testing.assert_allclose(logits, np.log(probabilities), atol=1e-5)
    np.testing.assert_array_equal(logits.argmax(-1), probabilities.argmax(-1))


def test_a_probability_of_zero_gives_a_finite_logit():
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(2)])
    model.add(layers.Softmax())
    kernel = np.zeros((768, 2), "float32")
    kernel[:, 0] = 10
    model.layers[1].set_weights([kernel, np.zeros(2, "float32")])
    contract = TeacherContract(pixel_format("0-1", 16, 16), "probabilities", 2)
    logits = ops.convert_to_numpy(Teacher(model, contract, STUDENT)(student_images(pixels01())))
    np.testing.assert_allclose(logits, [[0, np.log(np.finfo("float32").tiny)]] * 4, atol=1e-4)


def test_logits_are_float32_under_mixed_precision():
    images = ops.cast(student_images(pixels01()), "bfloat16")
    assert keras.backend.standardize_dtype(convnet_teacher()(images).dtype) == "float32"


class Pair(keras.Model):
    """A student trained through a sum with the teacher's logits, called with training=True."""

    def __init__(self, student, teacher):
        super().__init__()
        self.student, self.teacher = student, teacher

    def call(self, images, training=None):
        return self.student(images, training=training) + self.teacher(images, training=True)


def pair() -> Pair:
    return Pair(convnet(), convnet_teacher())


def test_teacher_is_bit_identical_after_fit():
    model = pair()
    model.trainable = True  # must not reach the teacher
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

        # allow_int: the state of the dropout's generator is among the variables.
        gradients = jax.grad(loss, argnums=(0, 1), allow_int=True)(
            [variable.value for variable in teacher.variables], images
        )
        gradients = [g for g in jax.tree.leaves(gradients) if g.dtype == "float32"]
        return max(float(abs(gradient).max()) for gradient in gradients)
    import torch

    images = torch.tensor(images, requires_grad=True)
    assert not teacher(images).requires_grad
    return None


def test_no_gradient_reaches_the_teacher_or_its_images():
    assert gradient_of_sum(convnet_teacher(), student_images(pixels01())) in (None, 0.0)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX bakes constants in")
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


def test_teacher_cannot_be_unfrozen():
    teacher = convnet_teacher()
    teacher.trainable = True
    assert teacher.trainable is False
    assert teacher.trainable_variables == []
    assert all(not variable.trainable for variable in teacher.variables)


def test_config_round_trip_gives_equal_logits():
    teacher = convnet_teacher("probabilities", name="frozen")
    copy = Teacher.from_config(teacher.get_config())
    copy.set_weights(teacher.get_weights())
    images = student_images(pixels01())
    assert copy.name == "frozen"
    assert copy.contract == teacher.contract
    assert copy.conversion.source == teacher.conversion.source
    np.testing.assert_array_equal(
        ops.convert_to_numpy(copy(images)), ops.convert_to_numpy(teacher(images))
    )


def test_contract_goes_through_json():
    import json

    contract = TeacherContract(pixel_format("caffe", 32, 24), "probabilities", 10)
    assert TeacherContract.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract


def test_a_smaller_tensorflow_teacher_is_not_compiled_by_xla():
    smaller, larger = (mirror(pixel_format("0-1", size, size)) for size in (8, 32))
    assert smaller.conversion.supports_jit is (keras.backend.backend() != "tensorflow")
    assert larger.conversion.supports_jit is True


def test_check_accepts_what_the_contract_declares():
    images = student_images(pixels01())
    for outputs in ("logits", "probabilities"):
        convnet_teacher(outputs).check(images)


def test_check_refuses_images_in_another_format():
    teacher = convnet_teacher()
    with pytest.raises(InputError, match=r"not in the student's format.*\[0\.4.*, 58\."):
        teacher.check(pixels01() * 255)
    with pytest.raises(InputError, match="not in the student's format"):
        teacher.check(np.full((1, 16, 16, 3), np.nan, "float32"))
    with pytest.raises(InputError, match=r"\(batch, 16, 16, 3\). Received: \(4, 8, 8, 3\)"):
        teacher.check(student_images(pixels01(size=8)))


def teacher_of(activation: str | None, outputs: str, bias: float = 0.0) -> Teacher:
    model = convnet(activation=activation)
    kernel, _ = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, np.full(3, bias, "float32")])
    return Teacher(model, TeacherContract(pixel_format("-1-1", 16, 16), outputs, 3), STUDENT)


@pytest.mark.parametrize(
    ("activation", "outputs", "bias", "message"),
    [
        (None, "probabilities", -5.0, "declared to give probabilities, but"),
        ("sigmoid", "probabilities", 0.0, "declared to give probabilities, but"),
        ("softmax", "logits", 0.0, "declared to give logits, but"),
        (None, "logits", np.inf, "12 outputs of 12 that are not finite"),
    ],
)
def test_check_refuses_other_outputs(activation, outputs, bias, message):
    with pytest.raises(InputError, match=message):
        teacher_of(activation, outputs, bias).check(student_images(pixels01()))


def test_check_refuses_an_output_that_is_no_row_of_classes():
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(3, 1)])
    contract = TeacherContract(pixel_format("-1-1", 16, 16), "logits", 3)
    teacher = Teacher(model, contract, STUDENT)
    with pytest.raises(InputError, match=r"shape \(batch, 3\). Received: \(4, 16, 16, 3\)"):
        teacher.check(student_images(pixels01()))


def test_a_contract_that_is_not_the_model_s_is_refused():
    with pytest.raises(InputError, match=r"images of shape \(32, 32, 3\).*takes \(16, 16, 3\)"):
        Teacher(convnet(), TeacherContract(pixel_format("0-1", 32, 32), "logits", 3), STUDENT)
    with pytest.raises(InputError, match="declares 5 classes"):
        Teacher(convnet(), TeacherContract(STUDENT, "logits", 5), STUDENT)
    with pytest.raises(InputError, match=r"logits, probabilities. Received: 'scores'"):
        TeacherContract(STUDENT, "scores", 5)
    with pytest.raises(InputError, match="at least one class"):
        TeacherContract(STUDENT, "logits", 0)
    with pytest.raises(InputError, match=r"Unknown pixel convention '0-25'.*0-255"):
        pixel_format("0-25", 16, 16)
