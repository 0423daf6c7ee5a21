"""Where the door is: Unix sockets, and plaintext that nobody asked for."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from llmgateway_server.admission.keys import new_key
from llmgateway_server.app import App
from llmgateway_server.config.load import ConfigError, from_document
from llmgateway_server.core.secret import Secret
from llmgateway_server.testing.gateway import SIMULATOR_ONLY
from tests.faults.kit import ask, failure_of, reason_of
from tests.path.door_kit import Door, door, key_entry

KEY = new_key(Secret(""))


def at(path: Path, **server: Any) -> dict[str, Any]:
    return {"server": {"listen": f"unix:{path}", **server}}


async def works(served: Door) -> None:
    async with served.caller() as stub:
        assert (await stub.Complete(ask(model="simulator/chat"), timeout=10)).parts[0].text


@pytest.mark.parametrize("mode", ["0660", "600", "0666"])
async def test_a_unix_socket_serves_and_goes(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "gateway.sock"
    umask = os.umask(0)
    os.umask(umask)
    async with door(at(path, socket_mode=mode)) as served:
        assert served.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
        assert os.umask(umask) == umask
        await works(served)
        assert {each["peer"] for each in served.records() if "peer" in each} <= {"unix"}
    assert not path.exists()


async def test_a_unix_socket_wants_keys_where_there_are_some(tmp_path: Path) -> None:
    document = at(tmp_path / "s") | {"auth": {"keys": [key_entry(KEY)]}}
    async with door(document) as served, served.caller() as stub:
        assert reason_of(await failure_of(stub.Complete(ask(model="simulator/chat")))) == "INVALID_CREDENTIALS"


async def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    assert path.exists()
    async with door(at(path)) as served:
        await works(served)


async def test_a_socket_that_somebody_serves_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with door(at(path)) as served:
        with pytest.raises(OSError, match="is in use"):
            async with door(at(path)):
                pass
        await works(served)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_what_is_no_socket_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is not a socket"):
        async with door(at(path)):
            pass
    assert os.path.lexists(path)


async def test_a_socket_in_a_folder_that_is_not_there_is_explained(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/none/s"
    with pytest.raises(OSError, match=f"^cannot listen on {listen}: No such file or directory$"):
        async with door({"server": {"listen": listen}}):
            pass


@pytest.mark.parametrize(
    "listen",
    [
        *("unix:relative", "unix:", "unix:/a%62", "unix:/a?b", "unix:///a", f"unix:/{'a' * 200}", "unix-abstract:x"),
        *("x", "127.0.0.1", "127.0.0.1:70000", "127.0.0.1:http", "127.0.0.1:1\n"),
    ],
)
def test_other_forms_are_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.listen"):
        from_document({"server": {"listen": listen}}, "x")


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "example.com:1", "10.0.0.1:1", ":1", "ipv4:0.0.0.0:0"])
async def test_plaintext_beyond_loopback_is_refused_at_the_start(listen: str) -> None:
    document = {**SIMULATOR_ONLY, "server": {"listen": listen}, "auth": {"keys": [key_entry(KEY)]}}
    app = App(from_document(document, "x"), {})
    with pytest.raises(ConfigError, match=r"^server\.listen: .*--insecure"):
        await app.start()


async def test_plaintext_beyond_loopback_is_served_when_somebody_says_so() -> None:
    document = {"server": {"listen": "0.0.0.0:0", "insecure": True}, "auth": {"keys": [key_entry(KEY)]}}
    metadata = (("x-api-key", KEY.key.reveal()),)
    async with door(document) as served, served.caller() as stub:
        assert (await stub.Complete(ask(model="simulator/chat"), metadata=metadata, timeout=10)).parts


def test_insecure_opens_nothing_to_everybody() -> None:
    with pytest.raises(ConfigError, match="without keys only a loopback"):
        from_document({"server": {"listen": "0.0.0.0:0", "insecure": True}}, "x")
