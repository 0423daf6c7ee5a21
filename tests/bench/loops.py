"""Runs a coroutine as the gateway runs its own, without loading the gateway."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any, TypeVar

T = TypeVar("T")


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on uvloop where it is installed, otherwise on asyncio."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)


def loop_name() -> str:
    """Returns what `run_loop` runs on."""
    return f"uvloop {version('uvloop')}" if importlib.util.find_spec("uvloop") else "asyncio's own loop"
