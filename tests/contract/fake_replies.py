"""Replies that show every feature of the fake provider, requests that ask for all of it, and the vendors' clients."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anthropic
import openai

from llmgateway_server.testing.fake_provider import (
    FakeCitation,
    FakeProvider,
    FakeReasoning,
    FakeRefusal,
    FakeReply,
    FakeSearchResult,
    FakeServerTool,
    FakeText,
    FakeToolCall,
    FakeUsage,
    Format,
    Logprob,
)

MODEL = "fake-1"
ASKED: list[Any] = [{"role": "user", "content": "What is the weather, as JSON?"}]

REQUESTS: dict[Format, dict[str, Any]] = {
    "openai_chat": {"model": MODEL, "messages": ASKED, "logprobs": True, "top_logprobs": 2},
    "openai_responses": {
        "model": MODEL,
        "input": ASKED,
        "include": [
            "reasoning.encrypted_content",
            "message.output_text.logprobs",
            "web_search_call.action.sources",
        ],
        "reasoning": {"effort": "low", "summary": "auto"},
        "top_logprobs": 2,
    },
    "anthropic_messages": {"model": MODEL, "max_tokens": 4096, "messages": ASKED},
    "bedrock_converse": {"model": MODEL, "messages": [{"role": "user", "content": [{"text": ASKED[0]["content"]}]}]},
    "bedrock_llama": {"model": MODEL, "prompt": ASKED[0]["content"]},
    "ollama_chat": {"model": MODEL, "messages": ASKED, "stream": False, "logprobs": True, "top_logprobs": 2},
    "cohere_chat": {"model": MODEL, "messages": ASKED},
    "gemini": {
        "model": MODEL,
        "contents": [{"role": "user", "parts": [{"text": ASKED[0]["content"]}]}],
        "generationConfig": {
            "responseLogprobs": True,
            "logprobs": 2,
            "thinkingConfig": {"includeThoughts": True},
        },
    },
}
"""Requests that ask for everything a vendor shows only to those who ask."""

TOKENS = (
    Logprob("Hi", -0.1, b"Hi", (("Hi", -0.1, b"Hi"), ("Yo", -2.5, b"Yo"), ("He", -3.0, b"He"))),
    Logprob("\\xf0\\x9f", -0.5, b" \xf0\x9f", ()),
    Logprob("\\x98\\x80", -0.25, b"\x98\x80", ((".", -9.0, b"."),)),
)
PAGE = FakeCitation("A page", "https://example.com/a?b=c&d=é", "It is 21 °C.", 3, 9)
DOCUMENT = FakeCitation("Handbook", cited_text="Be kind.", start_index=5, end_index=13)
RESULT = FakeSearchResult("A page", "https://example.com/a", page_age="2 days")
SEARCH = FakeServerTool("srvtoolu_1", "weather in Zürich", (RESULT,))

REPLIES: dict[str, FakeReply] = {
    "hello": FakeReply(),
    "nothing": FakeReply(parts=()),
    "empty text": FakeReply.of(""),
    "line ends": FakeReply.of('a\r\nb\n\nc\u2028d\x85e "\\ \0 \t'),
    "every width": FakeReply.of("a é € 😀 e\u0301 👩‍🚀 \u202e ﷽ 漢字" * 3),
    "char by char": replace(FakeReply.of("漢字 and 😀"), delta_chars=1),
    "several texts": FakeReply.of("One. ", "Two. ", "Three."),
    "citations": FakeReply.of("See ", FakeText("the page.", (PAGE, replace(PAGE, uri="https://example.com/2")))),
    "documents": FakeReply.of(FakeText("As the handbook says.", (DOCUMENT, PAGE))),
    "logprobs": FakeReply.of(FakeText("Hi 😀", logprobs=TOKENS)),
    "reasoning": FakeReply.of(FakeReasoning("Let me think… 21°", "c2lnbmVk"), "It is warm."),
    "plan": FakeReply.of(FakeReasoning("I will look it up.", plan=True), FakeToolCall("call_1", "now")),
    "redacted": FakeReply.of(FakeReasoning("First."), FakeReasoning(redacted_data="c2VjcmV0"), "Done."),
    "call": FakeReply.of(FakeToolCall("call_1", "weather", '{"city":"Zürich","days":[1,2.5,null,true]}')),
    "call without arguments": FakeReply.of(FakeToolCall("call_1", "now")),
    "text and calls": FakeReply.of(
        FakeReasoning("Two cities.", "c2ln"),
        "Looking. ",
        FakeToolCall("call_1", "weather", '{"city":"Zürich"}'),
        FakeToolCall("call_2", "weather", '{"city": "São Paulo", "nested": {"a": [{}]}}'),
        FakeToolCall("call_3", "now"),
    ),
    "text after a call": FakeReply.of("One. ", FakeToolCall("call_1", "now"), "Two."),
    "forced call": FakeReply.of(FakeToolCall("call_1", "now"), finish="stop"),
    "refusal": FakeReply.of(FakeRefusal("I cannot help with that.")),
    "text and refusal": FakeReply.of("Well. ", FakeRefusal("No.")),
    "silent refusal": FakeReply(parts=(), finish="refusal"),
    "length": FakeReply.of("And then", finish="length"),
    "length of nothing": FakeReply(parts=(), finish="length", usage=FakeUsage(10, 64, reasoning_tokens=64)),
    "content filter": FakeReply.of("Once", finish="content_filter"),
    "stop sequence": replace(FakeReply.of("1, 2, ", finish="stop_sequence"), stop_sequence="3"),
    "pause": FakeReply.of(SEARCH, finish="pause"),
    "search": FakeReply.of(FakeReasoning("Search.", "c2ln"), SEARCH, FakeText("It is 21 °C there.", (PAGE,))),
    "failed search": FakeReply.of(replace(SEARCH, results=(), error_code="max_uses_exceeded"), "Nothing found."),
    "usage": FakeReply(
        usage=FakeUsage(
            input_tokens=1000,
            output_tokens=500,
            cache_read_tokens=300,
            cache_write_5m_tokens=200,
            cache_write_1h_tokens=100,
            reasoning_tokens=64,
            input_audio_tokens=7,
            output_audio_tokens=8,
            accepted_prediction_tokens=9,
            rejected_prediction_tokens=10,
        )
    ),
    "no usage": FakeReply(usage=FakeUsage(0, 0)),
    "another model": replace(FakeReply.of("Yes."), model="fake-1-2026", service_tier="priority"),
}
"""Every feature of `features.PLAYS`, by name; the ids are given, so that two answers are the same."""
REPLIES = {name: replace(reply, response_id="id_fixed") for name, reply in REPLIES.items()}


@contextlib.asynccontextmanager
async def openai_client(fake: FakeProvider, api_key: str = "sk-fake") -> AsyncIterator[openai.AsyncOpenAI]:
    """Opens OpenAI's own client, which checks all that it reads against its types."""
    async with openai.AsyncOpenAI(
        base_url=fake.base_url,
        api_key=api_key,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False, verify=False),
        _strict_response_validation=True,
    ) as client:
        yield client


@contextlib.asynccontextmanager
async def anthropic_client(fake: FakeProvider, api_key: str = "sk-fake") -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Opens Anthropic's own client, which checks all that it reads against its types."""
    async with anthropic.AsyncAnthropic(
        base_url=fake.root_url,
        api_key=api_key,
        max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False, verify=False),
        _strict_response_validation=True,
    ) as client:
        yield client
