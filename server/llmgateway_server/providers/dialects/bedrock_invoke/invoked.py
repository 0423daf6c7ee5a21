"""Models behind InvokeModel that are asked and answer as another dialect does: the service changes the address alone.

Newer models of many vendors take chat completions there; Nova takes what Converse takes, with a few names of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.providers.dialects.bedrock_common.error import aws_error
from llmgateway_server.providers.dialects.bedrock_converse import BedrockConverse
from llmgateway_server.providers.dialects.bedrock_invoke.chunks import INVOKED_STREAM, ChunkReader
from llmgateway_server.providers.dialects.bedrock_invoke.counts import METRICS
from llmgateway_server.providers.dialects.bedrock_invoke.request import invoke
from llmgateway_server.providers.dialects.bedrock_invoke.text_only import completion_of
from llmgateway_server.providers.dialects.dialect import UNREADABLE, Dialect, Quirks, Unsupported
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from llmgateway_server.providers.dialects.stream import EventReader
from llmgateway_server.providers.wire.port import WireRequest

Json = dict[str, Any]
_decode_object = msgspec.json.Decoder(Json).decode


class Invoked:
    """A dialect of another vendor behind InvokeModel.

    Args:
        name: its own; provider options are those of `dialect`.
        dialect: whose bodies and answers the models have.
        asked: rewrites a body.
        event: returns the name of a stream's event and the event, as the dialect reads them.
        lacks: fields of the dialect's bodies that the models do not take, and the options that they stand for.
        quirks: given a model, how it departs from the dialect.
    """

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        *,
        asked: Callable[[Json], Json],
        event: Callable[[Json], tuple[str, Any]],
        lacks: Mapping[str, str],
        quirks: Callable[[str], Quirks],
    ) -> None:
        self.name = name
        self.state_vendor = dialect.state_vendor
        self.operations = dialect.operations
        self.framings = INVOKED_STREAM
        self._dialect = dialect
        self._asked = asked
        self._event = event
        self._lacks = lacks
        self._quirks = quirks

    def fetches(self, media: MediaPart) -> bool:
        """The service fetches nothing."""
        return False

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the dialect's body for the model in the path."""
        model, request = attempt.target.upstream_model, completion_of(attempt)
        body = _decode_object(self._dialect.encode_request(attempt, self._quirks(model)).body)
        unsupported = Unsupported(self.name, attempt.call, drop=request.drop_unsupported)
        for name, option in self._lacks.items():
            if body.pop(name, None) is not None:
                unsupported.option(option)
        unsupported.settle()
        return invoke(model, self._asked(body), streaming=attempt.call.streaming)

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a whole answer."""
        return self._dialect.decode_reply(attempt, self._quirks(attempt.target.upstream_model), body)

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of the dialect's events."""
        reader = self._dialect.stream_reader(attempt, self._quirks(attempt.target.upstream_model))
        return ChunkReader(_NamedReader(reader, self._event))

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads an exception of the service."""
        return aws_error(status, headers, body, now_s)


class _NamedReader:
    """Gives a model's events to the dialect's reader as it knows them; see `stream.EventReader`.

    Args:
        reader: of the dialect.
        event: names and rewrites an event.
    """

    def __init__(self, reader: EventReader, event: Callable[[Json], tuple[str, Any]]) -> None:
        self.parts = reader.parts
        self._reader = reader
        self._event = event

    def read(self, name: bytes, data: bytes) -> bool:
        """Reads one event; what is no object is the dialect's to refuse."""
        try:
            named, said = self._event(_decode_object(data))
        except UNREADABLE:
            return self._reader.read(name, data)
        return self._reader.read(named.encode(), msgspec.json.encode(said))

    def body_ended(self) -> bool:
        """As the dialect's reader says."""
        return self._reader.body_ended()


# --- chat completions --------------------------------------------------------------------------------------------

ELSEWHERE = ("model", "stream", "stream_options")
"""What the path says of a chat completion."""
CHAT_COUNTS = {"inputTokenCount": "prompt_tokens", "outputTokenCount": "completion_tokens"}


def _chat_asked(body: Json) -> Json:
    return {name: value for name, value in body.items() if name not in ELSEWHERE}


def _chat_event(event: Json) -> tuple[str, Json]:
    """Returns a chunk with the service's counts, where the model tells none."""
    metrics = event.pop(METRICS, None)
    if isinstance(metrics, dict) and event.get("usage") is None:
        event["usage"] = {name: metrics[given] for given, name in CHAT_COUNTS.items() if given in metrics}
    return "", event


def _chat_quirks(model: str) -> Quirks:
    cap, developer = ("max_completion_tokens", True) if "gpt-oss" in model else ("max_tokens", False)
    return Quirks(max_tokens_field=cap, developer_role=developer, done_line_required=False, stream_usage_option=False)


CHAT = Invoked("bedrock_chat", OpenAiChat(), asked=_chat_asked, event=_chat_event, lacks={}, quirks=_chat_quirks)
"""https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html, -jamba.html,
-mistral-chat-completion.html and others: models that take chat completions."""

# --- Nova --------------------------------------------------------------------------------------------------------

NOVA_LACKS = {
    "outputConfig": "response_format",
    "guardrailConfig": "provider_options.bedrock_converse.guardrail_id",
    "performanceConfig": "provider_options.bedrock_converse.latency",
    "serviceTier": "service_tier",
    "requestMetadata": "end_user_id",
}


def _nova_asked(body: Json) -> Json:
    """Returns a body of Converse in Nova's schema: what Converse passes on to the model stands in it by itself."""
    more = body.pop("additionalModelRequestFields", {})
    for name, value in more.items():
        both = isinstance(value, dict) and isinstance(body.get(name), dict)
        body[name] = {**body[name], **value} if both else value
    return {"schemaVersion": "messages-v1", **body}


def _nova_event(event: Json) -> tuple[str, Any]:
    """Returns the event that is named by the only key of the model's own."""
    name = next((name for name in event if name != METRICS), "")
    return name, event.get(name)


NOVA = Invoked(
    "bedrock_nova",
    BedrockConverse(),
    asked=_nova_asked,
    event=_nova_event,
    lacks=NOVA_LACKS,
    quirks=lambda _: Quirks(),
)
"""https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html"""
