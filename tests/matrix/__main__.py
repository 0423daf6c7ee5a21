"""Writes docs/provider-{matrix,errors}.md and the table in docs/providers.md: `python -m tests.matrix`."""

from __future__ import annotations

import asyncio
import itertools
import sys

from llmgateway_server.testing.fake_provider import FakeProvider
from llmgateway_server.testing.gateway import running_gateway
from llmgateway_server.testing.upstream import Upstream
from tests.matrix import errors_page, page, vendors_page
from tests.matrix.columns import COLUMNS, settings
from tests.matrix.features import FEATURES
from tests.matrix.observe import Observer


async def _write() -> None:
    async with FakeProvider() as fake, running_gateway(settings(fake)) as gateway:
        observer = Observer(gateway, fake)
        cells, wrong = {}, []
        for column, feature in itertools.product(COLUMNS, FEATURES):
            try:
                cells[column, feature.name] = await observer.cell(column, feature)
            except AssertionError as error:
                wrong.append(f"{column.name}: {feature.name}: {error}")
    if wrong:
        sys.exit("\n".join(wrong))
    page.PAGE.write_text(page.text(cells), encoding="utf-8")
    async with Upstream() as it, running_gateway(errors_page.settings(it)) as gateway:
        reasons = await errors_page.observed(gateway, it)
    errors_page.PAGE.write_text(errors_page.text(reasons), encoding="utf-8")


def _write_vendors() -> None:
    vendors_page.PAGE.write_text(vendors_page.written(vendors_page.PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _write_vendors()
    asyncio.run(_write())
