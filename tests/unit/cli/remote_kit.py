"""Runs commands of the command line against a gateway of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog.testing
from typer.testing import CliRunner, Result

from llmgateway_server.cli.commands import app
from llmgateway_server.testing.gateway import RunningGateway, running_gateway

RUNNER = CliRunner()
CLEAN = {"LLMGATEWAY_TARGET": None, "LLMGATEWAY_API_KEY": None}


@asynccontextmanager
async def quiet_gateway(document: Mapping[str, Any] | None = None) -> AsyncIterator[RunningGateway]:
    """A gateway that keeps its log off this process's standard output, which the commands write to."""
    with structlog.testing.capture_logs():
        async with running_gateway(document) as gateway:
            yield gateway


async def invoke(gateway: RunningGateway, *arguments: str, stdin: str = "", key: str = "") -> Result:
    """Runs a command in a thread, since it blocks; what it starts is a client like any other."""
    environment: dict[str, Any] = {**CLEAN, "LLMGATEWAY_TARGET": gateway.address, "LLMGATEWAY_API_KEY": key or None}
    return await asyncio.to_thread(RUNNER.invoke, app, list(arguments), input=stdin, env=environment)
