"""Where canaries are looked for: everything that leaves a gateway of this process, by channel.

A canary is a secret, a prompt or a provider's word that stands in what goes in. It must stand in nothing that comes
out, plain or as hexadecimal, except for the content of replies.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping
from typing import Any, Self

import grpc.aio
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmgateway_server import app as app_module
from llmgateway_server.observe import log
from llmgateway_server.observe.trace import OtelTracing
from llmgateway_server.testing.gateway import RunningGateway


class Outputs:
    """Collects what comes out while used as a context; begin it before the gateway.

    Args:
        canaries: what is looked for, by what it is.
    """

    def __init__(self, canaries: Mapping[str, str]) -> None:
        self.log = io.StringIO()
        self.calls: list[str] = []
        """What callers saw."""
        self._canaries = canaries
        self._printed = io.StringIO()
        self._library_log = io.StringIO()
        self._spans = InMemorySpanExporter()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        stack = self._stack
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        stack.callback(provider.shutdown)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(app_module, "tracing_from_environment", lambda: OtelTracing(provider.get_tracer("test")))
        stack.enter_context(contextlib.redirect_stdout(self._printed))
        stack.enter_context(contextlib.redirect_stderr(self._printed))
        self._listen_to_libraries()
        log.configure(log.LogSettings(level="debug", format="json"), self.log)
        stack.callback(structlog.reset_defaults)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _listen_to_libraries(self) -> None:
        root, of_grpc = logging.getLogger(), logging.getLogger("grpc")
        handler = logging.StreamHandler(self._library_log)
        for each in (root, of_grpc):
            self._stack.callback(each.setLevel, each.level)
        self._stack.callback(root.removeHandler, handler)
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)

    def failed(self, error: grpc.aio.AioRpcError) -> None:
        """Notes all that a failed call told its caller."""
        raw = [value for _, value in (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ()))]
        self.calls += [str(error.details()), str(error.debug_error_string()), *map(str, raw)]

    def check(self, gateway: RunningGateway, **more: str) -> None:
        """Looks for every canary in every channel; `more` is looked at, too."""
        channels = {
            "call": "\n".join(self.calls),
            "records": gateway.record_text(),
            "log": self.log.getvalue(),
            "standard library's log": self._library_log.getvalue(),
            "spans": "\n".join(str(span.to_json()) for span in self._spans.get_finished_spans()),
            "standard output and error": self._printed.getvalue(),
            **more,
        }
        assert channels["records"]
        assert channels["spans"]
        assert_absent(self._canaries, channels)


def assert_absent(canaries: Mapping[str, str], channels: Mapping[str, str]) -> None:
    """Looks for canaries in texts."""
    for name, text in channels.items():
        for kind, canary in canaries.items():
            assert canary not in text, f"{kind} in {name}"
            assert canary.encode().hex() not in text, f"{kind} in {name}"


def names_of(gateway: RunningGateway, *more: Any) -> str:
    """Returns how the objects that know secrets call themselves."""
    app: Any = gateway.app
    return " ".join(f"{each!r} {each}" for each in (app, app.parts.authenticator, app._providers, *more))
