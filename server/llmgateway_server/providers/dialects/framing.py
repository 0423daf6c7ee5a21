"""How a streamed answer is divided into events: a decoder for each media type, chosen by the answer's own header.

Server-sent events are in `sse`, a JSON document per line in `lines`, one JSON array in pieces in `json_array`, the
binary events of Amazon in `aws_events`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol

from llmgateway_server.providers.faults import malformed

Framed = list[tuple[bytes, bytes]]
"""Events as (name, data); the name is empty where the framing has none."""


class Framing(Protocol):
    """Divides one body, however it is cut."""

    def feed(self, chunk: bytes) -> Framed:
        """Returns the events that `chunk` completes.

        Raises:
            UpstreamError: UPSTREAM_MALFORMED, the body is divided wrongly, or an event is over its cap.
        """
        ...

    def end(self) -> Framed:
        """Returns the event that the end of the body completes, if there is one.

        Raises:
            UpstreamError: UPSTREAM_MALFORMED, the body ended inside an event.
        """
        ...


Framings = Mapping[str, Callable[[], Framing]]
"""The framings of a dialect by media type in lower case; the first is taken where a body does not say its type."""

MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
"""RFC 9110 §8.3.1, as far as types in use go."""
UNTYPED = frozenset({"", "application/octet-stream"})


def framing_for(framings: Framings, content_type: str) -> Framing:
    """Returns the framing of an answer.

    Args:
        framings: of the dialect.
        content_type: header of the answer; what is no media type says nothing.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, the answer is of a type that is no stream of this dialect.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    make = framings.get(media_type)
    if make is None and (media_type in UNTYPED or not MEDIA_TYPE.fullmatch(media_type)):
        make = next(iter(framings.values()))
    if make is None:
        raise malformed("stream with the wrong content type")
    return make()
