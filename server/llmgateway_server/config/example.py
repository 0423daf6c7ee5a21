"""The annotated example: every setting with what the source says of it, its default, and samples of what has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from llmgateway_server.config import yaml_text
from llmgateway_server.config.mistakes import Path
from llmgateway_server.config.schema import descriptions
from llmgateway_server.config.settings import Settings
from llmgateway_server.config.shape import Kind, Shape, shape_of

WIDTH = 112
HEAD = """\
# yaml-language-server: $schema=../docs/config.schema.json
#
# Every setting of LLM Gateway. Written by scripts/generate_config.py; docs/configuration.md explains it.
#
# A file needs only what it changes: what is set here is the default, less the samples of accounts, models and keys.
# Lines such as `#proxy: ""` are settings that are not set. `llmgateway check-config FILE` tells what is wrong.
"""

SAMPLES: Mapping[Path, Any] = {
    ("auth", "keys"): [{"id": "3kq0XbTz", "hash": "0" * 64, "tenant": "acme"}],
    ("providers",): {
        "openai": {"vendor": "openai", "api_key": "env:OPENAI_API_KEY"},
        "claude": {"vendor": "anthropic", "api_keys": ["env:CLAUDE_KEY_1", "env:CLAUDE_KEY_2"]},
        "local": {"vendor": "openai-compatible", "base_url": "http://127.0.0.1:8000/v1"},
    },
    ("models",): {
        "fast": {
            "targets": [
                {
                    "provider": "local",
                    "model": "llama-3.1-8b",
                    "price": {
                        "input_usd": 0.05,
                        "output_usd": 0.05,
                        "tiers": [{"above_input_tokens": 200000, "input_usd": 0.1, "output_usd": 0.1}],
                    },
                },
                {"provider": "openai", "model": "gpt-5.4-mini"},
            ]
        }
    },
}
"""Entries of names and lists that are empty by default. The first entry of a kind shows all that it can have."""


def example_text() -> str:
    """Returns the example as the text of a file."""
    return HEAD + "\n".join(_Example().section(Settings, None, ())) + "\n"


class _Example:
    """Writes sections. What was once said of an entry's setting is not said again."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()
        self._shown: set[type[BaseModel]] = set()

    def section(self, model: type[BaseModel], given: Mapping[str, Any] | None, path: Path) -> Iterator[str]:
        """Yields lines, not indented.

        Args:
            model: of the section.
            given: what an entry sets; the rest stands there as comments. None: everything has its default.
            path: of the section.
        """
        texts = descriptions(model)
        self._shown.add(model)
        for name, field in model.model_fields.items():
            text = texts.get(name, "")
            again = given is not None and (name, text) in self._said
            self._said.add((name, text))
            value = given[name] if given is not None and name in given else self._default(field, (*path, name))
            is_set = given is None or name in given
            if again and not is_set:
                continue
            if not path:
                yield ""
            if not again:
                yield from (f"# {line}" for line in wrap(text, WIDTH - 2 * len(path)))
            shape = shape_of(field.annotation)
            has_inside = shape.model is not None or shape.below(0).model is not None
            lines = self._setting(name, shape, value, (*path, name))
            yield from lines if is_set and (value or not has_inside) else (f"#{line}" for line in lines)

    def _setting(self, name: str, shape: Shape, value: Any, path: Path) -> Iterator[str]:
        if shape.model is not None:
            yield f"{name}:"
            given = value if isinstance(value, Mapping) else None
            yield from (f"  {line}" for line in self.section(shape.model, given, path))
        elif (entry_model := shape.below(0).model) is not None and (value or entry_model not in self._shown):
            yield f"{name}:"
            empty: Any = {"name": None} if shape.kind is Kind.NAMES else [None]
            entries = value or empty
            for part, entry in entries.items() if isinstance(entries, Mapping) else enumerate(entries):
                yield "  -" if isinstance(part, int) else f"  {yaml_text.key(part)}:"
                yield from (f"    {line}" for line in self.section(entry_model, entry, (*path, part)))
        else:
            yield f"{name}: {yaml_text.scalar(value)}"

    def _default(self, field: FieldInfo, path: Path) -> Any:
        if path in SAMPLES:
            return SAMPLES[path]
        if field.is_required():
            return ""
        value = field.get_default(call_default_factory=True)
        if shape_of(field.annotation).kind is Kind.SECTION:
            return value
        return to_jsonable_python(value)
