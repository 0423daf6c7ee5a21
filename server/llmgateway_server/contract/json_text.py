"""Checks JSON text of callers without building more of it than its caps allow (docs/reliability.md)."""

from __future__ import annotations

import re

import msgspec

from llmgateway_server.core.errors import Violation

MAX_DEPTH = 32
MAX_NODES = 10_000
MAX_TOKENS = 6 * MAX_NODES
"""A value brings at most two strings (its key and itself), two brackets, a comma and a colon."""

# A string that does not end runs to the end of the text: otherwise each quote in it would be looked at again.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},:]', re.DOTALL)


def check_json_object(path: str, text: str) -> list[Violation]:
    """Returns what is wrong with the JSON text of an object: not JSON, not an object, too deep, too many nodes."""
    deepest, tokens = _shape(text)
    if deepest > MAX_DEPTH:  # before decoding: decoders recurse
        return [Violation(path, f"must not nest deeper than {MAX_DEPTH} levels", "json.depth")]
    if tokens > MAX_TOKENS:  # before decoding: decoders build what they read
        return [_too_many(path)]
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError):
        return [Violation(path, "must be JSON text", "json.syntax")]
    if not isinstance(value, dict):
        return [Violation(path, "must be the JSON text of an object", "json.object")]
    if _more_nodes_than(value, MAX_NODES):
        return [_too_many(path)]
    return []


def _too_many(path: str) -> Violation:
    return Violation(path, f"must not have more than {MAX_NODES} values", "json.nodes")


def _shape(text: str) -> tuple[int, int]:
    """Returns the deepest nesting and the number of tokens, ignoring brackets inside strings.

    It stops at the first that is over its cap, so that the work is bounded whatever the text is.
    """
    depth = deepest = tokens = 0
    for found in _TOKEN.finditer(text):
        char = found[0][0]
        tokens += 1
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
        if deepest > MAX_DEPTH or tokens > MAX_TOKENS:
            break
    return deepest, tokens


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
