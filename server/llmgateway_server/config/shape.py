"""What may stand where: the types of the settings as one walks down them."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Kind(Enum):
    """What a setting is made of."""

    SECTION = auto()
    """Fields with names of ours."""
    NAMES = auto()
    """Entries with names of the operator's."""
    LIST = auto()
    SCALAR = auto()


@dataclass(slots=True, frozen=True)
class Shape:
    """The type of one setting."""

    kind: Kind
    model: type[BaseModel] | None = None
    """Of a section."""
    inside: Any = None
    """Type of the entries of names or of a list."""
    optional: bool = False
    """Whether null may stand there."""

    @property
    def fields(self) -> Mapping[str, FieldInfo]:
        """The fields of a section; empty for everything else."""
        return {} if self.model is None else self.model.model_fields

    def below(self, part: str | int) -> Shape:
        """Returns the shape of what stands under `part`; a scalar where nothing may."""
        if self.kind is Kind.SECTION:
            field = self.fields.get(str(part))
            return SCALAR if field is None else shape_of(field.annotation)
        return SCALAR if self.inside is None else shape_of(self.inside)


SCALAR = Shape(Kind.SCALAR)


def shape_of(annotation: Any) -> Shape:
    """Returns the shape of a type as a field declares it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shape_of(arguments[0])
    if origin in (Union, types.UnionType):
        members = [each for each in arguments if each is not type(None)]
        found = shape_of(members[0]) if len(members) == 1 else SCALAR
        return Shape(found.kind, found.model, found.inside, optional=len(members) < len(arguments))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape(Kind.SECTION, annotation)
    if origin is dict:
        return Shape(Kind.NAMES, inside=arguments[1])
    if origin in (tuple, list):
        return Shape(Kind.LIST, inside=arguments[0])
    return SCALAR


def sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yields the class of every section at or below `model`, each once."""
    seen: set[type[BaseModel]] = set()
    waiting = [model]
    while waiting:
        each = waiting.pop(0)
        if each in seen:
            continue
        seen.add(each)
        yield each
        for field in each.model_fields.values():
            shape = shape_of(field.annotation)
            while shape.inside is not None:
                shape = shape_of(shape.inside)
            if shape.model is not None:
                waiting.append(shape.model)


def without_empty(data: Any, shape: Shape) -> Any:
    """Returns a copy in which sections and lists that hold nothing are empty instead of null.

    YAML reads a section whose lines are all commented out as null.
    """
    if data is None and not shape.optional:
        return {Kind.SECTION: {}, Kind.NAMES: {}, Kind.LIST: []}.get(shape.kind)
    if isinstance(data, Mapping):
        return {key: without_empty(value, shape.below(str(key))) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [without_empty(value, shape.below(at)) for at, value in enumerate(data)]
    return data
