"""The examples and the code of the README run, each in a process of its own, against a gateway on the simulator."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from llmgateway_server.testing.gateway import running_gateway

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "python"
EXAMPLES = sorted(CLIENT.glob("examples/*.py"))
BLOCKS = {
    f"{page.parent.name}-{number}": code
    for page in (CLIENT / "README.md", ROOT / "README.md")
    for number, code in enumerate(re.findall(r"(?ms)^```python\n(.*?)^```", page.read_text(encoding="utf-8")))
}
DOCUMENT = {
    "providers": {"simulator": {"vendor": "simulator"}},
    "models": {"gpt-4o": {"targets": [{"provider": "simulator", "model": "chat"}]}},
    "default_model": "gpt-4o",
}
SAYS = {
    "complete": "You said: Why is the sky blue?",
    "stream": "You said: Tell me a story.",
    "events": "chat answers",
    "tools": "You said:",
    "errors": "there is no model gtp-4o; there are",
}


async def run(*arguments: str) -> str:
    """Runs Python against a gateway and returns what it printed; warnings are errors."""
    async with running_gateway(DOCUMENT) as gateway:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LLMGATEWAY_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-W", "error"),
            *(each.replace("localhost:50051", gateway.address) for each in arguments),
            env={**kept, "LLMGATEWAY_TARGET": gateway.address},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_examples(path: Path) -> None:
    assert SAYS[path.stem] in await run(str(path))


@pytest.mark.parametrize("code", BLOCKS.values(), ids=BLOCKS)
async def test_readme(code: str) -> None:
    assert await run("-c", code)
