"""Targets that operators have switched off for now, without a change of the configuration. Of this process only."""

from __future__ import annotations

from llmgateway_server.core.targets import Target

WHOLE_PROVIDER = ""


class Switches:
    """Which targets are off: an account's upstream model, or all of an account."""

    def __init__(self) -> None:
        self._off: set[tuple[str, str]] = set()

    @property
    def all_on(self) -> bool:
        """Whether nothing is switched off, as nearly always."""
        return not self._off

    def is_off(self, target: Target) -> bool:
        """Tells whether a target must not be tried."""
        return bool(self._off) and (
            (target.provider, WHOLE_PROVIDER) in self._off
            or (target.provider, target.upstream_model.partition("?")[0]) in self._off
        )

    def turn(self, provider: str, upstream_model: str, *, on: bool) -> bool:
        """Switches a target, or all of an account where the model is empty; tells whether that changed anything."""
        key = provider, upstream_model
        if on == (key not in self._off):
            return False
        (self._off.discard if on else self._off.add)(key)
        return True

    def off(self) -> list[tuple[str, str]]:
        """Returns what is off: account and upstream model, sorted; an empty model stands for all of them."""
        return sorted(self._off)
