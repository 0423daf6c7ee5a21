"""The table of rows and tests in docs/reliability.md is what the tests are."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
SCRIPT = Path(__file__).parents[2] / "scripts" / "fault_table.py"


def test_the_table_is_fresh() -> None:
    """In a process of its own: this one may have collected some tests only."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_row_is_without_its_tests() -> None:
    """Those of providers, and of callers who leave or hurry, also with several targets and with 200 calls a second."""
    told = re.findall(r"^\| ([PCI]\d+) \| (`test_.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    files = {row: set(re.findall(r"`(test_\w+\.py)`", tests)) for row, tests in told}
    providers, callers = [f"P{number}" for number in range(1, 35)], [f"C{number}" for number in range(1, 21)]
    assert [row for row in files if row[0] in "PC"] == providers + callers
    for row in (*providers, *callers[:4]):
        assert files[row] & {"test_failover_rows.py", "test_failover_leaving.py", "test_nemesis.py"}, row
        assert files[row] & {"test_rows_under_load.py", "test_nemesis.py"}, row


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("test_p1_connection_refused[stream]", ["P1"]),
        ("test_p15_and_p22_the_request_is_refused[stream-p22-x]", ["P15", "P22"]),
        ("test_p19_p20_and_p25_the_provider_fails[p20-409-stream]", ["P19", "P20", "P25"]),
        ("test_another_target_answers[stream-p7 cut]", ["P7"]),
        ("test_c1_cancel", ["C1"]),
        ("test_a_p7_inside[unary-half of p8]", []),
    ],
)
def test_rows_of_a_name(name: str, rows: list[str]) -> None:
    spec = importlib.util.spec_from_file_location("fault_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    function, _, parameters = name.removesuffix("]").partition("[")
    assert script.rows_of(function, parameters) == rows
