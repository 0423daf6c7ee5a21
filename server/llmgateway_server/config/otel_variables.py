"""OpenTelemetry's own environment variables, as settings of `telemetry`.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from llmgateway_server.config.document import Document
from llmgateway_server.config.mistakes import Mistake, Origin

SECTION = "telemetry"
SAMPLERS: Mapping[str, tuple[float | None, bool]] = {
    "always_on": (1.0, False),
    "always_off": (0.0, False),
    "traceidratio": (None, False),
    "parentbased_always_on": (1.0, True),
    "parentbased_always_off": (0.0, True),
    "parentbased_traceidratio": (None, True),
}
"""Share, None where another variable has it, and whether a caller decides."""

Understand = Callable[[Document, str, Origin], Iterator[Mistake]]


def _offer(document: Document, name: str, value: Any, origin: Origin) -> None:
    """Sets a setting that nobody set."""
    section = _section(document)
    if isinstance(document.data, dict) and name not in section:
        document.put((SECTION, name), value, origin)


def _section(document: Document) -> Mapping[str, Any]:
    found = document.data.get(SECTION) if isinstance(document.data, dict) else None
    return found if isinstance(found, dict) else {}


def _disabled(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
    if text.lower() == "true" and isinstance(document.data, dict):
        document.put((SECTION, "traces"), "off", origin)
    yield from ()


def _exporter(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
    if text not in ("otlp", "none"):
        yield Mistake((), "must be otlp or none", origin)
        return
    _offer(document, "traces", "otlp" if text == "otlp" else "off", origin)


def _endpoint(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
    _offer(document, "traces", "otlp", origin)
    _offer(document, "endpoint", text, origin)
    yield from ()


def _protocol(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
    section = _section(document)
    if text != "grpc" and section.get("traces") == "otlp":
        yield Mistake((), "must be grpc: spans are sent in no other way", origin)


def _headers(document: Document, _text: str, origin: Origin) -> Iterator[Mistake]:
    _offer(document, "headers_secret", f"env:{origin.source}", origin)
    yield from ()


def _service(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
    _offer(document, "service_name", text, origin)
    yield from ()


def _resource(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
    known = _section(document).get("resource_attributes")
    for pair in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = (each.strip() for each in pair.partition("="))
        if not equals or not name:
            yield Mistake((), "must be name=value, several by commas", origin)
        elif name == "service.name":
            _offer(document, "service_name", unquote(value), origin)
        elif not isinstance(known, dict) or name not in known:
            document.put((SECTION, "resource_attributes", name), unquote(value), origin)


def _sampler(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
    if text not in SAMPLERS:
        yield Mistake((), f"must be one of {', '.join(SAMPLERS)}", origin)
        return
    ratio, follow_caller = SAMPLERS[text]
    _offer(document, "follow_caller", follow_caller, origin)
    if ratio is not None:
        _offer(document, "sample_ratio", ratio, origin)


def _ratio(document: Document, text: str, origin: Origin) -> Iterator[Mistake]:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if 0.0 <= ratio <= 1.0:
        _offer(document, "sample_ratio", ratio, origin)
    else:
        yield Mistake((), "must be a number from 0 to 1", origin)


VARIABLES: tuple[tuple[str, str, Understand], ...] = (
    ("OTEL_SDK_DISABLED", "`true`: no traces, whatever the file says.", _disabled),
    ("OTEL_TRACES_EXPORTER", "`otlp` or `none`: `telemetry.traces`.", _exporter),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "`telemetry.endpoint`; traces are on then.", _endpoint),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "The same, where the one for traces is not set.", _endpoint),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "Must be `grpc` where traces are on.", _protocol),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "The same.", _protocol),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "`telemetry.headers_secret`, as a reference to this variable.", _headers),
    ("OTEL_EXPORTER_OTLP_HEADERS", "The same, where the one for traces is not set.", _headers),
    ("OTEL_SERVICE_NAME", "`telemetry.service_name`.", _service),
    ("OTEL_RESOURCE_ATTRIBUTES", "`telemetry.resource_attributes`, each where the file does not have it.", _resource),
    ("OTEL_TRACES_SAMPLER", "`telemetry.follow_caller`, and `telemetry.sample_ratio` where it has none.", _sampler),
    ("OTEL_TRACES_SAMPLER_ARG", "`telemetry.sample_ratio`.", _ratio),
)
"""Name, meaning and effect, those that stand above others first."""
