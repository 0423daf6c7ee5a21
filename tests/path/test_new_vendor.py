"""docs/adding-a-vendor.md, tried: a vendor and a dialect that are not in the table, added as the page says."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from llmgateway.v1 import usage_pb2
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from llmgateway_server.providers.vendors import VENDORS, Vendor
from llmgateway_server.testing import upstream
from llmgateway_server.testing.gateway import running_gateway
from llmgateway_server.testing.upstream import Upstream
from tests.recorded.outcome import ALONE, completed, streamed
from tests.recorded.test_fixtures import ask, read

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "new-vendor" / "parrot.py"
NDJSON = {"content-type": "application/x-ndjson", "transfer-encoding": "chunked"}
SAID = ({"word": "Grüße "}, {"word": "aus "}, {"word": "東京"}, {"over": "enough", "heard": 7, "said": 3})


Add = Callable[[Vendor], None]


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Add:
    """Adds a row to the table of vendors until the test is over."""
    return lambda row: monkeypatch.setitem(cast("dict[str, Vendor]", VENDORS), row.name, row)


def parrot() -> Any:
    spec = importlib.util.spec_from_file_location("parrot", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Parrot()


def lines(*said: dict[str, Any]) -> list[bytes]:
    return [json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in said]


async def test_a_vendor_is_a_row(add: Add) -> None:
    quirks = Quirks(max_tokens_field="max_tokens", done_line_required=False)
    add(Vendor(name="example", dialects=(OpenAiChat(),), base_url="https://api.example.com/v1", quirks=quirks))
    body = read("text_with_usage.sse")
    async with Upstream(
        [upstream.STREAM_HEAD, upstream.chunk(body[: body.index(b"data: [DONE]")]), upstream.END]
    ) as it:
        account = {"vendor": "example", "base_url": it.base_url, "api_key": "sk-example"}
        async with running_gateway({"providers": {"fixture": account}, **ALONE}) as gateway:
            outcome = await streamed(gateway, ask())
    assert (outcome.code, outcome.text, outcome.finish_reason) == (grpc.StatusCode.OK, "Grüße aus 東京 🙂", "stop")
    assert it.requests[0].headers["authorization"] == "Bearer sk-example"


async def test_a_dialect_is_four_functions(add: Add) -> None:
    add(Vendor(name="parrot", dialects=(parrot(),), base_url="http://127.0.0.1:7777"))
    whole = {"words": [line["word"] for line in SAID[:-1]], **SAID[-1]}
    pieces = b"".join(lines(*SAID))
    async with Upstream() as it:
        account = {"vendor": "parrot", "base_url": it.base_url.removesuffix("/v1")}
        async with running_gateway({"providers": {"fixture": account}, **ALONE}) as gateway:
            it.then([upstream.json_answer(whole)])
            it.then([upstream.head(200, NDJSON), *(upstream.chunk(bytes([byte])) for byte in pieces), upstream.END])
            for asked in (completed, streamed):
                outcome = await asked(gateway, ask())
                assert (outcome.text, outcome.finish_reason) == ("Grüße aus 東京", "stop")
                assert outcome.usage == usage_pb2.Usage(
                    input_token_count=7, output_token_count=3, source=usage_pb2.USAGE_SOURCE_REPORTED
                )
            it.then([upstream.head(200, NDJSON), upstream.chunk(pieces[:-9]), upstream.END])
            assert (await streamed(gateway, ask())).reason == "UPSTREAM_STREAM_INTERRUPTED"
            it.then([upstream.json_answer({"squawk": "too_long"}, 400)])
            assert (await completed(gateway, ask())).reason == "CONTEXT_LENGTH_EXCEEDED"
            warm = ask()
            warm.temperature = 0.5
            refused = await completed(gateway, warm)
    assert (refused.reason, refused.fields) == ("UNSUPPORTED_OPTION", {"temperature"})
    assert it.requests[0].path == "/speak"
