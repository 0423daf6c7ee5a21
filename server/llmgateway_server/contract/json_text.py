"""Checks JSON text of callers without building more of it than its caps allow (RELIABILITY C18)."""

from __future__ import annotations

import msgspec

from llmgateway_server.core.errors import Violation

MAX_DEPTH = 32
MAX_NODES = 10_000


def check_json_object(path: str, text: str) -> list[Violation]:
    """Returns what is wrong with the JSON text of an object: not JSON, not an object, too deep, too many nodes."""
    if _depth(text) > MAX_DEPTH:  # before decoding: decoders recurse
        return [Violation(path, f"must not nest deeper than {MAX_DEPTH} levels", "json.depth")]
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError):
        return [Violation(path, "must be JSON text", "json.syntax")]
    if not isinstance(value, dict):
        return [Violation(path, "must be the JSON text of an object", "json.object")]
    if _more_nodes_than(value, MAX_NODES):
        return [Violation(path, f"must not have more than {MAX_NODES} values", "json.nodes")]
    return []


def _depth(text: str) -> int:
    """Returns the deepest nesting, ignoring brackets inside strings; linear in the text."""
    depth = deepest = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _more_nodes_than(value: object, limit: int) -> bool:
    stack, count = [value], 0
    while stack:
        node = stack.pop()
        count += 1
        if count > limit:
            return True
        if isinstance(node, dict):
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return False
