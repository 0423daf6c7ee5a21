"""Images, documents, videos and sounds as Converse takes them, in messages and in tool results alike.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html and the service's model
in botocore.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from llmgateway_server.core.messages import MediaPart
from llmgateway_server.providers.dialects.media import MediaKind, base64_of, kind_of, mime_type_of

S3 = "s3://"
MIN_ADDRESS = re.compile(r"s3://[a-z0-9][.a-z0-9-]{1,61}[a-z0-9](/.*)?")
"""What the service takes for an address."""
LONGEST_NAME = 200
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
BLANKS = re.compile(r"\s+")
NAMELESS = "document"
"""A name for a document without one. The service advises neutral ones: a model reads them."""
FORMATS: Mapping[MediaKind, dict[str, str]] = {
    MediaKind.IMAGE: {
        "image/jpeg": "jpeg",
        "image/jpg": "jpeg",
        "image/png": "png",
        "image/gif": "gif",
        "image/webp": "webp",
    },
    MediaKind.DOCUMENT: {
        "application/pdf": "pdf",
        "text/csv": "csv",
        "application/csv": "csv",
        "application/msword": "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/vnd.ms-excel": "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "text/html": "html",
        "application/xhtml+xml": "html",
        "text/markdown": "md",
        "text/x-markdown": "md",
        "text/plain": "txt",
    },
    MediaKind.VIDEO: {
        "video/mp4": "mp4",
        "video/quicktime": "mov",
        "video/x-matroska": "mkv",
        "video/matroska": "mkv",
        "video/webm": "webm",
        "video/x-flv": "flv",
        "video/mpeg": "mpeg",
        "video/x-ms-wmv": "wmv",
        "video/3gpp": "three_gp",
    },
    MediaKind.AUDIO: {
        "audio/mpeg": "mp3",
        "audio/mp3": "mp3",
        "audio/wav": "wav",
        "audio/x-wav": "wav",
        "audio/wave": "wav",
        "audio/vnd.wave": "wav",
        "audio/ogg": "ogg",
        "audio/opus": "opus",
        "audio/flac": "flac",
        "audio/x-flac": "flac",
        "audio/aac": "aac",
        "audio/mp4": "mp4",
        "audio/x-m4a": "m4a",
        "audio/m4a": "m4a",
        "audio/webm": "webm",
        "audio/x-matroska": "mka",
    },
}
"""The service's words by MIME type."""


def is_fetched_by_service(media: MediaPart) -> bool:
    """Tells whether the service takes the address."""
    return media.uri is not None and media.uri.startswith(S3)


def medium(media: MediaPart, names: DocumentNames) -> dict[str, Any] | None:
    """Returns the content block for a medium; None where the service has none for it."""
    kind = kind_of(media)
    format_ = _format(kind, mime_type_of(media))
    source = _source(media)
    if format_ is None or source is None:
        return None
    block: dict[str, Any] = {"format": format_, "source": source}
    if kind is MediaKind.DOCUMENT:
        block = {"format": format_, "name": names.of(media.filename), "source": source}
    return {kind.value: block}


class DocumentNames:
    """Gives every document of a request a name that the service takes, and no two the same."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def of(self, filename: str) -> str:
        """Returns the name for the next document: as its file is called, less the ending and what may not be there."""
        bare = named(filename)
        name, number = bare, 1
        while name in self._given:
            number += 1
            ending = f" ({number})"
            name = bare[: LONGEST_NAME - len(ending)].rstrip() + ending
        self._given.add(name)
        return name


def named(filename: str) -> str:
    """Returns the name of a file in the letters that the service takes."""
    letters = NOT_IN_NAMES.sub(" ", stem(filename))
    return BLANKS.sub(" ", letters).strip()[:LONGEST_NAME].rstrip() or NAMELESS


def stem(filename: str) -> str:
    """Returns the name of a file without its ending, which the format tells."""
    return PurePosixPath(filename).stem


def _format(kind: MediaKind, mime_type: str) -> str | None:
    known = FORMATS[kind].get(mime_type)
    if known is None and kind is MediaKind.DOCUMENT and mime_type.startswith("text/"):
        return "txt"  # whatever else it is, a model reads it as text
    return known


def _source(media: MediaPart) -> dict[str, Any] | None:
    if media.data is not None:
        return {"bytes": base64_of(media)}
    if media.uri is not None and MIN_ADDRESS.fullmatch(media.uri):
        return {"s3Location": {"uri": media.uri}}
    return None
