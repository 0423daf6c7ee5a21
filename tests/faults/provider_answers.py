"""What the tests of providers' answers share: one call with everything that it left behind, and answers that quote.

Every error of these providers quotes the key, the prompt and words of its own; leaving the gateway's context looks for
them in everything that came out.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2

from llmgateway.v1 import error_pb2, reply_pb2
from llmgateway_server.core.clock import Clock
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from llmgateway_server.testing.upstream import Script, Step, Upstream
from tests.faults.canary import Outputs
from tests.faults.kit import ask, bad_fields_of, detail_of, quiet, reason_of, settings
from tests.faults.provider_kit import CANARIES, JSON_HEAD, PROMPT, PROVIDER_KEY, WORDS, whole

OTHER_KEY = "sk-canary-other-key-77ab"
KEYS = {"UP": PROVIDER_KEY, "UP_2": OTHER_KEY}
QUOTED = f"{WORDS}: {PROVIDER_KEY} {OTHER_KEY} {PROMPT}"


@dataclass(slots=True)
class Answered:
    """How one call ended, and what is recorded of it."""

    attempts: list[dict[str, Any]]
    record: dict[str, Any]
    error: grpc.aio.AioRpcError | None = None
    events: list[reply_pb2.Event] = field(default_factory=list)
    """Of a stream."""
    reply: Any = None
    """Of a unary call."""

    @property
    def code(self) -> grpc.StatusCode:
        return self.error.code() if self.error else grpc.StatusCode.OK

    @property
    def summary(self) -> Any:
        """What the last event of a stream and a unary reply share: usage, finish reason, notices, attempts."""
        assert self.error is None, self.error
        if self.reply is not None:
            return self.reply
        assert [each.WhichOneof("event") for each in self.events].count("finished") == 1
        return self.events[-1].finished

    @property
    def text(self) -> str:
        if self.reply is not None:
            return "".join(part.text for part in self.reply.parts)
        return "".join(each.text_delta.text for each in self.events)

    @property
    def usage(self) -> tuple[int, int, str]:
        """Tokens of input and output, and their source as it is recorded."""
        usage, [attempt] = self.summary.usage, self.attempts
        told = usage.input_token_count, usage.output_token_count
        assert (attempt["input_tokens"], attempt["output_tokens"]) == told
        return *told, attempt["usage_source"]

    @property
    def charges(self) -> list[tuple[str, str | None, int | None, str]]:
        """Outcome, reason, HTTP status and charge of each attempt."""
        return [tuple(each[name] for name in ("outcome", "reason", "http_status", "charge")) for each in self.attempts]

    @property
    def notices(self) -> list[str]:
        return [reply_pb2.NoticeCode.Name(each.code).removeprefix("NOTICE_CODE_") for each in self.summary.notices]

    def detail(self, kind: type[Any]) -> Any:
        assert self.error is not None
        return detail_of(self.error, kind)

    @property
    def slots(self) -> dict[str, str]:
        return dict(self.detail(error_details_pb2.ErrorInfo).metadata)

    @property
    def bad_fields(self) -> list[str]:
        assert self.error is not None
        return bad_fields_of(self.error)

    @property
    def retry_after_s(self) -> float | None:
        found = self.detail(error_details_pb2.RetryInfo)
        return found.retry_delay.ToMilliseconds() / 1000 if found else None

    @property
    def precondition(self) -> tuple[str, str] | None:
        found = self.detail(error_details_pb2.PreconditionFailure)
        return (found.violations[0].type, found.violations[0].subject) if found else None

    def assert_refused(self, code: grpc.StatusCode, reason: str, status: int, *, attempts: int = 1) -> None:
        """Holds what all refusals have in common: nothing was delivered and nothing is charged."""
        assert self.error is not None
        assert (self.code, reason_of(self.error), self.events, self.reply) == (code, reason, [], None)
        assert self.charges == [("failed", reason, status, "C0")] * attempts
        assert {(each["input_tokens"], each["output_tokens"]) for each in self.attempts} == {(None, None)}
        assert [self.record[name] for name in ("outcome", "reason", "attempts")] == ["failed", reason, attempts]
        assert self.detail(error_pb2.PartialReply) is None
        failure = self.detail(error_pb2.AttemptFailure)
        assert (error_pb2.ErrorReason.Name(failure.reason), failure.http_status) == (f"ERROR_REASON_{reason}", status)
        assert dict(self.error.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "-1"
        assert self.slots["provider"] == "up"


class Keyed:
    """A gateway whose provider `up` has several keys.

    Args:
        gateway: it.
        outputs: where its secrets are looked for.
    """

    def __init__(self, gateway: RunningGateway, outputs: Outputs) -> None:
        self.gateway = gateway
        self._outputs = outputs
        self._records_read = 0

    async def call(self, *, streaming: bool, **options: Any) -> Answered:
        """Makes one call and reads it to its end, whatever that is."""
        events: list[reply_pb2.Event] = []
        reply = error = None
        try:
            if streaming:
                async for message in self.gateway.stub.StreamComplete(ask(PROMPT, **options)):
                    events += message.events
            else:
                reply = await self.gateway.stub.Complete(ask(PROMPT, **options))
        except grpc.aio.AioRpcError as raised:
            error = raised
            self._outputs.failed(error)
        await quiet(self.gateway)
        text = self.gateway.record_text()
        lines, self._records_read = text[self._records_read :].splitlines(), len(text)
        *attempts, record = (json.loads(line) for line in lines)
        return Answered(attempts, record, error, events, reply)

    def logged(self, what: str) -> list[dict[str, Any]]:
        """Returns the lines of the log about `what`."""
        lines = [json.loads(line) for line in self._outputs.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == what]


@asynccontextmanager
async def keyed(
    upstream: Upstream,
    *,
    keys: int = 1,
    vendor: str = "openai-compatible",
    clock: Clock | None = None,
    **sections: Any,
) -> AsyncIterator[Keyed]:
    """Runs a gateway and looks for what was quoted at its end."""
    references = [f"env:{name}" for name in KEYS][:keys]
    document = settings(**sections)
    document["providers"]["up"] = upstream.provider() | {"vendor": vendor, "api_keys": references}
    with Outputs(CANARIES | {"other key": OTHER_KEY}) as outputs:
        async with running_gateway(document, environment=KEYS, clock=clock) as gateway:
            yield Keyed(gateway, outputs)
        outputs.check(gateway)


async def answered(
    script: Script, *, streaming: bool, options: Mapping[str, Any] | None = None, **how: Any
) -> Answered:
    """Makes one call that reaches the provider once, and only once."""
    async with Upstream(script) as upstream, keyed(upstream, **how) as it:
        ended = await it.call(streaming=streaming, **(options or {}))
        [received] = upstream.requests
    assert received.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert PROMPT in str(received.body)
    return ended


# --- errors of providers -----------------------------------------------------------------------------------------


def problem(message: str = "", **fields: Any) -> bytes:
    """Returns an error object that quotes what it was told."""
    return json.dumps({"error": {"message": f"{message} {QUOTED}", **fields}}).encode()


def refusal(status: int, body: bytes | None = None, **headers: str) -> list[Step]:
    """Answers with an error; `_` in a header's name stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return whole(problem() if body is None else body, {**JSON_HEAD, **named, "x-echo": QUOTED}, status)
