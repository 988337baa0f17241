"""The image that a teacher gets: pixels, channel order and size."""

import keras
import numpy as np
import pytest
from harness import numpy
from keras import layers

from keras_deit.core.image_format import IMAGENET_MEAN, IMAGENET_STD, ImageFormat
from keras_deit.teachers import Teacher, TeacherContract, pixel_format
from keras_deit.teachers.applications import MODELS

STUDENT = ImageFormat(16, 16)
on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")


def pixels01(batch: int = 4, size: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, size, size, 3), dtype="float32")


def student_images(pixels: np.ndarray) -> np.ndarray:
    return ((pixels - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)).astype("float32")


def mirror(image_format: ImageFormat, student_format: ImageFormat = STUDENT) -> Teacher:
    """Returns a teacher whose logits are the image that its model gets."""
    size = (image_format.height, image_format.width)
    model = keras.Sequential([keras.Input((*size, 3)), layers.Flatten()])
    contract = TeacherContract(image_format, "logits", size[0] * size[1] * 3)
    return Teacher(model, contract, student_format)


def seen_by(teacher: Teacher, images: np.ndarray) -> np.ndarray:
    image_format = teacher.contract.image_format
    flat = numpy(teacher(images))
    return flat.reshape(len(images), image_format.height, image_format.width, 3)


def resize_matrix(size: int, new_size: int) -> np.ndarray:
    """Returns bilinear weights with half-pixel centers, antialiased by a wider triangle."""
    scale = new_size / size
    width = max(1, 1 / scale)
    centers = (np.arange(new_size) + 0.5) / scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(size)[None] - centers[:, None]) / width)
    return weights / weights.sum(axis=1, keepdims=True)


def resized(images: np.ndarray, size: int) -> np.ndarray:
    matrix = resize_matrix(images.shape[1], size)
    return np.einsum("ih,jw,bhwc->bijc", matrix, matrix, images)


NAMES = ("0-255", "0-1", "-1-1", "imagenet", "caffe")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        # They swap the channels, and resize with and without antialiasing.
        pytest.param("caffe", 9, marks=on_all_backends),
        pytest.param("caffe", 24, marks=on_all_backends),
        *[(name, size) for name in NAMES for size in (16, 32)],
        *[(name, size) for name in NAMES[:-1] for size in (24, 9)],
    ],
)
def test_teacher_gets_images_in_its_own_format(name: str, size: int):
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
def test_format_agrees_with_the_preprocess_input_of_the_family(module: str):
    pixels = pixels01()
    preprocess_input = getattr(keras.applications, module).preprocess_input
    expected = preprocess_input(pixels * 255)
    image_format = pixel_format(MODELS[FAMILIES[module]][0], 16, 16)
    received = seen_by(mirror(image_format), student_images(pixels))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=2e-4)


@on_all_backends
def test_xla_does_not_compile_antialiased_resizing_on_tensorflow():
    smaller, larger = (mirror(pixel_format("0-1", size, size)) for size in (8, 32))
    assert smaller.conversion.supports_jit is (keras.backend.backend() != "tensorflow")
    assert larger.conversion.supports_jit is True
