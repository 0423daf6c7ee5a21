"""Guarded egress against real TLS servers on loopback."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import Awaitable, Callable

import pytest

from llmgateway_server.providers.egress.fetch import Allowance
from tests.contract.egress_kit import NAME, PNG, STRANGER, Table, at_server, content, head, rig
from tests.contract.raw_server import BACKSTOP_S, Peer, RawServer, Seen, answering, answering_once, until

asked: list[str] = []
sys.addaudithook(lambda event, args: asked.append(str(args[0])) if event == "socket.getaddrinfo" else None)


async def test_good_fetch_says_the_name_and_nothing_else() -> None:
    seen: list[Seen] = []
    names: list[str | None] = []
    context = at_server()
    context.sni_callback = lambda _, name, __: names.append(name)

    async def behave(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(content(mime_type="Image/PNG; charset=binary", set_cookie="a=b"))
        await peer.gone()

    async with rig(behave, context=context) as it:
        for _ in range(2):
            fetched = await it.fetch()
            assert (fetched.data, fetched.mime_type) == (PNG, "image/png")
        assert it.table.asked == [(NAME, it.server.port)] * 2
        assert names == [NAME] * 2
        assert seen[0].lines == [
            "GET /a.png?b=c HTTP/1.1",
            f"host: {NAME}:{it.server.port}",
            "accept-encoding: identity",
            "accept: image/*, audio/*, application/pdf, text/plain",
            "user-agent: llmgateway",
        ]
        assert seen[1].lines == seen[0].lines  # no cookie came back


@pytest.mark.parametrize("mime_type", ["image/svg+xml", "audio/wav", "application/pdf", "text/plain"])
async def test_accepted_types(mime_type: str) -> None:
    async with rig(answering_once(content(mime_type=mime_type))) as it:
        assert (await it.fetch()).mime_type == mime_type


async def test_address_in_place_of_a_name() -> None:
    async with rig(answering_once(content()), context=at_server("127.0.0.1")) as it:
        assert (await it.fetch(f"https://127.0.0.1:{it.server.port}/")).data == PNG
        assert it.table.asked == []


async def test_body_that_ends_with_the_connection() -> None:
    async with rig(answering_once(head(content_type="image/png") + PNG)) as it:
        assert (await it.fetch()).data == PNG


async def test_an_informational_response_is_passed_over() -> None:
    async with rig(answering_once(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + content())) as it:
        assert (await it.fetch()).data == PNG


# --- addresses --------------------------------------------------------------------------------------------------


async def test_rebinding_finds_no_second_answer() -> None:
    trapped = 0

    async def trap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal trapped
        trapped += 1
        writer.close()

    # The policy of the test calls 127.0.0.1 public, and 127.0.0.2 is what the name is bound to afterwards.
    table = Table(("127.0.0.1",), ("127.0.0.2",))
    async with rig(answering_once(content()), table=table) as it:
        async with await asyncio.start_server(trap, "127.0.0.2", it.server.port):
            asked.clear()
            assert (await it.fetch()).data == PNG
            assert len(table.asked) == 1
            assert asked == []
            assert await it.refusal() == "address"
            assert len(table.asked) == 2
        assert (it.server.accepted, trapped) == (1, 0)


@pytest.mark.parametrize("answer", [("127.0.0.1", "10.0.0.1"), ("10.0.0.1", "127.0.0.1"), ("127.0.0.1", "::1"), ()])
async def test_one_bad_address_among_several_refuses_all(answer: tuple[str, ...]) -> None:
    async with rig(answering_once(content()), table=Table(answer)) as it:
        assert await it.refusal() == "address"
        assert it.server.accepted == 0


async def test_the_next_address_is_tried_when_the_first_refuses_the_connection() -> None:
    table = Table(("127.0.0.3", "127.0.0.1"))
    async with rig(answering_once(content()), table=table, allowed=("127.0.0.1", "127.0.0.3")) as it:
        assert (await it.fetch()).data == PNG


async def test_nobody_listens() -> None:
    async with rig(answering_once(content()), table=Table(("127.0.0.3",)), allowed=("127.0.0.3",)) as it:
        assert await it.refusal() == "unreachable"


async def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer(answering(content())) as trap:
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
        async with rig(answering_once(content())) as it:
            assert (await it.fetch()).data == PNG
        assert trap.accepted == 0


# --- answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["300 M", "301 M", "302 F", "303 S", "304 N", "305 P", "307 T", "308 P"])
async def test_redirects_are_not_followed(status: str) -> None:
    async with RawServer(answering(content()), context=at_server()) as elsewhere:
        location = f"https://{NAME}:{elsewhere.port}/"
        async with rig(answering_once(head(status, location=location, content_length="0"))) as it:
            assert await it.refusal() == "redirect"
        assert elsewhere.accepted == 0


@pytest.mark.parametrize("status", ["201 C", "204 N", "206 P", "400 B", "401 U", "403 F", "404 N", "407 P", "500 I"])
async def test_other_statuses(status: str) -> None:
    async with rig(answering_once(head(status, content_type="image/png", content_length="0"))) as it:
        assert await it.refusal() == "status"


@pytest.mark.parametrize(
    "response",
    [
        content(mime_type="text/html"),
        content(mime_type="application/json"),
        content(mime_type="application/octet-stream"),
        content(mime_type="application/pdfx"),
        content(mime_type="video/mp4"),
        content(mime_type="image"),
        content(mime_type="image/"),
        content(mime_type="image/*"),
        content(mime_type="image/png, text/html"),
        content(mime_type="text/html, image/png"),
        content(mime_type=""),
        head(content_length="8") + PNG,
        head(content_type="image/png\r\ncontent-type: text/html", content_length="8") + PNG,
        content(gzip.compress(PNG), content_encoding="gzip"),
        content(content_encoding="br"),
        content(content_encoding="identity, gzip"),
    ],
)
async def test_types_and_codings_that_are_not_accepted(response: bytes) -> None:
    async with rig(answering_once(response)) as it:
        assert await it.refusal() == "type"


async def test_the_caller_may_accept_less() -> None:
    async with rig(answering_once(content())) as it:
        assert await it.refusal(accept=("audio/*",)) == "type"


@pytest.mark.parametrize(
    "response",
    [
        head(content_type="image/png", content_length="9") + PNG,
        head(content_type="image/png", transfer_encoding="chunked") + b"8\r\n" + PNG + b"\r\n",
        head(content_type="image/png", transfer_encoding="chunked") + b"zz\r\n",
        head(content_type="image/png", transfer_encoding="chunked", content_length="8") + b"8\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
)
async def test_cut_or_malformed_answers(response: bytes) -> None:
    async with rig(answering_once(response)) as it:
        assert await it.refusal() == "unreachable"


async def test_a_reset_in_the_middle() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(content()[:-3])
        peer.reset()

    async with rig(behave) as it:
        assert await it.refusal() == "unreachable"


# --- sizes ------------------------------------------------------------------------------------------------------


async def test_an_announced_size_is_refused_before_the_body() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(content_type="image/png", content_length="101"))
        await peer.gone()

    async with rig(behave, max_bytes=100) as it:
        assert await it.refusal() == "size"


@pytest.mark.parametrize("framing", [{"transfer_encoding": "chunked"}, {}])
async def test_a_body_without_end_is_cut(framing: dict[str, str]) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(content_type="image/png", **framing))
        piece = b"1000\r\n" + bytes(0x1000) + b"\r\n" if framing else bytes(0x1000)
        while True:
            await peer.send(piece)

    async with rig(behave, max_bytes=1_000_000) as it:
        assert await it.refusal() == "size"


async def test_the_largest_size_passes() -> None:
    async with rig(answering(content(bytes(100))), max_bytes=100) as it:
        assert len((await it.fetch()).data) == 100
    async with rig(answering(content(bytes(101))), max_bytes=100) as it:
        assert await it.refusal() == "size"


async def test_an_empty_body_is_of_no_use() -> None:
    async with rig(answering_once(content(b""))) as it:
        assert await it.refusal() == "size"


async def test_a_head_without_end_is_cut() -> None:
    async with rig(answering_once(head(content_type="image/png", x="y" * 20_000) + PNG)) as it:
        assert await it.refusal() == "size"


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_allowance_is_shared(*, chunked: bool) -> None:
    framed = head(content_type="image/png", transfer_encoding="chunked") + b"8\r\n" + PNG + b"\r\n0\r\n\r\n"
    async with rig(answering(framed if chunked else content())) as it:
        allowance = Allowance(3 * len(PNG) + 7)
        await it.fetch(allowance=allowance)
        await it.fetch(allowance=allowance, copies=2)
        assert allowance.left_bytes == 7
        assert await it.refusal(allowance=allowance) == "size"


# --- TLS --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["name", "authority", "plain"])
async def test_a_server_that_is_not_the_named_one(fault: str) -> None:
    context = at_server("elsewhere.example.com") if fault == "name" else at_server(authority=STRANGER)

    async def behave(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(head("400 Bad"))

    async with rig(behave, context=context, plain=fault == "plain") as it:
        assert await it.refusal() == "tls"


# --- time -------------------------------------------------------------------------------------------------------


async def no_handshake(peer: Peer) -> None:
    await peer.gone()


async def no_answer(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def slow_head(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await peer.send(b"x: y\r\n")
        await asyncio.sleep(0.02)


async def slow_body(peer: Peer) -> None:
    await peer.request()
    await peer.send(head(content_type="image/png", content_length="100000"))
    while True:
        await peer.send(b"x")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("behaviour", [no_handshake, no_answer, slow_head, slow_body])
@pytest.mark.parametrize("limit", ["setting", "call"])
async def test_the_time_cap_holds_over_everything(behaviour: Callable[[Peer], Awaitable[None]], limit: str) -> None:
    timeout_s = 0.3 if limit == "setting" else BACKSTOP_S
    async with rig(behaviour, plain=behaviour is no_handshake, timeout_s=timeout_s) as it:
        began = asyncio.get_running_loop().time()
        assert await it.refusal(deadline_s=BACKSTOP_S if limit == "setting" else 0.3) == "time"
        assert 0.29 <= asyncio.get_running_loop().time() - began < 2


async def test_dns_that_does_not_answer() -> None:
    class Silent(Table):
        async def resolve(self, host: str, port: int) -> tuple[()]:
            await asyncio.Event().wait()
            return ()

    async with rig(answering(content()), table=Silent(()), timeout_s=0.2) as it:
        assert await it.refusal() == "time"


async def test_waiting_for_a_place_counts_and_places_come_back() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        if peer.number < 2:
            await peer.gone()
        else:
            await peer.send(content())

    async with rig(behave, max_concurrent=2) as it:
        holders = [asyncio.create_task(it.fetch()) for _ in range(2)]
        await until(lambda: it.server.accepted == 2)
        assert await asyncio.gather(*(it.refusal(deadline_s=0.2) for _ in range(4))) == ["time"] * 4
        assert it.server.accepted == 2
        for holder in holders:
            holder.cancel()
        await asyncio.gather(*holders, return_exceptions=True)
        assert len(await asyncio.gather(*(it.fetch() for _ in range(6)))) == 6


async def test_a_cancelled_fetch_closes_its_socket_and_gives_its_place_back() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.gone()
        else:
            await peer.send(content())

    async with rig(behave, max_concurrent=1) as it:
        fetching = asyncio.create_task(it.fetch())
        await until(lambda: it.server.accepted == 1)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        await until(lambda: it.server.live == 0)
        assert (await it.fetch()).data == PNG
