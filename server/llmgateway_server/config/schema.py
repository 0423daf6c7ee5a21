"""The JSON Schema of the configuration file, and what the source says of each setting."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic import BaseModel

from llmgateway_server.config.secrets import is_reference
from llmgateway_server.config.settings import Settings
from llmgateway_server.config.shape import sections, shape_of

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """Returns the schema as the text of a file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """Returns the schema; secrets are marked as `writeOnly`."""
    made = Settings.model_json_schema()
    for model in sections(Settings):
        definition = made if model is Settings else made["$defs"][model.__name__]
        texts = descriptions(model)
        for name, each in definition["properties"].items():
            each.pop("title", None)
            each["description"] = texts.get(name, "")
            if is_reference((name,)):
                each["writeOnly"] = True
            if not each["description"]:
                del each["description"]
    return {"$schema": DRAFT, **made, "title": "LLM Gateway"}


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Returns what is said of each field of a section, in one line; of a section in it what its class says.

    It is read from the source when it is wanted: pydantic would read it at every start.
    """
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found |= dict(_attribute_docstrings(each))
    for name, field in model.model_fields.items():
        inside = shape_of(field.annotation).model
        if name not in found and inside is not None and inside.__doc__:
            found[name] = " ".join(inside.__doc__.split())
    return found


def _attribute_docstrings(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    (tree,) = ast.parse(dedent(inspect.getsource(model))).body
    if not isinstance(tree, ast.ClassDef):
        return
    for statement, following in pairwise(tree.body):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())
            case _:
                pass
