"""All settings. Each room owns its class; here they are put together and checked against each other."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from llmgateway_server.admission.authenticate import AuthSettings
from llmgateway_server.admission.deadline import DeadlineSettings
from llmgateway_server.admission.gate import GateSettings
from llmgateway_server.admission.throttle import ThrottleSettings
from llmgateway_server.attempts.bounds import BoundSettings
from llmgateway_server.attempts.breaker import BreakerSettings
from llmgateway_server.attempts.timeouts import TimeoutSettings
from llmgateway_server.config.consistency import NAME, UPSTREAM_MODEL, mistakes
from llmgateway_server.config.mistakes import dotted
from llmgateway_server.config.wording import OF_SETTINGS
from llmgateway_server.core.targets import Capability, InferenceType, ModelStatus
from llmgateway_server.http.settings import HttpSettings
from llmgateway_server.observe.log import LogSettings
from llmgateway_server.observe.telemetry import TelemetrySettings
from llmgateway_server.pipeline.screen import ScreenSettings
from llmgateway_server.providers.credentials.settings import CredentialSettings
from llmgateway_server.providers.drain import DrainSettings
from llmgateway_server.providers.egress.settings import EgressSettings
from llmgateway_server.providers.handlers.load import PYTHON, offered
from llmgateway_server.providers.vendors import SIMULATOR, VENDORS
from llmgateway_server.routing.checks import HealthCheckSettings
from llmgateway_server.routing.settings import RoutingSettings
from llmgateway_server.routing.strategies.names import Strategy
from llmgateway_server.transport.server import ServerSettings
from llmgateway_server.transport.services.llm_gateway import StreamSettings

Credentials = CredentialSettings | tuple[CredentialSettings, ...] | None


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _is_handled(vendor: str) -> bool:
    return vendor != SIMULATOR and vendor not in VENDORS


class ProviderSettings(_Section):
    """One upstream account."""

    vendor: str
    """A name of the vendor table (docs/providers.md), for example `openai`; or `simulator`.

    `python` for a handler of your own, or what an installed package offers; see docs/handlers.md.
    """
    region: str = Field(default="", pattern="^[a-z0-9-]{0,64}$")
    """Where the account's models run, for example `eu-central-1`: for vendors whose address has it."""
    project: str = Field(default="", pattern="^[a-zA-Z0-9_.:-]{0,128}$")
    """Project at the vendor, for Google Cloud."""
    api_version: str = Field(default="", pattern="^[a-z0-9-]{0,32}$")
    """Version of the API, for addresses of Azure that want one, for example `2024-10-21`."""
    base_url: str = Field(default="", validate_default=True)
    """Where its API is, up to and including the version, for example `http://127.0.0.1:8000/v1`.

    Default: the vendor's.
    """
    api_key: str = ""
    """Secret reference: `env:NAME`, `file:PATH` or the key itself. Empty: none is sent.

    A file is read again when it changes; the next attempt uses what it holds then.
    """
    api_keys: tuple[str, ...] = ()
    """Several keys instead of one, each a secret reference. They take turns; one that is refused is set aside."""
    credential: CredentialSettings | None = None
    """Instead of an API key, how an account of Amazon, Google Cloud or Azure is called."""
    credentials: tuple[CredentialSettings, ...] = ()
    """Several credentials instead of one. They take turns; one that is refused is set aside."""
    proxy: str = ""
    """HTTP proxy for this account, for example `http://127.0.0.1:3128`. Empty: none; the environment's is not used."""
    drain_on_cancel: bool | None = None
    """Read streams on that their callers left, to learn what the vendor bills, because it bills the whole answer.

    Default: what its row in the vendor table says: `true` for Bedrock. Bounded by `after_cancel`.
    Not possible through a proxy.
    """
    ca_bundle: str = ""
    """PEM file with authorities to trust for this account beside the system's. Read once, at the start."""
    handler: str = Field(default="", validate_default=True)
    """`package.module:callable` that answers, for the vendor `python`. It is imported at the start."""
    threads: int = Field(default=0, ge=0, le=256)
    """Calls that may block at the same time in a handler that is not async. 0: the handler is async."""
    models: tuple[Annotated[str, Field(pattern=UPSTREAM_MODEL)], ...] = ()
    """All models of a handler; each is public under its own name. Empty: it is asked for whatever a target names."""

    @field_validator("vendor")
    @classmethod
    def _known(cls, vendor: str) -> str:
        if vendor not in (SIMULATOR, PYTHON) and vendor not in VENDORS and vendor not in (others := offered()):
            raise ValueError(f"must be one of {', '.join([SIMULATOR, *VENDORS, PYTHON, *others])}")
        return vendor

    @field_validator("base_url")
    @classmethod
    def _somewhere(cls, base_url: str, info: ValidationInfo) -> str:
        vendor = VENDORS.get(info.data.get("vendor", ""))
        if vendor is None or base_url or vendor.address(info.data):
            return base_url
        if missing := [name for name in vendor.needs if name in info.data and not info.data[name]]:
            raise ValueError(f"is required for the vendor {vendor.name}, or {' and '.join(missing)} for its default")
        if not vendor.needs:
            raise ValueError(f"is required for the vendor {vendor.name}")
        return base_url

    @field_validator("api_keys")
    @classmethod
    def _one_or_several(cls, api_keys: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if api_keys and info.data.get("api_key"):
            raise ValueError("api_key and api_keys cannot both be set")
        return api_keys

    @field_validator("credential", "credentials")
    @classmethod
    def _of_its_cloud(cls, setting: Credentials, info: ValidationInfo) -> Credentials:
        others = [name for name in ("api_key", "api_keys", "credential") if info.data.get(name)]
        if setting and others:
            raise ValueError(f"{others[0]} and {info.field_name} cannot both be set")
        vendor = VENDORS.get(info.data.get("vendor", ""))
        kinds = vendor.credentials if vendor is not None else frozenset()
        wanted = setting if isinstance(setting, tuple) else (setting,)
        if "vendor" in info.data and any(each is not None and each.kind not in kinds for each in wanted):
            raise ValueError(f"must be of a kind that the vendor takes: {', '.join(sorted(kinds)) or 'it takes none'}")
        return setting

    @field_validator("ca_bundle")
    @classmethod
    def _trusted_for_https(cls, ca_bundle: str, info: ValidationInfo) -> str:
        vendor = VENDORS.get(info.data.get("vendor", ""))
        address = info.data.get("base_url", "") or (vendor.address(info.data) if vendor else "")
        if ca_bundle and not address.lower().startswith("https://"):
            raise ValueError("ca_bundle is for https addresses")
        return ca_bundle

    @field_validator("proxy", "ca_bundle", mode="after")
    @classmethod
    def _of_our_own_wire(cls, setting: str, info: ValidationInfo) -> str:
        if setting and _is_handled(info.data.get("vendor", SIMULATOR)):
            raise ValueError(f"{info.field_name} is for vendors that the gateway itself connects to")
        return setting

    @field_validator("drain_on_cancel")
    @classmethod
    def _read_on_by_our_own_wire(cls, drain: bool | None, info: ValidationInfo) -> bool | None:
        vendor = info.data.get("vendor", "")
        if drain and vendor and vendor not in VENDORS:
            raise ValueError("drain_on_cancel is for vendors that the gateway itself connects to")
        if drain and info.data.get("proxy"):
            raise ValueError("drain_on_cancel is not possible through a proxy")
        return drain

    @field_validator("handler")
    @classmethod
    def _named_for_python(cls, handler: str, info: ValidationInfo) -> str:
        vendor = info.data.get("vendor", "")
        if vendor == PYTHON and not handler:
            raise ValueError(f"is required for the vendor {PYTHON}")
        if vendor and vendor != PYTHON and handler:
            raise ValueError(f"handler is for the vendor {PYTHON}")
        return handler

    @field_validator("threads", "models")
    @classmethod
    def _of_handlers(cls, setting: object, info: ValidationInfo) -> object:
        if setting and not _is_handled(info.data.get("vendor", PYTHON)):
            raise ValueError(f"{info.field_name} is for handlers")
        return setting

    @property
    def handled(self) -> bool:
        """Whether a handler answers: Python that is not ours."""
        return _is_handled(self.vendor)

    @property
    def address(self) -> str:
        """The base URL in force; empty for the simulator."""
        if self.base_url or self.vendor not in VENDORS:
            return self.base_url
        return VENDORS[self.vendor].address({"region": self.region, "project": self.project})


Usd = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=6)]
"""US dollars per million tokens; a millionth of a dollar is the smallest step."""


class RateSettings(_Section):
    """Prices in US dollars per million tokens."""

    input_usd: Usd
    """Input that no other price is for."""
    output_usd: Usd
    """Output that no other price is for, reasoning included."""
    cache_read_usd: Usd | None = None
    """Input read from the vendor's cache. Default: as input."""
    cache_write_usd: Usd | None = None
    """Input written to the vendor's cache for five minutes. Default: as input."""
    cache_write_1h_usd: Usd | None = None
    """Input written to the vendor's cache for one hour. Default: as for five minutes."""
    input_audio_usd: Usd | None = None
    """Input of sound. Default: as input."""
    output_audio_usd: Usd | None = None
    """Output of sound. Default: as output."""


class PriceTierSettings(RateSettings):
    """Prices of calls with a long input; they hold for all tokens of such a call."""

    above_input_tokens: int = Field(ge=1)
    """For calls with more input tokens than this, cached ones included."""


class PriceSettings(RateSettings):
    """What a target costs, instead of what the price list says."""

    tiers: tuple[PriceTierSettings, ...] = ()
    """By `above_input_tokens`, lowest first."""
    version: str = Field(default="configured", max_length=64)
    """Stands in every cost, so that a bill can be checked against its price."""

    @field_validator("tiers")
    @classmethod
    def _ordered(cls, tiers: tuple[PriceTierSettings, ...]) -> tuple[PriceTierSettings, ...]:
        thresholds = [tier.above_input_tokens for tier in tiers]
        if thresholds != sorted(set(thresholds)):
            raise ValueError("tiers must stand by above_input_tokens, lowest first, each once")
        return tiers


Tag = Annotated[str, Field(pattern="^[a-zA-Z0-9_.:-]{1,64}$")]
"""A word that targets carry and calls ask for, as in `RoutingOptions.tags`."""


class TargetSettings(_Section):
    """One deployment behind a public name."""

    provider: str = Field(pattern=NAME)
    """A configured provider."""
    model: str = Field(pattern=UPSTREAM_MODEL)
    """The model's name there."""
    price: PriceSettings | None = None
    """Default: what the vendor's price list says of the model's name, if it has one."""
    dialect: str = Field(default="", pattern="^[a-z0-9_]{0,64}$")
    """The wire format to speak with it, for example `openai_responses`. Default: what is known to suit the model."""
    weight: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    """Its share where calls are shared out: 2 gets twice as many as 1."""
    priority: int = Field(default=0, ge=0, le=1000)
    """0 is tried first; equal ones stand in the order of this list."""
    tags: tuple[Tag, ...] = Field(default=(), max_length=32)
    """Words that a call can ask for; it goes only to targets that carry all of its words."""
    enabled: bool = True
    """`false`: never tried."""
    quality_score: float | None = Field(default=None, ge=0, le=1)
    """How good its answers are. Default: by its tier: 0.4 `BASIC`, 0.6 `STANDARD` or none, 0.8 `PREMIUM`."""


class ModelSettings(_Section):
    """One public name. What is left out comes from what is known of the targets' models."""

    targets: tuple[TargetSettings, ...] = ()
    """Where it goes, in order of preference. Default: those of the model of this name that a vendor brings."""
    aliases: tuple[str, ...] = ()
    """Other names. With the targets of a vendor's model they are added to its own."""
    capabilities: tuple[Capability, ...] | None = None
    """All that it can do."""
    context_token_count: int | None = Field(default=None, ge=1)
    """Most tokens of input and output together."""
    max_output_token_count: int | None = Field(default=None, ge=1)
    """Most output tokens."""
    tier: Literal["BASIC", "STANDARD", "PREMIUM"] | None = None
    """What callers may choose it by."""
    status: ModelStatus | None = None
    """`READY`; `DEPRECATED`: it answers with a notice; `NOT_READY`: it is refused, and others are named."""
    status_reason: str = Field(default="", max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    """Why, and what to use instead; callers see it."""
    inference_type: InferenceType = InferenceType.ON_DEMAND
    """`ON_DEMAND`, or `PROVISIONED` for reserved capacity."""
    strategy: Strategy | None = None
    """How its targets are ordered. Default: `routing.strategy`."""


class Settings(_Section):
    """Everything that can be set."""

    server: ServerSettings = ServerSettings()
    streams: StreamSettings = StreamSettings()
    auth: AuthSettings = AuthSettings()
    gate: GateSettings = GateSettings()
    throttle: ThrottleSettings = ThrottleSettings()
    deadlines: DeadlineSettings = DeadlineSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    bounds: BoundSettings = BoundSettings()
    routing: RoutingSettings = RoutingSettings()
    breakers: BreakerSettings = BreakerSettings()
    health_checks: HealthCheckSettings = HealthCheckSettings()
    after_cancel: DrainSettings = DrainSettings()
    egress: EgressSettings = EgressSettings()
    screen: ScreenSettings = ScreenSettings()
    log: LogSettings = LogSettings()
    http: HttpSettings = HttpSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    records: bool = True
    """Write one JSON line per call and attempt to standard output."""
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    """Accounts by name."""
    models: dict[str, ModelSettings] = Field(default_factory=dict)
    """Public names beyond those that the vendors bring, and changes to those."""
    default_model: str = ""
    """What an empty model name stands for. Default: the first model of the first account that can answer."""
    max_attempts: int = Field(default=3, ge=1, le=3)
    """Most attempts of one call, fail-over included."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if found := [f"{dotted(each.path)}: {each.text}" for each in mistakes(self.model_dump())]:
            raise PydanticCustomError(OF_SETTINGS, "{found}", {"found": "; ".join(found)})
        return self

    @property
    def open_allowed(self) -> bool:
        """Whether only this machine can reach the address, where anybody may call."""
        return self.server.local
