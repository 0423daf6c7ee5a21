import time

from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Model, ModelStatus, Target
from llmgateway_server.routing.alternatives import MAX_ALTERNATIVES, alternatives

COMPLETE, EMBED = Operation.COMPLETE, Operation.EMBED
TOOLS = frozenset({"STREAMING", "TOOLS"})


def model(name: str, vendor: str = "simulator", *, capabilities: frozenset[str] = frozenset(), **more: object) -> Model:
    return Model(name, (Target("p", vendor, name),), capabilities=capabilities, **more)  # type: ignore[arg-type]


OPENAI = [model(name, "openai", capabilities=TOOLS) for name in ("gpt-4o", "gpt-4o-mini", "o3")]
CLAUDE = [model(name, "anthropic", capabilities=TOOLS) for name in ("claude-sonnet-5", "claude-opus-5")]
PLAIN = [model("gpt-4-clone", "openai-compatible"), model("toy", "simulator")]
OTHERS = [*PLAIN, *CLAUDE, *OPENAI]


def test_same_vendor_then_same_capabilities_then_the_rest() -> None:
    sick = model("gpt-4o-nano", "openai", capabilities=TOOLS)
    assert alternatives("gpt-4o-nano", sick, COMPLETE, OTHERS) == (
        *("gpt-4o-mini", "gpt-4o", "o3"),
        *("claude-opus-5", "claude-sonnet-5"),
    )
    simple = model("tiny", "other", capabilities=frozenset({"STREAMING"}))
    assert set(alternatives("tiny", simple, COMPLETE, OTHERS)) == {each.name for each in (*OPENAI, *CLAUDE)}


def test_the_vendor_of_an_unknown_name_is_guessed() -> None:
    assert alternatives("claude-opus-6", None, COMPLETE, OTHERS)[:2] == ("claude-opus-5", "claude-sonnet-5")
    assert alternatives("gpt-4oo", None, COMPLETE, OTHERS)[0] == "gpt-4o"
    assert alternatives("elsewhere/gpt-4oo", None, COMPLETE, OTHERS)[:3] == ("gpt-4o", "gpt-4o-mini", "o3")
    assert alternatives("toys", None, COMPLETE, OTHERS)[0] == "toy"


def test_at_most_five_that_are_ready_and_suit() -> None:
    many = [model(f"gpt-{number}", "openai") for number in range(20)]
    assert len(alternatives("gpt-x", None, COMPLETE, many)) == MAX_ALTERNATIVES
    retired = model("gpt-a", "openai", status=ModelStatus.DEPRECATED)
    sick = model("gpt-b", "openai", status=ModelStatus.NOT_READY)
    vectors = model("gpt-c", "openai", operations=frozenset({EMBED}))
    assert alternatives("gpt-x", None, COMPLETE, [retired, sick, vectors]) == ()
    assert alternatives("gpt-x", None, EMBED, [retired, sick, vectors, *many]) == ("gpt-c",)
    assert alternatives("gpt-b", model("gpt-b", "openai"), None, [vectors, *OPENAI]) == ("gpt-4o", "gpt-4o-mini", "o3")
    assert "gpt-3" not in alternatives("gpt-3", many[3], COMPLETE, many)


@given(st.text(max_size=255))
def test_any_name_gets_an_answer(name: str) -> None:
    found = alternatives(name, None, COMPLETE, OTHERS)
    assert len(set(found)) == len(found) == MAX_ALTERNATIVES


def test_a_long_name_takes_no_longer_than_a_loop_may_stand() -> None:
    many = [model(f"{'claude-opus-' * 20}{number}", "anthropic") for number in range(100)]
    started_s = time.perf_counter()
    alternatives("claude-opus-" * 21, None, COMPLETE, many)
    assert time.perf_counter() - started_s < 0.25
