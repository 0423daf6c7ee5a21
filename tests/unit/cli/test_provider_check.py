"""`llmgateway test-provider`: what it says of accounts that work and of those that do not."""

from __future__ import annotations

import io
import json
import socket
from typing import Any

import pytest
from typer.testing import CliRunner

from llmgateway_server.cli import provider_check
from llmgateway_server.cli.commands import app
from llmgateway_server.cli.provider_check import NoModelError, examine, show, write_json
from llmgateway_server.config.load import from_document
from llmgateway_server.operators.examination import MAX_OUTPUT_TOKENS
from llmgateway_server.testing.upstream import Step, Upstream, answer, json_answer, stream

SECRET = "sk-canary-0123456789"


def refuse(status: int, code: str) -> Step:
    return json_answer({"error": {"code": code, "message": f"{SECRET} is wrong"}}, status)


async def verdict_of(provider: dict[str, Any], model: str = "m-1") -> provider_check.Verdict:
    settings = from_document({"providers": {"up": provider}, "auth": {"keys": []}}, "test")
    return await examine(settings, {}, "up", model)


def written(verdict: provider_check.Verdict) -> str:
    output = io.StringIO()
    show(verdict, output)
    return output.getvalue()


async def test_an_account_that_works() -> None:
    async with Upstream() as upstream:
        upstream.then(answer("OK"), stream("O", "K"))
        verdict = await verdict_of(upstream.provider() | {"api_key": SECRET})
    assert verdict.ok
    assert [request.body["max_tokens"] for request in upstream.requests] == [MAX_OUTPUT_TOKENS] * 2
    text = written(verdict)
    assert text.splitlines()[0] == f"up  openai-compatible, {verdict.address}, model m-1"
    assert text.splitlines()[-1] == "works"
    assert "no price known" in text
    assert SECRET not in text


async def test_the_key_is_refused() -> None:
    async with Upstream(refuse(401, "invalid_api_key")) as upstream:
        verdict = await verdict_of(upstream.provider() | {"api_key": SECRET})
    assert not verdict.ok
    assert [check.reason for check in verdict.checks] == ["PROVIDER_AUTH_FAILED"] * 2
    assert "check providers.up.api_key" in written(verdict)


async def test_nobody_is_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        verdict = await verdict_of({"vendor": "openai-compatible", "base_url": address})
    assert f"nothing answers at {address}" in written(verdict)


async def test_json_for_programs() -> None:
    async with Upstream(refuse(404, "model_not_found")) as upstream:
        verdict = await verdict_of(upstream.provider())
    output = io.StringIO()
    write_json(verdict, output)
    document = json.loads(output.getvalue())
    assert (document["ok"], document["checks"][0]["reason"]) == (False, "MODEL_NOT_FOUND")


async def test_without_a_catalogue_a_model_must_be_named() -> None:
    with pytest.raises(NoModelError):
        await verdict_of({"vendor": "openai-compatible", "base_url": "http://127.0.0.1:9/v1"}, "")


async def test_the_doors_of_the_configuration_stay_shut() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        document = {
            "providers": {"simulator": {"vendor": "simulator"}},
            "server": {"tls": {"certificate": "/nowhere.crt", "key": "/nowhere.key"}},
            "http": {"listen": f"127.0.0.1:{taken.getsockname()[1]}"},
        }
        verdict = await examine(from_document(document, "test"), {}, "simulator", "")
    assert verdict.ok


async def test_a_model_that_cannot_be() -> None:
    verdict = await verdict_of({"vendor": "openai-compatible", "base_url": "http://127.0.0.1:9/v1"}, "m" * 300)
    assert not verdict.ok
    assert "INVALID_REQUEST" in written(verdict)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["simulator"], 0, "works"),
        (["nobody"], 2, "there is no provider nobody; there are: simulator"),
        (["simulator", "--model", "chat?fault=http&status=503"], 1, "does not work"),
    ],
)
def test_the_command(arguments: list[str], exit_code: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    result = CliRunner().invoke(app, ["test-provider", *arguments])
    assert result.exit_code == exit_code, result.output
    assert words in result.output
