"""OpenAI's tokenizers from data that is shipped beside this module: no network, no cache directory.

`data/<name>.bpe.gz`, unpacked: the number of tokens n (4 bytes, big endian), the length of each token (n × 1 byte),
the tokens one after the other. A token's rank is its place. `scripts/build-tokenizers.py` writes these files and proves
them by OpenAI's own hashes; `data/README.md` has their licence.

Loading takes 0.1 s and 37 MB (`cl100k_base`) or 0.2 s and 73 MB (`o200k_base`), once per process, when first asked for.
"""

from __future__ import annotations

import asyncio
import gzip
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from tiktoken import Encoding

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS: Final = 2
"""Threads that load and count. Not the loop's own: many long texts must not keep its name look-ups waiting."""


@dataclass(slots=True, frozen=True)
class Splitting:
    """How a tokenizer cuts text before it merges bytes, and its special tokens.

    Source: `tiktoken_ext/openai_public.py` of the Python package tiktoken (MIT).
    """

    pattern: str
    special_tokens: dict[str, int]


_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

ENCODINGS: Final = {
    "cl100k_base": Splitting(
        pattern=r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        special_tokens={
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": Splitting(
        pattern="|".join(
            (
                rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}",
                rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            )
        ),
        special_tokens={"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    ),
}
"""By the name that `Profile.tokenizer` uses."""

_loading = threading.Lock()


async def encoding_of(name: str) -> Encoding | None:
    """Returns a tokenizer, loaded at its first use and beside the event loop.

    Args:
        name: of `ENCODINGS`; any other name, and the empty one, has no tokenizer.

    Returns:
        None where the name is unknown or the extra `tokenizer` (tiktoken) is not installed.
    """
    if name not in ENCODINGS:
        return None
    if name in _loaded:
        return _loaded[name]
    return await beside_the_loop(load, name)


_loaded: dict[str, Encoding | None] = {}


def load(name: str) -> Encoding | None:
    """Loads a tokenizer once per process, however many threads ask; blocks. Like `encoding_of` otherwise."""
    with _loading:
        if name not in _loaded:
            _loaded[name] = _build(name)
        return _loaded[name]


def _build(name: str) -> Encoding | None:
    try:
        from tiktoken import Encoding
    except ImportError:
        return None
    splitting = ENCODINGS[name]
    return Encoding(
        name,
        pat_str=splitting.pattern,
        mergeable_ranks={token: rank for rank, token in enumerate(tokens_of(name))},
        special_tokens=splitting.special_tokens,
    )


def tokens_of(name: str) -> list[bytes]:
    """Returns the tokens that are shipped for an encoding, in the order of their ranks; blocks."""
    data = gzip.decompress(files(__package__).joinpath("data", f"{name}.bpe.gz").read_bytes())
    (count,) = struct.unpack_from(">I", data)
    lengths, start = data[4 : 4 + count], 4 + count
    return [data[a:b] for a, b in pairwise(accumulate(lengths, initial=start))]


async def beside_the_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs blocking work on one of `MAX_THREADS` threads; cancelled work ends unseen, or never starts."""
    return await asyncio.wrap_future(_threads().submit(work, *args, **kwargs))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="tokens")
