"""What travels together: the first token at once, everything that has arrived since in one message."""

import asyncio

from llmgateway.v1 import completion_pb2, message_pb2, reply_pb2
from llmgateway_server.testing.gateway import running_gateway
from llmgateway_server.testing.upstream import END, STREAM_HEAD, Upstream, delta, event, wait

ASK = completion_pb2.CompleteRequest(
    model="fake/fake-1",
    messages=[message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="hi")])],
)
LAST = [event(delta(finish_reason="stop")), event("[DONE]"), END]
WORDS = [f"w{i} " for i in range(50)]


def texts(message: reply_pb2.StreamCompleteResponse) -> list[str]:
    return [each.text_delta.text for each in message.events if each.HasField("text_delta")]


async def test_the_first_token_does_not_wait_for_the_second() -> None:
    go_on = asyncio.Event()
    script = [
        STREAM_HEAD,
        event(delta("first ")),
        wait(go_on),
        event(delta("second", finish_reason="stop")),
        event("[DONE]"),
    ]
    async with Upstream(script) as upstream, running_gateway({"providers": {"fake": upstream.provider()}}) as gateway:
        call = gateway.stub.StreamComplete(ASK, timeout=10)
        messages = aiter(call)
        first = await anext(messages)
        assert texts(first) == ["first "]
        assert first.events[0].HasField("started")
        go_on.set()
        rest = [message async for message in messages]
    assert "".join(text for message in rest for text in texts(message)) == "second"


async def test_what_arrived_meanwhile_travels_in_one_message() -> None:
    go_on = asyncio.Event()
    words = [event(delta(word)) for word in WORDS]
    script = [
        STREAM_HEAD,
        event(delta("first ")),
        wait(go_on),
        *words,
        event(delta(finish_reason="stop")),
        event("[DONE]"),
    ]
    request = completion_pb2.CompleteRequest()
    request.CopyFrom(ASK)
    request.stream_options.max_delta_delay_ms = 500
    async with Upstream(script) as upstream, running_gateway({"providers": {"fake": upstream.provider()}}) as gateway:
        call = gateway.stub.StreamComplete(request, timeout=10)
        messages = aiter(call)
        first = await anext(messages)
        go_on.set()
        rest = [message async for message in messages]
    assert texts(first) == ["first "]
    assert "".join(text for message in rest for text in texts(message)) == "".join(WORDS)
    # Fifty chunks arrive within the half second that a delta may wait, so a few messages carry them.
    assert len(rest) <= 5
