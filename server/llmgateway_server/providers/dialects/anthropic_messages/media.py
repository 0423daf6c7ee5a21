"""Images and documents as Anthropic's messages take them, in messages and in tool results alike.

Source: https://platform.claude.com/docs/en/build-with-claude/vision and /pdf-support
"""

from __future__ import annotations

from typing import Any

from llmgateway_server.core.messages import MediaPart
from llmgateway_server.providers.dialects.media import MediaKind, base64_of, kind_of, mime_type_of

IMAGE_TYPES = {name: name for name in ("image/jpeg", "image/png", "image/gif", "image/webp")} | {
    "image/jpg": "image/jpeg"
}
"""The images that the models see, by what callers call them."""
PDF = "application/pdf"


def is_fetched_by_vendor(media: MediaPart) -> bool:
    """Tells whether the vendor takes the address: of an image or a PDF, over `https`. Plain text must be sent."""
    if media.uri is None or not media.uri.startswith("https://"):
        return False
    mime_type = mime_type_of(media)
    return not mime_type or mime_type in IMAGE_TYPES or mime_type == PDF


def medium(media: MediaPart) -> dict[str, Any] | None:
    """Returns the content block for a medium; None where the vendor has none for it."""
    if kind_of(media) is MediaKind.IMAGE:
        source = _image_source(media)
        return None if source is None else {"type": "image", "source": source}
    source = _document_source(media)
    if source is None:
        return None
    block: dict[str, Any] = {"type": "document", "source": source}
    if media.filename:
        block["title"] = media.filename
    return block


def _image_source(media: MediaPart) -> dict[str, str] | None:
    if media.data is None:
        return _address(media)
    mime_type = IMAGE_TYPES.get(mime_type_of(media))
    return None if mime_type is None else {"type": "base64", "media_type": mime_type, "data": base64_of(media)}


def _document_source(media: MediaPart) -> dict[str, str] | None:
    if media.data is None:
        return _address(media)
    mime_type = mime_type_of(media)
    if mime_type == PDF:
        return {"type": "base64", "media_type": PDF, "data": base64_of(media)}
    if not mime_type.startswith("text/"):
        return None
    try:  # markdown, tables and pages are text to a model as well
        return {"type": "text", "media_type": "text/plain", "data": media.data.decode()}
    except UnicodeDecodeError:
        return None


def _address(media: MediaPart) -> dict[str, str] | None:
    return {"type": "url", "url": media.uri or ""} if is_fetched_by_vendor(media) else None
