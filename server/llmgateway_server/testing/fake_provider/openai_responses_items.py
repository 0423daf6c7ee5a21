"""The output items of Responses: as they are at the end, and the events that build them.

Source: OpenAI's API reference, "The response object" and "Streaming events", and recorded traffic.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmgateway_server.testing.fake_provider.frames import logprob, pieces, token_pieces, wish
from llmgateway_server.testing.fake_provider.reply import (
    FakeCitation,
    FakePart,
    FakeReasoning,
    FakeRefusal,
    FakeReply,
    FakeServerTool,
    FakeText,
    FakeToolCall,
)

Json = dict[str, Any]
Said = FakeText | FakeRefusal


def items(reply: FakeReply, request: Mapping[str, Any]) -> list[Json]:
    """Returns the finished items. Neighbouring texts and refusals are the contents of one message."""
    grouped = list(_groups(reply))
    unfinished = reply.ends in ("length", "content_filter")
    return [
        _item(group, f"{reply.response_id or 'fake'}_{index}", request, cut=unfinished and index == len(grouped) - 1)
        for index, group in enumerate(grouped)
    ]


def item_events(reply: FakeReply, request: Mapping[str, Any]) -> Iterator[Json]:
    """Yields the events of all items, still without sequence numbers."""
    for index, (group, item) in enumerate(zip(_groups(reply), items(reply, request), strict=True)):
        yield {"type": "response.output_item.added", "output_index": index, "item": _begun(item)}
        for event in _inner_events(group, item, reply.delta_chars):
            yield {"type": event.pop("type"), "item_id": item["id"], "output_index": index, **event}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _groups(reply: FakeReply) -> Iterator[Sequence[FakePart]]:
    for is_said, run in itertools.groupby(reply.parts, key=lambda part: isinstance(part, Said)):
        if is_said:
            yield tuple(run)
        else:
            yield from ((part,) for part in run)


def _includes(request: Mapping[str, Any], what: str) -> bool:
    return what in wish(request, "include", default=())


# --- finished items ----------------------------------------------------------------------------------------------


def _item(group: Sequence[FakePart], item_id: str, request: Mapping[str, Any], *, cut: bool) -> Json:
    status = "incomplete" if cut else "completed"
    match group[0]:
        case FakeReasoning() as thought:
            return _reasoning(thought, f"rs_{item_id}", request)
        case FakeToolCall(id=call_id, name=name, arguments_json=arguments):
            call = {"id": f"fc_{item_id}", "type": "function_call", "status": status}
            return {**call, "arguments": arguments, "call_id": call_id, "name": name}
        case FakeServerTool() as search:
            return _search(search, request)
        case _:
            contents = [_content(part, request) for part in group if isinstance(part, Said)]
            said: Json = {"id": f"msg_{item_id}", "type": "message", "status": status}
            return {**said, "content": contents, "role": "assistant"}


def _reasoning(thought: FakeReasoning, item_id: str, request: Mapping[str, Any]) -> Json:
    """Summaries and encrypted content are sent to those who ask for them."""
    shown = thought.text and not thought.redacted_data and wish(request, "reasoning", "summary")
    item: Json = {"id": item_id, "type": "reasoning", "summary": []}
    if shown:
        item["summary"] = [{"type": "summary_text", "text": thought.text}]
    if _includes(request, "reasoning.encrypted_content"):
        item["encrypted_content"] = thought.redacted_data or thought.seal
    return item


def _search(search: FakeServerTool, request: Mapping[str, Any]) -> Json:
    action: Json = {"type": "search", "query": search.query, "queries": [search.query]}
    if _includes(request, "web_search_call.action.sources"):
        action["sources"] = [{"type": "url", "url": result.url} for result in search.results]
    status = "failed" if search.error_code else "completed"
    return {"id": search.id, "type": "web_search_call", "status": status, "action": action}


def _content(part: Said, request: Mapping[str, Any]) -> Json:
    if isinstance(part, FakeRefusal):
        return {"type": "refusal", "refusal": part.text}
    annotations = [_annotation(cited) for cited in part.citations if cited.uri]
    return {
        "type": "output_text",
        "annotations": annotations,
        "logprobs": _logprobs(part, request),
        "text": part.text,
    }


def _annotation(cited: FakeCitation) -> Json:
    place = {"start_index": cited.start_index, "end_index": cited.end_index}
    return {"type": "url_citation", **place, "title": cited.title, "url": cited.uri}


def _logprobs(part: FakeText, request: Mapping[str, Any]) -> list[Json]:
    if not _includes(request, "message.output_text.logprobs"):
        return []
    return [logprob(token, request.get("top_logprobs") or 0) for token in part.logprobs]


# --- items in the making -----------------------------------------------------------------------------------------


def _begun(item: Json) -> Json:
    """Returns an item as it is when it is added: nothing is said yet."""
    match item["type"]:
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case "function_call":
            return {**item, "status": "in_progress", "arguments": ""}
        case "web_search_call":
            return {**item, "status": "in_progress", "action": {"type": "search", "query": ""}}
        case _:
            return {**item, "summary": []}


def _inner_events(group: Sequence[FakePart], item: Json, chars: int) -> Iterator[Json]:
    """Yields what happens between an item's beginning and its end, without ids and the item's index."""
    match item["type"]:
        case "message":
            parts = [part for part in group if isinstance(part, Said)]
            for index, (part, content) in enumerate(zip(parts, item["content"], strict=True)):
                yield from ({**event, "content_index": index} for event in _content_events(part, content, chars))
        case "function_call":
            arguments = item["arguments"]
            name = "response.function_call_arguments"
            yield from ({"type": f"{name}.delta", "delta": piece} for piece in pieces(arguments, chars))
            yield {"type": f"{name}.done", "arguments": arguments}
        case "web_search_call":
            steps = ("in_progress", "searching", "completed")
            yield from ({"type": f"response.web_search_call.{step}"} for step in steps)
        case _:
            for index, part in enumerate(item["summary"]):
                yield from ({**event, "summary_index": index} for event in _summary_events(part, chars))


def _content_events(part: Said, content: Json, chars: int) -> Iterator[Json]:
    if isinstance(part, FakeRefusal):
        yield {"type": "response.content_part.added", "part": {"type": "refusal", "refusal": ""}}
        yield from ({"type": "response.refusal.delta", "delta": piece} for piece in pieces(part.text, chars))
        yield {"type": "response.refusal.done", "refusal": part.text}
    else:
        empty = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        yield {"type": "response.content_part.added", "part": empty}
        for piece, tokens in _text_pieces(part, content["logprobs"], chars):
            yield {"type": "response.output_text.delta", "delta": piece, "logprobs": tokens}
        for index, annotation in enumerate(content["annotations"]):
            added = {"type": "response.output_text.annotation.added", "annotation_index": index}
            yield {**added, "annotation": annotation}
        yield {"type": "response.output_text.done", "text": part.text, "logprobs": content["logprobs"]}
    yield {"type": "response.content_part.done", "part": content}


def _text_pieces(part: FakeText, tokens: list[Json], chars: int) -> list[tuple[str, list[Json]]]:
    if not tokens:
        return [(piece, []) for piece in pieces(part.text, chars)]
    said = token_pieces(part.logprobs)
    return [(piece, [token]) for (piece, _), token in zip(said, tokens, strict=True)]


def _summary_events(part: Json, chars: int) -> Iterator[Json]:
    yield {"type": "response.reasoning_summary_part.added", "part": {"type": "summary_text", "text": ""}}
    for piece in pieces(part["text"], chars):
        yield {"type": "response.reasoning_summary_text.delta", "delta": piece}
    yield {"type": "response.reasoning_summary_text.done", "text": part["text"]}
    yield {"type": "response.reasoning_summary_part.done", "part": part}
