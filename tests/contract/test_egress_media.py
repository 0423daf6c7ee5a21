"""Media of a request replaced by their content, against a real TLS server on loopback."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.messages import MediaPart, Message, Part, ProviderState, Role, TextPart, ToolResultPart
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.providers import media as media_module
from llmgateway_server.providers.egress.fetch import Egress, Fetched
from llmgateway_server.providers.egress.settings import EgressSettings
from llmgateway_server.providers.media import with_media_inline
from tests.contract.egress_kit import NAME, PNG, Rig, Table, cause_of, content, head, rig
from tests.contract.raw_server import Behaviour, Peer, until

LIMIT_S = 5.0


def by_path(asked: Counter[str], answers: dict[str, bytes] | None = None) -> Behaviour:
    """Returns a server's behaviour that counts what it is asked for."""

    async def behave(peer: Peer) -> None:
        path = (await peer.request()).lines[0].split()[1]
        asked[path] += 1
        await peer.send((answers or {}).get(path, content()))

    return behave


def everything(_: MediaPart) -> bool:
    return True


def uri(it: Rig, path: str) -> str:
    return f"https://{NAME}:{it.server.port}{path}"


def saying(*parts: MediaPart | TextPart | ToolResultPart) -> CompleteRequest:
    return CompleteRequest("m", [Message(Role.USER, [Part(part) for part in parts])])


async def refusal(request: CompleteRequest, egress: Egress | None, **options: object) -> tuple[str, str]:
    with pytest.raises(RequestError) as caught:
        await with_media_inline(request, everything, egress, deadline_s=LIMIT_S, **options)  # type: ignore[arg-type]
    return caught.value.slots["field"], cause_of(caught.value)


async def test_nothing_to_fetch_is_the_same_request() -> None:
    asked: Counter[str] = Counter()
    async with rig(by_path(asked)) as it:
        request = saying(TextPart("t"), MediaPart("image/png", data=PNG), MediaPart("", uri="gs://b/a.png"))
        for egress in (it.egress, None):
            assert await with_media_inline(request, lambda _: False, egress, deadline_s=LIMIT_S) is request
        inline = saying(MediaPart("image/png", data=PNG))
        assert await with_media_inline(inline, everything, None, deadline_s=LIMIT_S) is inline
    assert not asked


async def test_media_in_messages_and_tool_results_are_replaced() -> None:
    asked: Counter[str] = Counter()
    async with rig(by_path(asked, {"/b": content(b"sound", "audio/wav")})) as it:
        state = ProviderState("v", b"s")
        kept = MediaPart("image/png", uri="gs://bucket/a.png")
        request = CompleteRequest(
            "m",
            [
                Message(Role.SYSTEM, [Part(TextPart("system"))]),
                Message(
                    Role.USER,
                    [
                        Part(TextPart("look")),
                        Part(MediaPart("", uri=uri(it, "/a"), detail="low", filename="f"), state, "5m"),
                        Part(kept),
                    ],
                    "name",
                ),
                Message(
                    Role.TOOL,
                    [
                        Part(
                            ToolResultPart("1", "t", [TextPart("x"), MediaPart("image/gif", uri=uri(it, "/b"))], True)
                        ),
                        Part(ToolResultPart("2", "t", [TextPart("y")])),
                    ],
                ),
            ],
            temperature=0.5,
        )
        before = repr(request)
        inline = await with_media_inline(
            request, lambda media: (media.uri or "").startswith("https:"), it.egress, deadline_s=LIMIT_S
        )
        assert repr(request) == before
        assert inline.temperature == 0.5
        assert inline.messages[0] is request.messages[0]
        assert inline.messages[1].name == "name"
        user, tool = inline.messages[1].parts, inline.messages[2].parts
        assert user[0] is request.messages[1].parts[0]
        assert user[1] == Part(MediaPart("image/png", data=PNG, detail="low", filename="f"), state, "5m")
        assert user[2].content is kept
        assert tool[0].content == ToolResultPart(
            "1", "t", [TextPart("x"), MediaPart("audio/wav", data=b"sound")], is_error=True
        )
        assert tool[1] is request.messages[2].parts[1]


async def test_one_address_is_fetched_once_and_kept_for_the_next_target() -> None:
    asked: Counter[str] = Counter()
    async with rig(by_path(asked)) as it:
        cache: dict[str, Fetched] = {}
        request = saying(*(MediaPart("", uri=uri(it, path)) for path in ("/a", "/b", "/a", "/a")))
        first = await with_media_inline(request, everything, it.egress, deadline_s=LIMIT_S, cache=cache)
        assert asked == {"/a": 1, "/b": 1}
        again = await with_media_inline(request, everything, it.egress, deadline_s=LIMIT_S, cache=cache)
        assert asked == {"/a": 1, "/b": 1}
        assert again == first
        assert set(cache) == {uri(it, "/a"), uri(it, "/b")}


async def test_nothing_may_be_fetched() -> None:
    request = saying(TextPart("t"), ToolResultPart("1", "t", [TextPart("x"), MediaPart("", uri="https://h.com/a")]))
    field = "messages[0].parts[1].tool_result.content[1].media.uri"
    assert await refusal(request, None) == (field, "disabled")
    off = Egress(EgressSettings(enabled=False), resolver=Table(("127.0.0.1",)))
    assert await refusal(request, off) == (field, "disabled")


async def test_the_first_bad_field_is_named_and_ends_the_others() -> None:
    async def behave(peer: Peer) -> None:
        path = (await peer.request()).lines[0].split()[1]
        if path == "/missing":
            await until(lambda: it.server.accepted == 2)
            await peer.send(head("404 N", content_length="0"))
        else:
            await peer.gone()

    async with rig(behave) as it:
        request = saying(MediaPart("", uri=uri(it, "/waits")), MediaPart("", uri=uri(it, "/missing")))
        assert await refusal(request, it.egress) == ("messages[0].parts[1].media.uri", "status")
        await until(lambda: it.server.live == 0)


async def test_bad_addresses_are_named_in_the_order_of_the_request() -> None:
    async with rig(by_path(Counter())) as it:
        request = saying(*(MediaPart("", uri=each) for each in (uri(it, "/"), "https://10.0.0.1/", "ftp://h.com/")))
        assert await refusal(request, it.egress) == ("messages[0].parts[1].media.uri", "address")


async def test_all_contents_together_have_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_module, "MAX_TOTAL_BYTES", 3 * len(PNG))
    asked: Counter[str] = Counter()
    async with rig(by_path(asked)) as it:
        fits = saying(*(MediaPart("", uri=uri(it, path)) for path in ("/a", "/b", "/a")))
        cache: dict[str, Fetched] = {}
        await with_media_inline(fits, everything, it.egress, deadline_s=LIMIT_S, cache=cache)
        for paths in (("/a", "/b", "/c", "/d"), ("/a", "/a", "/a", "/a")):
            too_much = saying(*(MediaPart("", uri=uri(it, path)) for path in paths))
            assert (await refusal(too_much, it.egress))[1] == "size"
            assert (await refusal(too_much, it.egress, cache=cache))[1] == "size"


async def test_a_cancelled_call_leaves_no_fetch_behind() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with rig(behave) as it:
        request = saying(*(MediaPart("", uri=uri(it, path)) for path in ("/a", "/b")))
        replacing = asyncio.create_task(with_media_inline(request, everything, it.egress, deadline_s=LIMIT_S))
        await until(lambda: it.server.accepted == 2)
        replacing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await replacing
        await until(lambda: it.server.live == 0)
