"""The operations and crops of DeiT's pipelines in plain Pillow, as its authors run them.

This follows the published code and timm's, not this package.
"""

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

FILL = (124, 116, 104)
BICUBIC = Image.Resampling.BICUBIC


# Operations by the names of `keras_deit.data.operations`, with the same arguments.


def posterize(image, bits):
    # Current versions of Pillow reject 0 bits, for which older ones returned a black image.
    return ImageOps.posterize(image, bits) if bits else image.point(lambda level: 0)


def solarize_add(image, amount):
    return image.point([min(255, i + amount) if i < 128 else i for i in range(256)] * 3)


def turned_hue(image, shift):
    """As torchvision's `adjust_hue` of an image of Pillow."""
    hue, saturation, value = image.convert("HSV").split()
    turned = np.asarray(hue, np.uint8) + np.uint8(int(shift * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


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
    "Hue": turned_hue,
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


# Crops.


def crop_resize(image: Image.Image, top, left, height, width, side: int) -> Image.Image:
    return image.crop((left, top, left + width, top + height)).resize((side, side), BICUBIC)


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
