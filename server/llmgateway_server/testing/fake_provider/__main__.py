"""Runs a fake provider by hand: `python -m llmgateway_server.testing.fake_provider --port 8080`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

from llmgateway_server.testing.fake_provider import cuts
from llmgateway_server.testing.fake_provider.reply import FakeReply
from llmgateway_server.testing.fake_provider.server import FakeProvider

CUTS: dict[str, cuts.Cut] = {
    "whole": cuts.whole,
    "frame": cuts.per_frame,
    "byte": cuts.one_byte,
    "utf8": cuts.inside_utf8,
    "random": cuts.seeded(0),
}


def main(arguments: list[str] | None = None) -> None:
    """Serves until it is interrupted. The address is written to standard error once it is open."""
    parser = argparse.ArgumentParser(prog="fake_provider", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--reply", help="what it says")
    parser.add_argument("--api-key", default="", help="the only right key; without it every key is")
    parser.add_argument("--model", action="append", default=[], help="a model that exists; without it all do")
    parser.add_argument("--cut", choices=sorted(CUTS), default="frame", help="how streams are cut")
    given = parser.parse_args(arguments)
    reply = FakeReply() if given.reply is None else FakeReply.of(given.reply)
    fake = FakeProvider(
        lambda _received: reply,
        models=tuple(given.model),
        api_key=given.api_key,
        cut=CUTS[given.cut],
        host=given.host,
        port=given.port,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(fake))


async def _serve(fake: FakeProvider) -> None:
    async with fake:
        sys.stderr.write(f"fake provider is serving on {fake.base_url}\n")
        sys.stderr.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
