"""Tiny videos of a real photograph of a face, with motion, and a forgery with a blended patch."""

import cv2
import numpy as np
from skimage import data

SIDE = 128
FRAMES = 4


def photograph():
    """Returns the astronaut's head, uint8 RGB (128, 128, 3)."""
    return cv2.resize(data.astronaut()[:256, 96:352], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def forged(image):
    """Returns the photograph with the mouth moved: a patch whose border is blended."""
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[60:88, 48:80] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), 3)[..., None]
    moved = np.roll(image, 6, axis=0)
    return (image * (1 - mask) + moved * mask).round().astype(np.uint8)


def write_video(path, image, seed, frames=FRAMES):
    """Writes a video in which an image moves, becomes brighter and has noise, by a seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    direction, codec = rng.uniform(-2, 2, 2), cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), codec, 10, (SIDE, SIDE))
    assert writer.isOpened()
    for index in range(frames):
        matrix = np.array([[1, 0, direction[0] * index], [0, 1, direction[1] * index]])
        moved = cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101)
        noisy = moved * (0.9 + 0.2 * rng.random()) + rng.normal(0, 2, moved.shape)
        writer.write(cv2.cvtColor(np.clip(noisy, 0, 255).astype(np.uint8), cv2.COLOR_RGB2BGR))
    writer.release()


def write_videos(root, count, split=""):
    """Writes videos real/0.avi, ... and fake/0.avi, ... into a folder."""
    real = photograph()
    for name, image in (("real", real), ("fake", forged(real))):
        for index in range(count):
            write_video(root / split / name / f"{name}_{index}.avi", image, seed=index)
