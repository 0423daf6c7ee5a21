import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway.v1 import reply_pb2
from llmgateway_server.core.errors import RequestError
from llmgateway_server.providers.simulator.answer import MAX_EXAMPLE_VALUES, example
from llmgateway_server.providers.simulator.script import BOUNDS, CHOICES, FAULTS, Script, parse
from llmgateway_server.testing.gateway import running_gateway
from tests.properties.loop import ask, read_stream, refusal

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| `")]
OPTIONS = {row[0].strip("` "): row[1:] for row in ROWS if len(row) == 4}
FAULT_ROWS = {row[0].strip("` "): row[2].strip("| ") for row in ROWS if len(row) == 3}


def test_the_page_has_every_option_with_its_range_and_default() -> None:
    assert list(OPTIONS) == [field.name for field in fields(Script)]
    for field in fields(Script):
        value, default, _ = OPTIONS[field.name]
        if field.name in BOUNDS:
            low, high = BOUNDS[field.name]
            assert value == f"{low}–{high}"
        elif field.name == "usage":
            assert value == ", ".join(f"`{choice}`" for choice in CHOICES["usage"])
        assert default == str(field.default or (0 if field.default == 0 else "none"))


def test_the_page_has_every_fault() -> None:
    assert list(FAULT_ROWS) == list(FAULTS)


@pytest.mark.parametrize("fault", list(FAULTS))
async def test_the_page_says_what_the_caller_sees(fault: str) -> None:
    timeouts = {"first_token_s": 0.3, "idle_s": 0.3, "progress_s": 0.2}
    async with running_gateway({"providers": {"simulator": {"vendor": "simulator"}}, "timeouts": timeouts}) as gateway:
        events, error = await read_stream(
            gateway.stub.StreamComplete(ask(model=f"simulator/chat?fault={fault}&tokens=5"))
        )
    if error is None:
        finished = reply_pb2.FinishReason.Name(events[-1].finished.finish_reason)
        seen = f"OK, finish reason {finished.removeprefix('FINISH_REASON_')}"
    else:
        seen = f"{error.code().name} `{refusal(error).reason}`"
    assert seen == FAULT_ROWS[fault]


def test_the_examples_of_the_page_are_scripts() -> None:
    names = re.findall(r'"model":"(simulator/[^"]*)"', PAGE)
    assert len(names) == 2
    for name in names:
        parse(name)


@pytest.mark.parametrize(
    "query",
    ["tokens=-1", "tokens=100001", "tokens=", "tokens=1e3", "usage=some", "fault=", "no=1", "status=299", "at=x"],
)
def test_bad_options_are_refused(query: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(f"chat?{query}&{query}")
    assert [found.rule for found in caught.value.violations] == ["simulator.script"] * 2


@given(st.text(max_size=60))
def test_a_script_is_read_or_refused(query: str) -> None:
    refused = None
    try:
        parse(f"chat?{query}")
    except RequestError as error:
        refused = error
    assert refused is None or refused.violations


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
words = ["type", "enum", "const", "items", "minItems", "properties", "required", "minimum"]
schemas = st.recursive(
    st.dictionaries(st.sampled_from(words), json_values, max_size=4),
    lambda inner: st.fixed_dictionaries(
        {"type": st.sampled_from(["array", "object", "string", ["array", "null"]])},
        optional={
            "items": inner,
            "minItems": st.sampled_from([0, 3, 10**12, -1]),
            "properties": st.dictionaries(st.sampled_from("abc"), inner),
            "required": st.lists(st.sampled_from("abc"), max_size=4),
        },
    ),
)


def size(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(size, value.values()))
    return 1 + sum(map(size, value)) if isinstance(value, list) else 1


@given(schemas)
def test_any_schema_gets_a_small_example(schema: object) -> None:
    made = example(schema)
    if "const" not in str(schema) and "enum" not in str(schema) and "minimum" not in str(schema):
        assert size(made) <= 2 * MAX_EXAMPLE_VALUES


def test_examples() -> None:
    assert example({"type": "array", "minItems": 2, "items": {"enum": [3, 4]}}) == [3, 3]
    assert example({"properties": {"a": {"type": ["boolean"]}, "b": {}}, "required": ["a"]}) == {"a": True}
    assert example({"enum": {}}) == {}
    assert example({"type": "array", "minItems": "2"}) == []
