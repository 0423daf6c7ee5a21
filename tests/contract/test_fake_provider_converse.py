"""The fake's Converse, judged by Amazon's own client: what it gathers from a stream is what it gets unary."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.utils import get_token_from_environment
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.providers.vendors import VENDORS
from llmgateway_server.testing.fake_provider import (
    FakeError,
    FakeProvider,
    FakeReasoning,
    FakeReply,
    FakeToolCall,
    bedrock_converse,
    cuts,
)
from llmgateway_server.testing.fake_provider.checks import Asked, Memory, Refused
from llmgateway_server.testing.fake_provider.checks_bedrock import check_converse
from tests.contract.fake_replies import MODEL, REPLIES, REQUESTS
from tests.properties.fake_replies import fake_replies

ASKED = REQUESTS["bedrock_converse"]["messages"]
CUTS = {
    "whole": cuts.whole,
    "one byte": cuts.one_byte,
    "inside utf-8": cuts.inside_utf8,
    "inside line ends": cuts.inside_line_ends,
    "random": cuts.seeded(3),
}
TOOL: dict[str, Any] = {"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
ARN = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3d4e5f6"


@asynccontextmanager
async def amazon(fake: FakeProvider, **config: Any) -> AsyncIterator[Any]:
    """Opens Amazon's own client, with credentials that no environment can change."""
    credentials = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "dummy"}
    how = Config(retries={"total_max_attempts": 1}, proxies={}, connect_timeout=5, read_timeout=20, **config)
    client = boto3.client(
        "bedrock-runtime", region_name="eu-west-1", endpoint_url=fake.root_url, config=how, **credentials
    )
    try:
        yield client
    finally:
        client.close()


async def asked(call: Callable[..., Any], **request: Any) -> Any:
    """Makes a call of the client, which blocks, beside the loop."""
    return await asyncio.to_thread(lambda: call(modelId=MODEL, **{"messages": ASKED, **request}))


async def gathered(client: Any, **request: Any) -> dict[str, Any]:
    """Returns what a stream adds up to, in the shape of a whole answer."""

    def gather() -> dict[str, Any]:
        answer = client.converse_stream(modelId=MODEL, **{"messages": ASKED, **request})
        with closing(answer["stream"]) as stream:
            return folded(list(stream))

    return await asyncio.to_thread(gather)


def folded(events: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        [(kind, said)] = event.items()
        match kind:
            case "messageStart":
                found["role"] = said["role"]
            case "contentBlockStart":
                blocks[said["contentBlockIndex"]] = {"toolUse": {**said["start"]["toolUse"], "input": ""}}
            case "contentBlockDelta":
                _add(blocks.setdefault(said["contentBlockIndex"], {}), said["delta"])
            case "messageStop":
                found["stopReason"] = said["stopReason"]
            case "metadata":
                found |= said
    content = [_whole(blocks[index]) for index in sorted(blocks)]
    return {**found, "content": content}


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    [(kind, said)] = delta.items()
    match kind:
        case "text":
            block["text"] = block.get("text", "") + said
        case "toolUse":
            block["toolUse"]["input"] += said["input"]
        case "citation":
            block.setdefault("citations", []).append(said)
        case "reasoningContent":
            [(name, value)] = said.items()
            inner = block.setdefault("reasoningContent", {})
            inner[name] = inner.get(name, type(value)()) + value


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    if "toolUse" in block:
        return {"toolUse": {**block["toolUse"], "input": json.loads(block["toolUse"]["input"] or "{}")}}
    if "citations" in block:
        return {"citationsContent": {"content": [{"text": block["text"]}], "citations": block["citations"]}}
    reasoning = block.get("reasoningContent", {})
    if "signature" in reasoning:
        shown = {"text": reasoning.get("text", ""), "signature": reasoning["signature"]}
        return {"reasoningContent": {"reasoningText": shown}}
    return block


def view(answer: dict[str, Any]) -> dict[str, Any]:
    """Returns what a caller reads of a whole answer."""
    message = answer["output"]["message"]
    names = ("stopReason", "usage", "metrics", "serviceTier")
    return {**message, **{name: answer[name] for name in names if name in answer}}


@pytest.mark.parametrize("name", REPLIES)
async def test_stream_and_unary_agree(name: str) -> None:
    async with FakeProvider() as fake, amazon(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary = view(await asked(client.converse))
        assert await gathered(client) == unary
    assert unary["stopReason"] == bedrock_converse.FINISHES[REPLIES[name].ends]
    assert unary["usage"]["totalTokens"] == REPLIES[name].usage.input_tokens + REPLIES[name].usage.output_tokens


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["every width", "line ends", "text and calls", "redacted"])
async def test_cuts_change_nothing(name: str, cut: str) -> None:
    async with FakeProvider(cut=CUTS[cut]) as fake, amazon(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        assert await gathered(client) == view(await asked(client.converse))


async def test_blocks_are_what_the_script_says() -> None:
    async with FakeProvider() as fake, amazon(fake) as client:
        fake.then(REPLIES["redacted"], REPLIES["documents"], REPLIES["text and calls"])
        hidden, documents, calls = [view(await asked(client.converse))["content"] for _ in range(3)]
    assert hidden[1] == {"reasoningContent": {"redactedContent": b"c2VjcmV0"}}
    assert [each["title"] for each in documents[0]["citationsContent"]["citations"]] == ["Handbook", "A page"]
    assert [block["toolUse"]["input"] for block in calls if "toolUse" in block] == [
        {"city": "Zürich"},
        {"city": "São Paulo", "nested": {"a": [{}]}},
        {},
    ]


async def test_usage_leaves_out_what_a_cache_held() -> None:
    async with FakeProvider() as fake, amazon(fake) as client:
        fake.then(REPLIES["usage"])
        usage = (await asked(client.converse))["usage"]
    assert (usage["inputTokens"], usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]) == (400, 300, 300)
    assert usage["cacheDetails"] == [{"ttl": "1h", "inputTokens": 100}, {"ttl": "5m", "inputTokens": 200}]
    assert (usage["outputTokens"], usage["totalTokens"]) == (500, 1500)


async def test_a_name_may_be_an_arn() -> None:
    async with FakeProvider(models=(ARN,)) as fake, amazon(fake) as client:
        answer = await asyncio.to_thread(lambda: client.converse(modelId=ARN, messages=ASKED))
        with pytest.raises(ClientError, match="model identifier is invalid"):
            await asked(client.converse)
    assert answer["stopReason"] == "end_turn"
    assert "/" not in fake.requests[0].path.removeprefix("/model/").removesuffix("/converse")


async def test_a_conversation_with_thoughts_goes_on() -> None:
    """Thoughts come back unchanged, calls are answered; a changed thought is refused."""
    reply = FakeReply.of(
        FakeReasoning("Which city?"),
        FakeReasoning(redacted_data="hidden"),
        FakeToolCall("t1", "weather", '{"city":"Bern"}'),
    )
    result = {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "21 °C"}]}}]}
    async with FakeProvider() as fake, amazon(fake) as client:
        fake.then(reply)
        turn = (await asked(client.converse, toolConfig={"tools": [TOOL]}))["output"]["message"]
        request = {"messages": [*ASKED, turn, result], "toolConfig": {"tools": [TOOL]}}
        assert (await asked(client.converse, **request))["stopReason"] == "end_turn"
        turn["content"][0]["reasoningContent"]["reasoningText"]["text"] = "Which town?"
        with pytest.raises(ClientError, match=r"messages\.1\.content\.0"):
            await asked(client.converse, **request)


@settings(deadline=None, max_examples=40)
@given(fake_replies("bedrock_converse"), st.integers(0, 999))
def test_whatever_is_played_is_the_same_unary_and_streamed(reply: FakeReply, seed: int) -> None:
    async def agree() -> None:
        async with FakeProvider(cut=cuts.seeded(seed)) as fake, amazon(fake) as client:
            fake.then(reply, reply)
            assert await gathered(client) == view(await asked(client.converse))

    asyncio.run(agree())


# ---------------------------------------------------------------------------------------------------------------------
# Failures
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (408, "ModelTimeoutException"),
        (424, "ModelErrorException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
        (502, "InternalServerException"),
        (422, "ValidationException"),
    ],
)
async def test_errors_have_their_names(status: int, name: str) -> None:
    async with FakeProvider() as fake, amazon(fake) as client:
        for call in (client.converse, client.converse_stream):
            fake.then(FakeError(status))
            with pytest.raises(ClientError) as caught:
                await asked(call)
            assert caught.value.response["Error"]["Code"] == name
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
            assert isinstance(caught.value, getattr(client.exceptions, name))


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_stream_fails_with_an_exception(after: int) -> None:
    async with FakeProvider() as fake, amazon(fake) as client:
        fake.then(FakeError(503, message="Too busy.", in_stream_after=after))
        events: list[Any] = []

        def read() -> None:
            with closing(client.converse_stream(modelId=MODEL, messages=ASKED)["stream"]) as stream:
                for event in stream:
                    events.append(event)  # noqa: PERF402  # what came before the failure

        with pytest.raises(EventStreamError, match="Too busy") as caught:
            await asyncio.to_thread(read)
    assert caught.value.response["Error"]["Code"] == "serviceUnavailableException"
    assert len(events) == after


PICTURE = {"format": "png", "source": {"bytes": b"x"}}
MEDIUM = {"format": "pdf", "name": "a", "source": {"bytes": b"x"}}
CALL = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "weather", "input": {}}}]}
RESULT = {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": []}}]}
TOOLS = {"tools": [TOOL]}
NO_CALL = {"toolUseId": "t", "name": "weather"}
SCHEMA_OBJECT = {"jsonSchema": {"schema": {"type": "object"}}}


def user(*content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        ({"messages": []}, "messages: none"),
        ({"messages": user({"text": " "})}, "is blank"),
        ({"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}, "start with a user"),
        ({"messages": ASKED * 2}, "alternate"),
        ({"messages": [*ASKED, {"role": "assistant", "content": [{"image": PICTURE}]}]}, "image"),
        ({"messages": user({"text": "x"}, {"document": {**MEDIUM, "name": "a_b.pdf"}})}, "letters"),
        ({"messages": user({"text": "x"}, {"document": {**MEDIUM, "name": "a  b"}})}, "letters"),
        ({"messages": user({"document": MEDIUM})}, "without a text"),
        ({"messages": user({"text": "x"}, {"document": MEDIUM}, {"document": MEDIUM})}, "same name"),
        ({"messages": user({"text": "x"}, {"document": {**MEDIUM, "format": "zip"}})}, "format"),
        ({"messages": [*ASKED, CALL, RESULT]}, "toolConfig field must be defined"),
        ({"messages": [*ASKED, CALL], "toolConfig": TOOLS}, "at the end"),
        ({"messages": [*ASKED, CALL, *ASKED], "toolConfig": TOOLS}, "toolResult"),
        ({"messages": [RESULT], "toolConfig": TOOLS}, "toolResult"),
        ({"system": [{"text": ""}]}, "instruction"),
        ({"inferenceConfig": {"temperature": 1.5}}, "temperature"),
        ({"inferenceConfig": {"maxTokens": 0}}, "maxTokens"),
        ({"inferenceConfig": {"stopSequences": [""]}}, "stopSequences"),
        ({"serviceTier": {"type": "scale"}}, "serviceTier.type"),
        ({"requestMetadata": {"a": "b|c"}}, "requestMetadata"),
        ({"outputConfig": {"textFormat": {"type": "x", "structure": {"jsonSchema": {"schema": "{}"}}}}}, "textFormat"),
        ({"toolConfig": {"tools": [{"toolSpec": {"name": "a b", "inputSchema": {"json": {}}}}]}}, "not a name"),
        ({"toolConfig": {"tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {}}}}]}}, "schema of an object"),
        ({"toolConfig": {**TOOLS, "toolChoice": {"tool": {"name": "other"}}}}, "no such tool"),
        (
            {
                "toolConfig": {**TOOLS, "toolChoice": {"any": {}}},
                "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            },
            "Thinking",
        ),
        ({"messages": user({"text": "x"}, *[{"cachePoint": {"type": "default"}}] * 5)}, "more than four"),
    ],
)
async def test_what_the_service_refuses_is_refused(request_: dict[str, Any], fault: str) -> None:
    async with FakeProvider() as fake, amazon(fake, parameter_validation=False) as client:
        with pytest.raises(ClientError, match=fault) as caught:
            await asked(client.converse, **request_)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


KEY = {"authorization": "AWS4-HMAC-SHA256 Credential=x"}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"nothing", "not a JSON object"),
        ({"novelty": 1}, "extraneous key"),
        ({"inferenceConfig": {"topK": 1}}, "extraneous key"),
        ({"messages": user({"text": "x", "image": PICTURE})}, "one kind"),
        ({"messages": [{"role": "system", "content": [{"text": "x"}]}]}, "not a message"),
        ({"messages": [{"role": "user", "content": []}]}, "empty"),
        ({"messages": [*ASKED, {"role": "assistant", "content": [{"toolUse": {**NO_CALL, "input": "x"}}]}]}, "a call"),
        ({"messages": user({"text": "x"}, {"cachePoint": {"type": "new"}})}, "cachePoint"),
        ({"messages": user({"image": {"format": "png", "source": {"url": "https://x"}}})}, "source"),
        ({"messages": user({"toolResult": {"toolUseId": "t", "content": [], "status": "bad"}})}, "not a result"),
        ({"messages": user({"toolResult": {"toolUseId": "t", "content": [{"audio": {}}]}})}, "extraneous key"),
        ({"outputConfig": {"textFormat": {"type": "json_schema", "structure": SCHEMA_OBJECT}}}, "not JSON text"),
        ({"toolConfig": {"tools": []}}, "tools: none"),
        ({"toolConfig": {"tools": [{"novelty": {}}]}}, "unknown"),
        ({"toolConfig": {**TOOLS, "toolChoice": {"none": {}}}}, "toolChoice.none"),
        ({"toolConfig": {"tools": [{"toolSpec": {**TOOL["toolSpec"], "novelty": 1}}]}}, "extraneous key"),
        ({"toolConfig": {"tools": [{"toolSpec": {**TOOL["toolSpec"], "description": ""}}]}}, "description"),
    ],
)
def test_what_the_client_would_not_send_is_refused(body: Any, fault: str) -> None:
    asked_for = {"model": MODEL, "messages": ASKED, **body} if isinstance(body, dict) else body
    with pytest.raises(Refused, match=fault):
        check_converse(Asked(KEY, asked_for, Memory()))


def test_marks_may_stand_among_the_tools() -> None:
    marked = {"tools": [TOOL, {"cachePoint": {"type": "default"}}]}
    check_converse(Asked(KEY, {"model": MODEL, "messages": ASKED, "toolConfig": marked}, Memory()))


async def test_a_call_may_be_cut_off() -> None:
    reply = FakeReply.of(FakeToolCall("t1", "weather", '{"city":"Zür'), finish="length")
    async with FakeProvider() as fake, amazon(fake) as client:
        fake.then(reply)
        answer = view(await asked(client.converse))
    assert (answer["content"][0]["toolUse"]["input"], answer["stopReason"]) == ({}, "max_tokens")
    assert sum(b"contentBlockDelta" in frame for frame in bedrock_converse.frames(reply, {})) > 2


async def test_the_key_has_to_be_right() -> None:
    async with FakeProvider(api_key="right") as fake, amazon(fake, signature_version=UNSIGNED) as client:
        client.meta.events.register("before-send.bedrock-runtime", with_key("right"), unique_id="key")
        assert (await asked(client.converse))["stopReason"] == "end_turn"
        client.meta.events.unregister("before-send.bedrock-runtime", unique_id="key")
        client.meta.events.register("before-send.bedrock-runtime", with_key("wrong"))
        with pytest.raises(ClientError) as caught:
            await asked(client.converse)
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"


def with_key(key: str) -> Callable[..., None]:
    """Returns what adds a key to a request; the client itself sends keys over TLS alone."""

    def authorize(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = f"Bearer {key}"

    return authorize


def test_the_client_finds_its_key_where_the_vendors_row_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VENDORS["bedrock"].key_variable, "k")
    assert get_token_from_environment("bedrock") == "k"


async def test_somebody_has_to_sign() -> None:
    async with FakeProvider() as fake, amazon(fake, signature_version=UNSIGNED) as client:
        with pytest.raises(ClientError) as caught:
            await asked(client.converse)
    assert caught.value.response["Error"]["Code"] == "MissingAuthenticationTokenException"


def test_events_are_padded() -> None:
    frames = bedrock_converse.frames(REPLIES["every width"], {})
    lengths = {len(json.loads(frame[frame.index(b"event{") + 5 : -4])["p"]) for frame in frames}
    assert len(lengths) > 1


def test_redacted_thoughts_are_base64() -> None:
    assert b64decode(bedrock_converse.redacted("hé")).decode() == "hé"
