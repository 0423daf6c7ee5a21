"""Gateways of other makers, each installed by `make bench-peers` into an environment of its own.

LiteLLM's proxy runs as its page on production says (https://docs.litellm.ai/docs/proxy/prod): one uvicorn worker on one
process, `LITELLM_MODE=PRODUCTION`, log level ERROR, a master key; without a database, without log callbacks, without
retries, and with its packaged price list, which it would otherwise fetch at the start. Its key is made up for the run.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import payloads
from tests.bench.callers import HttpCaller
from tests.bench.processes import ROOT, Child, answers, child

LITELLM = "LiteLLM"
HOME = ROOT / ".peers" / "litellm"
INSTALLED = HOME / ".installed"
"""What `make bench-peers` leaves behind when it is through."""
ABSENT = (
    f"{LITELLM} is not installed here: `make bench-peers` does it.",
    "Portkey is not here: it needs node.",
)
"""What is said of peers that cannot take part."""


@dataclass(slots=True, frozen=True)
class LiteLlm:
    """A running proxy, and the key that it wants."""

    child: Child
    key: str

    def caller(self) -> HttpCaller:
        """Returns a caller that asks for a public model per kind of answer."""
        return HttpCaller(
            self.child.address, path=lambda _kind: "/v1/chat/completions", model=lambda kind: kind.name, key=self.key
        )


def absent() -> tuple[str, ...]:
    """Returns a line for each peer that does not take part."""
    return ABSENT[1:] if INSTALLED.exists() else ABSENT


@contextmanager
def litellm(provider: str, folder: Path) -> Iterator[LiteLlm | None]:
    """Runs LiteLLM's proxy until the end of the block; yields None where it is not installed.

    Raises:
        RuntimeError: it did not start.
    """
    if not INSTALLED.exists():
        yield None
        return
    config = folder / "litellm.yaml"
    config.write_text(json.dumps(_settings(provider)))
    key = f"sk-{secrets.token_hex(32)}"
    environment = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    port = _free_port()
    command = [str(HOME / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    ready = answers(f"127.0.0.1:{port}", "/health/readiness")
    with child(LITELLM, [*command, "--num_workers", "1"], ready=ready, environment=environment) as started:
        yield LiteLlm(started, key)


def _settings(provider: str) -> dict[str, Any]:
    return {
        "model_list": [
            {
                "model_name": kind,
                "litellm_params": {
                    "model": f"openai/{payloads.MODEL}",
                    "api_base": f"http://{provider}/{kind}/v1",
                    "api_key": "benchmark",
                },
            }
            for kind in payloads.KINDS
        ],
        "litellm_settings": {"set_verbose": False, "num_retries": 0, "request_timeout": 60},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"disable_spend_logs": True, "disable_error_logs": True},
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
