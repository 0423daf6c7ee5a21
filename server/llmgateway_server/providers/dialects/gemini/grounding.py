"""The sources of a text: what the vendor's searches found, and what the text repeats. See `gemini`.

The vendor counts bytes, and in streams not always from where it says. A stretch is told only where the text has, at
that place, the words that the vendor says it has; a source is told always.

Source: `GroundingMetadata` and `CitationMetadata` of https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

from typing import Any

from llmgateway_server.core.messages import Citation
from llmgateway_server.providers.dialects.gemini.answer import word

SOURCES = ("web", "retrievedContext", "maps", "image")
"""The kinds of what was found."""


def citations_of(grounding: dict[str, Any], repeated: list[dict[str, Any]], text: str) -> tuple[Citation, ...]:
    """Returns the sources of a reply.

    Args:
        grounding: the vendor's object about its searches.
        repeated: its citations of texts that the model repeats.
        text: of the part that the citations will stand beside.
    """
    utf8 = text.encode()
    found = [_source(chunk) for chunk in _objects(grounding.get("groundingChunks"))]
    supports = _objects(grounding.get("groundingSupports"))
    told = [
        _placed(found[index], segment, utf8)
        for support in supports
        for segment in [support.get("segment")]
        for index in _indexes(support.get("groundingChunkIndices"), len(found))
    ]
    used = {(each.title, each.uri) for each in told}
    told += [each for each in found if (each.title, each.uri) not in used]
    told += [
        Citation(title=word(each.get("title")), uri=word(each.get("uri")))
        for each in repeated
        if word(each.get("uri")) or word(each.get("title"))
    ]
    return tuple(each for each in dict.fromkeys(told) if each.title or each.uri)


def repeated_in(metadata: dict[str, object]) -> list[dict[str, Any]]:
    """Returns the citations of `citationMetadata`, which the two services name differently."""
    return _objects(metadata.get("citationSources")) + _objects(metadata.get("citations"))


def _source(chunk: dict[str, Any]) -> Citation:
    for kind in SOURCES:
        source = chunk.get(kind)
        if isinstance(source, dict):
            uri = word(source.get("uri")) or word(source.get("sourceUri"))
            return Citation(title=word(source.get("title")), uri=uri, cited_text=word(source.get("text")))
    return Citation()


def _placed(source: Citation, segment: object, utf8: bytes) -> Citation:
    """Returns the source with the stretch of text that rests on it."""
    if not isinstance(segment, dict):
        return source
    start, end, words = segment.get("startIndex") or 0, segment.get("endIndex"), segment.get("text")
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(words, str) and 0 <= start < end):
        return source
    if utf8[start:end] != words.encode(errors="replace"):
        return source
    first = len(utf8[:start].decode(errors="replace"))
    return Citation(source.title, source.uri, source.cited_text, first, first + len(words))


def _indexes(value: object, count: int) -> list[int]:
    return [each for each in value if isinstance(each, int) and 0 <= each < count] if isinstance(value, list) else []


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
