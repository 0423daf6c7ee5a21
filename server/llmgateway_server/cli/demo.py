"""The demonstration: a gateway on the simulator, called through the generated stubs."""

from __future__ import annotations

import io
import time
from typing import Any, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from rich.console import Console

from llmgateway.v1 import completion_pb2, error_pb2, llm_gateway_service_pb2_grpc, message_pb2, reply_pb2
from llmgateway_server.app import App
from llmgateway_server.cli.serve import run_loop
from llmgateway_server.config.load import from_environment
from llmgateway_server.observe import log

STREAMED_MODEL = "simulator/chat?tokens=40&first_token_ms=120&pace_ms=25"
REFUSED_MODEL = "gpt-99"


def run() -> int:
    """Runs the demonstration and returns the exit code. Keys in the environment are not looked at."""
    return run_loop(_demo(Console(highlight=False)))


async def _demo(console: Console) -> int:
    log.configure(log.LogSettings(level="error"))
    began = time.monotonic()
    app = App(from_environment({}, "127.0.0.1:0"), {}, records_stream=io.StringIO())
    address = await app.start()
    try:
        console.print(f"[bold]LLM Gateway[/bold] serves on {address} after {time.monotonic() - began:.2f} s\n")
        async with grpc.aio.insecure_channel(address) as channel:
            stub = llm_gateway_service_pb2_grpc.LlmGatewayServiceStub(channel)
            await _unary(console, stub)
            await _streamed(console, stub)
            await _refused(console, stub)
    finally:
        await app.drain(delay_s=0)
    console.print("The gateway has stopped.")
    return 0


def _request(model: str, text: str) -> completion_pb2.CompleteRequest:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=text)])
    return completion_pb2.CompleteRequest(model=model, messages=[message])


async def _unary(console: Console, stub: Any) -> None:
    console.print("[bold]1. Complete[/bold] — one request, one reply")
    reply = await stub.Complete(_request("simulator-chat", "What does a gateway do?"), timeout=10)
    console.print(f"   {''.join(part.text for part in reply.parts)}", style="green")
    _facts(console, reply, reply.target)


async def _streamed(console: Console, stub: Any) -> None:
    console.print("[bold]2. StreamComplete[/bold] — typed events as they come")
    console.print("   ", end="")
    target = None
    async for message in stub.StreamComplete(_request(STREAMED_MODEL, "Tell me more."), timeout=30):
        for event in message.events:
            match event.WhichOneof("event"):
                case "started":
                    target = event.started.target
                case "text_delta":
                    console.print(event.text_delta.text, end="", style="green", soft_wrap=True)
                case "finished":
                    console.print()
                    _facts(console, event.finished, target)


async def _refused(console: Console, stub: Any) -> None:
    console.print("[bold]3. A refused call[/bold] — a status with a reason, never a guess")
    try:
        await stub.Complete(_request(REFUSED_MODEL, "Hello?"), timeout=10)
    except grpc.aio.AioRpcError as error:
        console.print(f"   {error.code().name}: {error.details()}", style="yellow")
        status = rpc_status.from_call(cast("grpc.Call", error))
        info, alternatives = error_details_pb2.ErrorInfo(), error_pb2.ModelAlternatives()
        for detail in status.details if status is not None else ():
            detail.Unpack(info)
            detail.Unpack(alternatives)
        console.print(f"   reason {info.reason}, alternatives: {', '.join(alternatives.models)}\n")


def _facts(console: Console, reply: reply_pb2.CompleteResponse | reply_pb2.Finished, target: Any) -> None:
    usage, timings = reply.usage, reply.timings
    pace = f", {timings.output_tokens_per_second:.0f} tokens/s" if timings.HasField("output_tokens_per_second") else ""
    console.print(f"   usage    {usage.input_token_count} input + {usage.output_token_count} output tokens")
    console.print(f"   cost     ${reply.cost.total.usd} (price list {reply.cost.price_version})")
    first_token_ms, total_ms = timings.time_to_first_token_us / 1000, timings.total_us / 1000
    console.print(f"   timings  first token {first_token_ms:.1f} ms, total {total_ms:.1f} ms{pace}")
    console.print(f"   target   {target.provider}/{target.upstream_model}, {len(reply.attempts)} attempt\n")
