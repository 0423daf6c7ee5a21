from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.messages import Content, MediaPart, Message, Part, Role, TextPart, ToolResultPart
from llmgateway_server.core.requests import CountTokensRequest, EmbedRequest, FormatKind, ResponseFormat, Tool
from llmgateway_server.core.targets import ModelStatus, Profile, Target
from llmgateway_server.routing.eligible import eligible, needs_of
from tests.unit.routing.routing_kit import Rig, asked, rigs, target, unhurried, wishes_of


def parted(*targets: Target, **wish: Any) -> tuple[list[str], list[tuple[str, str]]]:
    rig = Rig(*targets)
    kept, left = eligible(rig.contenders(), rig.wish(**wish))
    return [each.target.provider for each in kept], [(each.target.provider, reason) for each, reason in left]


def can(*capabilities: str, **more: Any) -> Profile:
    return Profile(frozenset(capabilities), **more)


@pytest.mark.parametrize(
    ("unfit", "wish", "reason"),
    [
        (target("x", enabled=False), {}, "disabled"),
        (target("x", profile=Profile(status=ModelStatus.NOT_READY)), {}, "not ready"),
        (target("x"), {"excluded_providers": ("x",)}, "excluded by the request"),
        (target("x", tags=frozenset({"eu"})), {"tags": frozenset({"eu", "fast"})}, "lacks a tag of the request"),
        (target("x", profile=can("TOOLS")), {"capabilities": frozenset({"CODING"})}, "lacks CODING"),
        (target("x"), {"capabilities": frozenset({"CODING"})}, "lacks CODING"),  # what is required must be known
        (target("x", profile=can("STREAMING")), {"needs": frozenset({"VISION", "TOOLS"})}, "lacks TOOLS, VISION"),
        (target("x", profile=Profile(context_token_count=99)), {"input_token_count": 100}, "context too small"),
        (
            target("x", profile=Profile(context_token_count=109)),
            {"input_token_count": 100, "max_output_token_count": 10},
            "context too small",
        ),
        (
            target("x", profile=Profile(max_output_token_count=9)),
            {"max_output_token_count": 10},
            "output limit too small",
        ),
    ],
)
def test_who_is_left_out_and_why(unfit: Target, wish: dict[str, Any], reason: str) -> None:
    able = target(
        "able", profile=can("TOOLS", "VISION", "CODING", context_token_count=10**6), tags=frozenset({"eu", "fast", "x"})
    )
    assert parted(unfit, able, **wish) == (["able"], [("x", reason)])


def test_what_is_not_known_of_a_target_speaks_for_it() -> None:
    wish = {"needs": frozenset({"TOOLS"}), "input_token_count": 10**9, "max_output_token_count": 10**9}
    assert parted(target("unknown"), **wish) == (["unknown"], [])


def test_guesses_leave_somebody() -> None:
    small, large = Profile(context_token_count=10), Profile(context_token_count=20)
    rivals = (target("small", profile=small), target("large", profile=large))
    assert parted(*rivals, input_token_count=15)[0] == ["large"]
    assert parted(*rivals, input_token_count=25) == (["small", "large"], [])  # the provider judges, and says why
    assert parted(*rivals, input_token_count=25, excluded_providers=("large",))[0] == ["small"]


def test_what_is_barred_for_now_does_not_open_the_way_to_what_cannot() -> None:
    rig = Rig(target("able", profile=can("TOOLS")), target("unable", profile=can("STREAMING")))
    wish = rig.wish(needs=frozenset({"TOOLS"}))
    kept, left = eligible(rig.contenders(), wish, lambda each: "circuit open" if each.provider == "able" else "")
    assert kept == []
    assert {each.target.provider: reason for each, reason in left} == {"able": "circuit open", "unable": "lacks TOOLS"}


@unhurried
@given(st.data(), rigs())
def test_nobody_is_lost_and_nobody_forbidden_is_kept(data: st.DataObject, rig: Rig) -> None:
    wish = data.draw(wishes_of(rig))
    contenders = rig.contenders()
    closed = data.draw(st.frozensets(st.sampled_from([str(each) for each in rig.targets])))
    kept, left = eligible(contenders, wish, lambda each: "circuit open" if str(each) in closed else "")
    assert sorted(map(id, contenders)) == sorted(map(id, [*kept, *(each for each, _ in left)]))
    assert all(reason for _, reason in left)
    for each in kept:
        assert each.target.enabled
        assert each.target.provider not in wish.excluded_providers
        assert str(each.target) not in closed
        assert wish.tags <= each.target.tags
        assert wish.capabilities <= each.target.profile.capabilities
    usable = [
        each
        for each in rig.targets
        if each.enabled
        and each.provider not in wish.excluded_providers
        and wish.tags <= each.tags
        and wish.capabilities <= each.profile.capabilities
    ]
    if usable and not closed:
        assert kept


@pytest.mark.parametrize(
    ("content", "needs"),
    [
        (TextPart("x"), set()),
        (MediaPart("image/png", b"x"), {"VISION"}),
        (MediaPart("audio/wav", b"x"), {"AUDIO_INPUT"}),
        (MediaPart("application/pdf", b"x"), {"DOCUMENT_INPUT"}),
        (MediaPart("text/plain", b"x"), set()),
        (ToolResultPart("1", "t", [TextPart("x"), MediaPart("image/gif", b"x")]), {"VISION"}),
    ],
)
def test_what_a_message_needs(content: Content, needs: set[str]) -> None:
    request = asked("hello")
    request.messages.append(Message(Role.USER, [Part(content)]))
    assert needs_of(request) == needs
    assert needs_of(CountTokensRequest(request)) == needs


def test_what_a_request_needs() -> None:
    schema = ResponseFormat(FormatKind.JSON_SCHEMA, schema_json="{}")
    assert needs_of(asked("x", tools=[Tool("t")], response_format=schema)) == {"TOOLS", "JSON_SCHEMA"}
    assert needs_of(asked("x", response_format=ResponseFormat(FormatKind.JSON_OBJECT))) == {"JSON_OBJECT"}
    assert needs_of(asked("x", response_format=ResponseFormat(FormatKind.TEXT))) == frozenset()
    assert needs_of(EmbedRequest("m", ["x"])) == {"EMBEDDING"}
