"""Asks a configured account for two tiny answers, one unary and one streamed, and says what is wrong if any is.

It is the RPC `TestProvider` of a gateway of this process on a free port of loopback, so the calls go the whole way that
callers' go.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TextIO, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from llmgateway.admin.v1 import provider_test_pb2
from llmgateway.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from llmgateway.v1 import error_pb2
from llmgateway_server.admission.authenticate import AuthSettings
from llmgateway_server.app import App
from llmgateway_server.cli.terminal import Screen
from llmgateway_server.config.settings import Settings
from llmgateway_server.core.reasons import Reason
from llmgateway_server.http.settings import HttpSettings
from llmgateway_server.observe import log

TIMEOUT_S = 150.0
"""For two calls of a minute each at most, and the way to them."""

NAMES = {
    provider_test_pb2.PROVIDER_CHECK_KIND_UNARY: "unary",
    provider_test_pb2.PROVIDER_CHECK_KIND_STREAMED: "streamed",
}


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
            "http": HttpSettings(),
            "server": settings.server.model_copy(update={"listen": "127.0.0.1:0", "tls": None, "workers": 1}),
        }
    )
    app = App(private, environment, records_stream=io.StringIO())
    address = await app.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            wanted = provider_test_pb2.TestProviderRequest(provider=provider, model=model)
            found = await AdminServiceStub(channel).TestProvider(wanted, timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        reason = _reason(error)
        if reason == Reason.INVALID_REQUEST and not model:
            raise NoModelError(provider) from None
        account = settings.providers[provider]
        return Verdict(provider, account.vendor, account.address, model, [Check("request", ok=False, reason=reason)])
    finally:
        await app.stop()
    checks = [_check(each) for each in found.checks]
    return Verdict(found.provider, found.vendor, found.address, found.model, checks, found.hint)


def show(verdict: Verdict, stream: TextIO) -> None:
    """Writes the verdict for people."""
    screen = Screen(stream)
    screen.write(verdict.provider, bold=True)
    about = [verdict.vendor, *filter(None, [verdict.address]), f"model {verdict.model}"]
    screen.write(f"  {', '.join(about)}\n")
    for check in verdict.checks:
        screen.write(f"  {check.name:<9}")
        word, colour = ("ok", "green") if check.ok else ("failed", "red")
        screen.write(word, fg=colour)
        screen.write(f"{'':{8 - len(word)}}{_said(check)}\n")
    screen.write("works" if verdict.ok else "does not work", fg="green" if verdict.ok else "red")
    screen.write(f": {verdict.hint}\n" if verdict.hint and not verdict.ok else "\n")


def write_json(verdict: Verdict, stream: TextIO) -> None:
    """Writes the verdict for programs."""
    json.dump({"ok": verdict.ok, **asdict(verdict)}, stream)
    stream.write("\n")


def _said(check: Check) -> str:
    if not check.ok:
        return check.reason
    first = "" if check.first_token_ms is None else f", first token {check.first_token_ms:.0f} ms"
    cost = "no price known" if check.cost_usd is None else f"${check.cost_usd}"
    return f"{check.total_ms:.0f} ms{first}, {check.input_tokens} input + {check.output_tokens} output tokens, {cost}"


def _check(found: provider_test_pb2.ProviderCheck) -> Check:
    name = NAMES[found.kind]
    if not found.ok:
        return Check(name, ok=False, reason=error_pb2.ErrorReason.Name(found.reason).removeprefix("ERROR_REASON_"))
    timings, usage, cost = found.timings, found.usage, found.cost
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
