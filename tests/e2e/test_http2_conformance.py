"""h2spec, written by others, judges how the http2 transport keeps to HTTP/2 and to its header compression."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.e2e.kit import ASK, PROTOSET, READY, SERVICE, Served, run, serving, tool, write_config

pytestmark = pytest.mark.e2e

METHOD = f"{SERVICE}/Complete"
CASE_COUNT = 146
"""Of the pinned version, strict ones included: a run that leaves some out says nothing."""
CASE_S, RUN_S = 5, 90.0
CASE = re.compile(r'<testcase package="([^"]+)" classname="([^"]+)"[^>]*>(.*?)</testcase>', re.DOTALL)
VERDICT = re.compile(r"<(error|failure|skipped)>(.*)</\1>", re.DOTALL)
"""The report is no XML for a parser: h2spec writes what it saw as it came, null bytes included."""
CLOSED = "Connection closed"
"""What h2spec sees of a connection that ends in order; one that is torn down is an error to it."""
OURS = {
    (
        "http2/6.9.1",
        "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
    ): "a stream's fault ends the connection, as RFC 9113 section 5.4.1 allows; h2spec takes only a reset of it",
}
"""Cases that we fail on purpose, by ending the connection, and why."""


@dataclass(slots=True, frozen=True)
class Door:
    """A gateway, and how its clients are told whether it speaks TLS."""

    served: Served
    h2spec: tuple[str, ...]
    grpcurl: tuple[str, ...]


@pytest.fixture(params=["plaintext", "tls"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    server: dict[str, object] = {"transport": "http2", "drain_delay_s": 0}
    h2spec: tuple[str, ...] = ()
    grpcurl: tuple[str, ...] = ("-plaintext",)
    if request.param == "tls":
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        made = authority.issue_cert("127.0.0.1")
        made.cert_chain_pems[0].write_to_path(str(tmp_path / "server.crt"))
        made.private_key_pem.write_to_path(str(tmp_path / "server.key"))
        server["tls"] = {"certificate": str(tmp_path / "server.crt"), "key": str(tmp_path / "server.key")}
        h2spec, grpcurl = ("-t", "-k"), ("-cacert", str(tmp_path / "ca.pem"))
    config = write_config(tmp_path, f"server: {json.dumps(server)}")
    with serving(tmp_path, "--config", str(config)) as served:
        yield Door(served, h2spec, grpcurl)


def judged(door: Door, report: Path) -> dict[tuple[str, str], str]:
    """Returns what h2spec saw in each case; nothing where it saw what it wants."""
    host, _, port = door.served.address.rpartition(":")
    target = ["-h", host, "-p", port, "-P", f"/{METHOD}", *door.h2spec]
    done = run([tool("h2spec"), *target, "--strict", "-o", str(CASE_S), "-j", report], timeout_s=RUN_S)
    assert report.exists(), done.stdout + done.stderr
    cases = CASE.findall(report.read_text(encoding="utf-8"))
    assert len(cases) == CASE_COUNT
    return {(package, html.unescape(name)): seen(verdict) for package, name, verdict in cases}


def seen(verdict: str) -> str:
    """Returns the last line of a verdict that is not good, as those before it are what h2spec wants."""
    said = VERDICT.fullmatch(verdict.strip())
    return (said[2] or said[1]).strip().rpartition("\n")[2] if said else ""


def test_the_transport_keeps_to_the_protocol(door: Door, tmp_path: Path) -> None:
    cases = judged(door, tmp_path / "report.xml")
    assert {case: saw for case, saw in cases.items() if saw and case not in OURS} == {}
    assert {case: cases[case] for case in OURS} == dict.fromkeys(OURS, CLOSED)
    call = ["-protoset", str(PROTOSET), "-max-time", "10", "-d", ASK]
    called = run([tool("grpcurl"), *door.grpcurl, *call, door.served.address, METHOD])
    assert called.returncode == 0, called.stderr
    assert door.served.errors[-1].startswith(READY), "it complained behind what it says first"
