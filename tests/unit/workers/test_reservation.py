"""The address of several workers: one gateway has it, whoever of its processes is alive."""

from __future__ import annotations

import socket

import pytest

from llmgateway_server.transport.listen import Reservation


def listener(address: str, *, sharing: bool) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sharing:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((host.strip("[]"), int(port)))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_workers_share_what_a_second_gateway_does_not_get(host: str) -> None:
    reservation = Reservation(f"{host}:0")
    name, _, port = reservation.address.rpartition(":")
    assert name == host
    assert int(port) > 0
    address = reservation.address.replace("localhost", "127.0.0.1")
    with listener(address, sharing=True), listener(address, sharing=True):
        with pytest.raises(OSError, match="cannot listen on"):
            Reservation(reservation.address)
        with pytest.raises(OSError, match="in use"):
            listener(address, sharing=False)
    with listener(address, sharing=True):  # as after the death of all workers
        reservation.close()
    Reservation(reservation.address).close()


def test_an_address_in_use_or_of_another_machine_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"^cannot listen on {listen}: Address already in use$"):
            Reservation(listen)
    with pytest.raises(OSError, match=r"^cannot listen on 192\.0\.2\.1:0: Cannot assign requested address$"):
        Reservation("192.0.2.1:0")
    with pytest.raises(OSError, match=r"^cannot listen on no-such-host\.invalid:0: .+"):
        Reservation("no-such-host.invalid:0")
