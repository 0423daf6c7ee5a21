import asyncio
import ipaddress
import socket
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.egress.address import IPAddress
from llmgateway_server.providers.egress.fetch import Egress
from llmgateway_server.providers.egress.refusal import Cause, Refusal
from llmgateway_server.providers.egress.resolver import SystemResolver
from llmgateway_server.providers.egress.settings import EgressSettings
from llmgateway_server.providers.egress.url import parse
from llmgateway_server.providers.wire.head import authority, check_request
from llmgateway_server.providers.wire.port import Origin, WireRequest
from tests.unit.providers.egress_corpus import GOOD, LEADS_INSIDE, NO_CONNECTION

FIELD = "messages[0].parts[1].media.uri"
NETWORK_EVENTS = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"}
seen: Counter[str] = Counter()


def _count(event: str, _: object) -> None:
    if event in NETWORK_EVENTS:
        seen[event] += 1


sys.addaudithook(_count)  # the interpreter reports every connect and every question to DNS; a hook cannot be removed


class Answers:
    """A resolver that knows one answer and counts the questions."""

    def __init__(self, addresses: tuple[str, ...] = ("93.184.215.14",)) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> tuple[IPAddress, ...]:
        self.asked.append(host)
        return tuple(ipaddress.ip_address(address) for address in self.addresses)

    async def aclose(self) -> None:
        pass


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def egress(answers: Answers) -> Egress:
    return Egress(EgressSettings(), resolver=answers)


@pytest.fixture
def silence() -> Iterator[None]:
    """Fails the test that reached for the network."""
    seen.clear()
    yield
    assert not seen


async def cause_of(egress: Egress, uri: str) -> str:
    with pytest.raises(RequestError) as caught:
        await egress.fetch(uri, field=FIELD, deadline_s=60)
    error = caught.value
    assert error.reason is Reason.EGRESS_REFUSED
    assert error.slots["field"] == FIELD
    assert error.slots.keys() == {"field", "cause"}
    assert error.__cause__ is None
    assert "://" not in error.detail
    return error.slots["cause"]


def test_the_corpus_is_large_and_has_no_row_twice() -> None:
    assert len({uri for _, uri in NO_CONNECTION}) == len(NO_CONNECTION)
    assert len(NO_CONNECTION) + len(LEADS_INSIDE) >= 200
    assert {cause for cause, _ in NO_CONNECTION} == {"scheme", "url", "port", "host", "address"}


@pytest.mark.parametrize(("cause", "uri"), NO_CONNECTION)
@pytest.mark.usefixtures("silence")
async def test_refused_before_dns(egress: Egress, answers: Answers, cause: str, uri: str) -> None:
    assert await cause_of(egress, uri) == cause
    assert answers.asked == []


@pytest.mark.parametrize("addresses", LEADS_INSIDE)
@pytest.mark.usefixtures("silence")
async def test_refused_after_dns(addresses: tuple[str, ...]) -> None:
    answers = Answers(addresses)
    assert await cause_of(Egress(EgressSettings(), resolver=answers), "https://media.example.com/a.png") == "address"
    assert answers.asked == ["media.example.com"]


@pytest.mark.usefixtures("silence")
async def test_switched_off() -> None:
    answers = Answers()
    egress = Egress(EgressSettings(enabled=False), resolver=answers)
    assert await cause_of(egress, "https://media.example.com/a.png") == "disabled"
    assert answers.asked == []


async def test_the_counter_counts() -> None:
    seen.clear()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, listener.getsockname())
    assert seen["socket.connect"] == 1


@pytest.mark.parametrize(("uri", "host", "port", "target"), GOOD)
def test_good_urls(uri: str, host: str, port: int, target: str) -> None:
    destination = parse(uri, {443, 8443})
    assert (destination.host, destination.port, destination.target) == (host, port, target)
    literal = not host[-1].isalpha()
    assert destination.address == (ipaddress.ip_address(host) if literal else None)


def test_the_longest_url() -> None:
    longest = "https://media.example.com/".ljust(8192, "a")
    assert parse(longest, {443}).target.endswith("a" * 100)


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "x"), TimeoutError(), UnicodeError(), ValueError()])
async def test_a_name_that_does_not_exist_is_refused_like_one_that_leads_inside(failure: Exception) -> None:
    class Failing(Answers):
        async def resolve(self, host: str, port: int) -> tuple[IPAddress, ...]:
            raise failure

    assert await cause_of(Egress(EgressSettings(), resolver=Failing()), "https://media.example.com/") == Cause.ADDRESS


@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(st.sampled_from([*"/?#@:[].%\\ \r\n\t。：／０1aé", "127.0.0.1", "example.com", "xn--", "::1"])).map(
            "".join
        ),
    )
)
@example("media.example.com/'\"<>{}|^`")
def test_what_is_read_can_be_sent_and_says_one_host(rest: str) -> None:
    try:
        destination = parse(f"https://{rest}", {443})
    except Refusal:
        return
    host = destination.host
    check_request(WireRequest("GET", destination.target, ()))
    assert authority(Origin("https", host, destination.port)).strip("[]") == host
    assert host == host.lower()
    assert not host.endswith(".")
    assert parse(f"https://{f'[{host}]' if ':' in host else host}{destination.target}", {443}) == destination


async def test_the_system_s_resolver_asks_for_the_absolute_name() -> None:
    asked: list[tuple[object, ...]] = []

    def lookup(host: str, port: int, **options: object) -> list[object]:
        asked.append((host, port, options))
        return [
            (2, 1, 6, "", ("8.8.8.8", port)),
            (10, 1, 6, "", ("2606::1", port, 0, 0)),
            (2, 1, 6, "", ("8.8.8.8", port)),
        ]

    resolver = SystemResolver(1, lookup)
    found = await resolver.resolve("media.example.com", 443)
    await resolver.aclose()
    assert [str(address) for address in found] == ["8.8.8.8", "2606::1"]
    assert asked == [("media.example.com.", 443, {"type": socket.SOCK_STREAM})]
