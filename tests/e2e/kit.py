"""What the end-to-end tests share: the installed command as a child process, real clients, and their output."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

ROOT = Path(__file__).parents[2]
PROTOSET = ROOT / "clients" / "llmgateway.protoset"
SERVICE = "llmgateway.v1.LlmGatewayService"
ASK = '{"messages":[{"role":"ROLE_USER","parts":[{"text":"hi"}]}]}'
READY = "llmgateway is serving on "
READY_S = 20.0
EXIT_S = 20.0


def environment(**more: str) -> dict[str, str]:
    """Returns this process's environment without anything that would give a gateway providers or spans."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    kept = {name: value for name, value in kept.items() if not name.startswith("OTEL_")}
    return {**kept, "COLUMNS": "200", **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "llmgateway_server", *arguments]


def run(
    arguments: Sequence[str | Path], *, timeout_s: float = EXIT_S, cwd: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; `more` is added to its environment."""
    return subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        check=False,
    )


def tool(name: str) -> str:
    """Returns the path of a client, or skips the test; where CI is true a missing one is a failure."""
    beside_python = str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), beside_python)))
    if found is not None:
        return found
    message = f"{name} is not installed: run `make test-e2e`"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(message)
    pytest.skip(message)


@dataclass(slots=True)
class Served:
    """A gateway in a process of its own."""

    process: subprocess.Popen[str]
    output: Path
    """Where its standard output goes."""
    address: str = ""
    errors: list[str] = field(default_factory=list)
    """Lines of its standard error so far."""

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = EXIT_S) -> int:
        """Returns its exit code."""
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        """Ends it as Ctrl-C does, and waits."""
        if self.process.poll() is None:
            self.signal(signal.SIGINT)
            self.wait()

    def records(self) -> list[dict[str, Any]]:
        """Returns the records of a gateway that has stopped."""
        lines = self.output.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [record for record in found if "record" in record]


@contextmanager
def serving(folder: Path, *arguments: str, **more: str) -> Iterator[Served]:
    """Runs `serve` on a free port of loopback until the end of the block."""
    output = folder / f"stdout-{time.monotonic_ns()}"
    with output.open("w") as stream:
        process = subprocess.Popen(
            command("serve", "--listen", "127.0.0.1:0", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment(**more),
        )
    served = Served(process, output)
    reader = threading.Thread(target=_read, args=(served,), daemon=True)
    reader.start()
    try:
        served.address = _address(served)
        yield served
    finally:
        if process.poll() is None:
            process.terminate()
            process.terminate()  # the second one does not wait for anybody
            try:
                process.wait(EXIT_S / 4)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(EXIT_S)
        if process.stderr is not None:
            process.stderr.close()


def _read(served: Served) -> None:
    if served.process.stderr is not None:
        for line in served.process.stderr:
            served.errors.append(line.rstrip("\n"))


def _address(served: Served) -> str:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        for line in list(served.errors):
            if line.startswith(READY):
                return line.removeprefix(READY)
        if served.process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"the gateway does not serve: {served.errors}")


@dataclass(slots=True, frozen=True)
class Key:
    """A key as `llmgateway keys new` makes it."""

    text: str
    entry: list[str]
    """Its lines below `auth.keys`."""


def new_key(role: str, tenant: str = "acme") -> Key:
    made = run(command("keys", "new", "--role", role, "--tenant", tenant))
    assert made.returncode == 0, made.stderr
    return Key(made.stdout.strip(), [line for line in made.stderr.splitlines() if line[:4].isspace()])


def write_config(folder: Path, *sections: str, keys: Sequence[Key] = ()) -> Path:
    """Writes a configuration file with the simulator, more sections as YAML, and keys."""
    lines = ["providers:", "  simulator: {vendor: simulator}", *sections]
    if keys:
        lines += ["auth:", "  keys:", *(line for key in keys for line in key.entry)]
    path = folder / f"gateway-{time.monotonic_ns()}.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def grpcurl(
    address: str,
    *target: str,
    data: str | None = None,
    headers: Mapping[str, str] | None = None,
    protoset: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Calls grpcurl. Statuses come as JSON, with the numbers of their codes, and the protos' names of their fields.

    Args:
        target: what to do, for example `list`, or a method.
        data: the request as JSON.
        protoset: descriptors to use instead of reflection.
    """
    arguments = ["-plaintext", "-format-error", "-max-time", "15"]
    for name, value in (headers or {}).items():
        arguments += ["-H", f"{name}: {value}"]
    if protoset is not None:
        arguments += ["-protoset", str(protoset)]
    if data is not None:
        arguments += ["-d", data]
    return run([tool("grpcurl"), *arguments, address, *target])


def status_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Returns the status that grpcurl printed."""
    assert done.returncode != 0, done.stdout
    status: dict[str, Any] = json.loads(done.stderr[done.stderr.index("{") :])
    return status


def detail_of(status: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns a detail by the full name of its message.

    Without reflection grpcurl shows bytes where its descriptors do not hold the message.
    """
    found: dict[str, Any] = next(each for each in status["details"] if each["@type"].endswith(f"/{name}"))
    if "@value" in found and name == "google.rpc.ErrorInfo":
        info = error_details_pb2.ErrorInfo.FromString(base64.b64decode(found["@value"]))
        return {"reason": info.reason, "domain": info.domain, "metadata": dict(info.metadata)}
    return found


def json_values(text: str) -> list[Any]:
    """Returns the JSON values that stand one behind the other in `text`."""
    decoder = json.JSONDecoder()
    values = []
    rest = text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        values.append(value)
        rest = rest[end:].lstrip()
    return values
