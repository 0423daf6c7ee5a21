"""What text models answer, read by the places of their family. See `bedrock_text`."""

from __future__ import annotations

from typing import Any

import msgspec

from llmgateway_server.core.events import FinishReason
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.anthropic_messages.error import WORDS, problem_of
from llmgateway_server.providers.dialects.bedrock_invoke.counts import METRICS, counted, counted_by_service
from llmgateway_server.providers.dialects.bedrock_text.families import Family, Places
from llmgateway_server.providers.dialects.bedrock_text.places import found_at
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.json_body import decode_again
from llmgateway_server.providers.faults import malformed

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def decode_object(body: bytes) -> dict[str, Any]:
    """Returns an answer or a chunk.

    Raises:
        UpstreamError: it is an error, or UPSTREAM_MALFORMED, no JSON object.
    """
    try:
        said = _decode_object(body)
    except UNREADABLE as refused:
        said = decode_again(_decode_object, body, "answer cannot be read", refused)
    if said.get("error") is not None or said.get("type") == "error":
        raise problem_of(said.get("error")).error(WORDS, None, None)
    return said


class Told:
    """What an answer, or the chunks of one so far, told beside its text.

    Args:
        family: of the model.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._usage = Usage()
        self._service: Usage | None = None
        self.stop_reason = ""
        self.stop_text = ""
        self.measured = False
        """Whether the service's own counts came, which stand beside a stream's last chunk."""

    def read(self, answer: dict[str, Any], places: Places) -> str | None:
        """Takes over what is told and returns the text; None where there is none.

        Raises:
            UpstreamError: UPSTREAM_MALFORMED, the text is no string.
        """
        text, stop = found_at(answer, places.text), found_at(answer, places.stop)
        stop_text = found_at(answer, self._family.stop_text)
        if isinstance(stop, str):
            self.stop_reason = stop
        if isinstance(stop_text, str):
            self.stop_text = stop_text
        counts = (believable_count(found_at(answer, place)) for place in (places.input_tokens, places.output_tokens))
        old = self._usage
        fresh, out = counts
        self._usage = Usage(
            old.input_token_count if fresh is None else fresh, old.output_token_count if out is None else out
        )
        if METRICS in answer:
            self.measured = True
            self.know(counted_by_service(answer[METRICS]))
        if text is not None and not isinstance(text, str):
            raise malformed("text is not a string")
        return None if text in self._family.noise else text

    def know(self, service: Usage | None) -> None:
        """Takes over the service's own counts."""
        self._service = service or self._service

    def usage(self) -> Usage | None:
        """Returns the counts; None where nobody told any."""
        return counted(self._usage, self._service)

    def finish_reason(self, stops: tuple[str, ...]) -> FinishReason:
        """Returns why the answer ends.

        Args:
            stops: the caller's; another text that stopped the model is the end of its turn.
        """
        reason = self._family.finishes.get(self.stop_reason.upper(), FinishReason.UNSPECIFIED)
        if reason is FinishReason.STOP_SEQUENCE and self._family.stop_text and self.stop_text not in stops:
            return FinishReason.STOP
        return reason
