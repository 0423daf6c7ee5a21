"""Where Anthropic's messages are served, and what differs from host to host: data. See `anthropic_messages`.

The bodies are the same everywhere but for a few fields; signatures of reasoning are, too, so a conversation may go on
at another host.

Sources: https://platform.claude.com/docs/en/build-with-claude/claude-on-amazon-bedrock and /claude-on-vertex-ai,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.providers.dialects.anthropic_messages.error import WORDS, read_problem
from llmgateway_server.providers.dialects.aws_events import MEDIA_TYPE
from llmgateway_server.providers.dialects.bedrock_common.error import aws_error
from llmgateway_server.providers.dialects.bedrock_invoke.chunks import INVOKED_STREAM, ChunkReader
from llmgateway_server.providers.dialects.bedrock_invoke.request import invoke_path
from llmgateway_server.providers.dialects.framing import Framings
from llmgateway_server.providers.dialects.problem import refusal
from llmgateway_server.providers.dialects.sse import SERVER_SENT_EVENTS
from llmgateway_server.providers.dialects.stream import EventReader

VERSION = "2023-06-01"
"""Of the API, for `anthropic-version`."""


def _problem(status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> UpstreamError:
    """Reads `{"type": "error", "error": {...}}`; whatever else came is judged by its status alone."""
    return refusal(read_problem(body), WORDS, status, headers, now_s=now_s)


def _as_it_is(reader: EventReader) -> EventReader:
    return reader


@dataclass(slots=True, frozen=True)
class Hosting:
    """A host of Anthropic's messages."""

    version: str
    path: Callable[[str, bool], str] = lambda _model, _streaming: "/messages"
    """Given the upstream model and whether a stream is wanted: where messages are answered."""
    count_path: str = ""
    """Where tokens are counted; empty: nowhere."""
    version_in_body: bool = True
    """The version is the body's `anthropic_version`; otherwise it is a header."""
    betas_in_body: bool = False
    """Beta features are the body's `anthropic_beta`; otherwise they are a header."""
    model_in_body: bool = False
    """The body names the model; otherwise the path alone does. Counts always name it."""
    stream_in_body: bool = True
    """The body says that a stream is wanted; otherwise the path alone does."""
    framings: Framings = field(default_factory=lambda: SERVER_SENT_EVENTS)
    stream_type: str = "text/event-stream"
    """What a stream is asked for as."""
    opened: Callable[[EventReader], EventReader] = _as_it_is
    """Wraps the reader of a message's events, where the host wraps the events."""
    refused: Callable[[int, Mapping[str, str], bytes, float], UpstreamError] = _problem
    """Given status, headers, body and wall time: reads an answer whose status is not 2xx."""
    fetches: bool = False
    """Fetches images and documents at `https` addresses; otherwise their bytes must be sent."""
    lacks: frozenset[str] = frozenset({"service_tier", "code_execution", "container_id"})
    """What is Anthropic's own: `service_tier`, and options of `provider_options.anthropic_messages`."""


def _bedrock_path(model: str, streaming: bool) -> str:
    return invoke_path(model, streaming=streaming)


def _vertex_path(model: str, streaming: bool) -> str:
    return f"/models/{quote(model, safe='@')}:{'streamRawPredict' if streaming else 'rawPredict'}"


ANTHROPIC = Hosting(
    version=VERSION,
    count_path="/messages/count_tokens",
    version_in_body=False,
    model_in_body=True,
    fetches=True,
    lacks=frozenset(),
)
BEDROCK = Hosting(
    version="bedrock-2023-05-31",
    path=_bedrock_path,
    betas_in_body=True,
    stream_in_body=False,
    framings=INVOKED_STREAM,
    stream_type=MEDIA_TYPE,
    opened=ChunkReader,
    refused=aws_error,
    lacks=frozenset({"service_tier", "web_search", "code_execution", "container_id"}),
)
VERTEX = Hosting(
    version="vertex-2023-10-16",
    path=_vertex_path,
    count_path="/models/count-tokens:rawPredict",
)
