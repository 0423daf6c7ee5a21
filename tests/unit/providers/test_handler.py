"""Handlers: how they are found, what they may give, and what becomes of those that do not end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llmgateway_server.config.load import ConfigError, from_document, load_usable
from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import GatewayError, RequestError, UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, TextDelta
from llmgateway_server.core.messages import Message as CoreMessage
from llmgateway_server.core.messages import Part as CorePart
from llmgateway_server.core.messages import ProviderState, TextPart
from llmgateway_server.core.messages import Role as CoreRole
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Tool
from llmgateway_server.providers import handlers
from llmgateway_server.providers.egress.fetch import Egress
from llmgateway_server.providers.egress.settings import EgressSettings
from llmgateway_server.providers.handler import MAX_UNENDING, UNENDING_S, HandlerAccount, HandlerProvider
from llmgateway_server.providers.handlers import Answer, Finish, HandlerError, Reasoning, Request, ToolCall, Usage
from llmgateway_server.providers.handlers.answer import MAX_COUNT, MAX_PIECE_CHARS, pieces_of
from llmgateway_server.providers.handlers.failure import REASONS, failure_of
from llmgateway_server.providers.handlers.load import Form, Handler, NotUsable, load, offered
from llmgateway_server.providers.http_provider import MAX_ANSWER_BYTES
from llmgateway_server.providers.keys import KeyRing
from llmgateway_server.testing.clock import ManualClock
from tests.unit.attempts.attempt_kit import attempt_of

SOURCE = """\
import functools
VALUE = 4711

async def whole(request): return "hi"
async def streamed(request): yield "hi"
def blocking(request): return "hi"
async def two(request, other): return "hi"
async def none(): return "hi"
async def more(request, other=1, *rest, **options): return "hi"
partial = functools.partial(two, other=1)

class Models:
    async def answer(self, request): return "hi"
    def __call__(self, request): return "hi"

models = Models()

def __getattr__(name):
    raise (AttributeError if name != "computed" else RuntimeError)("sk-canary")
"""
MODULES = {
    "good": SOURCE,
    "broken": "raise RuntimeError('sk-canary')\n",
    "exiting": "import sys\nsys.exit('sk-canary')\n",
    "unparsable": "sk-canary = = 1\n",
    "lacking": "import there_is_no_such_module\n",
}
PREFIX = "handler_under_test_"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the modules on the path, each with a name that no other test has imported."""
    for name, source in MODULES.items():
        (tmp_path / f"{PREFIX}{name}.py").write_text(source)
        sys.modules.pop(f"{PREFIX}{name}", None)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def distribution(folder: Path, name: str, *entries: str) -> None:
    """Installs a package that has nothing but entry points."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(["[llmgateway.providers]", *entries]))


# --- finding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "threads", "form"),
    [
        ("good:whole", 0, Form.COROUTINE),
        ("good:more", 0, Form.COROUTINE),
        ("good:partial", 0, Form.COROUTINE),
        ("good:models.answer", 0, Form.COROUTINE),
        ("good:streamed", 0, Form.ASYNC_GENERATOR),
        ("good:blocking", 3, Form.IN_THREAD),
        ("good:models", 1, Form.IN_THREAD),
    ],
)
def test_what_can_be_a_handler(modules: Path, reference: str, threads: int, form: Form) -> None:
    found = load("python", PREFIX + reference, threads)
    assert (found.form, found.thread_count) == (form, threads)


@pytest.mark.parametrize(
    ("reference", "threads", "text"),
    [
        ("good", 0, "must be package.module:callable"),
        ("good:a:b", 0, "must be package.module:callable"),
        ("good:whole()", 0, "must be package.module:callable"),
        ("gone:whole", 0, f"there is no module {PREFIX}gone; is it installed, or on PYTHONPATH?"),
        ("good.inner:whole", 0, f"there is no module {PREFIX}good.inner; is it installed, or on PYTHONPATH?"),
        ("lacking:whole", 0, f"the module {PREFIX}lacking imports one that is not there"),
        ("broken:whole", 0, f"the module {PREFIX}broken cannot be imported: it raises RuntimeError"),
        ("exiting:whole", 0, f"the module {PREFIX}exiting cannot be imported: it raises SystemExit"),
        ("unparsable:whole", 0, f"the module {PREFIX}unparsable cannot be imported: it raises SyntaxError"),
        ("good:gone", 0, f"the module {PREFIX}good has no gone"),
        ("good:computed", 0, f"the module {PREFIX}good has no computed"),
        ("good:VALUE", 0, "is nothing that can be called"),
        ("good:two", 0, "must be callable with the request alone"),
        ("good:none", 0, "must be callable with the request alone"),
        ("good:blocking", 0, "is not async: make it so, or set threads"),
        ("good:whole", 2, "is async: threads are for a callable that is not"),
    ],
)
def test_what_cannot(modules: Path, reference: str, threads: int, text: str) -> None:
    with pytest.raises(NotUsable) as caught:
        load("python", PREFIX + reference, threads)
    assert str(caught.value).startswith(text)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    account = {"vendor": "python", "handler": PREFIX + reference, "threads": threads}
    file = modules / "gateway.yaml"
    file.write_text(str({"providers": {"mine": account}}))
    with pytest.raises(ConfigError) as told:
        load_usable(file, {})
    assert str(told.value).startswith(f"{file}:1: providers.mine.handler: {text}")
    assert "canary" not in str(told.value)


def test_a_package_offers_vendors(modules: Path) -> None:
    (modules / "gateway.yaml").write_text("providers: {mine: {vendor: house, models: [small]}}")
    with pytest.raises(ConfigError, match=r"vendor: must be one of simulator, .*, python$"):
        load_usable(modules / "gateway.yaml", {})
    distribution(modules, "one", f"house = {PREFIX}good:whole", f"bad name = {PREFIX}good:whole")
    assert [each for each in offered() if "bad" in each or each == "house"] == ["house"]
    assert f"{PREFIX}good" not in sys.modules  # nobody has asked for it
    assert load("house", "", 0).form is Form.COROUTINE
    loaded = load_usable(modules / "gateway.yaml", {})
    assert loaded.settings.providers["mine"].handled
    distribution(modules, "two", f"house = {PREFIX}good:streamed")
    with pytest.raises(ConfigError, match=r"providers.mine.vendor: more than one installed package offers it"):
        load_usable(modules / "gateway.yaml", {})
    with pytest.raises(NotUsable, match="no installed package offers it"):
        load("mansion", "", 0)


@pytest.mark.parametrize(
    ("account", "text"),
    [
        ({"vendor": "python"}, "handler: is required for the vendor python"),
        ({"vendor": "openai", "handler": "a:b"}, "handler: handler is for the vendor python"),
        ({"vendor": "openai", "models": ["m"]}, "models: models is for handlers"),
        ({"vendor": "simulator", "threads": 2}, "threads: threads is for handlers"),
        ({"vendor": "python", "handler": "a:b", "proxy": "http://p:1"}, "proxy: proxy is for vendors that the gateway"),
        ({"vendor": "python", "handler": "a:b", "threads": 999}, "threads: must be less than or equal to 256"),
        ({"vendor": "python", "handler": "a:b", "models": [""]}, "models[0]: must match pattern"),
    ],
)
def test_settings_that_do_not_belong_to_a_handler(account: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_document({"providers": {"mine": account}}, "test")
    assert f"providers.mine.{text}" in str(caught.value)


# --- what may be given -------------------------------------------------------------------------------------------


def test_the_public_names_are_there() -> None:
    assert sorted(handlers.__all__) == handlers.__all__
    assert all(hasattr(handlers, name) for name in handlers.__all__)


def test_long_texts_are_cut() -> None:
    text = "é" * (2 * MAX_PIECE_CHARS + 1)
    assert [len(piece) for piece in pieces_of(text)] == [MAX_PIECE_CHARS, MAX_PIECE_CHARS, 1]  # type: ignore[arg-type]
    assert "".join(piece.text for piece in pieces_of(Reasoning(text))) == text  # type: ignore[union-attr]
    calls = list(pieces_of(ToolCall("c", "f", text)))
    assert {(each.id, each.name) for each in calls} == {("c", "f")}  # type: ignore[union-attr]
    assert len(list(pieces_of(ToolCall("", "f", text)))) == 1
    assert [piece for piece in pieces_of(Answer(text)) if isinstance(piece, str)] == list(pieces_of(text))


@pytest.mark.parametrize(
    "given",
    [
        None,
        7,
        b"bytes",
        {"text": "x"},
        ["a"],
        "\ud800",
        Reasoning("\ud800"),
        Reasoning(7),  # type: ignore[arg-type]
        Answer(text=None),  # type: ignore[arg-type]
        Answer(tool_calls=("x", 7)),  # type: ignore[arg-type]
        ToolCall("c", ""),
        ToolCall(7, "f"),  # type: ignore[arg-type]
        ToolCall("", "f", 7),  # type: ignore[arg-type]
        ToolCall("c", "f", "\ud800"),
    ],
)
def test_anything_else_is_malformed(given: object) -> None:
    with pytest.raises(UpstreamError) as caught:
        list(pieces_of(given))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


@pytest.mark.parametrize("count", [-1, 1.5, True, "7", MAX_COUNT + 1])
def test_counts_that_cannot_be(count: Any) -> None:
    with pytest.raises(ValueError, match="output_token_count must be an integer"):
        Usage(1, count)


def test_reasons_that_there_are_not() -> None:
    whim: Any = "WHIM"
    with pytest.raises(ValueError, match="WHIM"):
        Finish(whim)
    with pytest.raises(ValueError, match="WHIM"):
        Answer(finish_reason=whim)
    with pytest.raises(ValueError, match="kind must be one of failed, "):
        HandlerError("whim")  # type: ignore[arg-type]
    assert Finish("LENGTH").reason == FinishReason.LENGTH  # type: ignore[arg-type]


# --- what failures mean ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "believed"),
    [(7, 7.0), (0.5, 0.5), (0, None), (-1, None), (3601, None), (float("nan"), None), ("7", None), (None, None)],
)
def test_pauses_are_believed_within_an_hour(said: Any, believed: float | None) -> None:
    assert failure_of(HandlerError("overloaded", retry_after_s=said), begun=False).retry_after_s == believed


def test_every_kind_has_a_reason_that_its_error_may_carry() -> None:
    for kind, reason in REASONS.items():
        assert failure_of(HandlerError(kind), begun=False).reason is reason


@pytest.mark.parametrize(
    ("option", "field"), [("tools[0].name", "tools[0].name"), ("sk-Canary 1", "request"), ("", "request")]
)
def test_an_option_that_is_refused(option: str, field: str) -> None:
    error = failure_of(HandlerError("unsupported", option=option), begun=False)
    assert isinstance(error, RequestError)
    assert [each.field for each in error.violations] == [field]
    late = failure_of(HandlerError("unsupported", option=option), begun=True)
    assert (late.reason, late.violations) == (Reason.UPSTREAM_ERROR, ())


# --- the provider ------------------------------------------------------------------------------------------------


def provider(function: Callable[[Request], Any], form: Form, clock: ManualClock | None = None) -> HandlerProvider:
    clock = clock or ManualClock()
    account = HandlerAccount("p", "python")
    return HandlerProvider(
        account, Handler(function, form, 1), KeyRing("p", (), clock), Egress(EgressSettings()), clock
    )


async def events_of(of: HandlerProvider, attempt: Attempt) -> list[Event]:
    async with of.open(attempt) as reply:
        return [event async for batch in reply for event in batch]


async def test_a_whole_answer_has_a_cap_and_a_stream_is_cut_by_others() -> None:
    async def much(request: Request) -> str:
        return "x" * (MAX_ANSWER_BYTES + 1)

    with pytest.raises(UpstreamError) as caught:
        await events_of(provider(much, Form.COROUTINE), attempt_of(streaming=False))
    assert (caught.value.reason, caught.value.detail) == (Reason.UPSTREAM_MALFORMED, "answer over its cap")
    events = await events_of(provider(much, Form.COROUTINE), attempt_of())
    assert isinstance(events[-1], Finished)
    sizes = [len(event.text) for event in events if isinstance(event, TextDelta)]
    assert (sum(sizes), max(sizes) < 128 * 1024) == (MAX_ANSWER_BYTES + 1, True)


async def test_what_a_handler_cannot_be_told_brings_notices() -> None:
    async def whole(request: Request) -> str:
        return "hi"

    part = CorePart(TextPart("x"), provider_state=ProviderState("v", b"s"), cache_lifetime="5m")
    request = CompleteRequest("m", [CoreMessage(CoreRole.USER, [part])], tools=[Tool("f", cache_breakpoint=True)])
    attempt = attempt_of(request)
    await events_of(provider(whole, Form.COROUTINE), attempt)
    assert [notice.subject for notice in attempt.call.notices] == [
        "tools[0].cache_breakpoint",
        "messages[0].parts[0].provider_state",
        "messages[0].parts[0].cache_control",
    ]


async def test_an_account_whose_handlers_do_not_end_is_asked_for_nothing_more() -> None:
    clock, enough, began = ManualClock(), asyncio.Event(), asyncio.Event()

    async def deaf(request: Request) -> str:
        began.set()
        while not enough.is_set():
            with suppress(asyncio.CancelledError):
                await enough.wait()
        return "too late"

    async def leave() -> None:
        task = asyncio.create_task(events_of(of, attempt_of()))
        await began.wait()
        began.clear()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    of = provider(deaf, Form.COROUTINE, clock)
    for _ in range(MAX_UNENDING):
        await leave()
    await leave()  # they were cancelled just now and may still end
    clock.advance(UNENDING_S)
    with pytest.raises(GatewayError) as caught:
        await events_of(of, attempt_of())
    assert caught.value.reason is Reason.UPSTREAM_OVERLOADED
    enough.set()
    await of.aclose()
    assert isinstance((await events_of(of, attempt_of()))[-1], Finished)


async def test_closing_ends_what_a_handler_does_after_its_call() -> None:
    ended = False

    async def slow_to_leave(request: Request) -> AsyncIterator[str]:
        nonlocal ended
        try:
            yield "hi"
            await asyncio.get_running_loop().create_future()
        finally:
            try:
                await asyncio.get_running_loop().create_future()  # a farewell that nobody answers
            finally:
                ended = True

    of = provider(slow_to_leave, Form.ASYNC_GENERATOR)
    async with of.open(attempt_of()) as reply:
        await reply.__anext__()
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not ended
    await of.aclose()
    assert ended
