"""The table of vendors in docs/providers.md: written from their rows, and compared by a test."""

from __future__ import annotations

import re
from pathlib import Path

from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.vendors import VENDORS, Vendor
from llmgateway_server.providers.wire.port import WireRequest

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
HEAD = "| vendor | dialects, the usual one first | address | key's variable | a key goes as | other credentials |\n"
RULE = f"|{' --- |' * 6}\n"
TABLE = re.compile(re.escape(HEAD) + r"(\|.*\n)+")


def table() -> str:
    """Returns the table."""
    return HEAD + RULE + "".join(map(_row, VENDORS.values()))


def written(page: str) -> str:
    """Returns the page with the table as it would be written."""
    return TABLE.sub(lambda _: table(), page)


def _row(vendor: Vendor) -> str:
    [(header, value)] = vendor.authorize(WireRequest("POST", "/", ()), Secret("KEY"))
    sent = f"`{header}: {value.removesuffix('KEY').strip()}`".replace(": `", "`")
    cells = (
        f"`{vendor.name}`",
        ", ".join(f"`{dialect.name}`" for dialect in vendor.dialects),
        f"`{vendor.base_url}`" if vendor.base_url else "your own",
        f"`{vendor.key_variable}`" if vendor.key_variable else "",
        sent,
        ", ".join(f"`{kind}`" for kind in sorted(vendor.credentials)),
    )
    return f"| {' | '.join(cells)} |\n"
