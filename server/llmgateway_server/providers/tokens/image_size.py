"""Width and height of an image, read from its first bytes: PNG, JPEG, GIF and WebP, the formats that vendors take."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

MAX_JPEG_SEGMENTS: Final = 1_024
"""Segments that are looked at before the frame header; a photograph has a dozen."""
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start of frame markers; the three left out are tables and an extension (ITU-T T.81, table B.1)."""
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length."""


class Size(NamedTuple):
    """Pixels."""

    width: int
    height: int


def image_size(data: bytes) -> Size | None:
    """Returns the size that an image's header states, or None where it is not one of the formats or is broken.

    Nothing is decoded. Rotation by EXIF is not applied. An animation has its canvas's size.
    """
    for magic, read in _READERS:
        if data.startswith(magic):
            try:
                size = read(data)
            except (struct.error, IndexError):
                return None
            return size if size is not None and min(size) > 0 else None
    return None


def _png(data: bytes) -> Size | None:
    """Reads IHDR, which is always first (W3C PNG, §11.2.1)."""
    return Size(*struct.unpack_from(">II", data, 16)) if data[12:16] == b"IHDR" else None


def _gif(data: bytes) -> Size:
    """Reads the logical screen descriptor (GIF89a, §18)."""
    return Size(*struct.unpack_from("<HH", data, 6))


def _jpeg(data: bytes) -> Size | None:
    """Walks the segments to the frame header (ITU-T T.81, §B.2.2)."""
    at = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _BARE_MARKERS:
            at += 2
        elif marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Size(width, height)
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _webp(data: bytes) -> Size | None:
    """Reads the first chunk: lossy, lossless or extended (RFC 9649, §2.5 to §2.7)."""
    if data[8:12] != b"WEBP":
        return None
    match data[12:16]:
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            return Size(width & 0x3FFF, height & 0x3FFF)
        case b"VP8L" if data[20] == 0x2F:
            (bits,) = struct.unpack_from("<I", data, 21)
            return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8X":
            low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", data, 24)
            return Size((high_width << 16 | low_width) + 1, (high_height << 16 | low_height) + 1)
    return None


_READERS: tuple[tuple[bytes, Callable[[bytes], Size | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8", _jpeg),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
    (b"RIFF", _webp),
)
