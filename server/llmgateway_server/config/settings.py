"""All settings. Each room owns its class; here they are put together and checked against each other."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmgateway_server.admission.authenticate import AuthSettings
from llmgateway_server.admission.deadline import DeadlineSettings
from llmgateway_server.admission.gate import GateSettings
from llmgateway_server.admission.throttle import ThrottleSettings
from llmgateway_server.attempts.timeouts import TimeoutSettings
from llmgateway_server.observe.log import LogSettings
from llmgateway_server.pipeline.screen import ScreenSettings
from llmgateway_server.providers.vendors import SIMULATOR, VENDORS
from llmgateway_server.transport.server import ServerSettings
from llmgateway_server.transport.services.llm_gateway import StreamSettings

NAME = "^[a-zA-Z0-9_.-]{1,64}$"
UPSTREAM_MODEL = r"^[^\x00-\x1f]{1,255}$"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProviderSettings(_Section):
    """One upstream account."""

    vendor: str
    """A name of the vendor table: `simulator`, `openai`, `openai-compatible`."""
    base_url: str = ""
    """Where its API is, up to and including the version, for example `http://127.0.0.1:8000/v1`. Default.

    The vendor's.
    """
    api_key: str = ""
    """Secret reference: `env:NAME`, `file:PATH` or the key itself. Empty: none is sent."""
    proxy: str = ""
    """HTTP proxy for this account, for example `http://127.0.0.1:3128`. Empty: none; the environment's is not used."""

    @model_validator(mode="after")
    def _known_vendor(self) -> Self:
        if self.vendor != SIMULATOR and self.vendor not in VENDORS:
            raise ValueError(f"vendor must be one of {', '.join([SIMULATOR, *VENDORS])}")
        if self.vendor in VENDORS and not (self.base_url or VENDORS[self.vendor].base_url):
            raise ValueError(f"base_url is required for the vendor {self.vendor}")
        return self


class PriceSettings(_Section):
    """Prices in US dollars per million tokens."""

    input_usd: Decimal = Field(ge=0, max_digits=12, decimal_places=6)
    output_usd: Decimal = Field(ge=0, max_digits=12, decimal_places=6)
    cache_read_usd: Decimal | None = Field(default=None, ge=0, max_digits=12, decimal_places=6)
    cache_write_usd: Decimal | None = Field(default=None, ge=0, max_digits=12, decimal_places=6)
    version: str = "configured"


class TargetSettings(_Section):
    """One deployment behind a public name."""

    provider: str = Field(pattern=NAME)
    """A configured provider."""
    model: str = Field(pattern=UPSTREAM_MODEL)
    """The model's name there."""
    price: PriceSettings | None = None


class ModelSettings(_Section):
    """One public name."""

    targets: tuple[TargetSettings, ...] = Field(min_length=1)
    """Where it goes, in order of preference."""
    aliases: tuple[str, ...] = ()


class Settings(_Section):
    """Everything that can be set."""

    server: ServerSettings = ServerSettings()
    streams: StreamSettings = StreamSettings()
    auth: AuthSettings = AuthSettings()
    gate: GateSettings = GateSettings()
    throttle: ThrottleSettings = ThrottleSettings()
    deadlines: DeadlineSettings = DeadlineSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    screen: ScreenSettings = ScreenSettings()
    log: LogSettings = LogSettings()
    records: bool = True
    """Write one JSON line per call and attempt to standard output."""
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    """Accounts by name."""
    models: dict[str, ModelSettings] = Field(default_factory=dict)
    """Public names beyond those that the vendors bring."""
    default_model: str = ""
    """What an empty model name stands for. Default: the simulator's chat model where it is configured."""
    max_attempts: int = Field(default=3, ge=1, le=3)
    """Most attempts of one call, fail-over included."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if mistakes := list(self._mistakes()):
            raise ValueError("; ".join(mistakes))
        return self

    def _mistakes(self) -> Iterator[str]:
        """Yields what does not fit together, all of it."""
        for name in self.providers:
            if re.fullmatch(NAME, name) is None:
                yield f"providers.{name[:64]}: a provider's name must match {NAME}"
        for name, model in self.models.items():
            for each in (name, *model.aliases):
                if re.fullmatch(UPSTREAM_MODEL, each) is None:
                    yield f"models.{name[:64]}: names and aliases must match {UPSTREAM_MODEL}"
            for target in model.targets:
                if target.provider not in self.providers:
                    yield f"models.{name}: there is no provider {target.provider}"
        for key_id, count in Counter(key.id for key in self.auth.keys).items():
            if count > 1:
                yield f"auth.keys: the id {key_id} is there {count} times"
        if not self.auth.keys and not self.open_allowed:
            yield "auth.keys: without keys only a loopback address can be served"

    @property
    def open_allowed(self) -> bool:
        """Whether the address is loopback, where anybody may call."""
        host = self.server.host
        if host in ("localhost", "unix"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False
