"""DeiT's training and evaluation pipelines in plain Pillow and NumPy, as its authors run them.

This follows the published code and timm's, not this package: one image at a time goes through
Pillow's own operations and becomes an array (channels, height, width), which is normalized, erased,
collected into a batch and mixed. The benchmark of the pipeline and the tests of the data compare
this package with it.
"""

import io
import math
import random

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
FILL = (124, 116, 104)
BICUBIC = Image.Resampling.BICUBIC


def decode(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


# Operations by the names of `keras_deit.data.operations`, with the same arguments.


def posterize(image, bits):
    # Current versions of Pillow reject 0 bits, for which older ones returned a black image.
    return ImageOps.posterize(image, bits) if bits else image.point(lambda level: 0)


def solarize_add(image, amount):
    return image.point([min(255, i + amount) if i < 128 else i for i in range(256)] * 3)


def affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, BICUBIC, fillcolor=FILL)


def moved(image, columns, rows):
    matrix = (1, 0, columns, 0, 1, rows)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=FILL)


def cut_out(image, argument):
    row, column, half = argument
    row, column = math.floor(row * image.height), math.floor(column * image.width)
    covered = image.copy()
    covered.paste(FILL, (column - half, row - half, column + half, row + half))
    return covered


OPERATIONS = {
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
    "Posterize": posterize,
    "Solarize": ImageOps.solarize,
    "SolarizeAdd": solarize_add,
    "Color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "Contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "Brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "Sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "Grayscale": lambda image: image.convert("L").convert("RGB"),
    "GaussianBlur": lambda image, radius: image.filter(ImageFilter.GaussianBlur(radius)),
    "Rotate": lambda image, degrees: image.rotate(degrees, BICUBIC, fillcolor=FILL),
    "ShearX": lambda image, factor: affine(image, 1, factor, 0, 0, 1, 0),
    "ShearY": lambda image, factor: affine(image, 1, 0, 0, factor, 1, 0),
    "TranslateX": lambda image, part: affine(image, 1, 0, part * image.width, 0, 1, 0),
    "TranslateY": lambda image, part: affine(image, 1, 0, 0, 0, 1, part * image.height),
    "TranslateXPixels": lambda image, pixels: affine(image, 1, 0, pixels, 0, 1, 0),
    "TranslateYPixels": lambda image, pixels: affine(image, 1, 0, 0, 0, 1, pixels),
    "RotateNearest": lambda image, degrees: image.rotate(degrees, fillcolor=FILL),
    "TranslateXNearest": lambda image, part: moved(image, part * image.width, 0),
    "TranslateYNearest": lambda image, part: moved(image, 0, part * image.height),
    "Cutout": cut_out,
}


def apply(image: Image.Image, name: str, argument=None) -> Image.Image:
    return OPERATIONS[name](image) if argument is None else OPERATIONS[name](image, argument)


# `rand-m9-mstd0.5-inc1`.


def rand_augment(image: Image.Image) -> Image.Image:
    for _ in range(2):
        name = random.choice(RAND_AUGMENT)
        if random.random() > 0.5:
            continue
        magnitude = max(0.0, min(random.gauss(9, 0.5), 10.0))
        image = apply(image, name, *increasing_argument(name, magnitude))
    return image


RAND_AUGMENT = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd"),
    *("Color", "Contrast", "Brightness", "Sharpness"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY"),
)


def increasing_argument(name: str, magnitude: float) -> tuple:
    sign = -1 if random.random() > 0.5 else 1
    if name in ("Color", "Contrast", "Brightness", "Sharpness"):
        return (1 + sign * 0.09 * magnitude,)
    if name in ("ShearX", "ShearY"):
        return (sign * 0.03 * magnitude,)
    if name in ("TranslateX", "TranslateY"):
        return (sign * 0.045 * magnitude,)
    return {
        "Rotate": (sign * 3 * magnitude,),
        "Posterize": (4 - int(magnitude / 10 * 4),),
        "Solarize": (256 - int(magnitude / 10 * 256),),
        "SolarizeAdd": (int(magnitude / 10 * 110),),
    }.get(name, ())


# Crops.


def crop_resize(image: Image.Image, top, left, height, width, side: int) -> Image.Image:
    return image.crop((left, top, left + width, top + height)).resize((side, side), BICUBIC)


def random_resized_crop(image: Image.Image, side: int) -> Image.Image:
    for _ in range(10):
        area = image.width * image.height * random.uniform(0.08, 1)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= image.width and 0 < height <= image.height:
            top = random.randint(0, image.height - height)
            left = random.randint(0, image.width - width)
            return crop_resize(image, top, left, height, width, side)
    width, height = image.size
    if width / height < 3 / 4:
        height = round(width / (3 / 4))
    elif width / height > 4 / 3:
        width = round(height * (4 / 3))
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return crop_resize(image, top, left, height, width, side)


def resize_shorter(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    if width <= height:
        return image.resize((side, int(side * height / width)), BICUBIC)
    return image.resize((int(side * width / height), side), BICUBIC)


def reflect_padded(image: Image.Image, padding: int = 4) -> Image.Image:
    edges = ((padding, padding), (padding, padding), (0, 0))
    return Image.fromarray(np.pad(np.asarray(image), edges, mode="reflect"))


def center_crop(image: Image.Image, side: int, crop_ratio: float) -> Image.Image:
    image = resize_shorter(image, int(side / crop_ratio))
    top, left = round((image.height - side) / 2), round((image.width - side) / 2)
    return image.crop((left, top, left + side, top + side))


# Arrays.


def normalize(image: Image.Image) -> np.ndarray:
    """Returns float32 (3, height, width)."""
    array = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)).astype(np.float32)
    array /= 255
    array -= MEAN
    array /= STD
    return array


def random_erase(array: np.ndarray, rng: np.random.Generator) -> None:
    if random.random() > 0.25:
        return
    _, full_height, full_width = array.shape
    for _ in range(10):
        area = random.uniform(0.02, 1 / 3) * full_height * full_width
        aspect = math.exp(random.uniform(math.log(0.3), math.log(1 / 0.3)))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if width < full_width and height < full_height:
            top = random.randint(0, full_height - height)
            left = random.randint(0, full_width - width)
            noise = rng.standard_normal((3, height, width), np.float32)
            array[:, top : top + height, left : left + width] = noise
            return


def mix(images: np.ndarray, labels: np.ndarray, classes: int, rng) -> np.ndarray:
    """Mixes images (batch, 3, height, width) in place and returns the targets (batch, classes)."""
    height, width = images.shape[2:]
    if rng.random() < 0.5:
        lam = rng.beta(1.0, 1.0)
        side_ratio = math.sqrt(1 - lam)
        box_height, box_width = int(height * side_ratio), int(width * side_ratio)
        row, column = rng.integers(height), rng.integers(width)
        top, bottom = np.clip([row - box_height // 2, row + box_height // 2], 0, height)
        left, right = np.clip([column - box_width // 2, column + box_width // 2], 0, width)
        box = images[::-1, :, top:bottom, left:right].copy()
        images[:, :, top:bottom, left:right] = box
        lam = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        lam = rng.beta(0.8, 0.8)
        flipped = images[::-1] * np.float32(1 - lam)
        images *= np.float32(lam)
        images += flipped
    targets = np.full((len(labels), classes), 0.1 / classes, np.float32)
    targets[np.arange(len(labels)), labels] += 0.9
    return targets * np.float32(lam) + targets[::-1] * np.float32(1 - lam)


def train_batch(
    files: list[bytes], labels: np.ndarray, classes: int, rng, side: int = 224
) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 images (batch, 3, side, side) and targets (batch, classes)."""
    arrays = []
    for data in files:
        image = random_resized_crop(decode(data), side)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        array = normalize(rand_augment(image))
        random_erase(array, rng)
        arrays.append(array)
    images = np.stack(arrays)
    return images, mix(images, labels, classes, rng)


def evaluation_batch(files: list[bytes], side: int = 224, crop_ratio: float = 0.875) -> np.ndarray:
    """Returns float32 images (batch, 3, side, side)."""
    return np.stack([normalize(center_crop(decode(data), side, crop_ratio)) for data in files])
