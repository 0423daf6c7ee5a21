"""The structured log: JSON lines, or readable ones on a terminal.

Nothing here takes free text from outside: events are fixed words, values are ids, names, numbers and reasons.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO, cast

import structlog
from opentelemetry import trace as otel
from pydantic import BaseModel, ConfigDict

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class LogSettings(BaseModel):
    """How the log is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """Least severity that is written."""
    format: Literal["auto", "json", "text"] = "auto"
    """`auto` is text on a terminal and JSON elsewhere."""


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Sets up the process's log once, to `stream` or to standard error as it is when a line is written."""
    out = stream or sys.stderr
    as_text = settings.format == "text" or (settings.format == "auto" and out.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty()) if as_text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_trace,
            structlog.processors.ExceptionRenderer(_exception_names),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Unfailing(out))),
        cache_logger_on_first_use=False,
    )
    # They log the text of exceptions and of peers through the standard library; ours has its own line for each of them.
    for library in ("grpc", "opentelemetry"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def logger(room: str) -> structlog.typing.FilteringBoundLogger:
    """Returns the logger of a room."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(room=room)
    return bound


def _add_trace(
    _logger: structlog.typing.WrappedLogger, _method: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Names the span in which a line is written, where there is one that is recorded."""
    span = otel.get_current_span()
    if span.is_recording():
        ids = span.get_span_context()
        line["trace_id"], line["span_id"] = format(ids.trace_id, "032x"), format(ids.span_id, "016x")
    return line


def _exception_names(exc_info: structlog.typing.ExcInfo) -> str:
    """Renders an exception as its type and the places it passed; its text may quote a secret or a prompt."""
    kind, _, traceback = exc_info
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return f"{kind.__name__} at {' < '.join(reversed(places[-8:]))}"


class _Unfailing:
    """A text stream whose failures (full disk, closed pipe) are counted instead of raised: a log never fails a call."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost_line_count = 0

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            self.lost_line_count += 1

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self.lost_line_count += 1
