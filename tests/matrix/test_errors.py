"""Every cell of docs/provider-errors.md, by whole calls, unary and streamed."""

from __future__ import annotations

import pytest

from llmgateway_server.testing.gateway import running_gateway
from llmgateway_server.testing.upstream import Upstream
from tests.matrix import errors_page
from tests.matrix.columns import COLUMNS, Column
from tests.matrix.failures import CANARY, MEANINGS


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: f"{column.vendor}-{column.dialect}")
async def test_failures_mean_what_the_page_says(column: Column, capfd: pytest.CaptureFixture[str]) -> None:
    async with Upstream() as it, running_gateway(errors_page.settings(it)) as gateway:
        for situation, failure in errors_page.known(column).items():
            whole = await errors_page.outcome(gateway, it, column, failure)
            stream = await errors_page.outcome(gateway, it, column, failure, streaming=True)
            assert whole.comparable() == stream.comparable(), situation
            assert whole.reason in MEANINGS[situation], situation
            assert not whole.text
        assert CANARY not in gateway.record_text()
    told = capfd.readouterr()
    assert CANARY not in told.out + told.err


async def test_the_page_is_what_would_be_written() -> None:
    async with Upstream() as it, running_gateway(errors_page.settings(it)) as gateway:
        reasons = await errors_page.observed(gateway, it)
    assert errors_page.text(reasons) == errors_page.PAGE.read_text(encoding="utf-8")
