from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.messages import MediaPart, Message, Part, Role, TextPart
from llmgateway_server.routing.affinity import PREFIX_CHARS, affinity_key, keeper
from llmgateway_server.routing.strategies.contenders import Contender
from tests.unit.routing.routing_kit import Rig, asked, target, unhurried

KEYS = [f"session:{at}" for at in range(3000)]


def kept_by(key: str, rig: Rig, contenders: list[Contender] | None = None) -> str | None:
    found = rig.contenders() if contenders is None else contenders
    at = keeper(key, found, rig.clock.monotonic_s())
    return None if at is None else found[at].target.provider


def test_every_process_finds_the_same_target() -> None:
    rig = Rig(*(target(name) for name in "abcde"))
    found = [kept_by(key, rig) or "" for key in KEYS[:8]]
    assert "".join(found) == "caabddab"  # as written down: a change would move every conversation


@unhurried
@given(st.text(max_size=30), st.permutations("abcde"))
def test_the_order_of_the_targets_does_not_matter(key: str, shuffled: list[str]) -> None:
    assert kept_by(key, Rig(*map(target, shuffled))) == kept_by(key, Rig(*map(target, "abcde")))


def test_a_target_that_leaves_moves_its_own_conversations_alone() -> None:
    five, four = Rig(*map(target, "abcde")), Rig(*map(target, "abce"))
    for key in KEYS:
        before = kept_by(key, five)
        if before != "d":
            assert kept_by(key, four) == before


def test_conversations_are_shared_by_weight() -> None:
    rig = Rig(target("a", weight=1.0), target("b", weight=3.0))
    shares = Counter(kept_by(key, rig) for key in KEYS)
    assert shares["b"] / len(KEYS) == pytest.approx(0.75, abs=0.04)


def test_a_sick_target_gives_its_conversations_away_until_it_is_well() -> None:
    rig = Rig(*map(target, "abc"))
    first = kept_by("k", rig)
    sick = next(each for each in rig.targets if each.provider == first)
    rig.failed(sick, 5)
    second = kept_by("k", rig)
    assert second not in (first, None)
    rig.clock.advance(600)
    assert kept_by("k", rig) == first
    for each in rig.targets:
        rig.failed(each, 9)
    assert kept_by("k", rig) is None


def test_load_is_bounded() -> None:
    rig = Rig(*map(target, "ab"))
    first = kept_by("k", rig)
    busy = next(each for each in rig.targets if each.provider == first)
    other = next(each for each in rig.targets if each.provider != first)
    for _ in range(7):
        rig.standings.began(busy)
    assert kept_by("k", rig) == first  # so few are no load
    rig.standings.began(busy)
    assert kept_by("k", rig) == other.provider
    for _ in range(8):
        rig.standings.began(other)
    assert kept_by("k", rig) == first  # both are busy: 8 < ceil(1.25 * 17 / 2)


@unhurried
@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.text(max_size=9))
def test_somebody_healthy_always_has_room(loads: list[int], key: str) -> None:
    rig = Rig(*(target(f"t{at}", weight=1.0 + at) for at in range(len(loads))))
    for each, load in zip(rig.targets, loads, strict=True):
        for _ in range(load):
            rig.standings.began(each)
    assert kept_by(key, rig) is not None


def test_the_key_of_a_prompt_is_its_beginning() -> None:
    long = "You are a helpful assistant. " * 200
    assert affinity_key("mine", asked("short")) == "session:mine"
    assert affinity_key("", asked("short")) == ""
    assert affinity_key("", asked(long, "one")) == affinity_key("", asked(long, "two")) != ""
    assert affinity_key("", asked(long)) != affinity_key("", asked(f"!{long}"))
    assert affinity_key("", asked("x" * (PREFIX_CHARS - 1))) == ""
    halves = asked("x" * (PREFIX_CHARS // 2), "y" * PREFIX_CHARS)
    assert affinity_key("", halves) != affinity_key("", asked("x" * (PREFIX_CHARS // 2) + "y" * PREFIX_CHARS))
    assert "helpful" not in affinity_key("", asked(long))


def test_what_is_no_text_ends_the_prefix() -> None:
    picture = Part(MediaPart("image/png", b"x"))
    request = asked("x" * 100, "y" * 9000)
    request.messages.insert(1, Message(Role.USER, [picture, Part(TextPart("z" * 9000))]))
    assert affinity_key("", request) == ""
