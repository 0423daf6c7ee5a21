"""Canaries: secrets and prompts that stand in what goes in, and must stand in nothing that comes out."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self

import grpc
import grpc.aio
import pytest

from llmgateway.v1 import completion_pb2
from llmgateway_server.admission.keys import new_key
from llmgateway_server.core.secret import Secret
from llmgateway_server.routing.catalog import Catalog
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.faults.canary import Outputs as Channels
from tests.faults.canary import names_of
from tests.properties.loop import ask, read_stream, refusal

PROVIDER_KEY = "sk-canary-provider-key-51cc"
PEPPER = "canary-pepper-77ab"
PROMPT = "canaryprompt9e21"
URL_PATH = "canary-path-04fd"
METADATA = "canary-metadata-d3c0"
TRACE_PARENT = "canary-traceparent-1122334455667"
WRONG_KEY = "canary-wrong-key-8080"
PROVIDER_TEXT = "canary-provider-text-6a6a"
KEY = new_key(Secret(PEPPER))
OTHER_KEY = new_key(Secret("another pepper"))
FORGED_KEY = KEY.key.reveal().rpartition("_")[0][:-4] + "XXXX_00000000"
CANARIES = {
    "provider key": PROVIDER_KEY,
    "pepper": PEPPER,
    "prompt": PROMPT,
    "path of the base URL": URL_PATH,
    "metadata": METADATA,
    "trace parent": TRACE_PARENT,
    "wrong key": WRONG_KEY,
    "provider's words": PROVIDER_TEXT,
    "key": KEY.key.reveal(),
    "secret of the key": KEY.key.reveal().split("_")[2],
    "hash of the key": KEY.key_hash,
    "unknown key": OTHER_KEY.key.reveal(),
    "forged key": FORGED_KEY,
}
AUTHORIZATION = ("authorization", f"Bearer {KEY.key.reveal()}")
METADATA_SENT = (
    AUTHORIZATION,
    ("x-anything", METADATA),
    ("x-anything-bin", METADATA.encode()),
    ("x-request-id", METADATA),
    ("traceparent", f"00-{TRACE_PARENT}-{METADATA[:16]}-01"),
)
ANSWER = {
    "id": "a1",
    "model": "m",
    "choices": [{"message": {"content": "fine"}, "delta": {"content": "fine"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}
FAULTS = {
    "401": "PROVIDER_AUTH_FAILED",
    "400": "UPSTREAM_REJECTED_REQUEST",
    "429": "UPSTREAM_RATE_LIMITED",
    "500": "UPSTREAM_ERROR",
    "418": "UPSTREAM_UNCLASSIFIED",
    "302": "UPSTREAM_REDIRECT",
    "html": "UPSTREAM_OVERLOADED",
    "nonsense": "UPSTREAM_MALFORMED",
    "embedded": "UPSTREAM_ERROR",
    "garbage": "UPSTREAM_MALFORMED",
    "close": "UPSTREAM_RESET",
}


class Echo:
    """An upstream that says everything it was told: the model's name chooses how."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if (first := await reader.read(1)) == b"\x16":  # the beginning of a TLS handshake
                writer.write(PROVIDER_TEXT.encode())
                return
            head = first + await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            self.heard.set()
            request = json.loads(body)
            if request["model"] == "hang":
                await reader.read()  # until the gateway closes
            else:
                await self._answer(writer, head.decode(), request)
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, head: str, request: dict[str, Any]) -> None:
        assert PROVIDER_KEY in head
        assert URL_PATH in head
        said = f"{PROVIDER_TEXT}: {head.encode().hex()} {head} {json.dumps(request)}"
        problem = {"error": {"message": said, "type": f"type {said}", "code": f"code {said}"}}
        how = request["model"]
        if how == "garbage":
            writer.write(said.encode())
        elif how == "html":
            self._head(writer, 503, "text/html", f"<html><body>{said}</body></html>".encode())
        elif how.isdigit():
            self._head(writer, int(how), "application/json", json.dumps(problem).encode())
        elif how != "close":
            answer: Any = {"ok": ANSWER, "embedded": problem, "nonsense": {"choices": said}}.get(how, ANSWER)
            if request.get("stream"):
                begun = {**ANSWER, "choices": [{"delta": {"content": "fine"}}]}
                events = [begun, problem] if how == "cut" else [answer]
                lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
                self._head(writer, 200, "text/event-stream", "".join(lines).encode())
            else:
                self._head(writer, 200, "application/json", json.dumps(answer).encode())
        await writer.drain()

    def _head(self, writer: asyncio.StreamWriter, status: int, kind: str, body: bytes) -> None:
        echo = "".join(f"x-echo-{i}: {canary}\r\n" for i, canary in enumerate((PROVIDER_KEY, PROMPT)))
        head = f"HTTP/1.1 {status} {PROVIDER_KEY}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{echo}\r\n"
        writer.write(head.encode() + body)


class Outputs(Channels):
    """What comes out, and what calls tell."""

    async def call(self, call: Any) -> str:
        """Reads a call to its end and notes all of it; returns the reason of its failure."""
        try:
            if isinstance(call, grpc.aio.UnaryStreamCall):
                events, error = await read_stream(call)
                self.calls += map(str, events)
                if error is not None:
                    raise error
            else:
                self.calls.append(str(await call))
        except grpc.aio.AioRpcError as error:
            self.failed(error)
            return refusal(error).reason
        finally:
            self.calls.append(str(await call.initial_metadata() if call.done() and not call.cancelled() else ""))
            self.calls.append(str(await call.trailing_metadata() if call.done() and not call.cancelled() else ""))
        return ""

    def check(self, gateway: RunningGateway, **more: str) -> None:
        super().check(gateway, **more, names=names_of(gateway, KEY.key))


@pytest.fixture
def outputs() -> Iterator[Outputs]:
    with Outputs(CANARIES) as made:
        yield made


@asynccontextmanager
async def guarded(echo: Echo, **document: Any) -> AsyncIterator[RunningGateway]:
    up = {"vendor": "openai-compatible", "base_url": f"http://127.0.0.1:{echo.port}/{URL_PATH}/v1", "api_key": "env:UP"}
    settings = {
        "providers": {
            "up": up,
            "simulator": {"vendor": "simulator"},
            "gone": {**up, "base_url": f"http://127.0.0.1:1/{URL_PATH}"},
            "tls": {**up, "base_url": f"https://127.0.0.1:{echo.port}/{URL_PATH}"},
        },
        "auth": {
            "keys": [{"id": KEY.key_id, "hash": KEY.key_hash, "tenant": "t", "roles": ["admin"]}],
            "pepper": "env:PEPPER",
        },
        "screen": {"blocked_terms": [f"{PROMPT} forbidden"]},
        **document,
    }
    async with running_gateway(settings, environment={"UP": PROVIDER_KEY, "PEPPER": PEPPER}) as gateway:
        yield gateway


def both(gateway: RunningGateway, request: Any, metadata: Any = METADATA_SENT) -> tuple[Any, Any]:
    stub = gateway.stub
    return stub.Complete(request, metadata=metadata), stub.StreamComplete(request, metadata=metadata)


async def test_success(outputs: Outputs) -> None:
    async with Echo() as echo, guarded(echo) as gateway:
        for call in both(gateway, ask(PROMPT, "up/ok")):
            assert await outputs.call(call) == ""
        outputs.check(gateway)


@pytest.mark.parametrize("fault", [*FAULTS, "cut"])
async def test_what_a_provider_says_of_a_failure(outputs: Outputs, fault: str) -> None:
    async with Echo() as echo, guarded(echo) as gateway:
        unary, stream = both(gateway, ask(PROMPT, f"up/{fault}"))
        if fault == "cut":
            assert await outputs.call(unary) == ""
            assert await outputs.call(stream) == "UPSTREAM_ERROR"
        else:
            assert {await outputs.call(unary), await outputs.call(stream)} == {FAULTS[fault]}
        outputs.check(gateway)
        assert ("call_failed" in outputs.log.getvalue()) or fault not in ("400", "401", "500")


@pytest.mark.parametrize(("provider", "reason"), [("gone", "UPSTREAM_UNREACHABLE"), ("tls", "UPSTREAM_TLS")])
async def test_no_connection(outputs: Outputs, provider: str, reason: str) -> None:
    async with Echo() as echo, guarded(echo) as gateway:
        for call in both(gateway, ask(PROMPT, f"{provider}/ok")):
            assert await outputs.call(call) == reason
        outputs.check(gateway)


async def test_callers_who_leave(outputs: Outputs) -> None:
    async with Echo() as echo, guarded(echo) as gateway:
        for method in (gateway.stub.Complete, gateway.stub.StreamComplete):
            echo.heard.clear()
            call = method(ask(PROMPT, "up/hang"), metadata=METADATA_SENT)
            running = asyncio.ensure_future(outputs.call(call))
            await asyncio.wait_for(echo.heard.wait(), 5)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        call = gateway.stub.Complete(
            ask(PROMPT, "up/hang", limits=completion_pb2.CallLimits(max_latency_ms=50)), metadata=METADATA_SENT
        )
        assert await outputs.call(call) == "DEADLINE_EXCEEDED"
        outputs.check(gateway)


def bad_requests() -> dict[str, tuple[completion_pb2.CompleteRequest, str]]:
    schema = ask(PROMPT)
    schema.tools.add(name="t", parameters_json_schema=f'{{"{PROMPT}')
    stop = ask(PROMPT, stop=[PROMPT * 100])
    role = ask(PROMPT)
    role.messages[0].role = 99  # type: ignore[assignment]
    unserved = ask(PROMPT, conversation_id="c")
    return {
        "schema": (schema, "INVALID_REQUEST"),
        "stop": (stop, "INVALID_REQUEST"),
        "role": (role, "INVALID_REQUEST"),
        "unserved": (unserved, "FEATURE_NOT_CONFIGURED"),
        "blocked": (ask(f"so {PROMPT.upper()} Forbidden"), "GUARDRAIL_BLOCKED"),
        "model": (ask(PROMPT, "nothing"), "MODEL_NOT_FOUND"),
        "script": (ask(PROMPT, "simulator/chat?fault=nothing"), "INVALID_REQUEST"),
    }


@pytest.mark.parametrize("name", list(bad_requests()))
async def test_refused_requests(outputs: Outputs, name: str) -> None:
    request, reason = bad_requests()[name]
    async with Echo() as echo, guarded(echo) as gateway:
        for call in both(gateway, request):
            assert await outputs.call(call) == reason
        outputs.check(gateway)


async def test_bytes_that_are_no_message(outputs: Outputs) -> None:
    async with Echo() as echo, guarded(echo) as gateway:
        method: Any = gateway.channel.unary_unary("/llmgateway.v1.LlmGatewayService/Complete")
        call = method(b"\xff\xff" + PROMPT.encode(), metadata=METADATA_SENT)
        assert await outputs.call(call) == "MALFORMED_REQUEST"
        outputs.check(gateway)


@pytest.mark.parametrize("which", ["wrong key", "unknown key", "forged key", "hash of the key", "none"])
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_wrong_keys(outputs: Outputs, which: str, header: str) -> None:
    key = CANARIES.get(which, "")
    metadata = ((header, f"Bearer {key}" if header == "authorization" else key), *METADATA_SENT[1:])
    async with Echo() as echo, guarded(echo) as gateway:
        for call in both(gateway, ask(PROMPT), metadata):
            assert await outputs.call(call) == "INVALID_CREDENTIALS"
        outputs.check(gateway)


async def test_defects(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object) -> None:
        raise RuntimeError(f"{PROMPT} {PROVIDER_KEY}") from ValueError(PEPPER)

    monkeypatch.setattr(Catalog, "resolve", resolve)
    async with Echo() as echo, guarded(echo) as gateway:
        for call in both(gateway, ask(PROMPT)):
            assert await outputs.call(call) == "INTERNAL"
        outputs.check(gateway)
        assert "RuntimeError at" in outputs.log.getvalue()


async def test_a_provider_s_words_are_in_no_log_at_any_level(outputs: Outputs) -> None:
    async with Echo() as echo, guarded(echo) as gateway:
        await outputs.call(gateway.stub.Complete(ask("hi", "up/400"), metadata=METADATA_SENT))
    lines = [json.loads(line) for line in outputs.log.getvalue().splitlines()]
    failed = next(line for line in lines if line["event"] == "call_failed")
    assert re.fullmatch("[A-Za-z_0-9?]*(/[A-Za-z_0-9?]*)?", failed["detail"])
    assert PROVIDER_KEY not in outputs.log.getvalue()


async def test_settings_name_where_a_secret_is_and_not_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    async with Echo() as echo, guarded(echo) as gateway:
        text = f"{gateway.app.settings!r} {gateway.app.settings} {gateway.app.parts!r}"
    assert "env:UP" in text
    for kind, canary in CANARIES.items():
        if kind not in ("hash of the key", "path of the base URL", "prompt"):  # those are the settings' own
            assert canary not in text, kind
    assert capsys.readouterr().out.count(PROVIDER_KEY) == 0
