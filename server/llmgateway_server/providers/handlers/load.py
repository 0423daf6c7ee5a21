"""Finds the handler that a configuration names, and checks that it can be called. Nothing of it is called here."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from llmgateway_server.providers.handlers.request import Request

PYTHON = "python"
"""The vendor whose accounts name their handler by themselves."""
GROUP = "llmgateway.providers"
"""The group of entry points in which installed packages offer handlers; an entry's name is the vendor."""
NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
"""A vendor's name; entries with another one are passed over."""
REFERENCE = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<attribute>[^\W\d]\w*(\.[^\W\d]\w*)*)")


class NotUsable(Exception):
    """There is no handler to be called; the text names modules and types, never what an exception said."""


class Form(Enum):
    """How a handler is called."""

    COROUTINE = auto()
    """It is awaited and gives the answer as a whole."""
    ASYNC_GENERATOR = auto()
    """It yields."""
    IN_THREAD = auto()
    """It blocks, and gives the answer as a whole or yields."""


@dataclass(slots=True, frozen=True)
class Handler:
    """A function that answers requests."""

    function: Callable[[Request], Any]
    form: Form
    thread_count: int = 0
    """How many calls may be in it at the same time; for IN_THREAD alone."""


def offered() -> list[str]:
    """Returns the vendors that installed packages offer, by name; no package is imported."""
    return sorted({entry.name for entry in entry_points(group=GROUP) if NAME.fullmatch(entry.name)})


def load(vendor: str, reference: str, thread_count: int) -> Handler:
    """Imports a handler.

    Args:
        vendor: `PYTHON`, or one that a package offers.
        reference: `package.module:callable`, for `PYTHON` alone.
        thread_count: how many threads a callable gets that is not async; 0: it must be async.

    Raises:
        NotUsable: it is not there, cannot be imported, or cannot be called with one request.
    """
    found = _attribute(reference if vendor == PYTHON else _entry(vendor).value)
    return Handler(found, _form(found, thread_count), thread_count)


def _entry(vendor: str) -> EntryPoint:
    """Returns the entry of a vendor; packages that say the very same count once."""
    entries = {entry.value: entry for entry in entry_points(group=GROUP, name=vendor)}
    if not entries:
        raise NotUsable("no installed package offers it")
    if len(entries) > 1:
        raise NotUsable("more than one installed package offers it")
    return next(iter(entries.values()))


def _attribute(reference: str) -> Callable[[Request], Any]:
    match = REFERENCE.fullmatch(reference)
    if match is None:
        raise NotUsable("must be package.module:callable")
    module = match["module"]
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise NotUsable(f"the module {module} imports one that is not there") from None
        raise NotUsable(f"there is no module {module}; is it installed, or on PYTHONPATH?") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  # it is the code of somebody else
        raise NotUsable(f"the module {module} cannot be imported: it raises {type(error).__name__}") from None
    try:
        for name in match["attribute"].split("."):
            found = getattr(found, name)
    except Exception:  # noqa: BLE001  # a module may compute its attributes
        raise NotUsable(f"the module {module} has no {match['attribute']}") from None
    if not callable(found):
        raise NotUsable("is nothing that can be called")
    function: Callable[[Request], Any] = found
    return function


def _form(function: Callable[[Request], Any], thread_count: int) -> Form:
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError):
        raise NotUsable("must be callable with the request alone") from None
    form = _form_of(function)
    if form is not Form.IN_THREAD and thread_count:
        raise NotUsable("is async: threads are for a callable that is not")
    if form is Form.IN_THREAD and not thread_count:
        raise NotUsable("is not async: make it so, or set threads to how many calls may block at the same time")
    return form


def _form_of(function: Callable[[Request], Any]) -> Form:
    """Tells by the function itself, or by the `__call__` of an object."""
    for each in (function, type(function).__call__):
        if inspect.isasyncgenfunction(each):
            return Form.ASYNC_GENERATOR
        if inspect.iscoroutinefunction(each):
            return Form.COROUTINE
    return Form.IN_THREAD
