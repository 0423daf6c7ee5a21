"""Our gateway as it is measured: its settings, and callers that fit them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmgateway_server.admission.keys import new_key
from llmgateway_server.core.secret import Secret
from tests.bench import payloads
from tests.bench.callers import GrpcCaller, pinned
from tests.bench.frames import StreamCaller
from tests.bench.payloads import Kind
from tests.bench.processes import Child, child

COMMAND = ("-m", "llmgateway_server")
RULE = "¤"
"""A term to screen for that is one character long.

A longer one holds back the end of the text until the next tokens exclude it: a matter of the pace of tokens, which
would hide what the gateway costs.
"""


@dataclass(slots=True, frozen=True)
class Size:
    """How much a gateway has to know."""

    keys: int = 10
    models: int = 10
    targets: int = 1
    """Of each model. The first one always answers."""
    rules: int = 10

    def times(self, axis: str, factor: int) -> Size:
        """Returns this size with one figure multiplied, or with all of them for the axis `all`."""
        sizes = {name: getattr(self, name) for name in ("keys", "models", "targets", "rules")}
        return Size(**{name: size * (factor if axis in {name, "all"} else 1) for name, size in sizes.items()})


@dataclass(slots=True, frozen=True)
class Gateway:
    """A gateway that is about to be started: settings, and the key that its caller presents."""

    settings: dict[str, Any]
    key: str = ""
    public: str = ""
    """Name of the public model that is called; empty: the account and the model's name there."""

    @contextmanager
    def started(self, name: str, folder: Path, command: Sequence[str] = COMMAND) -> Iterator[Child]:
        """Runs it until the end of the block.

        Args:
            name: what it is called in messages.
            folder: for its file of settings.
            command: what stands before `serve`.
        """
        config = folder / f"{name.replace(' ', '-')}.yaml"
        config.write_text(json.dumps(self.settings))  # JSON is YAML
        arguments = [*command, "serve", "--config", str(config), "--listen", "127.0.0.1:0"]
        with child(name, arguments, ready_on="stderr") as started:
            yield started

    def caller(self, address: str, *, prompt_chars: int = payloads.PROMPT_CHARS) -> GrpcCaller:
        """Returns a caller with the right key and model."""
        model = self._public if self.public else pinned
        return GrpcCaller(address, key=self.key, model=model, prompt_chars=prompt_chars)

    def frames(self, address: str, kind: Kind) -> StreamCaller:
        """Returns a caller of many streams of one kind."""
        return StreamCaller(address, self._public(kind) if self.public else pinned(kind), self.key)

    def _public(self, kind: Kind) -> str:
        return f"{self.public}-{kind.name}"


def plain(provider: str) -> Gateway:
    """Returns a gateway with nothing but accounts: everything else is the default, records included."""
    accounts = {
        kind: {"vendor": "openai-compatible", "base_url": f"http://{provider}/{kind}/v1", "api_key": "benchmark"}
        for kind in payloads.KINDS
    }
    return Gateway(
        {
            "providers": accounts,
            # The machine is shared with callers and provider, and others: refusing under load is not what is measured.
            "gate": {"max_loop_lag_s": 30.0, "max_in_flight": payloads.CALLS_AT_ONCE},
            # One caller here is as fast as thousands elsewhere.
            "throttle": {"calls_per_minute": 1_000_000_000, "calls_burst": 1_000_000},
        }
    )


def everything(provider: str, transport: str) -> Gateway:
    """Returns a gateway with every feature switched on: keys, public models with prices, screen, metrics, records.

    Args:
        provider: address of the mock provider.
        transport: of the door, `http2` or `grpcio`.
    """
    grown = sized(provider, Size(), transport)
    return Gateway({**grown.settings, "screen": {"blocked_terms": [RULE]}}, grown.key, grown.public)


def sized(provider: str, size: Size, transport: str = "http2") -> Gateway:
    """Returns a gateway with every feature switched on and this many keys, models, targets and rules."""
    keys = [new_key(Secret("")) for _ in range(size.keys)]
    settings = plain(provider).settings | {
        "server": {"transport": transport},
        "auth": {"keys": [{"id": key.key_id, "hash": key.key_hash, "tenant": "bench"} for key in keys]},
        "http": {"listen": "127.0.0.1:0"},
        "screen": {"blocked_terms": [f"{RULE}never{number:04}" for number in range(size.rules)]},
        "models": {
            f"bench-{number}-{kind}": {
                "targets": [_target(kind, order) for order in range(size.targets)],
            }
            for kind in payloads.KINDS
            for number in range(size.models)
        },
    }
    return Gateway(settings, keys[size.keys // 2].key.reveal(), f"bench-{size.models // 2}")


def _target(kind: str, order: int) -> dict[str, Any]:
    model = f"{payloads.MODEL}-{order}" if order else payloads.MODEL
    return {"provider": kind, "model": model, "price": {"input_usd": 0.5, "output_usd": 1.5}}
