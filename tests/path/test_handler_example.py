"""What docs/handlers.md shows: its example, as a module on the path and as an installed package, and its own code."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import grpc.aio
import pytest

from llmgateway.v1 import model_pb2, reply_pb2
from llmgateway.v1.llm_gateway_service_pb2_grpc import LlmGatewayServiceStub
from llmgateway_server.providers.handlers.failure import REASONS
from llmgateway_server.testing.gateway import running_gateway
from tests.faults.kit import BACKSTOP_S, ask, bad_fields_of, failure_of, read_all, reason_of

PAGE = Path(__file__).parents[2] / "docs" / "handlers.md"
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "house-models"


async def test_the_example_runs_as_its_page_says(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmgateway_server", "serve", "--config", "gateway.yaml", "--listen", "127.0.0.1:0"),
        cwd=EXAMPLE,
        env={**os.environ, "PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        line = b""
        async with asyncio.timeout(4 * BACKSTOP_S):
            while b"is serving on" not in line:
                line = await process.stderr.readline()
                assert line, "it ended"
        async with grpc.aio.insecure_channel(line.decode().split()[-1]) as channel:
            stub = LlmGatewayServiceStub(channel)
            listed = await stub.ListModels(model_pb2.ListModelsRequest())
            streamed = await read_all(stub.StreamComplete(ask("one two three", "house-small", max_output_tokens=2)))
            priced = await stub.Complete(ask("one two three", "house"))
            counted = await stub.Complete(ask("one two three", "house-count"))
            thought = await stub.Complete(ask("one two three", "house-slow"))
            fallen_back = await stub.Complete(
                ask("word " * 2001, "house", routing={"preferred_providers": ["simulator"]})
            )
    finally:
        process.kill()
        await process.wait()
    assert {"house-small", "house-large", "house-count", "house-slow", "house"} <= {each.name for each in listed.models}
    assert "".join(event.text_delta.text for event in streamed) == "three two "
    assert streamed[-1].finished.finish_reason == reply_pb2.FINISH_REASON_LENGTH
    assert priced.parts[0].text == "three two one "
    assert priced.cost.total.nano_usd == 3 * 100 + 3 * 400
    assert counted.parts[0].text == "3 words"
    assert thought.parts[0].text == "I thought about it: one two three"
    assert fallen_back.target.provider == "simulator"


async def test_the_installed_example_is_a_vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an installer would write of its `pyproject.toml` is all that the gateway looks at."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "house_models-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    entries = project["entry-points"]["llmgateway.providers"]
    lines = ["[llmgateway.providers]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLE)
    async with running_gateway({"providers": {"mine": {"vendor": "house", "models": ["house-small"]}}}) as gateway:
        reply = await gateway.stub.Complete(ask("one two", ""))
    assert (reply.target.vendor, reply.model, reply.parts[0].text) == ("house", "house-small", "two one ")


def test_what_the_page_says_of_kinds_is_so() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([A-Z_]+) \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [(kind, reason.value) for kind, reason in REASONS.items()]


async def test_the_handlers_of_the_page_answer() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    page = ModuleType("handlers_of_the_page")
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), vars(page))
    sys.modules[page.__name__] = page
    try:
        names = ("echo", "at_once", "bit_by_bit", "busy")
        providers = {name: {"vendor": "python", "handler": f"{page.__name__}:{name}"} for name in names}
        async with running_gateway({"providers": providers}) as gateway:
            echoed, called, told = [await gateway.stub.Complete(ask("hi", f"{name}/m")) for name in names[:3]]
            error = await failure_of(gateway.stub.Complete(ask("hi", "busy/m", routing={"max_attempts": 1})))
            refused = await failure_of(gateway.stub.Complete(ask("hi", "busy/m", seed=1)))
    finally:
        del sys.modules[page.__name__]
    assert echoed.parts[0].text == "You said: hi"
    assert (called.parts[1].tool_call.name, called.usage.output_token_count) == ("look", 5)
    assert (told.parts[0].text, told.finish_reason) == ("Once upon a time", reply_pb2.FINISH_REASON_LENGTH)
    assert reason_of(error) == "UPSTREAM_OVERLOADED"
    assert bad_fields_of(refused) == ["seed"]
