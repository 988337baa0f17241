"""Decoding: sizes from JPEG headers, and reduced decoding compared with full decoding."""

import io
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from benchmarks.photographs import photographs
from PIL import Image, ImageOps

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import images
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.image_headers import image_size, jpeg_size, without_animation
from keras_deit.data.images import DecodedImage, EncodedImage, UnreadableImage, decode
from keras_deit.data.transforms import crop_box
from keras_deit.data.views import augment_image, decode_for_crops


def file_of(image: np.ndarray, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def photo(height=300, width=451):
    return photographs()["chelsea"][:height, :width]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"exif": Image.Exif().tobytes()},
        {"comment": b"x" * 9000, "quality": 30},
        {"subsampling": 0},
        {"icc_profile": b"y" * 70_000},
    ],
)
def test_the_size_is_read_from_the_header(options):
    assert jpeg_size(file_of(photo(123, 77), **options)) == (123, 77)
    assert jpeg_size(file_of(photo(123, 77)[..., 0], **options)) == (123, 77)


def test_other_bytes_have_no_size():
    whole = file_of(photo())
    header = whole.index(b"\xff\xc0")
    for data in (b"", b"\xff\xd8", file_of(photo(), "PNG"), whole[: header + 6], b"nonsense" * 9):
        assert jpeg_size(data) is None
    without_height = bytearray(whole)
    without_height[header + 5 : header + 7] = 0, 0
    assert jpeg_size(bytes(without_height)) is None


@pytest.mark.parametrize("reduction", [2, 4])
def test_a_reduced_image_is_the_image_shrunk(reduction):
    data = file_of(photo(299, 449), quality=95)
    full, reduced = decode(data, "x"), decode(data, "x", reduction)
    assert reduced.shape == (-(-299 // reduction), -(-449 // reduction), 3)
    rows, columns = 299 // reduction * reduction, 449 // reduction * reduction
    blocks = full[:rows, :columns].reshape(rows // reduction, reduction, -1, reduction, 3)
    expected = blocks.mean((1, 3))
    found = reduced[: expected.shape[0], : expected.shape[1]]
    assert np.abs(found - expected).mean() < 3
    # The channels are in the order red, green, blue.
    assert np.corrcoef(found[..., 0].ravel(), expected[..., 0].ravel())[0, 1] > 0.99
    assert np.abs(found[..., 0] - expected[..., 2]).mean() > 20


def test_the_error_of_a_truncated_file_names_it():
    with pytest.raises(InputError, match=r"cat\.jpg: 40 bytes"):
        EncodedImage(file_of(photo())[:40], "cat.jpg").decode()


WHOLE = Augmentation(crop="none", flip_probability=0.0)


def decode_and_augment(augmentation, data, image_format, copies=3):
    """Returns the image as the pipeline decodes it, and its augmented views."""
    rngs = (np.random.default_rng(copy) for copy in range(copies))
    decoded = decode_for_crops(EncodedImage(data, "x"), image_format, augmentation, rngs)
    rngs = (np.random.default_rng(copy) for copy in range(copies))
    return decoded, [augment_image(decoded, image_format, augmentation, rng) for rng in rngs]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright_as_pillow_does(orientation):
    photograph = Image.fromarray(photo(64, 96))
    exif = photograph.getexif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    photograph.save(file, "JPEG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    image = EncodedImage(file.getvalue(), "x")
    assert image.size == upright.shape[:2]
    np.testing.assert_array_equal(image.decode(), upright)
    decoded, _ = decode_and_augment(WHOLE, file.getvalue(), ImageFormat(8, 8))
    assert decoded.reduction == 4 and decoded.size == upright.shape[:2]
    means = upright.reshape(upright.shape[0] // 4, 4, -1, 4, 3).mean((1, 3))
    assert np.abs(decoded.pixels - means).mean() < 3
    as_stored = EncodedImage(file.getvalue(), "x", exif_orientation=False)
    assert as_stored.size == (64, 96)
    np.testing.assert_array_equal(as_stored.decode(), np.asarray(Image.open(file)))


@pytest.mark.parametrize(("side", "reduction"), [(8, 4), (37, 4), (38, 2), (75, 2), (76, 1)])
def test_the_reduction_leaves_twice_the_pixels_that_a_crop_needs(side, reduction):
    data = file_of(photo(300, 300))
    decoded, (view, *_) = decode_and_augment(WHOLE, data, ImageFormat(side, side))
    assert decoded.reduction == reduction and decoded.size == (300, 300)
    assert view.shape == (side, side, 3)


def test_the_smallest_crop_of_all_copies_determines_the_reduction():
    data = file_of(photo(300, 451))
    crops = Augmentation(crop_scale=(0.02, 1.0))
    used = set()
    for seed in range(30):
        rngs = [np.random.default_rng([seed, copy]) for copy in range(3)]
        decoded = decode_for_crops(EncodedImage(data, "x"), ImageFormat(16, 16), crops, iter(rngs))
        boxes = [
            crop_box(300, 451, np.random.default_rng([seed, copy]), (0.02, 1.0), (3 / 4, 4 / 3))
            for copy in range(3)
        ]
        scale = min(min(box[2:]) for box in boxes) / 16
        expected = max((r for r in (2, 4) if scale >= 2 * r), default=1)
        assert decoded.reduction == expected
        used.add(expected)
    assert used == {1, 2, 4}


def test_files_other_than_jpeg_are_decoded_at_full_size():
    decoded, _ = decode_and_augment(WHOLE, file_of(photo(), "PNG"), ImageFormat(8, 8))
    assert decoded.reduction == 1
    np.testing.assert_array_equal(decoded.pixels, photo())
    pixels = decode_for_crops(photo(), ImageFormat(8, 8), WHOLE, [])
    np.testing.assert_array_equal(pixels.pixels, photo())


def test_a_region_of_a_reduced_image_is_the_same_part():
    rows, columns = np.mgrid[:100, :150]
    decoded = DecodedImage(np.dstack([rows, columns, rows]).astype(np.uint8), (200, 300), 2)
    region = decoded.region(41, 60, 83, 100)
    # Rows 41 to 124 of the full image are 20.5 to 62 here; 20.5 is rounded to the even row.
    assert region.shape == (42, 50, 3)
    assert tuple(region[0, 0, :2]) == (20, 30)


@pytest.mark.parametrize(("side", "reduction"), [(224, 2), (120, 4)])
def test_a_reduced_image_is_close_to_pillows(side, reduction):
    """The photographs are enlarged to at least a thousand pixels and taken as a whole."""
    found = {}
    for name, image in photographs().items():
        factor = -(-1000 // min(image.shape[:2]))
        data = file_of(cv2.resize(image, None, fx=factor, fy=factor), quality=92)
        decoded, (view, *_) = decode_and_augment(WHOLE, data, ImageFormat(side, side))
        assert decoded.reduction == reduction
        theirs = Image.open(io.BytesIO(data)).convert("RGB")
        theirs = np.asarray(theirs.resize((side, side), Image.Resampling.BICUBIC))
        found[name] = np.abs(view.astype(int) - theirs).mean()
    assert np.mean(list(found.values())) < 1, found


EXIF = {"exif": Image.Exif().tobytes()}
FORMATS = [
    *(("JPEG", {}), ("PNG", {}), ("GIF", {}), ("BMP", {}), ("PPM", {}), ("AVIF", {})),
    *(("WEBP", {}), ("WEBP", {"lossless": True}), ("WEBP", EXIF)),
    *(("TIFF", {}), ("TIFF", {"big_tiff": True})),
    *(("JPEG2000", {}), ("JPEG2000", {"no_jp2": True})),
]


@pytest.mark.parametrize(("kind", "options"), FORMATS)
def test_every_format_is_bounded_by_the_pixels_that_it_declares(kind, options):
    data = file_of(photo(123, 77), kind, **options)
    assert image_size(data) == (123, 77)
    assert decode(data, "x", max_pixels=123 * 77).shape == (123, 77, 3)
    with pytest.raises(UnreadableImage, match=r"123 × 77 pixels, more than 9,470"):
        decode(data, "x", max_pixels=123 * 77 - 1)


def test_opencv_reads_no_size_that_the_header_has_not():
    for suffix in (".pgm", ".pbm", ".pam"):
        gray = photo(123, 77)[..., 0] if suffix != ".pam" else photo(123, 77)
        data = cv2.imencode(suffix, gray)[1].tobytes()
        assert image_size(data) == decode(data, "x").shape[:2] == (123, 77)
    # Sun raster and PFM, which OpenCV also knows by their content under any name.
    for suffix, image in ((".sr", photo()), (".pfm", photo().astype("float32"))):
        with pytest.raises(UnreadableImage):
            decode(cv2.imencode(suffix, image)[1].tobytes(), "cat.jpg")


def declaring(side: int, kind: str) -> bytes:
    """Returns a small file whose header declares so many pixels on each side."""
    data = bytearray(file_of(photo(16, 16), kind))
    if kind == "PNG":
        data[16:24] = struct.pack(">II", side, side)
    elif kind == "JPEG":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", side, side)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", side, -side)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_a_file_that_declares_too_many_pixels_is_refused(kind):
    data = declaring(30_000, kind)
    for reduction in (1, 4) if kind == "JPEG" else (1,):
        with pytest.raises(UnreadableImage, match="30,000 × 30,000"):
            EncodedImage(data, "x").decode(reduction)


def test_a_size_behind_bytes_that_belong_to_no_segment_is_found():
    data = file_of(photo(123, 77))
    assert jpeg_size(data[:2] + b"\x00\x01" + data[2:]) == (123, 77)


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_a_jpeg_image_whose_end_the_decoder_has_filled_is_named(reduction):
    small = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    picture = cv2.resize(small, (260, 250), interpolation=cv2.INTER_CUBIC)
    whole = cv2.imencode(".jpg", picture)[1].tobytes()
    decode(whole, "whole.jpg", reduction)
    # Cut off in the middle, with the marker of the end.
    with pytest.raises(UnreadableImage, match=r"half\.jpg is damaged.*gray") as raised:
        decode(whole[: len(whole) // 2] + b"\xff\xd9", "half.jpg", reduction)
    assert raised.value.image_name == "half.jpg"
    gray = np.full((40, 40, 3), 128, np.uint8)
    assert (decode(cv2.imencode(".jpg", gray)[1].tobytes(), "gray.jpg", reduction) == 128).all()


def test_large_images_are_decoded_one_after_the_other(monkeypatch):
    data, decode_one = file_of(photo(64, 96)), cv2.imdecode
    running, most = [], []

    def slow_imdecode(*arguments):
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()
        return decode_one(*arguments)

    monkeypatch.setattr(cv2, "imdecode", slow_imdecode)
    for limit, expected in ((64 * 96 - 1, 1), (64 * 96, 4)):
        monkeypatch.setattr(images, "_MANY_PIXELS", limit)
        most.clear()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: decode(data, name), "abcd"))
        assert max(most) == expected


def test_of_an_animated_png_the_still_image_is_decoded():
    first, second = Image.fromarray(photo(20, 30)), Image.fromarray(photo(20, 30)[::-1])
    plain = np.asarray(first)
    for default_image in (False, True):
        options = {"save_all": True, "append_images": [second], "default_image": default_image}
        data = file_of(plain, "PNG", **options)
        assert b"acTL" in data and b"acTL" not in without_animation(data)
        np.testing.assert_array_equal(decode(data, "x"), plain)
        # OpenCV crashes at some damaged animations.
        for end in range(len(data) - 40, len(data), 7):
            still = without_animation(data[:end])
            assert still == data[:end] or b"fdAT" not in still
    assert without_animation(b"acTL") == b"acTL"
