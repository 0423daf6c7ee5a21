"""In which order a killed worker's sockets close: the one that listens before its connections.

The kernel closes the descriptors of a dying process from the highest to the lowest. A caller who loses its connection
connects again within a fraction of a millisecond; if the dead worker still listens then, it gets the new connection,
resets it, and gRPC tries no other for a second.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

MOST_BELOW = 8192
"""Connections that find room below; those beyond close before the socket that listens."""


@contextmanager
def opened_high() -> Iterator[None]:
    """Gives what is opened in the block high numbers, so that low ones are left for what comes later."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_BELOW if soft == resource.RLIM_INFINITY else min(MOST_BELOW, soft // 2)
    placeholders = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while placeholders[-1] < wanted:
            placeholders.append(os.dup(placeholders[0]))
        yield
    finally:
        for each in placeholders:
            os.close(each)
