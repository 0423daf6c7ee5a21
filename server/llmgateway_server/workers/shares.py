"""A worker's share of the settings: what is set bounds the gateway, not each of its processes."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from llmgateway_server.config.settings import Settings
from llmgateway_server.http.settings import HttpSettings

SHARED = {
    "gate": ("max_in_flight",),
    "throttle": ("calls_per_minute", "calls_burst", "failed_logins_per_minute", "failed_logins_burst"),
}
"""Fields by section of which each worker gets an equal part, rounded up. All others hold for each worker."""

M = TypeVar("M", bound=BaseModel)


def share_of(settings: Settings, address: str) -> Settings:
    """Returns the settings of one worker.

    Args:
        settings: of the gateway.
        address: what was reserved, with its port.
    """
    workers = settings.server.workers
    sections: dict[str, BaseModel] = {
        name: _divided(getattr(settings, name), fields, workers) for name, fields in SHARED.items()
    }
    sections["server"] = settings.server.model_copy(update={"listen": address})
    sections["http"] = HttpSettings()  # the parent's door answers for all
    return settings.model_copy(update=sections)


def _divided(section: M, fields: tuple[str, ...], parts: int) -> M:
    return section.model_copy(update={field: -(-getattr(section, field) // parts) for field in fields})
