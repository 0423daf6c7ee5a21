"""Credentials of clouds through a whole gateway: what the provider is shown, and what becomes of a call without one."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmgateway.v1 import reply_pb2
from llmgateway_server.core.secret import Secret
from llmgateway_server.observe.log import LogSettings, configure
from llmgateway_server.providers.credentials import source
from llmgateway_server.providers.credentials.sigv4 import AwsKeys
from llmgateway_server.providers.wire.port import WireRequest
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from llmgateway_server.testing.upstream import MODEL, Received, Upstream, answer, hang, json_answer, stream, usage
from tests.faults.kit import ask, failure_of, reason_of
from tests.unit.providers.aws_judge import signed_by_botocore
from tests.unit.providers.cloud_kit import (
    CANARY,
    ROLE_ARN,
    Entra,
    GoogleTokens,
    InstanceMetadata,
    Sts,
    private_key,
    root_of,
    service_account_file,
    written,
)

REGION = "eu-central-1"
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
}
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
}
ARN = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0"
"""A model whose name has what must be encoded twice."""


def bedrock(upstream: Upstream, **credential: Any) -> dict[str, Any]:
    return {"vendor": "bedrock", "base_url": root_of(upstream), "region": REGION, "credential": credential}


def azure(upstream: Upstream, *credentials: Mapping[str, Any]) -> dict[str, Any]:
    return {"vendor": "azure", "base_url": f"{root_of(upstream)}/openai/v1", "credentials": list(credentials)}


def client(endpoint: Upstream, client_secret: str = f"{CANARY}-client") -> dict[str, str]:
    return {
        "kind": "azure_client",
        "tenant_id": "a-tenant",
        "client_id": "an-app",
        "client_secret": client_secret,
        "url": root_of(endpoint),
    }


@asynccontextmanager
async def gateway_with(
    account: Mapping[str, Any], clock: ManualClock | None = None, **more: Any
) -> AsyncIterator[RunningGateway]:
    """Runs a gateway with one account, `up`; afterwards none of its tasks is left."""
    before = asyncio.all_tasks()
    async with running_gateway({"providers": {"up": account, **more.pop("providers", {})}, **more}, clock=clock) as it:
        yield it
    assert [task.get_name() for task in asyncio.all_tasks() - before if task.get_name() == "credentials"] == []


def check_signature(received: Received, keys: AwsKeys) -> None:
    """Compares a signature with what botocore makes of the request that arrived."""
    names = received.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    own = tuple((name, received.headers[name]) for name in names if name in ("content-type", "x-amz-target"))
    body = msgspec.json.encode(received.body)
    assert len(body) == int(received.headers["content-length"])  # it was written like that
    at = datetime.strptime(received.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    request = WireRequest(received.method, received.path, own, body)
    theirs = signed_by_botocore(request, received.headers["host"], keys, REGION, at.timestamp())
    assert received.headers["authorization"] == theirs["authorization"]
    assert received.headers.get("x-amz-security-token") == theirs.get("x-amz-security-token")


async def text_of(gateway: RunningGateway, model: str) -> str:
    reply: reply_pb2.CompleteResponse = await gateway.stub.Complete(ask(model=f"up/{model}"))
    return reply.parts[0].text


def attempts(gateway: RunningGateway) -> list[dict[str, Any]]:
    return [each for each in gateway.records() if each["record"] == "attempt"]


@pytest.mark.parametrize("model", ["amazon.nova-lite-v1:0", ARN])
@pytest.mark.parametrize("token", ["", f"{CANARY}-token"])
async def test_a_request_to_amazon_is_signed(model: str, token: str) -> None:
    keys = {"access_key_id": "AKID", "secret_access_key": f"{CANARY}/+"}
    async with Upstream(json_answer(CONVERSE)) as upstream:
        account = bedrock(upstream, kind="aws_static", **keys, **({"session_token": token} if token else {}))
        async with gateway_with(account) as gateway:
            assert await text_of(gateway, model) == "hi"
            assert [each["key_id"] for each in attempts(gateway)] == ["key-1"]
        check_signature(upstream.requests[0], AwsKeys(f"{CANARY}/+", "AKID", Secret(token)))


async def test_tokens_are_fetched_at_the_start_and_renewed_beside_the_calls(tmp_path: Path) -> None:
    clock = ManualClock()
    file = written(tmp_path / "identity", f"{CANARY}-identity")
    credential = {"kind": "aws_web_identity", "role_arn": ROLE_ARN, "token_file": str(file)}
    async with Upstream(Sts(clock)) as sts, Upstream(json_answer(CONVERSE)) as upstream:
        async with gateway_with(bedrock(upstream, **credential, url=root_of(sts)), clock) as gateway:
            await sts.request()  # nobody has called yet
            await text_of(gateway, "m")
            sts.then(hang)
            clock.advance(3300)
            await sts.request(2)
            await text_of(gateway, "m")  # the endpoint hangs, the old keys are good
        for received in upstream.requests:
            check_signature(received, AwsKeys(f"{CANARY}-1", "AKID1", Secret(f"session-{CANARY}-1")))
        assert [received.headers["x-amz-date"][-7:] for received in upstream.requests] == ["080000Z", "085500Z"]


async def test_a_machine_of_amazon_needs_no_secret() -> None:
    clock = ManualClock()
    async with Upstream(InstanceMetadata(clock)) as metadata, Upstream(json_answer(CONVERSE)) as upstream:
        async with gateway_with(bedrock(upstream, kind="aws_metadata", url=root_of(metadata)), clock) as gateway:
            await text_of(gateway, "m")
        check_signature(upstream.requests[0], AwsKeys(f"{CANARY}-1", "AKID1", Secret(f"session-{CANARY}-1")))


async def test_a_service_account_calls_vertex(tmp_path: Path) -> None:
    public, pem = private_key()
    clock = ManualClock()
    async with Upstream() as google, Upstream(json_answer(GEMINI)) as upstream:
        uri = f"{root_of(google)}/token"
        google.script = GoogleTokens(clock, public_key=public, audience=uri)
        credential = {"kind": "gcp_service_account", "file": str(service_account_file(tmp_path, pem, uri))}
        account = {"vendor": "vertex", "base_url": f"{root_of(upstream)}/v1", "credential": credential}
        async with gateway_with(account, clock) as gateway:
            assert await text_of(gateway, "gemini-2.5-flash") == "hi"
    assert upstream.requests[0].headers["authorization"] == f"Bearer {CANARY}-1"
    assert "x-goog-api-key" not in upstream.requests[0].headers


async def test_an_application_of_entra_calls_azure_and_streams() -> None:
    async with (
        Upstream(Entra(ManualClock())) as entra,
        Upstream(stream("a", "b", figures=usage(1, 2))) as upstream,
        gateway_with(azure(upstream, client(entra))) as gateway,
    ):
        events = [event async for event in gateway.stub.StreamComplete(ask(model=f"up/{MODEL}"))]
    assert events
    assert upstream.requests[0].headers["authorization"] == f"Bearer {CANARY}-1"
    assert "api-key" not in upstream.requests[0].headers


async def test_several_credentials_take_turns() -> None:
    clock = ManualClock()
    async with (
        Upstream(Entra(clock)) as one,
        Upstream(Entra(clock, client_secret="other", given=10)) as two,
        Upstream(answer("hi")) as upstream,
        gateway_with(azure(upstream, client(one), client(two, "other")), clock) as gateway,
    ):
        used: list[str] = []
        while len(set(used[:-4])) < 2:  # until both have a token, and then two rounds
            await text_of(gateway, MODEL)
            used = [each["key_id"] for each in attempts(gateway)]
    assert used[-4:] in (["key-1", "key-2"] * 2, ["key-2", "key-1"] * 2)
    tokens = {"key-1": f"Bearer {CANARY}-1", "key-2": f"Bearer {CANARY}-11"}
    assert [received.headers["authorization"] for received in upstream.requests] == [tokens[key] for key in used]


async def test_a_revoked_token_is_replaced_within_the_call() -> None:
    clock = ManualClock()
    async with (
        Upstream(Entra(clock)) as entra,
        Upstream(answer("hi")) as upstream,
        gateway_with(azure(upstream, client(entra)), clock) as gateway,
    ):
        await text_of(gateway, MODEL)
        clock.advance(60)
        upstream.then(json_answer({"error": {"code": "401"}}, 401))
        assert await text_of(gateway, MODEL) == "hi"
        assert [each["http_status"] for each in attempts(gateway)] == [200, 401, 200]
        upstream.then(json_answer({"error": {"code": "401"}}, 401))
        failure = await failure_of(gateway.stub.Complete(ask()))
        assert reason_of(failure) == "PROVIDER_AUTH_FAILED"  # a fresh token is not the reason
    shown = [received.headers["authorization"] for received in upstream.requests]
    assert shown == [f"Bearer {CANARY}-{number}" for number in (1, 1, 2, 2)]
    assert len(entra.requests) == 2


@pytest.mark.parametrize(("status", "reason"), [(401, "PROVIDER_AUTH_FAILED"), (500, "UPSTREAM_UNREACHABLE")])
async def test_without_a_token_nothing_is_sent_and_nothing_is_charged(status: int, reason: str) -> None:
    async with (
        Upstream(json_answer({"error": CANARY}, status)) as entra,
        Upstream(answer("hi")) as upstream,
        gateway_with(azure(upstream, client(entra)), max_attempts=1) as gateway,
    ):
        failure = await failure_of(gateway.stub.Complete(ask()))
        (attempt,) = attempts(gateway)
    assert reason_of(failure) == reason
    assert CANARY not in f"{failure.details()} {failure.trailing_metadata()}"
    assert (attempt["key_id"], attempt["charge"], attempt.get("request_bytes", 0)) == ("key-1", "C0", 0)
    assert upstream.requests == []


async def test_another_account_answers_while_tokens_cannot_be_had() -> None:
    async with Upstream() as gone:
        down = client(gone)
    clock = ManualClock()
    async with Upstream(answer("hi")) as upstream, Upstream(answer("other")) as other:
        targets = [{"provider": name, "model": MODEL} for name in ("up", "other")]
        models = {"public": {"targets": targets}}
        account = azure(upstream, down)
        async with gateway_with(account, clock, providers={"other": other.provider()}, models=models) as gateway:
            reply = await gateway.stub.Complete(ask(model="public"))
    assert [each.target.provider for each in reply.attempts] == ["up", "other"]
    assert upstream.requests == []


async def test_one_of_several_credentials_that_is_down_costs_no_call() -> None:
    clock = ManualClock()
    async with Upstream() as gone:
        down = client(gone)
    async with Upstream(Entra(clock)) as entra, Upstream(answer("hi")) as upstream:
        account = azure(upstream, down, client(entra))
        async with gateway_with(account, clock) as gateway:
            for _ in range(3):
                assert await text_of(gateway, MODEL) == "hi"
    assert {received.headers["authorization"] for received in upstream.requests} == {f"Bearer {CANARY}-1"}


async def test_an_endpoint_that_is_silent_holds_up_neither_start_nor_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "WAIT_S", 0.2)
    async with asyncio.timeout(10), Upstream(hang) as entra, Upstream(answer("hi")) as upstream:
        async with gateway_with(azure(upstream, client(entra)), max_attempts=1) as gateway:
            failures = await asyncio.gather(*(failure_of(gateway.stub.Complete(ask())) for _ in range(10)))
        asked = await entra.request()
        await asked.gone.wait()
    assert {reason_of(failure) for failure in failures} == {"UPSTREAM_UNREACHABLE"}
    assert (len(entra.requests), upstream.requests) == (1, [])


async def test_a_proxy_is_not_on_the_way_to_the_metadata_of_a_machine() -> None:
    clock = ManualClock()
    async with Upstream(InstanceMetadata(clock)) as metadata, Upstream(json_answer(CONVERSE)) as proxy:
        account = bedrock(proxy, kind="aws_metadata", url=root_of(metadata))
        account |= {"proxy": root_of(proxy), "base_url": "http://bedrock.invalid:8080"}
        async with gateway_with(account, clock) as gateway:
            assert await text_of(gateway, "m") == "hi"
    (received,) = proxy.requests
    assert received.path == "http://bedrock.invalid:8080/model/m/converse"
    received.path = "/model/m/converse"
    check_signature(received, AwsKeys(f"{CANARY}-1", "AKID1", Secret(f"session-{CANARY}-1")))


async def test_no_secret_is_in_log_records_or_status(tmp_path: Path) -> None:
    log = io.StringIO()
    configure(LogSettings(level="debug", format="json"), log)
    clock = ManualClock()
    refusal = json_answer({"error": {"code": "401", "message": f"{CANARY}-in-an-error"}}, 401)
    async with (
        Upstream(Entra(clock)) as entra,
        Upstream(answer("hi")) as upstream,
        gateway_with(azure(upstream, client(entra)), clock) as gateway,
    ):
        await text_of(gateway, MODEL)
        entra.then(json_answer({"error": f"{CANARY}-of-entra"}, 400))
        upstream.then(refusal)
        clock.advance(120)
        failure = await failure_of(gateway.stub.Complete(ask()))
        clock.advance(4000)
        await text_of(gateway, MODEL)
        written_down = gateway.record_text()
        page = (await gateway.app._metrics_page()).decode()
    said = f"{log.getvalue()} {written_down} {page} {failure.details()} {failure.trailing_metadata()}"
    assert "token not fetched" in said
    assert CANARY not in said
