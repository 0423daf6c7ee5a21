"""What the gateway is compared with: a bare echo, and the thinnest gateway that one would write by hand.

Started as `python -m tests.bench.contestants echo|thin <address of the provider>`; it prints its address and serves
until it is killed. Both use grpc.aio like the gateway does; the thin one also uses the gateway's wire, so that what
is left between the two is what the gateway does for a call.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import grpc.aio
import msgspec

from llmgateway.v1 import completion_pb2, message_pb2, reply_pb2, usage_pb2
from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.port import Origin, WireLimits, WireProgress, WireRequest
from tests.bench import payloads
from tests.bench.loops import run_loop

HEADERS = (
    ("content-type", "application/json"),
    ("authorization", "Bearer benchmark"),
)
ROLES = {message_pb2.ROLE_SYSTEM: "system", message_pb2.ROLE_USER: "user", message_pb2.ROLE_ASSISTANT: "assistant"}


class Echo:
    """Answers with as many bytes as the gateway would, whatever comes."""

    def __init__(self) -> None:
        self._reply = reply_pb2.CompleteResponse(
            parts=[message_pb2.Part(text=payloads.answer_body().decode())]
        ).SerializeToString()
        self._messages = {
            kind.name.encode(): self._message(kind.tokens // kind.writes)
            for kind in payloads.KINDS.values()
            if kind.tokens
        }

    @staticmethod
    def _message(tokens: int) -> bytes:
        delta = reply_pb2.TextDelta(text=payloads.WORD * tokens)
        return reply_pb2.StreamCompleteResponse(events=[reply_pb2.Event(text_delta=delta)]).SerializeToString()

    async def complete(self, _data: bytes, _context: Any) -> bytes:
        return self._reply

    async def stream(self, data: bytes, context: Any) -> None:
        name = data[2 : data.index(b"/")]  # the model's name is the first field, behind its tag and length
        kind, message = payloads.KINDS[name.decode()], self._messages[name]
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        for number in range(kind.writes):
            if number and kind.pace_s:
                due_s += kind.pace_s
                await asyncio.sleep(max(0.0, due_s - loop.time()))
            await context.write(message)


class Said(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None


class Figures(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Answer(msgspec.Struct):
    id: str = ""
    model: str = ""
    choices: list[Choice] = []
    usage: Figures | None = None


DECODE = msgspec.json.Decoder(Answer).decode


class Thin:
    """Translates, and does nothing else: no key, no deadline, no record, no second attempt, no check."""

    def __init__(self, provider: str) -> None:
        host, _, port = provider.rpartition(":")
        limits = WireLimits(max_connections=payloads.CALLS_AT_ONCE)
        self._wire = Http1Wire(Origin("http", host, int(port)), limits=limits)

    async def complete(self, data: bytes, _context: Any) -> bytes:
        request = completion_pb2.CompleteRequest.FromString(data)
        async with self._wire.exchange(self._upstream(request, stream=False), WireProgress()) as response:
            body = b""
            while piece := await response.read():
                body += piece
        answer = DECODE(body)
        choice = answer.choices[0]
        message = reply_pb2.CompleteResponse(
            response_id=answer.id,
            model=request.model,
            provider_model=answer.model,
            parts=[message_pb2.Part(text=(choice.message and choice.message.content) or "")],
            finish_reason=reply_pb2.FINISH_REASON_STOP,
            provider_finish_reason=choice.finish_reason or "",
        )
        if answer.usage is not None:
            message.usage.CopyFrom(self._usage(answer.usage))
        return message.SerializeToString()

    async def stream(self, data: bytes, context: Any) -> None:
        request = completion_pb2.CompleteRequest.FromString(data)
        seq, rest = 0, b""
        finished = reply_pb2.Finished()
        async with self._wire.exchange(self._upstream(request, stream=True), WireProgress()) as response:
            while piece := await response.read():
                *events, rest = (rest + piece).split(b"\n\n")
                texts = []
                for event in events:
                    payload = event[6:]  # behind "data: "
                    if payload == b"[DONE]":
                        continue
                    answer = DECODE(payload)
                    for choice in answer.choices:
                        if choice.delta is not None and choice.delta.content:
                            texts.append(choice.delta.content)
                        if choice.finish_reason:
                            finished.finish_reason = reply_pb2.FINISH_REASON_STOP
                    if answer.usage is not None:
                        finished.usage.CopyFrom(self._usage(answer.usage))
                if texts:
                    seq += 1
                    message = reply_pb2.StreamCompleteResponse()
                    message.events.add(seq=seq).text_delta.text = "".join(texts)
                    await context.write(message.SerializeToString())
        last = reply_pb2.StreamCompleteResponse(events=[reply_pb2.Event(seq=seq + 1, finished=finished)])
        await context.write(last.SerializeToString())

    @staticmethod
    def _upstream(request: Any, *, stream: bool) -> WireRequest:
        kind, _, model = request.model.partition("/")
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": ROLES[m.role], "content": m.parts[0].text} for m in request.messages],
            "temperature": request.temperature,
            "max_tokens": request.max_output_tokens,
        }
        if stream:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        return WireRequest("POST", f"/{kind}/v1/chat/completions", HEADERS, msgspec.json.encode(body))

    @staticmethod
    def _usage(figures: Figures) -> usage_pb2.Usage:
        return usage_pb2.Usage(input_token_count=figures.prompt_tokens, output_token_count=figures.completion_tokens)


async def serve(service: Echo | Thin) -> int:
    server = grpc.aio.server(options=(("grpc.max_concurrent_streams", payloads.CALLS_AT_ONCE),))
    handlers: dict[str, Any] = {
        "Complete": grpc.unary_unary_rpc_method_handler(service.complete),
        "StreamComplete": grpc.unary_stream_rpc_method_handler(service.stream),
    }
    name = payloads.SERVICE.strip("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()
    return 0


async def main(kind: str, provider: str) -> int:
    return await serve(Echo() if kind == "echo" else Thin(provider))


if __name__ == "__main__":
    run_loop(main(sys.argv[1], sys.argv[2]))
