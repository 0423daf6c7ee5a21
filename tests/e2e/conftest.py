"""Gateways that several tests call; each is a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.kit import Key, Served, new_key, serving, write_config


@dataclass(slots=True, frozen=True)
class Keyed:
    """A gateway with two keys."""

    served: Served
    caller: Key
    viewer: Key


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An open gateway without a configuration file."""
    with serving(tmp_path_factory.mktemp("open")) as served:
        yield served


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder: Path = tmp_path_factory.mktemp("keyed")
    caller, viewer = new_key("caller"), new_key("viewer")
    config = write_config(folder, keys=(caller, viewer))
    with serving(folder, "--config", str(config)) as served:
        yield Keyed(served, caller, viewer)
