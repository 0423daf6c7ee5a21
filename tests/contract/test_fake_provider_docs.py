"""The page about the fake provider says what it does: its examples run, its table is the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmgateway_server.testing.fake_provider import FORMATS, PLAYS, FakeReply, FakeUsage

PAGE = Path(__file__).parents[2] / "docs" / "fake-provider.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(number: int) -> None:
    exec(compile(EXAMPLES[number], f"{PAGE.name}, example {number}", "exec"), {})


def test_the_table_is_complete() -> None:
    rows = [
        f"| {' | '.join([feature, *(cells.get(name, '') for name in FORMATS)])} |" for feature, cells in PLAYS.items()
    ]
    assert "\n".join(rows) in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("usage", [{"input_tokens": 1, "cache_read_tokens": 2}, {"reasoning_tokens": 6}])
def test_figures_have_to_add_up(usage: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="more than their total"):
        FakeUsage(**usage)


def test_deltas_have_a_size() -> None:
    with pytest.raises(ValueError, match="delta_chars"):
        FakeReply(delta_chars=0)
