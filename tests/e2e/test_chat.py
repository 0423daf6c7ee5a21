"""`llmgateway chat` and `complete` as a person has them: in a terminal, with Ctrl-C and Ctrl-D."""

from __future__ import annotations

import re
import time

import pytest

from tests.e2e.kit import EXIT_S, Served
from tests.e2e.screen import terminal

pytestmark = pytest.mark.e2e

SLOW = "simulator/chat?tokens=200&pace_ms=50"
WHOLE_S = 200 * 0.05
CTRL_C, CTRL_D = "\x03", "\x04"


def test_ctrl_c_ends_an_answer_and_not_the_conversation(gateway: Served) -> None:
    with terminal("chat", SLOW, LLMGATEWAY_TARGET=gateway.address) as shown:
        shown.wait_for("> ")
        shown.type("hello\r")
        shown.wait_for("the gateway answers")
        began = time.monotonic()
        shown.type(CTRL_C)
        shown.wait_for("cancelled")
        assert time.monotonic() - began < WHOLE_S / 3
        shown.type("/model simulator-chat\r")
        shown.wait_for("model: simulator-chat")
        shown.type("again\r")
        shown.wait_for("You said: again")
        # the turn that was left is not part of the conversation any more
        assert "1 + 3 tokens" in shown.wait_for(" s")
        shown.wait_for("> ")
        shown.type(CTRL_C)
        shown.wait_for("Ctrl-D or /quit ends")
        shown.wait_for("> ")
        shown.type(CTRL_D)
        assert shown.end() == 0
    assert "Traceback" not in shown.seen


def test_reasoning_is_dimmed_and_failures_do_not_end_the_conversation(gateway: Served) -> None:
    with terminal("chat", "simulator/chat?text=ok&reasoning=2", LLMGATEWAY_TARGET=gateway.address) as shown:
        shown.wait_for("> ")
        shown.type("hi\r")
        assert re.search("\x1b\\[2m.*?\x1b\\[0m", shown.wait_for("ok"))
        shown.type("/model nobody\r")
        shown.type("hi\r")
        shown.wait_for("MODEL_NOT_FOUND: ")
        shown.type("/model\r")
        shown.type("still there\r")
        shown.wait_for("You said: still there")
        shown.type("/quit\r")
        assert shown.end() == 0


def test_a_terminal_without_colour(gateway: Served) -> None:
    with terminal("complete", "hi", "-v", LLMGATEWAY_TARGET=gateway.address, NO_COLOR="1") as shown:
        assert shown.end() == 0
    assert "You said: hi" in shown.seen
    assert "\x1b" not in shown.seen


def test_an_answer_cannot_command_the_terminal(gateway: Served) -> None:
    model = "simulator/chat?text=a%1B%5D0%3Btitle%07b"
    with terminal("complete", model, "hi", LLMGATEWAY_TARGET=gateway.address) as shown:
        assert shown.end() == 0
    assert "a]0;titleb" in shown.seen


@pytest.mark.parametrize("form", ["--stream", "--no-stream"])
def test_ctrl_c_ends_complete(gateway: Served, form: str) -> None:
    model = SLOW if form == "--stream" else "simulator/chat?first_token_ms=15000"
    with terminal("complete", model, "hi", form, LLMGATEWAY_TARGET=gateway.address) as shown:
        if form == "--stream":
            shown.wait_for("the gateway answers")
        else:
            wait_for_a_call(gateway)
        began = time.monotonic()
        shown.type(CTRL_C)
        assert shown.end() == 130
        assert time.monotonic() - began < WHOLE_S / 3
    assert "llmgateway: CANCELLED" in shown.seen
    assert "Traceback" not in shown.seen


def test_figures_on_a_terminal(gateway: Served) -> None:
    for arguments, said in (
        (["embed", "simulator/embed", "a", "--dimensions", "8"], "8 dimensions"),
        (["health"], "HEALTHY"),
        (["stats"], "succeeded"),
    ):
        with terminal(*arguments, LLMGATEWAY_TARGET=gateway.address) as shown:
            assert shown.end() == 0, shown.seen
        assert said in shown.seen


def wait_for_a_call(gateway: Served) -> None:
    """Waits until the gateway has a call in flight, besides the one that asks."""
    from llmgateway import Client

    deadline = time.monotonic() + EXIT_S
    with Client(gateway.address) as client:
        while client.health().in_flight_call_count < 2:
            assert time.monotonic() < deadline, "no call arrives"
            time.sleep(0.02)
