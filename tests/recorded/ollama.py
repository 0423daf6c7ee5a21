"""What may differ between the body that a client of Ollama sent and the gateway's; see `differences`."""

from __future__ import annotations

from typing import Any

from tests.recorded import differences

Json = Any

LAST = b'"done":true'
"""What only the last line of a stream has."""
EMPTY = {"format": "", "options": {}, "tools": []}
"""Keys whose value is what their absence means."""
UNSAID_OPTIONS = {"think"}
"""Options that the server does not know, so that nobody says them neutrally."""
IDS = {"id", "tool_call_id", "tool_name"}
"""What tells calls apart and names the tool of a result: clients leave some of it out, the gateway says all of it."""


def comparable(body: Json) -> Json:
    """Returns the body after the rules that all share and those for Ollama."""
    return differences.comparable(_without_ids(_plain(body)))


def _plain(body: Json) -> Json:
    body = dict(body)
    if isinstance(body.get("options"), dict):
        body["options"] = {key: each for key, each in body["options"].items() if key not in UNSAID_OPTIONS}
    return {key: each for key, each in body.items() if not (key in EMPTY and each == EMPTY[key])}


def _without_ids(body: Json) -> Json:
    messages = [
        {key: _calls(each) if key == "tool_calls" else each for key, each in message.items() if key not in IDS}
        for message in body["messages"]
    ]
    return {**body, "messages": messages}


def _calls(calls: Json) -> Json:
    """Returns tool calls by what they call alone."""
    return [{"function": {key: call["function"].get(key) for key in ("name", "arguments")}} for call in calls or ()]
