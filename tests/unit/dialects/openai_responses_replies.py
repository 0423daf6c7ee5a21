"""Responses as the vendor writes them, whole and as events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

from llmgateway_server.core.calls import Attempt
from llmgateway_server.providers.dialects.openai_responses import OpenAiResponses
from tests.unit.dialects.kit import Folded, Json, Reader, pieces

DIALECT = OpenAiResponses()
READER = Reader(DIALECT)
read_stream = READER.read_stream


def unary(answer: Json, attempt: Attempt | None = None) -> Folded:
    return READER.whole(body_of(answer), attempt)


def streamed(*events: Json, attempt: Attempt | None = None) -> Folded:
    return READER.streamed(sse(events), attempt=attempt)


def sse(events: Iterable[Json], *, end: str = "\n", done: bool = False) -> bytes:
    written = [
        f"event: {event['type']}{end}data: {json.dumps({**event, 'sequence_number': n}, ensure_ascii=False)}{end}{end}"
        for n, event in enumerate(events)
    ]
    return "".join([*written, f"data: [DONE]{end}{end}" if done else ""]).encode()


def body_of(answer: Json) -> bytes:
    """Writes a response as the vendor does, who puts blanks between everything."""
    return json.dumps(answer, indent=1, ensure_ascii=False).encode()


def response(*output: Json, status: str = "completed", **more: Any) -> Json:
    return {
        "id": "resp_1",
        "object": "response",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "m-1",
        "output": list(output),
        "usage": None,
        **more,
    }


def message(*content: Json, item_id: str = "msg_1", **more: Any) -> Json:
    said = {"id": item_id, "type": "message", "status": "completed", "role": "assistant"}
    return {**said, "content": list(content), **more}


def output_text(text: str, *annotations: Json, **more: Any) -> Json:
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": [], **more}


def reasoning(*summary: str, item_id: str = "rs_1", **more: Any) -> Json:
    texts = [{"type": "summary_text", "text": text} for text in summary]
    return {"id": item_id, "type": "reasoning", "summary": texts, **more}


def call(arguments: str, name: str = "look", call_id: str = "call_1", item_id: str = "fc_1") -> Json:
    known = {"id": item_id, "type": "function_call", "status": "completed"}
    return {**known, "arguments": arguments, "call_id": call_id, "name": name}


def begun(item: Json) -> Json:
    """Returns an item as it is announced: nothing is said yet."""
    empty: dict[str, Json] = {
        "message": {"content": [], "status": "in_progress"},
        "reasoning": {"summary": [], "encrypted_content": "unfinished"},
        "function_call": {"arguments": "", "status": "in_progress"},
    }
    return {**item, **empty.get(item["type"], {"status": "in_progress"})}


def created(answer: Json) -> Json:
    return {"type": "response.created", "response": {**answer, "status": "in_progress", "output": []}}


def ended(answer: Json) -> Json:
    return {"type": f"response.{answer['status']}", "response": answer}


def added(index: int, item: Json) -> Json:
    return {"type": "response.output_item.added", "output_index": index, "item": begun(item)}


def done(index: int, item: Json) -> Json:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def delta(index: int, what: str, text: str, place: int = 0, **more: Any) -> Json:
    kind = "summary_index" if "summary" in what else "content_index"
    return {"type": f"response.{what}.delta", "output_index": index, kind: place, "delta": text, **more}


def item_events(draw: st.DrawFn, index: int, item: Json) -> Iterator[Json]:
    """Yields the events of one item; what they need not tell of its last piece is left to its end now and then."""
    at = {"output_index": index, "item_id": item.get("id")}
    yield added(index, item)
    match item["type"]:
        case "message":
            for place, content in enumerate(item["content"]):
                is_last = place == len(item["content"]) - 1
                yield from _content_events(draw, {**at, "content_index": place}, content, is_last=is_last)
        case "reasoning":
            for place, part in enumerate(item["summary"]):
                here = {**at, "summary_index": place}
                yield {"type": "response.reasoning_summary_part.added", **here, "part": {**part, "text": ""}}
                yield from _said(draw, "response.reasoning_summary_text", here, {"text": part["text"]})
                if draw(st.booleans()) or place < len(item["summary"]) - 1:
                    yield {"type": "response.reasoning_summary_part.done", **here, "part": part}
            for place, part in enumerate(item.get("content") or ()):
                here = {**at, "content_index": place}
                yield from _said(draw, "response.reasoning_text", here, {"text": part["text"]})
                if place < len(item["content"]) - 1:
                    yield {"type": "response.reasoning_text.done", **here, "text": part["text"]}
        case "function_call":
            yield from _said(draw, "response.function_call_arguments", at, {"arguments": item["arguments"]})
        case other:
            yield {"type": f"response.{other}.in_progress", **at}
    yield done(index, item)


def _content_events(draw: st.DrawFn, at: Json, content: Json, *, is_last: bool) -> Iterator[Json]:
    empty = {**content, **({"text": "", "annotations": []} if "text" in content else {"refusal": ""})}
    yield {"type": "response.content_part.added", **at, "part": empty}
    if "refusal" in content:
        yield from _said(draw, "response.refusal", at, {"refusal": content["refusal"]})
    else:
        for n, annotation in enumerate(content["annotations"] if draw(st.booleans()) else ()):
            event = {"type": "response.output_text.annotation.added", "annotation_index": n}
            yield {**event, **at, "annotation": annotation}
        yield from _said(draw, "response.output_text", at, {name: content[name] for name in ("text", "logprobs")})
    if draw(st.booleans()) or not is_last:
        yield {"type": "response.content_part.done", **at, "part": content}


def _said(draw: st.DrawFn, what: str, at: Json, whole: Json) -> Iterator[Json]:
    """Yields deltas of the text, or of a beginning of it, and now and then the whole of it.

    Args:
        whole: the text under its name, and its tokens, one for each character.
    """
    text, tokens = next(iter(whole.values())), whole.get("logprobs")
    told = text if draw(st.booleans()) else text[: draw(st.integers(0, len(text)))]
    start = 0
    for piece in draw(pieces(told)):
        event = {"type": f"{what}.delta", **at, "delta": piece, "obfuscation": "x"}
        yield event if tokens is None else {**event, "logprobs": tokens[start : start + len(piece)]}
        start += len(piece)
    if draw(st.booleans()):
        yield {"type": f"{what}.done", **at, **whole}
