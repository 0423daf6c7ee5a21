"""Settings of the HTTP door. This module loads neither starlette nor uvicorn."""

from __future__ import annotations

import ipaddress
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

MAX_PORT = 65_535


class HttpSettings(BaseModel):
    """Where metrics and probes are served over HTTP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str = ""
    """Address and port, for example `127.0.0.1:9464`; port 0 picks a free one. Empty: no HTTP at all."""
    metrics_token: str = ""
    """Secret reference, at least 16 characters: `/metrics` then wants `Authorization: Bearer …`, on loopback too."""
    insecure: bool = False
    """Serves metrics beyond loopback without a token. They hold names of models and providers, traffic and cost."""

    @property
    def host(self) -> str:
        """The address without its port and brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.listen.rpartition(":")[2])

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.listen:
            return self
        digits = self.listen.rpartition(":")[2]
        if not (self.host and digits.isascii() and digits.isdigit() and int(digits) <= MAX_PORT):
            raise ValueError("listen must be an address and a port, for example 127.0.0.1:9464")
        if not (_is_loopback(self.host) or self.metrics_token or self.insecure):
            raise ValueError("listen beyond loopback needs metrics_token, or insecure: true")
        return self


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
