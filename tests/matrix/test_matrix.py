"""Every cell of docs/provider-matrix.md, by a whole call."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llmgateway_server.testing.fake_provider import FakeProvider
from llmgateway_server.testing.gateway import running_gateway
from tests.matrix import page, vendors_page
from tests.matrix.columns import COLUMNS, Column, settings
from tests.matrix.features import FEATURES
from tests.matrix.observe import Observer


@pytest.fixture
async def observer() -> AsyncIterator[Observer]:
    async with FakeProvider() as fake, running_gateway(settings(fake)) as gateway:
        yield Observer(gateway, fake)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: f"{column.vendor}-{column.dialect}")
async def test_cells(observer: Observer, column: Column) -> None:
    written = page.read(page.PAGE.read_text(encoding="utf-8"))
    observed = {feature.name: await observer.cell(column, feature) for feature in FEATURES}
    assert observed == {feature.name: written[column, feature.name] for feature in FEATURES}


def test_the_page_is_what_would_be_written() -> None:
    written = page.PAGE.read_text(encoding="utf-8")
    assert page.text(page.read(written)) == written


def test_the_table_of_vendors_is_what_would_be_written() -> None:
    assert vendors_page.table() in vendors_page.PAGE.read_text(encoding="utf-8")
