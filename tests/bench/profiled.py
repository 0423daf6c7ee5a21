"""Runs the command `llmgateway` under a profiler that signals switch: SIGUSR1 on, SIGUSR2 off and done.

`python -m tests.bench.profiled FILE serve …`. When it is switched off it writes one JSON array per function to FILE:
path, line, name, calls, seconds of its own, seconds with everything below. Time is CPU time of the process. The
profiler watches the thread of the loop only, which is where the gateway works; what it costs itself is in the figures.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import signal
import sys
import time
from pathlib import Path
from typing import Any, cast

from llmgateway_server.__main__ import main


def write(profiler: cProfile.Profile, file: Path) -> None:
    """Writes what was found; the file appears complete or not at all."""
    profiler.disable()
    found = cast("Any", pstats.Stats(profiler)).stats
    rows = [
        (path, line, name, calls, own_s, total_s)
        for (path, line, name), (_, calls, own_s, total_s, _callers) in found.items()
    ]
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(rows), encoding="utf-8")
    partial.rename(file)


if __name__ == "__main__":
    target = Path(sys.argv.pop(1))
    watching = cProfile.Profile(time.process_time)
    signal.signal(signal.SIGUSR1, lambda *_: watching.enable())
    signal.signal(signal.SIGUSR2, lambda *_: write(watching, target))
    main()
