"""Image files of every kind, and broken ones."""

import io
import struct

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 43, 61
_RNG = np.random.default_rng(0)
NOISE = _RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
_SMOOTH = cv2.resize(NOISE[:5, :7].copy(), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
_PHOTO, _RGB = Image.fromarray(_SMOOTH), Image.fromarray(NOISE)
_RGBA = Image.fromarray(np.dstack([NOISE, NOISE[::-1, :, 0]]), "RGBA")
_PALETTE = _RGB.quantize(200)
_NEXT = Image.fromarray(NOISE[::-1].copy())
_TURNED = Image.Exif()
_TURNED[0x0112] = 6


def pillow(image: Image.Image, kind: str, **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def opencv(image: np.ndarray, kind: str) -> bytes:
    return cv2.imencode(kind, image)[1].tobytes()


def _gif(local: bool, background: int, transparent: int | None) -> bytes:
    """Returns a GIF file whose frame does not fill its canvas."""
    colors = _PALETTE.getpalette()[:768]
    palette = bytes(colors + [0] * (768 - len(colors)))
    file = pillow(_PALETTE.crop((0, 0, 30, 20)), "GIF", optimize=False)
    at = file.index(b",\0\0\0\0")
    flags = file[at + 9]
    data = file[at + 10 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0) :]
    control = b"" if transparent is None else bytes([0x21, 0xF9, 4, 1, 0, 0, transparent, 0])
    screen = struct.pack("<HHBBB", WIDTH, HEIGHT, 0x77 if local else 0xF7, background, 0)
    place = struct.pack("<4HB", 5, 7, 30, 20, 0x87 if local else 0)
    palettes = (b"", palette) if local else (palette, b"")
    return b"GIF89a" + screen + palettes[0] + control + b"," + place + palettes[1] + data


def _top_down(file: bytes) -> bytes:
    return file[:22] + struct.pack("<i", -HEIGHT) + file[26:]


# What is decoded to the same pixels as by OpenCV.
SAME = {
    "jpeg": pillow(_PHOTO, "JPEG"),
    "jpeg, 4:4:4": pillow(_PHOTO, "JPEG", subsampling=0),
    "jpeg, progressive": pillow(_PHOTO, "JPEG", progressive=True),
    "jpeg, gray": pillow(_PHOTO.convert("L"), "JPEG"),
    "jpeg, EXIF-turned": pillow(_PHOTO, "JPEG", exif=_TURNED),
    "png": pillow(_RGB, "PNG"),
    "png, gray": pillow(_RGB.convert("L"), "PNG"),
    "png, black and white": pillow(_RGB.convert("1"), "PNG"),
    "png, palette": pillow(_PALETTE, "PNG"),
    "png, transparent color": pillow(_PALETTE, "PNG", transparency=3),
    "png, alpha": pillow(_RGBA, "PNG"),
    "png, gray with alpha": pillow(_RGBA.convert("LA"), "PNG"),
    "png, 16 bits": opencv(NOISE.astype(np.uint16) * 200, ".png"),
    "png, gray of 16 bits": opencv(NOISE[..., 0].astype(np.uint16) * 200, ".png"),
    "png, EXIF-turned": pillow(_RGB, "PNG", exif=_TURNED),
    "png, animated": pillow(_RGB, "PNG", save_all=True, append_images=[_NEXT]),
    "png, animated without its still image": pillow(
        _RGB, "PNG", save_all=True, append_images=[_NEXT], default_image=True
    ),
    "gif": pillow(_PALETTE, "GIF"),
    "gif, animated": pillow(_PALETTE, "GIF", save_all=True, append_images=[_NEXT.quantize(99)]),
    "gif, transparent": pillow(_PALETTE, "GIF", transparency=3),
    "gif, frame on a canvas": _gif(False, 2, None),
    "gif, transparent frame on a canvas": _gif(False, 9, 4),
    "gif, own palette": _gif(True, 9, 4),
    "bmp": pillow(_RGB, "BMP"),
    "bmp, alpha": opencv(np.asarray(_RGBA), ".bmp"),
    "bmp, palette": pillow(_PALETTE, "BMP"),
    "bmp, gray": pillow(_RGB.convert("L"), "BMP"),
    "bmp, black and white": pillow(_RGB.convert("1"), "BMP"),
    "bmp, top down": _top_down(pillow(_RGB, "BMP")),
    "bmp, palette, top down": _top_down(pillow(_PALETTE, "BMP")),
    "webp": pillow(_PHOTO, "WEBP"),
    "webp, lossless": pillow(_RGB, "WEBP", lossless=True),
    "webp, alpha": pillow(_RGBA, "WEBP"),
    "webp, EXIF-turned": pillow(_PHOTO, "WEBP", exif=_TURNED),
    "webp, animated": pillow(_RGB, "WEBP", save_all=True, append_images=[_NEXT]),
    "webp, animated, lossless": pillow(
        _RGB, "WEBP", save_all=True, append_images=[_NEXT], lossless=True
    ),
    "webp, animated, alpha": pillow(_RGBA, "WEBP", save_all=True, append_images=[_NEXT]),
}
CMYK = pillow(_PHOTO.convert("CMYK"), "JPEG")
# What an evaluation decodes and a SavedModel does not.
REFUSED = {
    "bmp, other masks": opencv(np.asarray(_RGBA), ".bmp").replace(
        b"\0\0\xff\0\0\xff\0\0\xff\0\0\0", b"\xff\0\0\0\0\xff\0\0\0\0\xff\0"
    ),
    "tiff": pillow(_RGB, "TIFF"),
    "ppm": pillow(_RGB, "PPM"),
    "jpeg 2000": pillow(_RGB, "JPEG2000"),
    "avif": opencv(NOISE, ".avif"),
}


def declaring(file: bytes, height: int, width: int) -> bytes:
    """Returns a file with another size in its header: JPEG, PNG, GIF, BMP or lossy WebP."""
    at, layout = {
        b"\xff\xd8": (file.find(b"\xff\xc0") + 5, ">HH"),
        b"\x89P": (16, ">II"),
        b"GI": (6, "<HH"),
        b"BM": (18, "<II"),
        b"RI": (26, "<HH"),
    }[file[:2]]
    sides = (height, width) if file[:2] == b"\xff\xd8" else (width, height)
    size = struct.calcsize(layout)
    return file[:at] + struct.pack(layout, *sides) + file[at + size :]


# Ten ways in which a request can be broken.
_JPEG, _PNG = SAME["jpeg"], SAME["png"]
BROKEN = {
    "empty": b"",
    "text": b"photo.jpg",
    "noise": _RNG.bytes(300),
    "jpeg, cut": _JPEG[: len(_JPEG) // 2],
    "jpeg, header only": _JPEG[:20],
    "jpeg, too large": declaring(_JPEG, 30_000, 30_000),
    "png, cut": _PNG[: len(_PNG) // 2],
    "png, damaged": _PNG[:1000] + bytes(9) + _PNG[1009:],
    "png, too large": declaring(_PNG, 30_000, 30_000),
    "gif, cut": SAME["gif"][:300],
}
