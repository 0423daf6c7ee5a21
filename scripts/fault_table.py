"""Writes into docs/reliability.md which test holds which row of its fault tables; `--check` only compares.

A test belongs to the rows that its name begins with (`test_p15_and_p22_…`) and to those that the values of its
parameters begin with (`[stream-p7 cut]`). Tests are collected, not run.
"""

from __future__ import annotations

import io
import re
import sys
from collections import defaultdict
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
TESTS = ROOT / "tests" / "faults"
BEGIN, END = "<!-- fault table: begin -->", "<!-- fault table: end -->"
MAX_NAMES = 3
"""Names of tests that a cell holds per file; of more the number is told."""

_NAMED = re.compile(r"test_((?:[cpi]\d+_(?:and_)?)+)")
_PARAMETER = re.compile(r"(?:^|-)([cpi]\d+)(?=[ -]|$)")
_ROW = re.compile(r"[cpi]\d+")


class Collected:
    """A pytest plugin that keeps what is collected.

    Attributes:
        tests: names of test functions by row and file.
    """

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Notes the rows of each test."""
        for item in items:
            function, _, parameters = item.name.removesuffix("]").partition("[")
            for row in rows_of(function, parameters):
                self.tests[row][item.path.name][function] = None


def rows_of(function: str, parameters: str) -> list[str]:
    """Returns the rows of a test, such as `P15`."""
    named = _NAMED.match(function)
    found = [*(_ROW.findall(named[1]) if named else ()), *_PARAMETER.findall(parameters)]
    return list(dict.fromkeys(row.upper() for row in found))


def table(tests: dict[str, dict[str, dict[str, None]]]) -> str:
    """Returns the table, a line for each row, ordered by letter and number."""
    lines = ["| row | tests |", "| --- | --- |"]
    for row in sorted(tests, key=lambda row: (row[0] != "P", row[0], int(row[1:]))):
        cells = [f"`{name}`: {_names(list(functions))}" for name, functions in sorted(tests[row].items())]
        lines.append(f"| {row} | {'<br>'.join(cells)} |")
    return "\n".join(lines)


def _names(functions: list[str]) -> str:
    names = [function.removeprefix("test_") for function in functions[:MAX_NAMES]]
    more = len(functions) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def collected() -> dict[str, dict[str, dict[str, None]]]:
    """Collects the tests of faults.

    Raises:
        SystemExit: they cannot be collected.
    """
    plugin = Collected()
    options = ["--collect-only", "-qqq", "-p", "no:cacheprovider", "-p", "no:randomly", "--rootdir", str(ROOT)]
    with redirect_stdout(io.StringIO()):
        code = pytest.main([*options, str(TESTS)], plugins=[plugin])
    if code is not pytest.ExitCode.OK:
        raise SystemExit(f"the tests in {TESTS.relative_to(ROOT)} cannot be collected")
    return plugin.tests


def main() -> int:
    """Writes the table, or compares it."""
    page = PAGE.read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{PAGE.relative_to(ROOT)} has no place for the table")
    wanted = f"{before}{BEGIN}\n{table(collected())}\n{END}{after}"
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted)
        return 0
    if wanted != page:
        sys.stderr.write("the fault table is not fresh: run scripts/fault_table.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
