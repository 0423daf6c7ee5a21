"""What images, sounds and documents cost, by the vendors' published rules where the size can be read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil
from typing import Final

from llmgateway_server.core.messages import MediaPart
from llmgateway_server.providers.dialects.media import MediaKind, kind_of
from llmgateway_server.providers.tokens.estimate import Family
from llmgateway_server.providers.tokens.image_size import Size, image_size

TOKENS_PER_PAGE: Final = 1_000
"""Of a PDF; vendors state 258 (Google) to 3,000 (Anthropic, dense text and the page's image)."""
TOKENS_PER_SECOND: Final = 10
"""Of sound: 600 a minute at OpenAI, 1,920 at Google."""
BYTES_PER_SECOND: Final = 16_000
"""Of sound whose length is not read: MPEG at 128 kbit/s."""
UNKNOWN_IMAGE: Final = Size(1_024, 1_024)
"""Taken where an image cannot be read, because it is an address or a format of its own."""
UNKNOWN_DOCUMENT_TOKENS: Final = 1_000
UNKNOWN_SOUND_S: Final = 30
MAX_PAGES: Final = 1_000
_PAGE = re.compile(rb"/Type\s{0,8}/Page\b")


@dataclass(slots=True, frozen=True)
class Tiles:
    """An image costs `base`, and with detail `tile` for each square of 512 pixels after scaling to 2048 × 768."""

    base: int
    tile: int

    def token_count(self, size: Size, detail: str) -> int:
        """Returns the tokens of an image of this size; `low` detail costs the base alone."""
        if detail == "low":
            return self.base
        shrink = min(1.0, 2_048 / max(size))
        shrink *= min(1.0, 768 / (min(size) * shrink))
        # the third decimal holds what a pixel is; beyond it is noise of the two divisions
        width, height = (max(1, round(side * shrink, 3)) for side in size)
        return self.base + self.tile * ceil(width / 512) * ceil(height / 512)


@dataclass(slots=True, frozen=True)
class Patches:
    """An image costs `factor` for each square of 32 pixels, of which there are at most 1,536 after scaling."""

    factor: float

    def token_count(self, size: Size, detail: str) -> int:
        """Returns the tokens of an image of this size; `detail` changes nothing."""
        return ceil(self.factor * min(1_536, ceil(size.width / 32) * ceil(size.height / 32)))


OPENAI_IMAGES: Final = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"gpt-4\.1-mini|gpt-5(\.\d+)?-mini", Patches(1.62)),
        (r"gpt-4\.1-nano|gpt-5(\.\d+)?-nano", Patches(2.46)),
        (r"o4-mini", Patches(1.72)),
        (r"gpt-5", Tiles(70, 140)),
        (r"gpt-4o-mini", Tiles(2_833, 5_667)),
        (r"\bo[13]\b", Tiles(75, 150)),
        (r"", Tiles(85, 170)),
    )
)
"""The first that is found in the model's name counts.

Source: platform.openai.com/docs/guides/images-vision, "Calculating costs"."""


def _anthropic_image(size: Size) -> int:
    """Returns width × height ÷ 750 after scaling to 1,568 pixels and 1,600 tokens (docs.claude.com, "Vision")."""
    shrink = min(1.0, 1_568 / max(size))
    return min(1_600, ceil(size.width * size.height * shrink**2 / 750))


def _other_image(size: Size) -> int:
    """Returns 258, or 258 for each tile of a larger image (ai.google.dev/gemini-api/docs/tokens)."""
    if max(size) <= 384:
        return 258
    side = min(768, max(256, min(size) // 1.5))
    return 258 * ceil(size.width / side) * ceil(size.height / side)


def _openai_image(size: Size, detail: str, model: str) -> int:
    rule = next(rule for pattern, rule in OPENAI_IMAGES if pattern.search(model))
    return rule.token_count(size, detail)


def _image(media: MediaPart, family: Family, model: str) -> int:
    size = (image_size(media.data) if media.data is not None else None) or UNKNOWN_IMAGE
    match family:
        case Family.O200K | Family.CL100K:
            return _openai_image(size, media.detail, model)
        case Family.ANTHROPIC | Family.ANTHROPIC_5:
            return _anthropic_image(size)
        case Family.OTHER:
            return _other_image(size)


def _sound(media: MediaPart) -> int:
    seconds = UNKNOWN_SOUND_S if media.data is None else ceil(len(media.data) / BYTES_PER_SECOND)
    return TOKENS_PER_SECOND * seconds


def _document(media: MediaPart) -> int:
    """Returns the tokens of a document that is not text; pages packed away inside a PDF are not seen."""
    if media.data is None:
        return UNKNOWN_DOCUMENT_TOKENS
    return TOKENS_PER_PAGE * max(1, min(MAX_PAGES, len(_PAGE.findall(media.data))))


def media_tokens(media: MediaPart, family: Family, model: str) -> int:
    """Estimates the tokens of a medium that is not text.

    Args:
        media: with its bytes, or an address that nobody fetches for this.
        family: of the model's tokenizer.
        model: its upstream name, for vendors whose models differ.
    """
    match kind_of(media):
        case MediaKind.IMAGE:
            return _image(media, family, model)
        case MediaKind.AUDIO | MediaKind.VIDEO:
            return _sound(media)
        case MediaKind.DOCUMENT:
            return _document(media)


def text_of(media: MediaPart) -> str | None:
    """Returns the text of a document that is text (`text/*`, JSON), or None."""
    if media.data is None or not media.mime_type.startswith(("text/", "application/json")):
        return None
    return media.data.decode("utf-8", "replace")
