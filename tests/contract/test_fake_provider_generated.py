"""Any reply that a format plays, in any pieces: the vendor's client gathers from a stream what it gets unary."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import anthropic
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.testing.fake_provider import FakeProvider, FakeReply, cuts
from tests.contract import test_fake_provider_chat as chat
from tests.contract import test_fake_provider_messages as messages
from tests.contract import test_fake_provider_responses as responses
from tests.contract.fake_replies import REQUESTS, anthropic_client, openai_client
from tests.properties.fake_replies import fake_replies

EXAMPLES = 40
CUTS = st.one_of(
    st.sampled_from([cuts.whole, cuts.per_frame, cuts.inside_utf8, cuts.inside_line_ends]),
    st.integers(0, 999).map(cuts.seeded),
)
Both = Callable[["Judges"], Coroutine[Any, Any, tuple[Any, Any]]]


class Judges:
    """A fake provider and both clients, on a loop of their own."""

    fake: FakeProvider
    openai: openai.AsyncOpenAI
    anthropic: anthropic.AsyncAnthropic

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    async def open(self, closing: contextlib.AsyncExitStack) -> None:
        self.fake = await closing.enter_async_context(FakeProvider())
        self.openai = await closing.enter_async_context(openai_client(self.fake))
        self.anthropic = await closing.enter_async_context(anthropic_client(self.fake))

    def agree(self, reply: FakeReply, cut: cuts.Cut, both: Both) -> None:
        self.fake.cut = cut
        self.fake.then(reply, reply)
        unary, streamed = self._runner.run(both(self))
        assert unary == streamed


@pytest.fixture(scope="module")
def judges() -> Iterator[Judges]:
    with asyncio.Runner() as runner:
        made = Judges(runner)
        closing = contextlib.AsyncExitStack()
        runner.run(made.open(closing))
        yield made
        runner.run(closing.aclose())


@settings(max_examples=EXAMPLES, deadline=None)
@given(reply=fake_replies("openai_chat"), cut=CUTS)
def test_chat_completions(judges: Judges, reply: FakeReply, cut: cuts.Cut) -> None:
    judges.agree(reply, cut, lambda found: chat.both(found.openai, REQUESTS["openai_chat"]))


@settings(max_examples=EXAMPLES, deadline=None)
@given(reply=fake_replies("anthropic_messages"), cut=CUTS)
def test_messages(judges: Judges, reply: FakeReply, cut: cuts.Cut) -> None:
    judges.agree(reply, cut, lambda found: messages.both(found.anthropic, REQUESTS["anthropic_messages"]))


async def both_responses(found: Judges) -> tuple[Any, Any]:
    unary = await found.openai.responses.create(**REQUESTS["openai_responses"])
    _, streamed = await responses.gather(found.openai, REQUESTS["openai_responses"])
    return responses.view(unary), responses.view(streamed)


@settings(max_examples=EXAMPLES, deadline=None)
@given(reply=fake_replies("openai_responses"), cut=CUTS)
def test_responses(judges: Judges, reply: FakeReply, cut: cuts.Cut) -> None:
    judges.agree(reply, cut, both_responses)
