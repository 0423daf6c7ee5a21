"""Streams of InvokeModel: `chunk` events `{"bytes": base64, "p": padding}` around the events of the model itself."""

from __future__ import annotations

import binascii

import msgspec

from llmgateway_server.providers.dialects.aws_events import MEDIA_TYPE, AwsEventDecoder
from llmgateway_server.providers.dialects.bedrock_common.error import aws_exception, is_failure
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.framing import Framings
from llmgateway_server.providers.dialects.stream import EventReader
from llmgateway_server.providers.faults import malformed

INVOKED_STREAM: Framings = {MEDIA_TYPE: AwsEventDecoder}
CHUNK = b"chunk"
"""The event that holds one of the model's; others may come and say nothing."""


class _Chunk(msgspec.Struct):
    bytes: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class ChunkReader:
    """Hands a model's own events to the dialect's reader; see `stream.EventReader`.

    Args:
        reader: of the dialect; its events have no name.
    """

    def __init__(self, reader: EventReader) -> None:
        self.parts = reader.parts
        self._reader = reader

    def read(self, name: bytes, data: bytes) -> bool:
        """Unwraps one event; an exception of the service is the end."""
        if is_failure(name):
            raise aws_exception(name, data)
        if name != CHUNK:
            return False
        inner = unwrapped(data)
        return bool(inner) and self._reader.read(b"", inner)

    def body_ended(self) -> bool:
        """As the dialect's reader says."""
        return self._reader.body_ended()


def unwrapped(payload: bytes) -> bytes:
    """Returns the model's event in a chunk; nothing where the chunk is empty.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it is no chunk.
    """
    try:
        said = _decode_chunk(payload).bytes
        return binascii.a2b_base64(said, strict_mode=True) if said else b""
    except UNREADABLE as error:  # binascii's errors are ValueErrors
        raise malformed("chunk cannot be unwrapped") from error
