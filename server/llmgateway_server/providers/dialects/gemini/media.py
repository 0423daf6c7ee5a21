"""Images, sounds, videos and documents as parts, in messages and in results of tools alike. See `gemini`.

Source: https://ai.google.dev/gemini-api/docs/file-input-methods
"""

from __future__ import annotations

import re
from typing import Any

from llmgateway_server.core.messages import MediaPart
from llmgateway_server.providers.dialects.media import base64_of, mime_type_of

OWN_ADDRESS = re.compile(
    r"gs://.+"
    r"|https://generativelanguage\.googleapis\.com/v1(?:alpha|beta)?/files/.+"
    r"|https://(?:www\.|m\.)?youtube\.com/(?:watch\?|shorts/|live/).+"
    r"|https://youtu\.be/.+",
    re.IGNORECASE,
)
"""Buckets, uploaded files and videos: what models of either service fetch. Others are fetched by some models only."""
VIDEO_ADDRESS = re.compile(r"https://(?:www\.|m\.)?(?:youtube\.com|youtu\.be)/", re.IGNORECASE)
VIDEO = "video/mp4"
"""What a video at YouTube is said to be; one of the services demands that something is."""


def is_fetched_by_vendor(media: MediaPart) -> bool:
    """Tells whether the vendor takes the address."""
    return media.uri is not None and OWN_ADDRESS.fullmatch(media.uri) is not None


def medium(media: MediaPart) -> dict[str, Any] | None:
    """Returns the part for a medium; None where the vendor has none for it."""
    mime_type = mime_type_of(media)
    if media.data is not None:
        return {"inlineData": {"mimeType": mime_type, "data": base64_of(media)}} if mime_type else None
    if media.uri is None or not is_fetched_by_vendor(media):
        return None
    if VIDEO_ADDRESS.match(media.uri) and not media.mime_type:
        mime_type = VIDEO
    return {"fileData": ({"mimeType": mime_type} if mime_type else {}) | {"fileUri": media.uri}}
