"""grpcurl: what a newcomer types first, by reflection, and with the committed descriptors where there is none."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import Keyed
from tests.e2e.kit import ASK, PROTOSET, SERVICE, Served, detail_of, grpcurl, json_values, status_of

pytestmark = pytest.mark.e2e
ADMIN = "llmgateway.admin.v1.AdminService"


def test_an_open_loopback_describes_itself(gateway: Served) -> None:
    listed = grpcurl(gateway.address, "list")
    assert listed.returncode == 0, listed.stderr
    assert {SERVICE, "grpc.health.v1.Health"} <= set(listed.stdout.split())
    methods = grpcurl(gateway.address, "list", SERVICE)
    assert f"{SERVICE}.StreamComplete" in methods.stdout.split()
    described = grpcurl(gateway.address, "describe", "llmgateway.v1.CompleteRequest")
    assert described.returncode == 0, described.stderr
    assert "repeated .llmgateway.v1.Message messages = 2" in described.stdout


def test_one_line_completes(gateway: Served) -> None:
    done = grpcurl(gateway.address, f"{SERVICE}/Complete", data=ASK)
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    assert reply["parts"] == [{"text": "You said: hi"}]
    assert reply["finishReason"] == "FINISH_REASON_STOP"
    assert reply["usage"]["outputTokenCount"]
    assert reply["cost"]["total"]["usd"]
    assert reply["target"]["provider"] == "simulator"


def test_operators_ask_in_one_line(gateway: Served) -> None:
    listed = grpcurl(gateway.address, "list", ADMIN)
    assert set(listed.stdout.split()) == {
        f"{ADMIN}.{name}"
        for name in (
            "ExplainRoute",
            "GetCircuitBreaker",
            "SetTargetEnabled",
            "TestProvider",
            "ResetMetrics",
            "WatchEvents",
        )
    }
    described = grpcurl(gateway.address, "describe", "llmgateway.admin.v1.ProviderCheck")
    assert ".llmgateway.v1.ErrorReason reason = 3" in described.stdout
    done = grpcurl(gateway.address, f"{ADMIN}/TestProvider", data='{"provider":"simulator"}')
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["ok"]
    assert [check["kind"] for check in verdict["checks"]] == [
        "PROVIDER_CHECK_KIND_UNARY",
        "PROVIDER_CHECK_KIND_STREAMED",
    ]
    reset = grpcurl(gateway.address, f"{ADMIN}/ResetMetrics", data="{}")
    assert int(json.loads(reset.stdout)["forgottenCallCount"]) >= 2


def test_callers_do_not_operate(keyed: Keyed) -> None:
    headers = {"x-api-key": keyed.caller.text}
    refused = grpcurl(keyed.served.address, f"{ADMIN}/ResetMetrics", data="{}", headers=headers, protoset=PROTOSET)
    status = status_of(refused)
    info = detail_of(status, "google.rpc.ErrorInfo")
    assert (status["code"], info["reason"], info["metadata"]) == (7, "ROLE_REQUIRED", {"permission": "operate"})


def test_one_line_streams(gateway: Served) -> None:
    done = grpcurl(gateway.address, f"{SERVICE}/StreamComplete", data=ASK)
    assert done.returncode == 0, done.stderr
    events = [event for message in json_values(done.stdout) for event in message["events"]]
    assert [int(event["seq"]) for event in events] == list(range(1, len(events) + 1))
    assert "started" in events[0]
    assert events[-1]["finished"]["finishReason"] == "FINISH_REASON_STOP"
    assert "".join(event.get("textDelta", {}).get("text", "") for event in events) == "You said: hi"


def test_the_details_of_an_error_are_readable(gateway: Served) -> None:
    request = json.dumps({**json.loads(ASK), "model": "nothing"})
    status = status_of(grpcurl(gateway.address, f"{SERVICE}/Complete", data=request))
    assert status["code"] == 5
    info = detail_of(status, "google.rpc.ErrorInfo")
    assert (info["reason"], info["metadata"]) == ("MODEL_NOT_FOUND", {"model": "nothing"})
    assert detail_of(status, "google.rpc.RequestInfo")["request_id"]
    assert "simulator-chat" in detail_of(status, "llmgateway.v1.ModelAlternatives")["models"]


def test_every_bad_field_is_named(gateway: Served) -> None:
    request = '{"messages":[{"role":"ROLE_USER"}],"temperature":9,"topP":7}'
    status = status_of(grpcurl(gateway.address, f"{SERVICE}/Complete", data=request))
    assert status["code"] == 3
    assert detail_of(status, "google.rpc.ErrorInfo")["reason"] == "INVALID_REQUEST"
    violations = detail_of(status, "google.rpc.BadRequest")["field_violations"]
    assert {"temperature", "top_p"} <= {violation["field"] for violation in violations}
    assert all(violation["description"] for violation in violations)


def test_with_keys_there_is_no_reflection(keyed: Keyed) -> None:
    assert grpcurl(keyed.served.address, "list").returncode != 0


@pytest.mark.parametrize(("method", "last"), [("Complete", "parts"), ("StreamComplete", "events")])
def test_the_committed_descriptors_are_enough(keyed: Keyed, method: str, last: str) -> None:
    headers = {"authorization": f"Bearer {keyed.caller.text}"}
    done = grpcurl(keyed.served.address, f"{SERVICE}/{method}", data=ASK, headers=headers, protoset=PROTOSET)
    assert done.returncode == 0, done.stderr
    assert last in json_values(done.stdout)[-1]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"x-api-key": "lgw_00000000_x_00000000"}])
def test_without_a_good_key_nobody_gets_in(keyed: Keyed, headers: dict[str, str]) -> None:
    done = grpcurl(keyed.served.address, f"{SERVICE}/Complete", data=ASK, headers=headers, protoset=PROTOSET)
    status = status_of(done)
    assert status["code"] == 16
    assert detail_of(status, "google.rpc.ErrorInfo")["reason"] == "INVALID_CREDENTIALS"


def test_a_viewer_looks_and_does_not_call(keyed: Keyed) -> None:
    headers = {"x-api-key": keyed.viewer.text}
    refused = grpcurl(keyed.served.address, f"{SERVICE}/Complete", data=ASK, headers=headers, protoset=PROTOSET)
    status = status_of(refused)
    assert status["code"] == 7
    assert detail_of(status, "google.rpc.ErrorInfo")["reason"] == "ROLE_REQUIRED"
    seen = grpcurl(keyed.served.address, f"{SERVICE}/Health", data="{}", headers=headers, protoset=PROTOSET)
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["version"]
