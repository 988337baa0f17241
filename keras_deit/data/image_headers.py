"""The number of pixels that an image file declares in its header, before anything is decoded.

A file of some kilobytes can declare 30,000 × 30,000 pixels, for which a decoder takes gigabytes and
many seconds. What is read here is what OpenCV's decoders allocate memory for. A file whose header
is none of these formats has no size, and is not decoded.
"""

import re
import struct
from collections.abc import Callable, Iterator

Size = tuple[int, int]

# Markers of start-of-frame segments: 0xC0 to 0xCF without DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length: TEM, RST0 to RST7 and SOI.
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9

_PNG = b"\x89PNG\r\n\x1a\n"
_CODESTREAM = b"\xff\x4f\xff\x51"  # Of JPEG 2000: the markers SOC and SIZ.
# The structs of a count, an offset and the tags of a directory, in TIFF and BigTIFF.
_TIFF_LAYOUTS = {42: ("H", "I", "HHI4s"), 43: ("Q", "Q", "HHQ8s")}
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_ORIENTATION = 274
_MAX_TIFF_TAGS = 4096
# What is before the TIFF file in a segment APP1 of a JPEG file, and where that is looked for.
_EXIF, _EXIF_BYTES = re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL), 2**17
_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
_PAM = re.compile(rb"^(WIDTH|HEIGHT)\s+(\d{1,9})\s*$", re.MULTILINE)


def image_size(data: bytes) -> Size | None:
    """Returns (height, width) from the header of an image file; None if it has none.

    Args:
        data: the bytes of a JPEG, PNG, GIF, BMP, WebP, TIFF, JPEG 2000, AVIF or PNM file, or enough
            of its beginning. If the file has several images or tiles, the largest sides count.
    """
    try:
        reader = _reader(data)
        size = reader and reader(data)
    except (struct.error, IndexError):  # The bytes end before the size.
        return None
    return size if size and min(size) > 0 else None


def is_image(data: bytes) -> bool:
    """Returns whether some bytes begin like a file of such a format."""
    return _reader(data) is not None


def _reader(data: bytes) -> Callable[[bytes], Size | None] | None:
    return next((reader for start, reader in _READERS if re.match(start, data, re.DOTALL)), None)


def jpeg_size(data: bytes) -> Size | None:
    """Returns (height, width) of a JPEG file; None for other files, and if it has none."""
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 9 <= len(data):
        # As libjpeg does, this passes over bytes between two segments that belong to none.
        marker = data[position + 1]
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            # A height of 0 means that the height follows after the image data.
            return (height, width) if height * width else None
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return None
        if marker == 0xFF:  # Padding.
            position += 1
        elif marker == 0 or marker in _ALONE:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return None


def jpeg_orientation(data: bytes) -> int:
    """Returns the EXIF tag Orientation of a JPEG file, 1 to 8; 1, which is upright, without it."""
    found = _EXIF.search(data, 0, _EXIF_BYTES)
    try:
        return _tiff_tags(data[found.end() :]).get(_ORIENTATION, 1) if found else 1
    except (struct.error, IndexError, KeyError):  # Damaged.
        return 1


def _png_size(data: bytes) -> Size | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def without_animation(data: bytes) -> bytes:
    """Returns a PNG file without what makes it an animation, and any other file as it is.

    Its still image remains. OpenCV 5 crashes at some damaged animations.
    """
    if not data.startswith(_PNG) or b"acTL" not in data:
        return data
    parts, at = [_PNG], len(_PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] not in (b"acTL", b"fcTL", b"fdAT"):
            parts.append(data[at:end])
        at = end
    return b"".join(parts)


def _gif_size(data: bytes) -> Size:
    width, height = struct.unpack("<HH", data[6:10])
    return height, width


def _bmp_size(data: bytes) -> Size:
    if struct.unpack("<I", data[14:18])[0] == 12:  # The header of OS/2.
        width, height = struct.unpack("<HH", data[18:22])
    else:
        width, height = struct.unpack("<ii", data[18:26])  # Upside down if negative.
    return abs(height), abs(width)


def _webp_size(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack("<I", data[21:25])[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", data[26:30]))
    else:
        return None
    return height, width


def _tiff_size(data: bytes) -> Size | None:
    found = _tiff_tags(data)
    height, width = found.get(_HEIGHT, 0), found.get(_WIDTH, 0)
    # A tile is read whole, also where the image is smaller.
    return max(height, found.get(_TILE_HEIGHT, 0)), max(width, found.get(_TILE_WIDTH, 0))


def _tiff_tags(data: bytes) -> dict[int, int]:
    """Returns the integers in the first directory of a TIFF file by the number of their tag."""
    order = "<" if data[:2] == b"II" else ">"
    version = struct.unpack(order + "H", data[2:4])[0]
    count, offset, tag = (order + part for part in _TIFF_LAYOUTS[version])
    at = struct.unpack_from(offset, data, 4 if version == 42 else 8)[0]
    tags = struct.unpack_from(count, data, at)[0]
    at += struct.calcsize(count)
    found = {}
    for index in range(min(tags, _MAX_TIFF_TAGS)):
        name, kind, _, value = struct.unpack_from(tag, data, at + index * struct.calcsize(tag))
        if kind in _TIFF_TYPES:
            number = struct.unpack_from(order + _TIFF_TYPES[kind], value)[0]
            found[name] = max(number, found.get(name, 0))
    return found


def _jpeg2000_size(data: bytes) -> Size | None:
    codestreams = [data[start:] for kind, start, _ in _boxes(data, 0, len(data)) if kind == b"jp2c"]
    sizes = [_codestream_size(part) for part in codestreams if part.startswith(_CODESTREAM)]
    return max(sizes, default=None)


def _codestream_size(data: bytes) -> Size:
    right, bottom, left, top = struct.unpack(">4I", data[8:24])
    return bottom - top, right - left


def _avif_size(data: bytes) -> Size | None:
    sizes = []
    inner = [(0, len(data))]
    while inner:
        for kind, start, end in _boxes(data, *inner.pop()):
            if kind in (b"meta", b"iprp", b"ipco"):
                inner.append((start + 4 * (kind == b"meta"), end))
            elif kind == b"ispe":
                width, height = struct.unpack(">II", data[start + 4 : start + 12])
                sizes.append((height, width))
    if not sizes:
        return None
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields kind, start and end of the content of the boxes of an ISO media file."""
    while start + 8 <= end:
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        header = 8
        if length == 1:
            length, header = struct.unpack(">Q", data[start + 8 : start + 16])[0], 16
        stop = end if length == 0 else min(end, start + length)
        if stop < start + header:
            return
        yield kind, start + header, stop
        start = stop


def _pnm_size(data: bytes) -> Size | None:
    found = _PNM.match(data)
    return found and (int(found[2]), int(found[1]))


def _pam_size(data: bytes) -> Size | None:
    sides = [(name, int(side)) for name, side in _PAM.findall(data.partition(b"ENDHDR")[0])]
    height, width = (
        max((side for name, side in sides if name == wanted), default=0)
        for wanted in (b"HEIGHT", b"WIDTH")
    )
    return height, width


# Readers by the pattern of the first bytes.
_READERS = (
    (rb"\xff\xd8", jpeg_size),
    (re.escape(_PNG), _png_size),
    (rb"GIF8", _gif_size),
    (rb"BM", _bmp_size),
    (rb"RIFF....WEBP", _webp_size),
    (rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", _tiff_size),
    (rb"\0\0\0\x0cjP  ", _jpeg2000_size),
    (re.escape(_CODESTREAM), _codestream_size),
    (rb"....ftyp", _avif_size),
    (rb"P[1-6]", _pnm_size),
    (rb"P7", _pam_size),
)
