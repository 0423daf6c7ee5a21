"""Asks a configured account for two tiny answers, one unary and one streamed, and says what is wrong if any is.

The calls go the whole way that callers' go: through a gateway of this process on a free port of loopback.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TextIO, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from rich.console import Console
from rich.markup import escape

from llmgateway.v1 import completion_pb2, llm_gateway_service_pb2_grpc, message_pb2
from llmgateway_server.admission.authenticate import AuthSettings
from llmgateway_server.app import App
from llmgateway_server.config.settings import Settings
from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Model, ModelStatus
from llmgateway_server.observe import log

PROMPT = "Reply with the word OK."
MAX_OUTPUT_TOKENS = 64
"""Enough for a word of a model that thinks a little first; a cap that is reached is a success all the same."""
TIMEOUT_S = 60.0

HINTS = {
    "PROVIDER_AUTH_FAILED": "the key was refused: check {setting} and whether the key may use this model",
    "PROVIDER_QUOTA_EXHAUSTED": "the account is used up: check its credit and spending limit",
    "UPSTREAM_RATE_LIMITED": "the account works but is limited at the moment: try again later",
    "MODEL_NOT_FOUND": "the account does not have this model: name another with --model",
    "UPSTREAM_REJECTED_REQUEST": "the provider refused the request: name another model with --model",
    "UPSTREAM_UNREACHABLE": "nothing answers at {address}: check the address, the network, a proxy",
    "UPSTREAM_TLS": "the certificate of {address} is not acceptable: check the address and the authorities",
    "UPSTREAM_REDIRECT": "{address} redirects, which is not followed: set base_url to where it leads",
    "UPSTREAM_MALFORMED": "the answer is not what this vendor sends: check base_url, up to and with its version",
    "UPSTREAM_RESET": "the connection ended without an answer: check base_url, a proxy, the provider's status page",
    "UPSTREAM_TIMEOUT": "the provider took too long: try again, or look at its status page",
    "UPSTREAM_OVERLOADED": "the provider is overloaded: try again, or look at its status page",
    "UPSTREAM_ERROR": "the provider failed: try again, or look at its status page",
}
"""What an operator can do about a reason."""


class NoModelError(Exception):
    """The catalogue has no model of an account."""


@dataclass(slots=True)
class Check:
    """How one call went."""

    name: str
    ok: bool
    reason: str = ""
    total_ms: float | None = None
    first_token_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: str | None = None
    """None where the model has no price."""


@dataclass(slots=True)
class Verdict:
    """What is known of an account after its checks."""

    provider: str
    vendor: str
    address: str
    model: str
    checks: list[Check]
    hint: str = ""

    @property
    def ok(self) -> bool:
        """Whether both calls succeeded."""
        return all(check.ok for check in self.checks)


async def examine(settings: Settings, environment: Mapping[str, str], provider: str, model: str) -> Verdict:
    """Makes the two calls.

    Args:
        settings: of the gateway, `provider` among its accounts.
        environment: where secret references look.
        model: the upstream model; empty for the cheapest one that the catalogue has for the account.

    Raises:
        ConfigError: the configuration cannot be used.
        NoModelError: the catalogue has no model of the account, so one must be named.
    """
    log.configure(log.LogSettings(level="critical"))
    private = settings.model_copy(
        update={
            "auth": AuthSettings(),
            "records": False,
            "server": settings.server.model_copy(update={"listen": "127.0.0.1:0"}),
        }
    )
    app = App(private, environment, records_stream=io.StringIO())
    wanted = model or cheapest(app.parts.catalog.models(), provider)
    address = await app.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = llm_gateway_service_pb2_grpc.LlmGatewayServiceStub(channel)
            request = _request(f"{provider}/{wanted}")
            checks = [await _unary(stub, request), await _streamed(stub, request)]
    finally:
        await app.stop()
    account = settings.providers[provider]
    verdict = Verdict(provider, account.vendor, account.address, wanted, checks)
    reason = next((check.reason for check in checks if not check.ok), "")
    verdict.hint = HINTS.get(reason, "").format(setting=f"providers.{provider}.api_key", address=verdict.address)
    return verdict


def cheapest(models: list[Model], provider: str) -> str:
    """Returns the upstream name of the account's model whose output costs least; unpriced ones come last.

    Raises:
        NoModelError: there is none.
    """
    targets = [
        target
        for model in models
        if model.status is ModelStatus.READY and Operation.COMPLETE in model.operations
        for target in model.targets
        if target.provider == provider
    ]
    if not targets:
        raise NoModelError(provider)
    return min(
        targets, key=lambda each: (each.price is None, each.price.output_pico_usd if each.price else 0)
    ).upstream_model


def show(verdict: Verdict, stream: TextIO) -> None:
    """Writes the verdict for people."""
    console = Console(file=stream, highlight=False, soft_wrap=True)
    about = [verdict.vendor, *filter(None, [verdict.address]), f"model {escape(verdict.model)}"]
    console.print(f"[bold]{verdict.provider}[/bold]  {', '.join(about)}")
    for check in verdict.checks:
        console.print(f"  {check.name:<9}{_said(check)}")
    if verdict.ok:
        console.print("[green]works[/green]")
    else:
        console.print(f"[red]does not work[/red]{': ' if verdict.hint else ''}{verdict.hint}")


def write_json(verdict: Verdict, stream: TextIO) -> None:
    """Writes the verdict for programs."""
    json.dump({"ok": verdict.ok, **asdict(verdict)}, stream)
    stream.write("\n")


def _said(check: Check) -> str:
    if not check.ok:
        return f"[red]failed[/red]  {check.reason}"
    first = "" if check.first_token_ms is None else f", first token {check.first_token_ms:.0f} ms"
    cost = "no price known" if check.cost_usd is None else f"${check.cost_usd}"
    tokens = f"{check.input_tokens} input + {check.output_tokens} output tokens"
    return f"[green]ok[/green]      {check.total_ms:.0f} ms{first}, {tokens}, {cost}"


def _request(model: str) -> completion_pb2.CompleteRequest:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=PROMPT)])
    request = completion_pb2.CompleteRequest(model=model, messages=[message], max_output_tokens=MAX_OUTPUT_TOKENS)
    request.routing.max_attempts = 1
    return request


async def _unary(stub: Any, request: completion_pb2.CompleteRequest) -> Check:
    try:
        reply = await stub.Complete(request, timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        return Check("unary", ok=False, reason=_reason(error))
    check = _passed("unary", reply)
    check.first_token_ms = None  # a reply in one piece has none of its own
    return check


async def _streamed(stub: Any, request: completion_pb2.CompleteRequest) -> Check:
    finished = None
    try:
        async for message in stub.StreamComplete(request, timeout=TIMEOUT_S):
            for event in message.events:
                if event.WhichOneof("event") == "finished":
                    finished = event.finished
    except grpc.aio.AioRpcError as error:
        return Check("streamed", ok=False, reason=_reason(error))
    return _passed("streamed", finished)


def _passed(name: str, summary: Any) -> Check:
    timings, usage, cost = summary.timings, summary.usage, summary.cost
    first_us = timings.time_to_first_token_us if timings.HasField("time_to_first_token_us") else None
    return Check(
        name,
        ok=True,
        total_ms=timings.total_us / 1000,
        first_token_ms=None if first_us is None else first_us / 1000,
        input_tokens=usage.input_token_count,
        output_tokens=usage.output_token_count,
        cost_usd=None if cost.unpriced else cost.total.usd,
    )


def _reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(cast("grpc.Call", error))
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
    return info.reason or error.code().name
