"""What is found only when the parts are put together: all of it at once, with lines, whatever else is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.app import App
from llmgateway_server.config.document import parts
from llmgateway_server.config.load import ConfigError, load, load_usable
from llmgateway_server.config.yaml_file import parse

HASH = "c" * 64
CANARY = "sk-canary"


def mistakes(
    folder: Path, text: str, environment: dict[str, str] | None = None, *, insecure: bool = False
) -> list[str]:
    file = folder / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_usable(file, environment or {})
    assert CANARY not in str(caught.value)
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


BROKEN = """\
auth:
  pepper: env:GONE
  keys: [{id: a, hash: HASH, tenant: t}]
server:
  listen: 0.0.0.0:0
providers:
  nowhere: {vendor: openai-compatible, base_url: 'ftp://x'}
  query: {vendor: openai-compatible, base_url: 'https://x/v1?a=b'}
  port: {vendor: openai-compatible, base_url: 'https://x:99999/v1'}
  host: {vendor: openai-compatible, base_url: 'https://höst/v1'}
  bundle: {vendor: openai, ca_bundle: /gone.pem}
  proxy: {vendor: openai, proxy: 'socks5://127.0.0.1:1'}
  keys:
    vendor: anthropic
    api_keys:
      - x
      - file:/gone
      - env:CANARY
models:
  lost: {aliases: [a]}
  spoken:
    targets:
      - {provider: bundle, model: gpt-4o}
      - {provider: bundle, model: gpt-4o, dialect: latin}
http:
  listen: 127.0.0.1:0
  metrics_token: short
""".replace("HASH", HASH).replace("CANARY", CANARY)
GOOD = """\
auth: {pepper: p, keys: [{id: a, hash: HASH, tenant: t}]}
server: {listen: '0.0.0.0:0', insecure: true}
providers:
  a: {vendor: openai, api_key: k, proxy: 'http://me:secret@127.0.0.1:3128'}
  b: {vendor: openai-compatible, base_url: 'https://[::1]:8443/v1/'}
  c: {vendor: simulator}
models:
  m: {targets: [{provider: b, model: x}]}
default_model: a/gpt-4o
http: {listen: '127.0.0.1:0', metrics_token: 'env:TOKEN'}
""".replace("HASH", HASH)
TOLD = [
    ("gateway.yaml:2: auth.pepper", "the environment variable GONE is not set"),
    ("gateway.yaml:5: server.listen", "beyond loopback everybody on the way reads keys and prompts"),
    ("gateway.yaml:7: providers.nowhere.base_url", "must be an http or https address without a query"),
    ("gateway.yaml:8: providers.query.base_url", "must be an http or https address without a query"),
    ("gateway.yaml:9: providers.port.base_url", "must be an http or https address without a query"),
    ("gateway.yaml:10: providers.host.base_url", "must be an http or https address without a query"),
    ("gateway.yaml:11: providers.bundle.ca_bundle", "/gone.pem is not a readable PEM file"),
    ("gateway.yaml:12: providers.proxy.proxy", "must be an http or https address"),
    ("gateway.yaml:17: providers.keys.api_keys[1]", "the file /gone cannot be read"),
    ("gateway.yaml:18: providers.keys.api_keys[2]", "behind env: belongs the name of an environment variable"),
    ("gateway.yaml:20: models.lost", "targets are needed"),
    ("gateway.yaml:24: models.spoken.targets[1].dialect", "must be one of openai_chat, openai_responses"),
    ("gateway.yaml:27: http.metrics_token", "must have at least 16 characters"),
]


def assert_told(found: list[str], expected: list[tuple[str, str]]) -> None:
    assert [line[: len(place)] for line, (place, _) in zip(found, expected, strict=False)] == [
        place for place, _ in expected
    ]
    assert len(found) == len(expected)
    for line, (place, words) in zip(found, expected, strict=True):
        assert line.startswith(f"{place}: {words}")


def test_all_that_a_start_would_find_is_told_at_once(tmp_path: Path) -> None:
    assert_told(mistakes(tmp_path, BROKEN), TOLD)


def test_it_is_told_beside_what_is_malformed(tmp_path: Path) -> None:
    text = BROKEN + "timeouts:\n  idle_s: 0\nproviders_: 1\n"
    text = text.replace("model: gpt-4o}", "modle: gpt-4o}").replace("vendor: anthropic", "vendor: antropic")
    found = mistakes(tmp_path, text)
    hidden = {20, 24}  # the malformed account may bring the one, and the other stands in a malformed model
    expected = [each for each in TOLD if int(each[0].split(":")[1]) not in hidden]
    expected.insert(8, ("gateway.yaml:14: providers.keys.vendor", "must be one of"))
    expected[11:11] = [
        ("gateway.yaml:23: models.spoken.targets[0].model", "is required"),
        ("gateway.yaml:23: models.spoken.targets[0].modle", "there is no such setting"),
    ]
    expected += [
        ("gateway.yaml:29: timeouts.idle_s", "must be greater than 0"),
        ("gateway.yaml:30: providers_", "there is no such setting; did you mean providers?"),
    ]
    assert_told(found, expected)


def test_what_does_not_fit_together_hides_nothing(tmp_path: Path) -> None:
    text = (
        "server: {listen: '0.0.0.0:0'}\nproviders:\n  p: {vendor: openai, api_key: 'env:GONE'}\n"
        "models:\n  m: {targets: [{provider: q, model: x}]}\n  n: {}\ndefault_model: m\n"
    )
    assert_told(
        mistakes(tmp_path, text),
        [
            ("gateway.yaml:1: server.listen", "without keys only a loopback address"),
            ("gateway.yaml:1: server.listen", "beyond loopback everybody"),
            ("gateway.yaml:3: providers.p.api_key", "the environment variable GONE is not set"),
            ("gateway.yaml:5: models.m.targets[0].provider", "there is no such provider"),
            ("gateway.yaml:6: models.n", "targets are needed"),
        ],
    )


def test_a_default_model_that_is_none_is_told_where_it_was_set(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, "records: true", {"LLMGATEWAY__DEFAULT_MODEL": "gpt-99"})
    assert found == "LLMGATEWAY__DEFAULT_MODEL: default_model: there is no model gpt-99"


MODELS = """\
providers:
  s: {vendor: simulator}
models:
  odd: {targets: [{provider: s, model: chat, weight: heavy}], aliases: [strange]}
  lost: {aliases: [gone]}
  far: {targets: [{provider: elsewhere, model: x}]}
  spoken: {targets: [{provider: s, model: chat, dialect: latin}]}
default_model: NAME
"""
WRONG_MODELS = [
    ("gateway.yaml:4: models.odd.targets[0].weight", "must be"),
    ("gateway.yaml:5: models.lost", "targets are needed"),
    ("gateway.yaml:6: models.far.targets[0].provider", "there is no such provider"),
    ("gateway.yaml:7: models.spoken.targets[0].dialect", "must be one of"),
]


@pytest.mark.parametrize("name", ["gpt-99", "s/", "elsewhere/x"])
def test_a_default_model_that_is_none_is_told_beside_models_with_mistakes(tmp_path: Path, name: str) -> None:
    found = mistakes(tmp_path, MODELS.replace("NAME", name))
    assert_told(found, [*WRONG_MODELS, ("gateway.yaml:8: default_model", f"there is no model {name}")])


@pytest.mark.parametrize("name", ["odd", "strange", "lost", "gone", "far", "spoken", "s-chat", "s/x"])
def test_a_default_model_that_has_a_mistake_of_its_own_is_not_missed(tmp_path: Path, name: str) -> None:
    assert_told(mistakes(tmp_path, MODELS.replace("NAME", name)), WRONG_MODELS)


def test_what_a_malformed_account_could_bring_is_not_missed(tmp_path: Path) -> None:
    text = MODELS.replace("NAME", "gpt-4o").replace("models:", "  o: {vendor: opnai}\nmodels:")
    assert_told(
        mistakes(tmp_path, text),
        [
            ("gateway.yaml:3: providers.o.vendor", "must be one of"),
            ("gateway.yaml:5: models.odd.targets[0].weight", "must be"),
            ("gateway.yaml:7: models.far.targets[0].provider", "there is no such provider"),
            ("gateway.yaml:8: models.spoken.targets[0].dialect", "must be one of"),
        ],
    )


@pytest.mark.parametrize("text", ["- x", "just text", "server: []", "providers: 5", "{5: 5}"])
def test_documents_of_which_nothing_can_be_used(tmp_path: Path, text: str) -> None:
    (found,) = mistakes(tmp_path, text)
    assert found.startswith("gateway.yaml")


ODD: list[Any] = [None, 5, -1.5, True, "x", "\0", "[::", "http://[", [], [[]], {}, {"a": 1}]
PLACES = [(text, path) for text in (GOOD, BROKEN) for path, _ in parts(parse(text, "test"))]


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(PLACES), st.sampled_from(ODD))
def test_odd_values_are_taken_or_told(place: tuple[str, tuple[str | int, ...]], odd: Any) -> None:
    text, path = place
    document = parse(text, "test")
    around = document
    for part in path[:-1]:
        around = around[part]
    around[path[-1]] = odd
    with TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.yaml"
        file.write_text(json.dumps(document), encoding="utf-8")
        with suppress(ConfigError):  # and nothing else
            load_usable(file, {"TOKEN": "t" * 16})


@pytest.fixture
def pem(tmp_path: Path) -> dict[str, str]:
    """Returns the names of good files of TLS, and of one that is none."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    (tmp_path / "noise.pem").write_text("noise", encoding="utf-8")
    return {name: str(tmp_path / f"{name}.pem") for name in ("ca", "key", "cert", "noise", "gone")}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (("gone", "gone", "gone"), {3: "certificate: the file", 4: "key: the file", 5: "client_ca: the file"}),
        (("cert", "gone", "ca"), {4: "key: the file"}),
        (("noise", "key", "ca"), {2: ""}),
        (("cert", "key", "noise"), {5: "client_ca: "}),
    ],
)
def test_files_of_tls_are_told_one_by_one(
    tmp_path: Path, pem: dict[str, str], files: tuple[str, ...], told: dict[int, str]
) -> None:
    fields = zip(("certificate", "key", "client_ca"), files, strict=True)
    found = mistakes(tmp_path, "server:\n  tls:\n" + "".join(f"    {field}: {pem[file]}\n" for field, file in fields))
    assert [line.split(":")[1] for line in found] == [str(line) for line in told]
    for line, words in zip(found, told.values(), strict=True):
        assert f": server.tls{'.' if words else ': '}{words}" in line


def test_good_files_of_tls_are_taken(tmp_path: Path, pem: dict[str, str]) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"server: {{tls: {{certificate: {pem['cert']}, key: {pem['key']}}}}}", encoding="utf-8")
    assert load_usable(file, {}).settings == load(file, {}).settings


def test_an_extra_that_is_not_installed_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("http:\n  listen: 127.0.0.1:0\n", encoding="utf-8")
    code = (
        "import sys\nsys.modules['uvicorn'] = None\n"
        "from pathlib import Path\nfrom llmgateway_server.config.load import ConfigError, load_usable\n"
        f"try:\n    load_usable(Path({str(file)!r}), {{}})\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True)
    assert done.stdout.startswith(f"{file}:2: http.listen: the extra `http` is not installed"), done.stderr


def test_what_passes_can_be_put_together(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD, encoding="utf-8")
    environment = {"TOKEN": "t" * 16}
    found = load_usable(file, environment).settings
    assert found == load(file, environment).settings
    App(found, environment)


def test_headers_of_telemetry_are_told_with_their_line(tmp_path: Path) -> None:
    text = "telemetry:\n  traces: otlp\n  headers_secret: 'env:HEADERS'\n"
    (found,) = mistakes(tmp_path, text, {"HEADERS": CANARY})
    assert found.startswith("gateway.yaml:3: telemetry.headers_secret: ")
