"""What `llmgateway check-config` does: everything that a start does, less the start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llmgateway_server.config.catalog import catalog
from llmgateway_server.config.environment import not_understood
from llmgateway_server.config.load import load_usable
from llmgateway_server.config.trial import looked_at


def check(path: Path | None, environment: Mapping[str, str]) -> dict[str, int]:
    """Checks a configuration as `serve` would use it.

    Args:
        path: of the file. None: what `serve` without a file uses.
        environment: with overrides and secrets.

    Returns:
        How many `providers`, `models` and `keys` a good one has.

    Raises:
        ConfigError: with every mistake, one a line, each with its place.
    """
    settings = load_usable(path, environment).settings
    models = catalog(settings, looked_at(settings)).models()
    return {"providers": len(settings.providers), "models": len(models), "keys": len(settings.auth.keys)}


def unknown_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the names of variables that are set and ask for something that there is not; worth a warning."""
    return not_understood(environment)
