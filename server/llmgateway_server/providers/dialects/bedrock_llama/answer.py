"""What Meta's models answer, as far as it is used; everything else passes by unread. See `bedrock_llama`.

Fields are `object` where another type than the documented one must not cost the whole reply.
"""

from __future__ import annotations

import msgspec

from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.bedrock_invoke.counts import METRICS, counted, counted_by_service
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.json_body import decode_again


class Answer(msgspec.Struct, rename={"metrics": METRICS}):
    """A whole answer, or a chunk of one that is streamed: the same fields."""

    generation: str | None = None
    prompt_token_count: object = None
    generation_token_count: object = None
    stop_reason: object = None
    metrics: object = None


_decode_answer = msgspec.json.Decoder(Answer).decode


def decode_answer(body: bytes) -> Answer:
    """Returns an answer or a chunk.

    Raises:
        UpstreamError: UPSTREAM_MALFORMED, it cannot be read.
    """
    try:
        return _decode_answer(body)
    except UNREADABLE as refused:
        return decode_again(_decode_answer, body, "answer cannot be read", refused)


class Counts:
    """The tokens of a reply: the prompt's are told once, the answer's grow."""

    def __init__(self) -> None:
        self._prompt: int | None = None
        self.generated: int | None = None
        self._service: Usage | None = None

    def know(self, answer: Answer) -> None:
        """Takes over what is told; a null leaves what was known."""
        prompt, generated = believable_count(answer.prompt_token_count), believable_count(answer.generation_token_count)
        self._prompt = self._prompt if prompt is None else prompt
        self.generated = self.generated if generated is None else generated
        self._service = counted_by_service(answer.metrics) or self._service

    def usage(self) -> Usage | None:
        """Returns the counts; None where none were told."""
        return counted(Usage(self._prompt, self.generated), self._service)
