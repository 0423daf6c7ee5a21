import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.contract.json_text import MAX_DEPTH, MAX_NODES, check_json_object

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


def rules(text: str) -> list[str]:
    return [violation.rule for violation in check_json_object("p", text)]


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), values, max_size=4))
def test_objects_pass(value: dict[str, object]) -> None:
    assert rules(json.dumps(value)) == []
    assert rules(json.dumps(value, ensure_ascii=False, indent=1)) == []


@pytest.mark.parametrize(
    "text", ["", "{", "nothing", '{"a":NaN}', '{"a":1e999}', '{"a":"\\ud800"}', "{'a':1}", '{"a":1}x']
)
def test_what_is_not_json(text: str) -> None:
    assert rules(text) == ["json.syntax"]


@pytest.mark.parametrize("text", ["[]", "1", '"x"', "null"])
def test_what_is_not_an_object(text: str) -> None:
    assert rules(text) == ["json.object"]


def test_depth() -> None:
    def nested(depth: int) -> str:
        return '{"a":' * depth + "1" + "}" * depth

    assert rules(nested(MAX_DEPTH)) == []
    assert rules(nested(MAX_DEPTH + 1)) == ["json.depth"]
    assert rules("[" * 1_000_000) == ["json.depth"]
    assert rules('{"a":"' + "[" * 100 + '\\"{{"}') == []  # brackets inside a string


def test_nodes() -> None:
    assert rules(json.dumps({"a": [0] * (MAX_NODES - 2)})) == []
    assert rules(json.dumps({"a": [0] * (MAX_NODES - 1)})) == ["json.nodes"]
    assert rules(json.dumps({str(i): "x" for i in range(MAX_NODES - 1)})) == []
    assert rules(json.dumps({str(i): {} for i in range(MAX_NODES)})) == ["json.nodes"]


@pytest.mark.parametrize(
    "text",
    ['{"a":[' + "0," * 2_000_000 + "0]}", '{"a":[' + '"",' * 1_000_000, '{"a":"' + '\\"' * 2_000_000, "[]" * 2_000_000],
)
def test_the_largest_text_does_not_hold_up_the_loop(text: str) -> None:
    began = time.process_time()
    assert rules(text)
    assert time.process_time() - began < 0.5  # bounded work takes a tenth of it
