"""Images, sounds and documents as the dialects tell and write them."""

from __future__ import annotations

import base64
from enum import StrEnum
from mimetypes import guess_extension, guess_type
from urllib.parse import urlsplit

from llmgateway_server.core.messages import MediaPart


class MediaKind(StrEnum):
    """What a medium is to a model."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"


def mime_type_of(media: MediaPart) -> str:
    """Returns the MIME type in lower case without parameters, told by the address where none was given; or empty."""
    given = media.mime_type.partition(";")[0].strip().lower()
    if given or media.uri is None:
        return given
    return guess_type(urlsplit(media.uri).path)[0] or ""


def kind_of(media: MediaPart) -> MediaKind:
    """Tells what a medium is; an address that tells nothing is taken for an image, the most common case."""
    mime_type = mime_type_of(media)
    if not mime_type:
        return MediaKind.IMAGE
    major = mime_type.partition("/")[0]
    return MediaKind(major) if major in ("image", "audio", "video") else MediaKind.DOCUMENT


def filename_of(document: MediaPart) -> str:
    """Returns the name of a document; vendors tell by its ending what it is."""
    mime_type = mime_type_of(document)
    return document.filename or f"document{guess_extension(mime_type) or '.' + mime_type.rpartition('/')[2]}"


def base64_of(media: MediaPart) -> str:
    """Returns the bytes as base64 (RFC 4648 §4); those of an address are fetched before a dialect is asked."""
    return base64.b64encode(media.data or b"").decode()


def data_url(media: MediaPart) -> str:
    """Returns the bytes as a `data:` address (RFC 2397)."""
    return f"data:{mime_type_of(media)};base64,{base64_of(media)}"
