"""The files of deploy/: what compose grants, that the parts fit together, and that every configuration is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trustme
from ruamel.yaml import YAML
from typer.testing import CliRunner

from llmgateway_server.cli.commands import app
from llmgateway_server.config.load import load
from tests.unit.deploy.dockerfile import stages

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
RUNTIME = stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))[-1]
COMPOSE: dict[str, Any] = YAML(typ="safe").load(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
GATEWAY = SERVICES["gateway"]
IN_CONTAINER = "/etc/llmgateway/gateway.yaml"
CONFIGS = ("image", "gateway", "behind-proxy", "mutual-tls")
PAGES = ("README.md", "docs/deployment.md")
BLOCKS = {
    f"{page}-{number}": text
    for page in PAGES
    for number, text in enumerate(
        re.findall(r"(?ms)^```yaml\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8")), start=1
    )
}


def with_its_files(text: str, folder: Path) -> tuple[Path, dict[str, str]]:
    """Writes a configuration whose files and variables exist: `/run/…` and `/etc/…` are moved into the folder.

    Returns:
        The file, and the environment that it needs.
    """
    authority = trustme.CA()
    served = authority.issue_cert("localhost")
    pem = {
        "tls.crt": served.cert_chain_pems[0].bytes(),
        "tls.key": served.private_key_pem.bytes(),
        "callers.pem": authority.cert_pem.bytes(),
    }
    numbers = count()
    for path in set(re.findall(r"/(?:run|etc)/[\w./-]+", text)):
        place = folder / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(pem.get(place.name, f"made-up-secret-{next(numbers)}".encode()))
    written = folder / "moved.yaml"
    written.write_text(re.sub(r"(?=/(?:run|etc)/)", str(folder), text), encoding="utf-8")
    return written, {name: f"made-up-{name}" for name in re.findall(r"env:(\w+)", text)}


def check(text: str, folder: Path) -> None:
    path, environment = with_its_files(text, folder)
    done = CliRunner().invoke(app, ["check-config", str(path)], env=environment)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("ok: "), done.output


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_is_one(name: str, tmp_path: Path) -> None:
    check((DEPLOY / f"{name}.yaml").read_text(encoding="utf-8"), tmp_path)


def test_every_configuration_is_tested() -> None:
    others = {"compose", "gateway.example"}
    assert {path.stem for path in DEPLOY.glob("*.yaml")} - others == set(CONFIGS)


@pytest.mark.parametrize("text", BLOCKS.values(), ids=BLOCKS)
def test_every_configuration_of_the_pages_is_one(text: str, tmp_path: Path) -> None:
    check(text, tmp_path)


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_rights_that_they_do_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "environment"} & set(service)
    assert service["mem_limit"]
    assert service["pids_limit"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_services_mount_is_here_and_read_only(name: str) -> None:
    for mount in SERVICES[name]["volumes"]:
        source, _, rest = mount.partition(":")
        if source.startswith("."):
            assert (DEPLOY / source).is_file()
            assert rest.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_images_have_a_version(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[name]["image"])


def test_the_gateway_is_the_one_of_the_dockerfile() -> None:
    assert (DEPLOY / GATEWAY["build"]["context"] / "Dockerfile").resolve() == ROOT / "Dockerfile"
    assert GATEWAY["user"] == RUNTIME.one("USER").text
    assert GATEWAY["init"] is True
    assert [mount.split(":")[1] for mount in GATEWAY["volumes"]] == [IN_CONTAINER]
    assert RUNTIME.one("CMD").words[-1] == IN_CONTAINER
    labels = dict(word.split("=", 1) for word in RUNTIME.one("LABEL").words)
    assert GATEWAY["image"].partition(":")[2] == labels["org.opencontainers.image.version"]
    check_flags = RUNTIME.one("HEALTHCHECK").flags
    assert {f"--{key.replace('_', '-')}={value}" for key, value in GATEWAY["healthcheck"].items()} == set(check_flags)


def test_ports_grace_and_memory_fit_the_configuration(tmp_path: Path) -> None:
    path, environment = with_its_files((DEPLOY / "gateway.yaml").read_text(encoding="utf-8"), tmp_path)
    settings = load(path, environment).settings
    exposed = RUNTIME.one("EXPOSE").words
    grpc, metrics = settings.server.listen.rpartition(":")[2], str(settings.http.port)
    assert [grpc, metrics] == exposed
    assert GATEWAY["ports"] == [f"{grpc}:{grpc}"], "metrics are not published"
    assert GATEWAY["expose"] == [metrics]
    assert seconds(GATEWAY["stop_grace_period"]) > settings.server.drain_delay_s + settings.server.grace_s
    assert settings.gate.max_memory_bytes is not None
    assert settings.gate.max_memory_bytes < int(GATEWAY["mem_limit"].removesuffix("m")) * 1024**2


def test_secrets_are_files_outside_the_repository() -> None:
    text = (DEPLOY / "gateway.yaml").read_text(encoding="utf-8")
    assert set(GATEWAY["secrets"]) == set(re.findall(r"/run/secrets/([\w.]+)", text))
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == f"${{LLMGATEWAY_SECRETS:-./secrets}}/{name}"
    assert {path.name for path in (DEPLOY / "secrets").iterdir() if not path.name.startswith(".")} <= set(
        COMPOSE["secrets"]
    )
    assert "*" in (DEPLOY / "secrets" / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_prometheus_asks_where_metrics_are_with_the_token() -> None:
    (job,) = YAML(typ="safe").load(DEPLOY / "prometheus.yml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"gateway:{GATEWAY['expose'][0]}"]}]
    assert job["metrics_path"] == "/metrics"
    (token,) = SERVICES["prometheus"]["secrets"]
    assert job["authorization"] == {"credentials_file": f"/run/secrets/{token}"}
    assert SERVICES["prometheus"]["profiles"] == ["metrics"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["prometheus"]["ports"])


def test_the_unit_waits_for_the_drain_and_has_no_rights() -> None:
    lines = (DEPLOY / "llmgateway.service").read_text(encoding="utf-8").splitlines()
    unit = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    server = load(None, {}).settings.server
    assert float(unit["TimeoutStopSec"]) > server.drain_delay_s + server.grace_s
    assert unit["KillSignal"] == "SIGTERM"
    assert unit["RestartPreventExitStatus"] == "2"
    assert unit["ExecStart"].split() == [*RUNTIME.one("ENTRYPOINT").words, *RUNTIME.one("CMD").words]
    assert unit["DynamicUser"] == unit["NoNewPrivileges"] == "yes"
    assert unit["ProtectSystem"] == "strict"
    assert unit["CapabilityBoundingSet"] == ""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "llmgateway.service").read_text(encoding="utf-8")
    unit = tmp_path / "llmgateway.service"
    unit.write_text(text.replace("/opt/llmgateway/bin/llmgateway", "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False, timeout=30
    )
    assert [line for line in done.stderr.splitlines() if "llmgateway" in line] == []
