"""Who passes the quick check breaks no rule, and plain requests do pass it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.contract import schema
from llmgateway_server.contract.quick_check import QuickCheck
from tests.properties.messages import filled

QUICK = QuickCheck(schema._POOL)
PLAIN = {
    "model": "openai/gpt-4o",
    "temperature": 0.5,
    "max_output_tokens": 100,
    "metadata": {"user": "u-1", "project": "p", "tags": {"team": "search"}},
    "routing": {"preferred_providers": ["openai"], "max_attempts": 2},
    "messages": [
        {"role": "ROLE_SYSTEM", "parts": [{"text": "Be brief."}]},
        {"role": "ROLE_USER", "parts": [{"text": "é" * 1000}, {"media": {"uri": "https://a.example/b.png"}}]},
        {
            "role": "ROLE_ASSISTANT",
            "parts": [{"tool_call": {"id": "1", "name": "find", "arguments_json": "{}"}}],
        },
        {
            "role": "ROLE_TOOL",
            "parts": [{"tool_result": {"tool_call_id": "1", "content": [{"text": "found"}]}}],
        },
    ],
    "tools": [{"name": "find", "parameters_json_schema": "{}"}],
}


@pytest.mark.parametrize("name", schema.REQUESTS)
@given(data=st.data())
def test_who_passes_breaks_no_rule(name: str, data: st.DataObject) -> None:
    message = data.draw(filled(schema.message_class(name)()))
    if QUICK.passes(message):
        assert schema._VALIDATOR.collect_violations(message) == []


def test_plain_requests_pass() -> None:
    from google.protobuf import json_format

    message = json_format.ParseDict(PLAIN, schema.message_class("CompleteRequest")())
    assert QUICK.passes(message)
    assert schema._VALIDATOR.collect_violations(message) == []


CHANGES = [
    ({"model": "a\n"}, "pattern"),
    ({"model": "a" * 256}, "max_len"),
    ({"temperature": "NaN"}, "nan"),
    ({"temperature": 2.1}, "gte_lte"),
    ({"top_k": 0}, "gte"),
    ({"messages": []}, "min_items"),
    ({"messages": [{"parts": [{"text": "a"}]}]}, "required"),
    ({"messages": [{"role": 99, "parts": [{"text": "a"}]}]}, "defined_only"),
    ({"messages": [{"role": "ROLE_USER", "parts": [{}]}]}, "oneof"),
    ({"messages": [{"role": "ROLE_USER", "parts": [{"text": "a\0b"}]}]}, "nested"),
    ({"stop": [""]}, "items"),
    ({"metadata": {"tags": {"": "a"}}}, "keys"),
    ({"metadata": {"tags": {"a": "\x01"}}}, "values"),
    ({"metadata": {"tags": {str(i): "a" for i in range(33)}}}, "max_pairs"),
    ({"routing": {"required_capabilities": [0]}}, "not_in"),
    ({"tool_choice": {"mode": "TOOL_CHOICE_MODE_NAMED"}}, "cel"),
]


@pytest.mark.parametrize(("change", "rule"), CHANGES, ids=[rule for _, rule in CHANGES])
def test_each_broken_rule_is_seen(change: dict[str, object], rule: str) -> None:
    from google.protobuf import json_format

    message = json_format.ParseDict({**PLAIN, **change}, schema.message_class("CompleteRequest")())
    assert not QUICK.passes(message)
    assert schema.violations(message)
