"""What a parent and its workers tell each other, one value after the other over a socket pair."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from llmgateway_server.observe.figures import View
from llmgateway_server.observe.statistics import Period, Taken


class Question(StrEnum):
    """What a worker wants of the figures of all."""

    OVER = "over"
    RECENT = "recent"
    RESET = "reset"


class Setup(Struct, tag=True):
    """The first word to a worker: serve."""

    settings: str
    """As JSON: the parent's own, so that a file that was changed meanwhile makes no two workers different."""


class ReportNow(Struct, tag=True):
    """Asks for a report; each is answered by one."""


class Drain(Struct, tag=True):
    """Let running calls end, then exit."""

    delay_s: float
    """How long calls are still taken."""


class End(Struct, tag=True):
    """Exit now."""


class Switch(Struct, tag=True):
    """An operator switched a target at one worker; the parent passes it on to the others."""

    provider: str
    upstream_model: str
    """Empty: all of the account."""
    enabled: bool


class Answer(Struct, tag=True):
    """Answers `Ask` with the same number."""

    number: int
    view: View | None
    """None where nothing was asked for but to be done."""


class Started(Struct, tag=True):
    """The worker serves."""


class Refused(Struct, tag=True):
    """The worker cannot start, and says why before it exits."""

    exit_code: int
    text: str


class Report(Struct, tag=True):
    """What was counted since the report before."""

    taken: Taken
    readings: dict[str, int | float]
    """How things are now, by metric."""
    asked: bool
    """Whether it answers `ReportNow`."""


class Ask(Struct, tag=True):
    """Asks the parent for the figures of all workers."""

    number: int
    question: Question
    period: Period = Period.ALL


ToWorker = Setup | ReportNow | Drain | End | Answer | Switch
ToParent = Started | Refused | Report | Ask | Switch
