"""Whole requests: frames, tools, media, and which method a count may claim."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from typing import Any

import pytest

from llmgateway_server.core.messages import (
    Content,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from llmgateway_server.core.requests import (
    CompleteRequest,
    FormatKind,
    ReasoningOptions,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from llmgateway_server.core.targets import Profile, Target
from llmgateway_server.providers.tokens.count import MAX_TOKENIZED_LENGTH, Method, count_input
from llmgateway_server.providers.tokens.estimate import Family
from llmgateway_server.providers.tokens.functions import MAX_DEPTH, namespace
from llmgateway_server.providers.tokens.image_size import Size, image_size
from llmgateway_server.providers.tokens.media import Tiles, media_tokens

pytest.importorskip("tiktoken", reason="the extra `tokenizer` is not installed")

GPT_4O = Target("account", "openai", "gpt-4o", profile=Profile(tokenizer="o200k_base"))
GPT_4 = Target("account", "openai", "gpt-4", profile=Profile(tokenizer="cl100k_base"))
GPT_5 = Target("account", "openai", "gpt-5", profile=Profile(tokenizer="o200k_base"))
CLAUDE = Target("account", "anthropic", "claude-sonnet-4-5")
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 1024, 512) + b"\x08\x02\x00\x00\x00"
WEATHER = Tool("weather", "Get weather", '{"type":"object","properties":{"city":{"type":"string"}}}')


def said(role: Role, *contents: Content, name: str = "") -> Message:
    return Message(role, [Part(content) for content in contents], name)


def asks(*messages: Message, **more: Any) -> CompleteRequest:
    return CompleteRequest("model", list(messages) or [said(Role.USER, TextPart("Say hello"))], **more)


@pytest.mark.parametrize(
    ("target", "messages", "expected"),
    [
        (GPT_4O, [said(Role.USER, TextPart("Say hello"))], 9),
        (GPT_4O, [said(Role.USER, TextPart(""))], 7),
        (GPT_5, [said(Role.USER, TextPart("Hi"))], 7),
        (GPT_4O, [said(Role.SYSTEM, TextPart("Say hello")), said(Role.USER, TextPart("Say hello"))], 15),
        (GPT_4, [said(Role.USER, TextPart("hello world"), name="rer")], 3 + 4 + 2 + 1 + 1),
    ],
)
async def test_text_alone_is_counted_exactly(target: Target, messages: list[Message], expected: int) -> None:
    counted = await count_input(asks(*messages), target)
    assert (counted.input_token_count, counted.method) == (expected, Method.TOKENIZER)


async def test_the_example_of_the_cookbook() -> None:
    """OpenAI's own example, with the count that it states for gpt-4 and gpt-3.5-turbo."""
    messages = [
        said(
            Role.SYSTEM,
            TextPart(
                "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."
            ),
        ),
        said(Role.SYSTEM, TextPart("New synergies will help drive top-line growth."), name="example_user"),
        said(Role.SYSTEM, TextPart("Things working well together will increase revenue."), name="example_assistant"),
        said(
            Role.SYSTEM,
            TextPart(
                "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."
            ),
            name="example_user",
        ),
        said(
            Role.SYSTEM,
            TextPart("Let's talk later when we're less busy about how to do better."),
            name="example_assistant",
        ),
        said(
            Role.USER,
            TextPart("This late pivot means we don't have time to boil the ocean for the client deliverable."),
        ),
    ]
    assert (await count_input(asks(*messages), GPT_4)).input_token_count == 129
    assert (await count_input(asks(*messages), GPT_4O)).input_token_count == 124


HELLO = TextPart("Say hello")


@pytest.mark.parametrize(
    "request_",
    [
        asks(tools=[WEATHER]),
        asks(response_format=ResponseFormat(FormatKind.JSON_OBJECT)),
        asks(response_format=ResponseFormat(FormatKind.JSON_SCHEMA, schema_json='{"type":"object"}')),
        asks(reasoning=ReasoningOptions("high")),
        asks(provider_options={"openai-chat": {"web_search": {}}}),
        asks(said(Role.USER, HELLO, HELLO)),
        asks(said(Role.USER, HELLO, MediaPart("image/png", PNG))),
        asks(said(Role.USER, HELLO), said(Role.ASSISTANT, ReasoningPart("Hm."), HELLO)),
        asks(said(Role.USER, HELLO), said(Role.ASSISTANT, ToolCallPart("1", "weather", "{}"))),
        asks(said(Role.TOOL, ToolResultPart("1", "weather", [HELLO]))),
        asks(said(Role.USER, TextPart("a" * 50_000))),
    ],
)
async def test_what_is_not_known_to_be_exact_is_an_estimate(request_: CompleteRequest) -> None:
    counted = await count_input(request_, GPT_4O)
    assert counted.method is Method.ESTIMATE
    assert counted.input_token_count > 5


@pytest.mark.parametrize(
    "target",
    [
        CLAUDE,
        Target("account", "openai", "gpt-4o"),
        Target("account", "openai-compatible", "openai/gpt-4o", profile=GPT_4O.profile),
        Target("account", "openai", "gpt-5-codex", profile=GPT_5.profile),
        Target("account", "openai", "o3", profile=GPT_5.profile),
        Target("account", "openai", "my-deployment", profile=GPT_4O.profile),
    ],
)
async def test_a_model_whose_frame_is_not_known_is_an_estimate(target: Target) -> None:
    counted = await count_input(asks(), target)
    assert counted.method is Method.ESTIMATE
    assert 5 <= counted.input_token_count <= 20


async def test_an_assistant_in_the_fifth_generation_is_an_estimate() -> None:
    counted = await count_input(asks(said(Role.USER, HELLO), said(Role.ASSISTANT, HELLO)), GPT_5)
    assert counted.method is Method.ESTIMATE


async def test_a_huge_text_is_estimated_in_bounded_time() -> None:
    request = asks(said(Role.USER, TextPart("a" * (2 * MAX_TOKENIZED_LENGTH))))
    started = time.process_time()
    counted = await count_input(request, GPT_4O)
    assert time.process_time() - started < 2.0
    assert counted.method is Method.ESTIMATE
    assert counted.input_token_count > MAX_TOKENIZED_LENGTH / 8


async def test_the_loop_goes_on_while_a_large_text_is_counted() -> None:
    request = asks(said(Role.USER, TextPart("nothing but words " * 40_000)))
    counting = asyncio.ensure_future(count_input(request, GPT_4O))
    turns = 0
    while not counting.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns >= 3
    assert counting.result().method is Method.TOKENIZER


async def test_counting_can_be_cancelled() -> None:
    request = asks(said(Role.USER, TextPart("nothing but words " * 40_000)))
    counting = [asyncio.ensure_future(count_input(request, GPT_4O)) for _ in range(8)]
    await asyncio.sleep(0)
    for task in counting:
        task.cancel()
    assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*counting, return_exceptions=True))
    assert (await count_input(asks(), GPT_4O)).input_token_count == 9


async def test_tools_cost_what_they_say() -> None:
    bare = (await count_input(asks(), GPT_4O)).input_token_count
    one = (await count_input(asks(tools=[WEATHER]), GPT_4O)).input_token_count
    two = (await count_input(asks(tools=[WEATHER, WEATHER]), GPT_4O)).input_token_count
    assert bare + 20 < one < two < one + 30


async def test_forcing_a_tool_changes_anthropics_prompt() -> None:
    target = Target("account", "anthropic", "claude-sonnet-4-20250514")
    free = await count_input(asks(tools=[WEATHER]), target)
    forced = await count_input(asks(tools=[WEATHER], tool_choice=ToolChoice(ToolChoiceMode.REQUIRED)), target)
    assert free.input_token_count - forced.input_token_count == 346 - 313


def tool_of(schema: Any, description: str = "") -> Tool:
    return Tool("f", description, json.dumps(schema))


def test_functions_are_rendered_as_typescript() -> None:
    schema = {
        "type": "object",
        "properties": {
            "unit": {"enum": ["C", "F"], "description": "The unit."},
            "days": {"type": "integer"},
            "places": {"type": "array", "items": {"type": "string"}},
            "where": {"type": "object", "properties": {"x": {"type": ["number", "null"]}}, "required": ["x"]},
            "either": {"anyOf": [{"type": "string"}, {"type": "boolean"}]},
            "free": {"type": "object"},
            "odd": {"$ref": "#/x"},
        },
        "required": ["days"],
    }
    assert namespace([tool_of(schema, "First line.\nSecond line.")]) == "\n".join(  # noqa: FLY002 - one line each
        (
            "namespace functions {",
            "",
            "// First line.",
            "// Second line.",
            "type f = (_: {",
            "// The unit.",
            'unit?: "C" | "F",',
            "days: number,",
            "places?: string[],",
            "where?: {",
            "  x: number | null,",
            "},",
            "either?: string | boolean,",
            "free?: object,",
            "odd?: any,",
            "}) => any;",
            "",
            "} // namespace functions",
        )
    )


def nested(depth: int, kind: Any) -> dict[str, Any]:
    """Returns a schema with one schema inside each; a union of kinds has both ways to go deeper open to it."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": kind, "items": schema} if kind == "array" else {"type": kind, "properties": {"x": schema}}
    return schema


@pytest.mark.parametrize("kind", ["object", "array", ["object", "object", "array", "string", 7]])
def test_a_deep_schema_is_cut_and_unions_do_not_multiply(kind: Any) -> None:
    inner = nested(60, kind)
    rendered = namespace([tool_of({"type": "object", "properties": {"x": inner}})])
    assert "any" in rendered.replace("=> any;", "")
    assert len(rendered) < 200 * MAX_DEPTH


def test_a_union_of_containers_does_not_multiply_either() -> None:
    inner: dict[str, Any] = {"type": "string"}
    for _ in range(10):
        inner = {"type": ["object", "array", "null"], "properties": {"x": inner}, "items": inner}
    assert len(namespace([tool_of({"properties": {"x": inner}})])) < 2_000


@pytest.mark.parametrize("text", ["", "[]", "not json", "[" * 200_000, '{"properties": 3}', '{"required": 3}'])
def test_a_broken_schema_is_survived(text: str) -> None:
    assert namespace([Tool("f", "", text)]).startswith("namespace functions {")


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (PNG, Size(1024, 512)),
        (b"GIF89a" + struct.pack("<HH", 7, 9) + b"\x00\x00\x00", Size(7, 9)),
        (
            b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc0\x00\x11\x08" + struct.pack(">HH", 20, 30) + b"\x03",
            Size(30, 20),
        ),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 \x00\x00\x00\x00abc\x9d\x01\x2a" + struct.pack("<HH", 100, 50), Size(100, 50)),
        (b"RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f" + struct.pack("<I", 99 | 49 << 14), Size(100, 50)),
        (b"RIFF\x00\x00\x00\x00WEBPVP8X\x00\x00\x00\x00\x00\x00\x00\x00c\x00\x001\x00\x00", Size(100, 50)),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(8), None),
        (b"\xff\xd8\xff\xda\x00\x00" + b"\xff\xe0\x00\x00" * 10, None),
        (b"\xff\xd8" + b"\xff" * 1_000_000, None),
        (b"GIF8", None),
        (b"BM......", None),
        (b"", None),
    ],
)
def test_the_size_of_an_image_is_read_from_its_header(data: bytes, size: Size | None) -> None:
    assert image_size(data) == size


@pytest.mark.parametrize(
    "whole", [PNG, b"RIFF\x00\x00\x00\x00WEBPVP8X" + bytes(14), b"\xff\xd8\xff\xe0\x00\x02\xff\xc0" + bytes(8)]
)
def test_a_cut_image_has_no_size(whole: bytes) -> None:
    for end in range(len(whole)):
        size = image_size(whole[:end])
        assert size is None or min(size) > 0


@pytest.mark.parametrize(
    ("size", "detail", "expected"),
    [
        # the examples of OpenAI's page on images
        (Size(1024, 1024), "high", 765),
        (Size(2048, 4096), "high", 1105),
        (Size(4096, 8192), "low", 85),
        (Size(50, 50), "", 255),
    ],
)
def test_tiles_are_counted_as_published(size: Size, detail: str, expected: int) -> None:
    assert Tiles(85, 170).token_count(size, detail) == expected


@pytest.mark.parametrize(
    ("media", "family", "model", "expected"),
    [
        (MediaPart("image/png", PNG), Family.O200K, "gpt-5", 70 + 2 * 140),
        (MediaPart("image/png", PNG), Family.O200K, "gpt-4.1-mini", 830),
        (MediaPart("image/png", PNG), Family.ANTHROPIC, "claude-sonnet-4-5", 700),
        (MediaPart("image/png", PNG), Family.OTHER, "gemini-2.5-pro", 258 * 4 * 2),
        (MediaPart("image/png", uri="https://example.org/a.png"), Family.O200K, "gpt-4o", 765),
        (MediaPart("audio/wav", bytes(160_000)), Family.O200K, "gpt-audio", 100),
        (MediaPart("application/pdf", b"%PDF /Type /Page /Type /Pages /Type/Page "), Family.OTHER, "x", 2_000),
    ],
)
def test_media_cost_what_vendors_publish(media: MediaPart, family: Family, model: str, expected: int) -> None:
    assert abs(media_tokens(media, family, model) - expected) <= 1 + expected // 4


async def test_a_document_of_text_is_counted_as_text() -> None:
    note = MediaPart("text/plain", b"hello world " * 1_000)
    counted = await count_input(asks(said(Role.USER, note)), GPT_4O)
    assert 2_000 <= counted.input_token_count <= 2_020
