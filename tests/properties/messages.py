"""Messages of any kind, drawn from their descriptors; text and numbers lean towards what breaks things."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

MAX_DEPTH = 6
MAX_ITEMS = 3
NASTY_TEXTS = (
    "",
    "\0",
    "\x1b[31m\r\n",
    "\u202e\ufeff",
    "é" * 255,
    "😀" * 255,
    "a" * 256,
    "simulator/chat?tokens=2",
    "simulator/chat?tokens=-1&fault=x&%00=%ff",
    "simulator/",
    "simulator-chat",
    "/",
    "${model}%s{0}",
    "lookup",
    "{}",
    '{"a":' * 40 + "1" + "}" * 40,
    '{"type":"object","required":["a"],"properties":{"a":{"type":"array","minItems":1e3,"items":{"enum":{}}}}}',
    '{"enum":[]}',
    "[]",
    "file:///etc/passwd",
    "image/png",
)
NASTY_NUMBERS = (0, 1, 2, 3, -1, 2**31 - 1, -(2**31), 1000, 16384, 16385)
NASTY_FLOATS = (0.0, -0.0, 1.0, 2.0, 1e-300, 1e300, float("nan"), float("inf"), float("-inf"), -2.0)

texts = st.one_of(st.sampled_from(NASTY_TEXTS), st.text(st.characters(codec="utf-8"), max_size=20))
blobs = st.binary(max_size=20)
_WIDE = (2**63 - 1, -(2**63))
_SIGNED_32 = st.one_of(st.sampled_from(NASTY_NUMBERS), st.integers(-(2**31), 2**31 - 1))
_UNSIGNED_32 = st.integers(0, 2**32 - 1)
_SIGNED_64 = st.one_of(st.sampled_from((*NASTY_NUMBERS, *_WIDE)), st.integers(-(2**63), 2**63 - 1))
_UNSIGNED_64 = st.integers(0, 2**64 - 1)
_FLOATS = st.one_of(st.sampled_from(NASTY_FLOATS), st.floats())
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: texts,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_INT32: _SIGNED_32,
    FieldDescriptor.CPPTYPE_UINT32: _UNSIGNED_32,
    FieldDescriptor.CPPTYPE_INT64: _SIGNED_64,
    FieldDescriptor.CPPTYPE_UINT64: _UNSIGNED_64,
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_DOUBLE: _FLOATS,
}


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values of a field that is not a message; enumerations get numbers that they do not have, too."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return blobs
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        assert field.enum_type is not None
        known = [value.number for value in field.enum_type.values]
        return st.one_of(st.sampled_from(known), st.sampled_from([*known, -1, 99, 2**31 - 1]))
    return _SCALARS[field.cpp_type]


@st.composite
def filled(draw: st.DrawFn, message: Message) -> Message:
    """Sets a random choice of the message's fields, down to `MAX_DEPTH`."""
    _fill(draw, message, 0)
    return message


def _fill(draw: st.DrawFn, message: Message, depth: int) -> None:
    for field in draw(_some(message, depth)):
        if _is_map(field):
            _fill_map(draw, message, field)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            if field.is_repeated:
                for _ in range(draw(st.integers(1, MAX_ITEMS))):
                    _fill(draw, getattr(message, field.name).add(), depth + 1)
            else:
                inner = getattr(message, field.name)
                inner.SetInParent()
                _fill(draw, inner, depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(scalars(field), min_size=1, max_size=MAX_ITEMS)))
        else:
            setattr(message, field.name, draw(scalars(field)))


def _some(message: Message, depth: int) -> st.SearchStrategy[list[FieldDescriptor]]:
    fields: Iterable[Any] = message.DESCRIPTOR.fields
    if depth >= MAX_DEPTH:
        fields = [field for field in fields if field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE]
    choice = list(fields)
    if not choice:
        return st.just([])
    return st.lists(st.sampled_from(choice), max_size=5, unique_by=lambda field: field.number)


def _is_map(field: FieldDescriptor) -> bool:
    inner = field.message_type
    return inner is not None and bool(inner.GetOptions().map_entry)


def _fill_map(draw: st.DrawFn, message: Message, field: FieldDescriptor) -> None:
    entry = field.message_type
    assert entry is not None
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for name, content in draw(st.dictionaries(scalars(key), scalars(value), max_size=MAX_ITEMS)).items():
        getattr(message, field.name)[name] = content
