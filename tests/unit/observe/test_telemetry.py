"""What is written about calls: its settings, and the tables in docs/telemetry.md."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider

from llmgateway_server.app import App
from llmgateway_server.config import otel_variables
from llmgateway_server.config.effective import as_origins
from llmgateway_server.config.load import ConfigError, from_document, load
from llmgateway_server.core.calls import AttemptRecord, Call, CallScope, Deadline, Outcome
from llmgateway_server.core.events import Timings
from llmgateway_server.core.requests import CompleteRequest, Operation
from llmgateway_server.core.secret import Secret
from llmgateway_server.core.targets import Target
from llmgateway_server.observe import log
from llmgateway_server.observe.content import ContentReading
from llmgateway_server.observe.otlp import headers_of
from llmgateway_server.observe.records import Records
from llmgateway_server.testing.clock import ManualClock

PAGE = Path(__file__).parents[3] / "docs" / "telemetry.md"
COLLECTOR = "http://127.0.0.1:4317"


def fields_in_docs(heading: str) -> list[str]:
    section = (
        PAGE.read_text(encoding="utf-8").partition(f"### {heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    )
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


async def test_the_records_have_the_fields_of_the_page() -> None:
    stream = io.StringIO()
    records = Records(ManualClock(), stream)
    scope = CallScope("id", "/s/m", "127.0.0.1", {}, 0.0, Deadline(1.0, from_client=False))
    attempt = AttemptRecord(1, Target("p", "v", "m"), Outcome.SUCCEEDED)
    request = CompleteRequest("m", [])
    call = Call(scope, Operation.COMPLETE, streaming=False, request=request, attempts=[attempt])
    records.call_ended(call, Outcome.SUCCEEDED, Timings(1.0, None, 0.5), None, ContentReading(request))
    records.refused(scope, Outcome.FAILED, None)
    records.flush()
    of_attempt, of_call, of_refusal = (list(json.loads(line)) for line in stream.getvalue().splitlines())
    assert of_attempt == fields_in_docs("The record of an attempt")
    assert of_call == fields_in_docs("The record of a call")
    assert of_refusal == [*of_call[: of_call.index("span_id") + 1], "duration_ms"]


def test_log_lines_inside_a_recorded_span_name_it() -> None:
    out = io.StringIO()
    log.configure(log.LogSettings(format="json"), out)
    try:
        with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("s") as span:
            log.logger("room").info("inside")
        log.logger("room").info("outside")
    finally:
        structlog.reset_defaults()
    inside, outside = (json.loads(line) for line in out.getvalue().splitlines())
    assert inside["trace_id"] == format(span.get_span_context().trace_id, "032x")
    assert inside["span_id"] == format(span.get_span_context().span_id, "016x")
    assert not {"trace_id", "span_id"} & outside.keys()


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:4317", "ftp://a:1", "http://a:1/v1/traces", "http://u@a:1", "http://a:x"]
)
def test_an_endpoint_is_an_address(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.endpoint"):
        from_document({"telemetry": {"endpoint": endpoint}}, "test") if endpoint else pytest.skip(
            "an empty one is none"
        )


@pytest.mark.parametrize(
    ("endpoint", "collector"),
    [
        ("https://otel.example", "https://otel.example:443"),
        ("http://[::1]", "http://[::1]:4317"),
        (COLLECTOR, COLLECTOR),
    ],
)
def test_an_endpoint_has_a_port(endpoint: str, collector: str) -> None:
    assert from_document({"telemetry": {"endpoint": endpoint}}, "test").telemetry.collector == collector


def test_content_without_records_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.content: records is false"):
        from_document({"records": False, "telemetry": {"content": "masked"}}, "test")


def test_headers_are_read_as_opentelemetry_writes_them() -> None:
    assert headers_of(Secret("Authorization=Bearer%20a%3Db, x-team = a ,")) == {
        "authorization": "Bearer a=b",
        "x-team": "a",
    }
    assert headers_of(Secret("")) == {}
    for wrong in ("canary", "=canary", "a b=canary", "a=canary%0d%0aX: y"):
        with pytest.raises(ValueError, match="name=value") as caught:
            headers_of(Secret(wrong))
        assert "canary" not in str(caught.value)


def test_headers_that_are_none_stop_the_start() -> None:
    settings = from_document({"telemetry": {"traces": "otlp", "headers_secret": "env:H"}}, "test")
    with pytest.raises(ConfigError, match=r"^telemetry\.headers_secret: must be name=value"):
        App(settings, {"H": "canary"})
    with pytest.raises(ConfigError, match=r"telemetry\.headers_secret: the environment variable H is not set"):
        App(settings, {})


ENVIRONMENTS = [
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, {"traces": "otlp", "endpoint": COLLECTOR}),
    (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2"},
        {"endpoint": "http://b:2"},
    ),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, {"traces": "off"}),
    ({"OTEL_TRACES_EXPORTER": "otlp"}, {"traces": "otlp", "endpoint": COLLECTOR}),
    ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, {"traces": "off"}),
    ({"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, {"headers_secret": "env:OTEL_EXPORTER_OTLP_HEADERS"}),
    ({"OTEL_SERVICE_NAME": "edge"}, {"service_name": "edge", "traces": "off"}),
    (
        {"OTEL_RESOURCE_ATTRIBUTES": "team=a%20b, service.name=edge"},
        {"service_name": "edge", "resource_attributes": {"team": "a b"}},
    ),
    (
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
        {"sample_ratio": 0.25, "follow_caller": True},
    ),
    ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, {"follow_caller": False}),
    ({"OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_SAMPLER_ARG": "1"}, {"sample_ratio": 0.0}),
    ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, {"traces": "off"}),
]


@pytest.mark.parametrize(("environment", "wanted"), ENVIRONMENTS)
def test_variables_of_opentelemetry(environment: dict[str, str], wanted: dict[str, object]) -> None:
    found = load(None, environment).settings.telemetry.model_dump()
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("environment", "mistake"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: must be otlp or none"),
        ({"OTEL_TRACES_SAMPLER": "xray"}, "OTEL_TRACES_SAMPLER: must be one of always_on, "),
        ({"OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"),
        ({"OTEL_TRACES_SAMPLER_ARG": "nan"}, "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "canary"}, "OTEL_RESOURCE_ATTRIBUTES: must be name=value"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: must be grpc",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "canary"}, "OTEL_EXPORTER_OTLP_ENDPOINT: telemetry.endpoint: "),
    ],
)
def test_variables_that_cannot_be_followed(environment: dict[str, str], mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, environment)
    assert str(caught.value).startswith(mistake)
    assert "canary" not in str(caught.value)


def test_the_file_stands_above_the_variables(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "telemetry:\n  traces: 'off'\n  service_name: mine\n  resource_attributes: {team: a}\n", encoding="utf-8"
    )
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR,
        "OTEL_SERVICE_NAME": "theirs",
        "OTEL_RESOURCE_ATTRIBUTES": "team=b,zone=c",
        "OTEL_EXPORTER_OTLP_HEADERS": "a=canary",
    }
    loaded = load(path, environment)
    found = loaded.settings.telemetry
    assert (found.traces, found.service_name) == ("off", "mine")
    assert found.resource_attributes == {"team": "a", "zone": "c"}
    origins = {name: each["origin"] for name, each in as_origins(loaded).items() if name.startswith("telemetry.")}
    assert origins["telemetry.service_name"] == f"{path}:3"
    assert origins["telemetry.endpoint"] == "OTEL_EXPORTER_OTLP_ENDPOINT"
    assert origins["telemetry.sample_ratio"] == "default"
    assert "canary" not in str(as_origins(loaded))


def test_one_variable_stands_above_the_file(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("telemetry: {traces: otlp}\n", encoding="utf-8")
    loaded = load(path, {"OTEL_SDK_DISABLED": "true"})
    assert loaded.settings.telemetry.traces == "off"
    assert as_origins(loaded)["telemetry.traces"]["origin"] == "OTEL_SDK_DISABLED"


def test_the_variables_are_told_as_the_page_tells_them() -> None:
    page = (PAGE.parent / "configuration.md").read_text(encoding="utf-8")
    assert [name for name, meaning, _ in otel_variables.VARIABLES if f"| `{name}` | {meaning} |" not in page] == []


PROGRAM = """
import sys
{block}
from llmgateway_server.app import App
from llmgateway_server.config.load import ConfigError, from_document
try:
    App(from_document({{"telemetry": {{"traces": "{traces}"}}}}, "test"), {{}})
except ConfigError as error:
    print(error)
ours = ("opentelemetry.sdk", "opentelemetry.exporter")
print([name for name in sys.modules if name.startswith(ours) and sys.modules[name]])
"""


@pytest.mark.parametrize(
    ("block", "traces", "told"),
    [
        ("", "off", "[]"),
        (
            "sys.modules['opentelemetry.sdk'] = None",
            "otlp",
            "telemetry.traces: the extra `otel` is not installed, there is no opentelemetry.sdk",
        ),
    ],
)
def test_the_sdk_is_loaded_only_where_it_is_configured(block: str, traces: str, told: str) -> None:
    program = PROGRAM.format(block=block, traces=traces)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[0].startswith(told)
