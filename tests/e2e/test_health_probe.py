"""grpc-health-probe: what an orchestrator asks. Its exit codes are what counts."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Keyed
from tests.e2e.kit import SERVICE, Served, run, serving, tool, write_config

pytestmark = pytest.mark.e2e

RPC_FAILED, UNHEALTHY = 3, 4
DRAIN_DELAY_S = 3.0


def probe(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run([tool("grpc-health-probe"), f"-addr={address}", "-connect-timeout=5s", "-rpc-timeout=5s", *arguments])


@pytest.mark.parametrize("service", ["", SERVICE])
def test_it_is_serving(gateway: Served, service: str) -> None:
    done = probe(gateway.address, f"-service={service}")
    assert done.returncode == 0, done.stderr
    assert "SERVING" in done.stdout + done.stderr


def test_a_probe_needs_no_key(keyed: Keyed) -> None:
    assert probe(keyed.served.address).returncode == 0


def test_an_unknown_service_is_not_healthy(gateway: Served) -> None:
    done = probe(gateway.address, "-service=llmgateway.v1.Nothing")
    assert done.returncode == RPC_FAILED
    assert "NotFound" in done.stderr or "unknown service" in done.stderr.lower()


def test_a_gateway_that_drains_says_so_while_it_still_answers(tmp_path: Path) -> None:
    config = write_config(tmp_path, f"server: {{drain_delay_s: {DRAIN_DELAY_S}, grace_s: 1}}")
    with serving(tmp_path, "--config", str(config)) as served:
        assert probe(served.address).returncode == 0
        served.signal(signal.SIGTERM)
        done = probe(served.address)
        assert done.returncode == UNHEALTHY, done.stderr
        assert "NOT_SERVING" in done.stdout + done.stderr
        assert served.wait() == 0
