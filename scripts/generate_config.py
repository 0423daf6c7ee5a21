"""Writes what is derived from the settings: `docs/config.schema.json` and `deploy/gateway.example.yaml`.

A test compares both with what would be written.
"""

from pathlib import Path

from llmgateway_server.config.example import example_text
from llmgateway_server.config.schema import schema_text

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {Path("docs/config.schema.json"): schema_text, Path("deploy/gateway.example.yaml"): example_text}


def main() -> None:
    """Writes the files."""
    for path, text in GENERATED.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text(), encoding="utf-8")
    print(f"generated {', '.join(map(str, GENERATED))}")


if __name__ == "__main__":
    main()
