"""Builds the tokenizers' data files from an unpacked npm package `tiktoken`, and proves them by OpenAI's own hashes.

    npm pack tiktoken@1.0.22 && tar xzf tiktoken-1.0.22.tgz
    python scripts/build-tokenizers.py package

`package/encoders/<name>.json` lists the tokens in the order of their ranks. Written as lines of `base64 rank` they must
hash to what OpenAI publishes for `<name>.tiktoken`; only then `<name>.bpe.gz` is written, in the layout that
`llmgateway_server/providers/tokens/encodings.py` describes. With `--check` the files in the repository are compared
instead, after unpacking: compressed bytes may differ between versions of zlib.
"""

import argparse
import base64
import gzip
import hashlib
import json
import struct
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "server/llmgateway_server/providers/tokens/data"
SHA256 = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
"""Of the `.tiktoken` files, as `tiktoken_ext/openai_public.py` of the Python package tiktoken states them."""


def tokens_of(source: Path) -> list[bytes]:
    """Returns the tokens in the order of their ranks.

    Each line of `bpe_ranks` is `! <first rank> <base64> <base64> …`.
    """
    tokens: list[bytes] = []
    for line in json.loads(source.read_text("utf-8"))["bpe_ranks"].splitlines():
        mark, first, *words = line.split(" ")
        if mark != "!" or int(first) != len(tokens):
            sys.exit(f"build-tokenizers: {source.name}: the ranks have a gap at {len(tokens)}")
        tokens.extend(base64.b64decode(word) for word in words)
    return tokens


def published_hash(tokens: list[bytes]) -> str:
    """Returns the SHA-256 of the `.tiktoken` file that holds these tokens."""
    lines = (base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def packed(tokens: list[bytes]) -> bytes:
    """Returns the layout that is shipped, not compressed: number of tokens, their lengths, their bytes."""
    return struct.pack(">I", len(tokens)) + bytes(map(len, tokens)) + b"".join(tokens)


def main() -> None:
    """Builds or checks every file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("package", type=Path, help="the unpacked npm package")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    arguments = parser.parse_args()
    for name, sha256 in SHA256.items():
        tokens = tokens_of(arguments.package / "encoders" / f"{name}.json")
        if published_hash(tokens) != sha256:
            sys.exit(f"build-tokenizers: {name}: not the tokens that OpenAI publishes")
        file = DATA / f"{name}.bpe.gz"
        if arguments.check:
            if gzip.decompress(file.read_bytes()) != packed(tokens):
                sys.exit(f"build-tokenizers: {file.name} is stale")
        else:
            DATA.mkdir(exist_ok=True)
            file.write_bytes(gzip.compress(packed(tokens), 9, mtime=0))
        print(f"{name}: {len(tokens):,} tokens, {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
