"""Tells at little cost that a message breaks no rule. What it cannot tell is left to protovalidate.

A request is nearly always valid, and finding that out natively costs more than all of its translation: the engine's
tables are cold by the next call. So the rules that requests mostly meet are turned into Python once, from the same
descriptors, and only who does not pass here is looked at again. A rule of a kind that is not known here makes every
message that has its field fail, which costs time and nothing else. A property test holds: who passes breaks no rule.

https://protovalidate.com/reference/rules/standard_rules/
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial, reduce
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

Passes = Callable[[Any], bool]
MAX_UTF8_BYTES = 4
"""Of one character."""


class QuickCheck:
    """Remembers the rules of each kind of message that it has seen.

    Args:
        pool: that the messages come from; it also holds `buf/validate/validate.proto`.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._rules = _Rules(pool)
        self._kinds: dict[str, _Kind] = {}

    def passes(self, message: Message) -> bool:
        """Tells whether the message surely breaks no rule, nor any message in it."""
        descriptor: Any = message.DESCRIPTOR
        return self._kind(descriptor).passes(message)

    def _kind(self, descriptor: Descriptor) -> _Kind:
        kind = self._kinds.get(descriptor.full_name)
        if kind is None:
            kind = self._kinds[descriptor.full_name] = _Kind()  # before its fields: messages may hold their own kind
            kind.read(descriptor, self._rules, self._kind)
        return kind


class _Rules:
    """Finds the rules of a descriptor among its options, which come without knowing the extension that they are in."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._readers = {
            kind: (
                message_factory.GetMessageClass(pool.FindMessageTypeByName(f"google.protobuf.{kind.title()}Options")),
                pool.FindExtensionByName(f"buf.validate.{kind}"),
            )
            for kind in ("message", "oneof", "field")
        }

    def __call__(self, kind: str, descriptor: Any) -> Any:
        options, extension = self._readers[kind]
        return options.FromString(descriptor.GetOptions().SerializeToString()).Extensions[extension]  # type: ignore[index]


class _Kind:
    """The rules of one kind of message."""

    __slots__ = ("_checks", "_known", "_needed", "_needed_count")

    def __init__(self) -> None:
        self._known = True
        self._checks: dict[int, Passes] = {}
        """By field number; a field without a rule has none."""
        self._needed: set[int] = set()
        self._needed_count = 0

    def read(self, descriptor: Descriptor, rules_of: _Rules, kind_of: Callable[[Descriptor], _Kind]) -> None:
        """Reads the rules of a message's descriptor."""
        self._known = not rules_of("message", descriptor).ListFields()
        for oneof in descriptor.oneofs:
            if rules_of("oneof", oneof).required:
                self._need(field.number for field in oneof.fields)
        for field in descriptor.fields:
            rules = rules_of("field", field)
            check = _check_of(field, rules, kind_of)
            if check is not None:
                self._checks[field.number] = check
            # A rule of a field that cannot be absent holds for its zero, too.
            if rules.required or (check is not None and not field.has_presence and not check(_zero(field))):
                self._need((field.number,))

    def passes(self, message: Message) -> bool:
        """Tells whether a message of this kind surely breaks no rule."""
        if not self._known:
            return False
        checks, needed, found = self._checks, self._needed, 0
        for field, value in message.ListFields():
            number = field.number
            check = checks.get(number)
            if check is not None and not check(value):
                return False
            if number in needed:
                found += 1
        return found == self._needed_count

    def _need(self, numbers: Iterable[int]) -> None:
        """Notes that one of the fields must be there."""
        self._needed.update(numbers)
        self._needed_count += 1


def _check_of(field: FieldDescriptor, rules: Any, kind_of: Callable[[Descriptor], _Kind]) -> Passes | None:
    """Returns what a field must pass; None where it has no rule and holds no messages."""
    kind = field.message_type
    stated = _stated(rules) - {"required"}
    if kind is not None and kind.GetOptions().map_entry:
        return _map_check(kind, rules, stated)
    if not field.is_repeated:
        return _message_check(kind, stated, kind_of) if kind is not None else _scalar_check(field, rules, stated)
    if not stated <= {"repeated"} or not _stated(rules.repeated) <= {"min_items", "max_items", "items"}:
        return _never
    items = rules.repeated.items
    each: Passes | None
    if kind is not None:
        each = _message_check(kind, _stated(items), kind_of)
    else:
        each = _scalar_check(field, items, _stated(items))
    size = rules.repeated
    return partial(_all_pass, each, size.min_items, size.max_items if size.HasField("max_items") else 2**31)


def _map_check(entry: Descriptor, rules: Any, stated: set[str]) -> Passes | None:
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    if value.message_type is not None or not stated <= {"map"}:
        return _never
    if not _stated(rules.map) <= {"max_pairs", "keys", "values"}:
        return _never
    keys = _scalar_check(key, rules.map.keys, _stated(rules.map.keys))
    values = _scalar_check(value, rules.map.values, _stated(rules.map.values))
    return partial(_all_pairs_pass, keys, values, rules.map.max_pairs if rules.map.HasField("max_pairs") else 2**31)


def _message_check(kind: Descriptor, stated: set[str], kind_of: Callable[[Descriptor], _Kind]) -> Passes:
    return _never if stated else kind_of(kind).passes


def _scalar_check(field: FieldDescriptor, rules: Any, stated: set[str]) -> Passes | None:
    if not stated:
        return None
    if len(stated) > 1:
        return _never
    (kind,) = stated
    asked = getattr(rules, kind)
    if kind == "enum":
        return _enum_check(field, asked)
    known = _CHECKS.get(kind, {})
    tests = [known[rule.name](value) for rule, value in asked.ListFields() if rule.name in known]
    if len(tests) < len(asked.ListFields()):
        return _never
    return reduce(_both, tests)


def _enum_check(field: FieldDescriptor, asked: Any) -> Passes:
    if not _stated(asked) <= {"defined_only", "not_in"} or not asked.defined_only or field.enum_type is None:
        return _never
    return frozenset(field.enum_type.values_by_number).difference(asked.not_in).__contains__


def _stated(rules: Any) -> set[str]:
    return {field.name for field, _ in rules.ListFields()}


def _zero(field: FieldDescriptor) -> Any:
    return {} if field.is_repeated else field.default_value


def _both(one: Passes, other: Passes) -> Passes:
    return lambda value: one(value) and other(value)


def _never(_value: Any) -> bool:
    return False


def _all_pass(each: Passes | None, least: int, most: int, values: Any) -> bool:
    return least <= len(values) <= most and (each is None or all(map(each, values)))


def _all_pairs_pass(keys: Passes | None, values: Passes | None, most: int, pairs: Any) -> bool:
    return (
        len(pairs) <= most
        and (keys is None or all(map(keys, pairs)))
        and (values is None or all(map(values, pairs.values())))
    )


def _matches(pattern: str) -> Passes:
    """Returns a test that is at least as strict as RE2's search; `$` of Python would let a last line break through."""
    if not (pattern.startswith("^") and pattern.endswith("$")):
        return _never
    matched = re.compile(pattern[1:-1], re.ASCII).fullmatch
    return lambda text: matched(text) is not None


def _at_most_bytes(most: int) -> Passes:
    return lambda text: len(text) * MAX_UTF8_BYTES <= most or len(text.encode()) <= most


_BOUNDS: Mapping[str, Callable[[Any], Passes]] = {
    "gte": lambda bound: lambda value: bool(value >= bound),
    "lte": lambda bound: lambda value: bool(value <= bound),
}
_CHECKS: Mapping[str, Mapping[str, Callable[[Any], Passes]]] = {
    "string": {
        "min_len": lambda least: lambda text: len(text) >= least,
        "max_len": lambda most: lambda text: len(text) <= most,
        "min_bytes": lambda least: lambda text: len(text) >= least,
        "max_bytes": _at_most_bytes,
        "pattern": _matches,
    },
    "bytes": {"max_len": lambda most: lambda data: len(data) <= most},
    "int32": _BOUNDS,
    "int64": _BOUNDS,
    "double": {**_BOUNDS, "finite": lambda asked: math.isfinite if asked else _never},
}
"""What a rule asks of a value, by the kind of the field and the name of the rule; NaN is within no bounds."""
