"""Where the gateway is and how it is reached: target, credentials, channel options. Pure but for the files it reads."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc

TARGET_VARIABLE = "LLMGATEWAY_TARGET"
API_KEY_VARIABLE = "LLMGATEWAY_API_KEY"
DEFAULT_TARGET = "localhost:50051"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
KEEPALIVE_MS = 30_000
KEEPALIVE_TIMEOUT_MS = 10_000

_LOCAL_SCHEMES = ("unix:", "unix-abstract:")
_ADDRESS_SCHEMES = ("ipv4:", "ipv6:", "dns:///", "dns:")

ChannelOptions = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Connection:
    """What is needed to open a channel and to call through it."""

    target: str
    """As gRPC names it: `host:port`, `dns:///host:port`, `unix:/path`, …"""
    credentials: grpc.ChannelCredentials | None
    """None: plaintext."""
    options: ChannelOptions
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    """Sent with every call."""


def connection(
    target: str | None = None,
    *,
    api_key: str | None = None,
    tls: bool | None = None,
    ca: str | Path | None = None,
    client_cert: tuple[str | Path, str | Path] | None = None,
    insecure: bool = False,
    user_agent: str,
    environment: Mapping[str, str] = os.environ,
) -> Connection:
    """Settles how the gateway is reached; the arguments are those of `Client`.

    Raises:
        ValueError: the key cannot stand in a header, a key would travel in plaintext beyond this machine, or the
            arguments contradict each other.
        OSError: a certificate cannot be read.
    """
    target = target or environment.get(TARGET_VARIABLE) or DEFAULT_TARGET
    key = environment.get(API_KEY_VARIABLE, "") if api_key is None else api_key
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("the API key holds characters that no key has, for example a line break at its end")
    local = is_local(target)
    certificates = ca is not None or client_cert is not None
    if insecure and (tls or certificates):
        raise ValueError("insecure=True contradicts tls=True, ca and client_cert")
    if tls is False and certificates:
        raise ValueError("tls=False contradicts ca and client_cert")
    secure = certificates or (tls if tls is not None else not (local or insecure))
    if key and not (secure or local or insecure):
        raise ValueError("the API key would travel in plaintext: use tls=True, or insecure=True if the way is safe")
    return Connection(
        target=target,
        credentials=_credentials(ca, client_cert) if secure else None,
        options=channel_options(user_agent, direct=local),
        metadata=(("authorization", f"Bearer {key}"),) if key else (),
    )


def is_local(target: str) -> bool:
    """Tells whether a target is this machine for sure: loopback by name or number, or a Unix socket."""
    if target.startswith(_LOCAL_SCHEMES):
        return True
    scheme = next((each for each in _ADDRESS_SCHEMES if target.startswith(each)), "")
    return all(_is_loopback(address) for address in target.removeprefix(scheme).split(","))


def _is_loopback(address: str) -> bool:
    if address.startswith("["):
        host = address[1:].partition("]")[0]
    else:
        host = address.rpartition(":")[0] if address.count(":") == 1 else address
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def channel_options(user_agent: str, *, direct: bool) -> ChannelOptions:
    """Returns the options of the channel.

    Args:
        user_agent: stands before the library's own.
        direct: never through the proxy that the environment names: what is meant for this machine stays on it.
    """
    return (
        ("grpc.service_config", service_config()),
        ("grpc.enable_retries", 1),
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        # what the library really waits for the answer of a ping
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.primary_user_agent", user_agent),
        *((("grpc.enable_http_proxy", 0),) if direct else ()),
    )


def service_config() -> str:
    """Returns the published service config without its timeouts.

    Every call of this client has a deadline of its own. A timeout of the config would shorten a longer one in silence.
    """
    config = json.loads(published_service_config())
    for method in config["methodConfig"]:
        method.pop("timeout", None)
    return json.dumps(config)


def published_service_config() -> str:
    """Returns the service config as it is published beside the protos, for channels that are made by hand."""
    return files("llmgateway").joinpath("service_config.json").read_text(encoding="utf-8")


def _credentials(ca: str | Path | None, client_cert: tuple[str | Path, str | Path] | None) -> grpc.ChannelCredentials:
    chain, key = client_cert or (None, None)
    return grpc.ssl_channel_credentials(_bytes(ca), _bytes(key), _bytes(chain))


def _bytes(path: str | Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
