"""Settings of traces and of content in records. This module loads no OpenTelemetry SDK."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

ATTRIBUTE_NAME = r"^[a-zA-Z][a-zA-Z0-9_.\-]{0,127}$"
PORTS = {"http": 4317, "https": 443}
"""Of addresses that name none."""


class TelemetrySettings(BaseModel):
    """What is told about calls, and to whom: spans to a collector, content to the records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    traces: Literal["off", "otlp"] = "off"
    """`otlp` sends spans to a collector over OTLP/gRPC; it needs the extra `otel`."""
    endpoint: str = "http://127.0.0.1:4317"
    """The collector's OTLP/gRPC address. With `https://` its certificate is checked."""
    headers_secret: str = ""
    """Secret reference to headers for the collector: `name=value`, several by commas, values percent-encoded."""
    sample_ratio: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of calls that get spans, of those about which their caller has not decided."""
    follow_caller: bool = True
    """A call is traced exactly if its caller's `traceparent` says so; the ratio is for calls without one.

    False: the ratio is for all calls, by their trace id, so that nobody outside can switch tracing on.
    """
    service_name: str = Field(default="llmgateway", min_length=1, max_length=128)
    """The resource's `service.name`."""
    resource_attributes: dict[str, str] = Field(default_factory=dict)
    """More of the resource, for example `deployment.environment.name`."""
    content: Literal["none", "masked"] = "none"
    """`masked` writes texts of requests and replies to records, less secrets and personal data of known forms.

    Spans never hold content.
    """
    content_tenants: tuple[str, ...] = ()
    """Tenants whose content is written. Empty: all, once `content` is on."""

    @field_validator("endpoint")
    @classmethod
    def _address(cls, endpoint: str) -> str:
        try:
            url = urlsplit(endpoint)
            usable = url.scheme in PORTS and bool(url.hostname) and url.port != 0
        except ValueError:
            usable = False
        else:
            usable = usable and url.path in ("", "/") and not (url.query or url.fragment or url.username)
        if not usable:
            raise ValueError("endpoint must be an http or https address without a path")
        return endpoint

    @property
    def collector(self) -> str:
        """The endpoint with its port and without a path."""
        url = urlsplit(self.endpoint)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        return f"{url.scheme}://{host}:{url.port or PORTS[url.scheme]}"

    @field_validator("resource_attributes")
    @classmethod
    def _names(cls, attributes: dict[str, str]) -> dict[str, str]:
        if wrong := [name for name in attributes if re.fullmatch(ATTRIBUTE_NAME, name) is None]:
            raise ValueError(f"{len(wrong)} names of attributes do not match {ATTRIBUTE_NAME}")
        return attributes
