"""The door as its users meet it: TLS and client certificates with grpcurl and grpc-health-probe, sockets, warnings."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.e2e.kit import (
    ASK,
    PROTOSET,
    SERVICE,
    Key,
    Served,
    command,
    detail_of,
    new_key,
    run,
    serving,
    status_of,
    tool,
    write_config,
)

pytestmark = pytest.mark.e2e


@dataclass(slots=True, frozen=True)
class Behind:
    """A gateway that asks for certificates."""

    served: Served
    folder: Path
    key: Key

    @property
    def port(self) -> str:
        return self.served.address.rpartition(":")[2]


def write(authority: trustme.CA, folder: Path, name: str, *names: str) -> None:
    made = authority.issue_cert(*names)
    made.cert_chain_pems[0].write_to_path(str(folder / f"{name}.crt"))
    made.private_key_pem.write_to_path(str(folder / f"{name}.key"))


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("tls")
    authority, callers = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    callers.cert_pem.write_to_path(str(folder / "callers.pem"))
    write(authority, folder, "server", "localhost")
    write(callers, folder, "chat", "chat.example")
    write(callers, folder, "nobody", "nobody.example")
    key = new_key("caller")
    files = {"certificate": "server.crt", "key": "server.key", "client_ca": "callers.pem"}
    tls = {name: str(folder / file) for name, file in files.items()}
    config = write_config(folder, f"server: {{tls: {json.dumps(tls)}}}", keys=(key,))
    text = config.read_text(encoding="utf-8")
    config.write_text(f"{text}  certificates: [{{san: chat.example, tenant: acme}}]\n", encoding="utf-8")
    with serving(folder, "--config", str(config)) as served:
        yield Behind(served, folder, key)


def grpcurl(behind: Behind, certificate: str, *more: str) -> subprocess.CompletedProcess[str]:
    shown = ["-cert", f"{certificate}.crt", "-key", f"{certificate}.key"] if certificate else []
    arguments = ["-cacert", "ca.pem", *shown, "-format-error", "-max-time", "10", "-protoset", str(PROTOSET), *more]
    target = [f"localhost:{behind.port}", f"{SERVICE}/Complete"]
    return run([tool("grpcurl"), *arguments, "-d", ASK, *target], cwd=behind.folder)


def test_a_certificate_is_enough(behind: Behind) -> None:
    done = grpcurl(behind, "chat")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parts"] == [{"text": "You said: hi"}]


def test_a_certificate_of_nobody_is_not(behind: Behind) -> None:
    status = status_of(grpcurl(behind, "nobody"))
    assert status["code"] == 16
    assert detail_of(status, "google.rpc.ErrorInfo")["reason"] == "INVALID_CREDENTIALS"
    done = grpcurl(behind, "nobody", "-H", f"authorization: Bearer {behind.key.text}")
    assert done.returncode == 0, done.stderr


def test_without_a_certificate_there_is_no_connection(behind: Behind) -> None:
    assert grpcurl(behind, "", "-H", f"authorization: Bearer {behind.key.text}").returncode != 0


def test_a_probe_shows_any_certificate(behind: Behind) -> None:
    arguments = ["-tls", "-tls-ca-cert=ca.pem", "-tls-client-cert=nobody.crt", "-tls-client-key=nobody.key"]
    address = f"-addr=localhost:{behind.port}"
    done = run([tool("grpc-health-probe"), address, *arguments], cwd=behind.folder)
    assert done.returncode == 0, done.stderr


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    with serving(tmp_path, "--listen", f"unix:{path}") as served:
        assert served.address == f"unix:{path}"
        done = run([tool("grpcurl"), "-plaintext", "-d", ASK, f"unix:{path}", f"{SERVICE}/Complete"])
        assert done.returncode == 0, done.stderr
        assert run([tool("grpc-health-probe"), f"-addr=unix:{path}"]).returncode == 0
        served.stop()
    assert not path.exists()


def test_plaintext_beyond_loopback_is_refused_unless_somebody_says_so(tmp_path: Path) -> None:
    config = write_config(tmp_path, "server: {listen: '0.0.0.0:0'}", keys=(new_key("caller"),))
    done = run(command("serve", "--config", str(config)))
    assert done.returncode == 2
    assert "--insecure" in done.stderr
    assert "Traceback" not in done.stderr
    with serving(tmp_path, "--config", str(config), "--listen", "0.0.0.0:0", "--insecure") as served:
        assert any("WARNING: PLAINTEXT on 0.0.0.0:" in line for line in served.errors)


def test_files_of_tls_that_cannot_be_used_are_explained(tmp_path: Path) -> None:
    config = write_config(tmp_path, "server: {tls: {certificate: none.crt, key: none.key}}")
    done = run(command("serve", "--config", str(config)))
    assert done.returncode == 2
    assert f"{config}:3: server.tls.certificate: the file none.crt cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
