"""`serve --workers`: one address, one set of figures, one end, however many processes."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import grpc
import pytest

from llmgateway.v1 import status_pb2
from tests.e2e.kit import Served, command, run, serving, write_config
from tests.e2e.workers_kit import (
    alive,
    ask,
    ended_calls,
    page,
    samples,
    serving_count,
    several,
    stop,
    stubs,
    until,
    worker_pids,
)

pytestmark = pytest.mark.e2e

SLOW = "simulator/chat?tokens=30&pace_ms=100"


def clean(served: Served) -> bool:
    return not any("Traceback" in line or "never awaited" in line for line in served.errors)


def test_all_workers_answer_as_one_gateway(tmp_path: Path) -> None:
    with several(tmp_path, 3) as served:
        assert len(worker_pids(served)) == serving_count(served) == 3
        assert page(served, "/readyz") == "ready\n"
        assert page(served, "/healthz") == "ok\n"
        with stubs(served, 12) as every:
            for number, stub in enumerate(every, 1):
                stub.Complete(ask(), timeout=15)
                # whichever worker is asked, it knows of the calls of all
                assert stub.Metrics(status_pb2.MetricsRequest(), timeout=15).calls.call_count == number
                health = stub.Health(status_pb2.HealthRequest(), timeout=15)
                assert [each.attempt_count for each in health.providers] == [number]
            with pytest.raises(grpc.RpcError):
                every[0].Complete(ask("nothing"), timeout=15)
            slow = [stub.StreamComplete(ask(SLOW), timeout=15) for stub in every]
            for stream in slow:
                next(stream)
            assert every[0].Health(status_pb2.HealthRequest(), timeout=15).in_flight_call_count == 13
            found = samples(served)
            # 12 streams; calls that only read figures are over by now
            assert found["llm_gateway_open_streams"] == 12
            assert ended_calls(found) == 13
            assert found['llm_gateway_refused_total{reason="MODEL_NOT_FOUND"}'] == 1
            for stream in slow:
                stream.cancel()
        assert stop(served) == 0
        assert clean(served), served.errors
        records = [record for record in served.records() if record["record"] == "call"]
        assert len(records) >= 25
    assert sum("is serving on" in line for line in served.errors) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
def test_all_workers_drain_together(tmp_path: Path, number: signal.Signals) -> None:
    with several(tmp_path, 2, "server: {drain_delay_s: 0.2, grace_s: 20}") as served, stubs(served, 8) as every:
        streams = [stub.StreamComplete(ask(SLOW), timeout=30) for stub in every]
        for stream in streams:
            next(stream)
        served.signal(number)
        for stream in streams:
            assert list(stream)[-1].events[-1].WhichOneof("event") == "finished"
        assert served.wait() == 0
        assert clean(served), served.errors
        calls = [record for record in served.records() if record["record"] == "call"]
        assert [record["outcome"] for record in calls] == ["succeeded"] * 8


def test_a_second_signal_does_not_wait_for_anybody(tmp_path: Path) -> None:
    with several(tmp_path, 2, "server: {drain_delay_s: 60, grace_s: 60}") as served, stubs(served, 4) as every:
        streams = [stub.StreamComplete(ask("simulator/chat?tokens=900&pace_ms=100")) for stub in every]
        for stream in streams:
            next(stream)
        served.signal(signal.SIGTERM)
        until(lambda: samples(served).get('llm_gateway_workers{state="draining"}') == 2)
        served.signal(signal.SIGTERM)
        for stream in streams:
            with pytest.raises(grpc.RpcError):
                list(stream)
        assert served.wait(15) == 0
        assert clean(served), served.errors
        # they were ended, not killed: what was delivered is written down
        assert [each["outcome"] for each in served.records() if each["record"] == "attempt"] == ["cancelled"] * 4


def test_a_signal_to_every_process_drains_as_one_to_the_parent_does(tmp_path: Path) -> None:
    with several(tmp_path, 2, "server: {drain_delay_s: 0.2, grace_s: 20}") as served, stubs(served, 4) as every:
        streams = [stub.StreamComplete(ask(SLOW), timeout=30) for stub in every]
        for stream in streams:
            next(stream)
        for pid in (*worker_pids(served), served.process.pid):
            os.kill(pid, signal.SIGTERM)
        for pid in worker_pids(served):
            os.kill(pid, signal.SIGINT)  # a terminal's Ctrl-C is not theirs
        for stream in streams:
            assert list(stream)[-1].events[-1].WhichOneof("event") == "finished"
        assert served.wait() == 0
        assert clean(served), served.errors


def test_one_worker_can_be_renewed_without_a_failed_call(tmp_path: Path) -> None:
    with several(tmp_path, 2, "server: {drain_delay_s: 0.1}") as served, stubs(served, 6) as every:
        streams = [stub.StreamComplete(ask("simulator/chat?tokens=15&pace_ms=100"), timeout=30) for stub in every]
        for stream in streams:
            next(stream)
        old = worker_pids(served)[0]
        os.kill(old, signal.SIGTERM)
        for stream in streams:
            assert list(stream)[-1].events[-1].WhichOneof("event") == "finished"
        until(lambda: not alive(old) and serving_count(served) == 2)
        assert samples(served)["llm_gateway_worker_restarts_total"] == 1
        assert stop(served) == 0


def test_a_parent_that_is_killed_leaves_no_orphans_and_no_broken_call(tmp_path: Path) -> None:
    with several(tmp_path, 2) as served, stubs(served, 4) as every:
        streams = [stub.StreamComplete(ask("simulator/chat?tokens=15&pace_ms=100"), timeout=30) for stub in every]
        for stream in streams:
            next(stream)
        pids = worker_pids(served)
        served.process.kill()
        for stream in streams:
            assert list(stream)[-1].events[-1].WhichOneof("event") == "finished"
        until(lambda: not any(map(alive, pids)))


def test_a_second_gateway_does_not_share_the_address(tmp_path: Path) -> None:
    with several(tmp_path, 2) as served:
        for workers in ("1", "2"):
            done = run(command("serve", "--listen", served.address, "--workers", workers))
            assert done.returncode == 1
            assert f"llmgateway: cannot listen on {served.address}" in done.stderr
            assert "Traceback" not in done.stderr
        assert serving_count(served) == 2


def test_several_workers_on_a_unix_socket_are_a_mistake(tmp_path: Path) -> None:
    done = run(command("serve", "--listen", f"unix:{tmp_path}/socket", "--workers", "2"))
    assert done.returncode == 2
    assert "--workers" in done.stderr
    assert "several workers cannot share a Unix socket" in done.stderr


@pytest.mark.parametrize(
    ("section", "word"),
    [
        ("default_model: gpt-99", "default_model"),
        ("server: {tls: {certificate: /nowhere.pem, key: /nowhere.key}}", "server.tls"),
        ("http: {listen: '127.0.0.1:0', metrics_token: 'env:NOT_SET_ANYWHERE'}", "NOT_SET_ANYWHERE"),
    ],
)
def test_a_wrong_configuration_is_explained_once(tmp_path: Path, section: str, word: str) -> None:
    config = write_config(tmp_path, section)
    done = run(command("serve", "--config", str(config), "--workers", "3", "--listen", "127.0.0.1:0"))
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("llmgateway: ") <= 1
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_changed_meanwhile_does_not_change_a_new_worker(tmp_path: Path) -> None:
    config = write_config(tmp_path, "http: {listen: '127.0.0.1:0'}")
    with serving(tmp_path, "--config", str(config), "--workers", "2") as served:
        config.write_text("nonsense: [", encoding="utf-8")
        os.kill(worker_pids(served)[0], signal.SIGKILL)
        until(lambda: samples(served)["llm_gateway_worker_restarts_total"] == 1 and serving_count(served) == 2)
        assert stop(served) == 0


def test_records_of_all_workers_are_whole_lines_in_a_pipe(tmp_path: Path) -> None:
    config = write_config(tmp_path, "gate: {max_loop_lag_s: 60}")
    arguments = command("serve", "--config", str(config), "--workers", "2", "--listen", "127.0.0.1:0")
    output = tmp_path / "piped"
    process = subprocess.Popen(["sh", "-c", 'exec "$@" | cat > "$0"', str(output), *arguments], stderr=subprocess.PIPE)
    assert process.stderr is not None
    address = ""
    while not address:
        line = process.stderr.readline().decode()
        assert line
        address = line.partition("llmgateway is serving on ")[2].strip()
    served = Served(process, output, address)  # type: ignore[arg-type]
    with stubs(served, 8) as every:
        calls = [stub.Complete.future(ask(), timeout=30) for _ in range(100) for stub in every]
        for call in calls:
            call.result()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    parent = next(int(pid) for pid in children if b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(parent, signal.SIGINT)
    process.stderr.read()
    assert process.wait(20) == 0
    process.stderr.close()
    assert len([record for record in served.records() if record["record"] == "call"]) == 800
