import json
from pathlib import Path
from typing import Any

import pytest

from llmgateway import Client
from llmgateway.channel import connection, is_local, published_service_config

ROOT = Path(__file__).parents[3]


def reached(target: str | None = None, **options: Any) -> Any:
    return connection(target, user_agent="test", **{"environment": {}, **options})


def test_the_service_config_is_the_published_one_without_timeouts() -> None:
    published = (ROOT / "protos" / "service_config.json").read_text(encoding="utf-8")
    assert published_service_config() == published
    sent = json.loads(dict(reached().options)["grpc.service_config"])
    wanted = json.loads(published)
    for method in wanted["methodConfig"]:
        del method["timeout"]
    assert sent == wanted


def test_options() -> None:
    options = dict(reached().options)
    assert options["grpc.lb_policy_name"] == "round_robin"
    assert options["grpc.keepalive_time_ms"] == 30_000
    assert options["grpc.max_send_message_length"] == options["grpc.max_receive_message_length"] == 16 * 1024 * 1024


def test_defaults_come_from_the_environment() -> None:
    environment = {"LLMGATEWAY_TARGET": "127.0.0.1:1", "LLMGATEWAY_API_KEY": "k"}
    found = reached(environment=environment)
    assert (found.target, found.metadata) == ("127.0.0.1:1", (("authorization", "Bearer k"),))
    assert reached("localhost:2", environment=environment).target == "localhost:2"
    assert reached(api_key="", environment=environment).metadata == ()
    assert reached().target == "localhost:50051"


@pytest.mark.parametrize(
    "target",
    [
        "localhost:1",
        "LOCALHOST.:1",
        "localhost",
        "127.0.0.1:1",
        "127.9.9.9:1",
        "[::1]:1",
        "::1",
        "dns:///localhost:1",
        "dns:localhost:1",
        "ipv4:127.0.0.1:1,127.0.0.2:1",
        "ipv6:[::1]:1",
        "unix:/run/gateway.sock",
        "unix:///run/gateway.sock",
        "unix-abstract:gateway",
    ],
)
def test_what_is_this_machine(target: str) -> None:
    assert is_local(target)
    assert reached(target, api_key="k").credentials is None


@pytest.mark.parametrize(
    "target",
    [
        "gateway:50051",
        "localhost.example.com:1",
        "10.0.0.1:1",
        "0.0.0.0:1",
        "127.1:1",
        "[2001:db8::1]:1",
        "dns:///gateway:1",
        "dns://10.0.0.1/localhost:1",
        "ipv4:127.0.0.1:1,10.0.0.1:1",
        "xds:///localhost",
    ],
)
def test_what_is_not_gets_no_key_in_plaintext(target: str) -> None:
    assert not is_local(target)
    assert reached(target, api_key="k").credentials is not None
    assert reached(target).credentials is not None
    with pytest.raises(ValueError, match="plaintext"):
        reached(target, api_key="k", tls=False)
    assert reached(target, tls=False).credentials is None
    assert reached(target, api_key="k", insecure=True).credentials is None


def test_what_stays_on_this_machine_passes_no_proxy() -> None:
    assert dict(reached().options)["grpc.enable_http_proxy"] == 0
    assert "grpc.enable_http_proxy" not in dict(reached("gateway:1").options)


@pytest.mark.parametrize(
    "options", [{"insecure": True, "tls": True}, {"insecure": True, "ca": "x"}, {"tls": False, "ca": "x"}]
)
def test_contradictions(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="contradicts"):
        reached(**options)


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none\.pem"):
        reached(ca=tmp_path / "none.pem")


@pytest.mark.parametrize("key", ["sk-secret\n", "sk secret", "sk-secrét", "sk\x00secret"])
def test_a_bad_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="API key") as caught:
        reached(api_key=key)
    assert "sec" not in str(caught.value)


def test_a_key_is_never_shown() -> None:
    with Client("localhost:1", api_key="sk-secret") as client:
        assert "sk-secret" not in repr(client)
    assert "sk-secret" not in repr(reached(api_key="sk-secret"))
