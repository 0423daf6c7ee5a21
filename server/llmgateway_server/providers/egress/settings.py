"""Settings of guarded egress."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]


class EgressSettings(BaseModel):
    """What may be fetched on behalf of callers, and how much of it at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    """Whether media addresses that a provider cannot fetch by itself are fetched here."""
    ports: tuple[Port, ...] = Field(default=(443,), min_length=1)
    """Ports that may be connected to."""
    denied_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks refused besides those that are never public: one's own services on public addresses, one's own
    NAT64 prefix."""
    max_bytes: int = Field(default=20 * 1024 * 1024, ge=1, le=256 * 1024 * 1024)
    """Largest content."""
    timeout_s: float = Field(default=10.0, gt=0, le=300)
    """From the wish to the last byte: waiting for a place, DNS, TCP, TLS and the content."""
    max_concurrent: int = Field(default=16, ge=1, le=1000)
    """Fetches at once; `max_bytes` times this is the memory that they can take."""
