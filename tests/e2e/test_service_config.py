"""The service config that clients are given: gRPC takes it, and it never repeats what a provider has begun."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from llmgateway.v1 import completion_pb2, message_pb2
from llmgateway.v1.llm_gateway_service_pb2 import DESCRIPTOR
from llmgateway.v1.llm_gateway_service_pb2_grpc import LlmGatewayServiceStub
from tests.e2e.kit import ROOT, Served, serving, write_config

pytestmark = pytest.mark.e2e

TEXT = (ROOT / "protos" / "service_config.json").read_text(encoding="utf-8")


def ask(model: str = "") -> completion_pb2.CompleteRequest:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="hi")])
    return completion_pb2.CompleteRequest(model=model, messages=[message])


@contextmanager
def client(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.address, options=(("grpc.service_config", TEXT),)) as channel:
        yield LlmGatewayServiceStub(channel)


def call_outcomes(served: Served) -> list[str]:
    """Stops the gateway and returns how its calls ended: one per attempt of the client's channel."""
    served.stop()
    return [record["outcome"] for record in served.records() if record["record"] == "call"]


def test_every_method_named_exists() -> None:
    methods = {method.name for method in DESCRIPTOR.services_by_name["LlmGatewayService"].methods}
    named = [name for config in json.loads(TEXT)["methodConfig"] for name in config["name"]]
    ours = {name["method"] for name in named if name["service"].startswith("llmgateway.") and "method" in name}
    assert ours <= methods


def test_a_client_with_it_completes_and_streams(gateway: Served) -> None:
    with client(gateway) as stub:
        assert stub.Complete(ask()).parts[0].text == "You said: hi"
        assert list(stub.StreamComplete(ask()))[-1].events[-1].WhichOneof("event") == "finished"


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "streamed"])
@pytest.mark.parametrize("fault", ["fault=http&status=503", "fault=http&status=503&retry_after_ms=50", "fault=reset"])
def test_what_a_provider_has_begun_is_not_repeated(tmp_path: Path, fault: str, streamed: bool) -> None:
    with serving(tmp_path) as served:
        with client(served) as stub:
            request = ask(f"simulator/chat?{fault}")
            call = (lambda: list(stub.StreamComplete(request))) if streamed else (lambda: stub.Complete(request))
            with pytest.raises(grpc.RpcError) as caught:
                call()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        time.sleep(0.3)  # longer than the first back-off: a second attempt would be seen
        assert call_outcomes(served) == ["failed"]


def test_what_was_turned_away_is_repeated(tmp_path: Path) -> None:
    config = write_config(tmp_path, "gate: {max_in_flight: 1}")
    with serving(tmp_path, "--config", str(config)) as served:
        with client(served) as stub:
            holder = threading.Thread(target=stub.Complete, args=(ask("simulator/chat?first_token_ms=700"),))
            holder.start()
            time.sleep(0.25)  # the holder has its place by now
            assert stub.Complete(ask()).parts[0].text == "You said: hi"
            holder.join()
        outcomes = call_outcomes(served)
        assert outcomes.count("succeeded") == 2
        assert outcomes.count("shed") >= 1
