"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """The log is configured once for a process: what a test sets, its level above all, must not reach the next one."""
    yield
    structlog.reset_defaults()
