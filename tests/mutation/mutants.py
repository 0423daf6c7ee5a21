"""Makes mutants of a module: small faults, one each, that its tests should notice.

The faults are those that people make: a boundary moved by one, a condition turned round or forgotten, another operator,
another constant, a statement or an entry of a table left out, a result not returned. Annotations, docstrings and
decorators are left alone, because nothing at run time depends on them, or far too much.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitAnd,
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
REMOVABLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Delete, ast.Continue, ast.Break)
TABLES = (ast.Set, ast.List, ast.Tuple)
NOT_MUTATED = frozenset({"annotation", "returns", "decorator_list", "type_params", "bases", "ctx"})


@dataclass(slots=True, frozen=True)
class Mutant:
    """One fault.

    Attributes:
        module: path of the module below the package.
        line: where it is.
        was: the statement.
        becomes: the same with the fault.
        tree: the whole module with the fault.
    """

    module: str
    line: int
    was: str
    becomes: str
    tree: ast.Module

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays the same while lines move."""
        return self.module, self.was, self.becomes


@dataclass(slots=True, frozen=True)
class _Place:
    """A node, by where its parent holds it."""

    parent: ast.AST
    field: str
    at: int | None
    statement: ast.stmt

    def get(self) -> ast.AST:
        held = getattr(self.parent, self.field)
        node: ast.AST = held if self.at is None else held[self.at]
        return node

    def put(self, node: ast.AST) -> None:
        if self.at is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.at] = node


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Returns all mutants of a module, in the order of its lines; equal ones of one statement once."""
    tree = ast.parse(source)
    made: dict[tuple[int, str, str], Mutant] = {}
    for place in list(_places(tree)):
        was, line = _shown(place.statement), place.statement.lineno
        original = place.get()
        for fault in _faults(original):
            place.put(ast.copy_location(fault, original))
            becomes = _shown(fault if original is place.statement else place.statement)
            if becomes != was and (line, was, becomes) not in made:
                mutated = ast.fix_missing_locations(copy.deepcopy(tree))
                made[line, was, becomes] = Mutant(module, line, was, becomes, mutated)
            place.put(original)
    return list(made.values())


def _places(tree: ast.Module) -> Iterator[_Place]:
    waiting: list[tuple[ast.AST, ast.stmt | None]] = [(tree, None)]
    while waiting:
        parent, around = waiting.pop(0)
        for field, held in ast.iter_fields(parent):
            if field in NOT_MUTATED or isinstance(parent, ast.Import | ast.ImportFrom | ast.JoinedStr):
                continue
            children = list(enumerate(held)) if isinstance(held, list) else [(None, held)]
            for at, child in children:
                statement = child if isinstance(child, ast.stmt) else around
                if not isinstance(child, ast.AST) or _is_prose(child):
                    continue
                if statement is not None:
                    yield _Place(parent, field, at, statement)
                waiting.append((child, statement))


def _is_prose(node: ast.AST) -> bool:
    """Tells what changes nothing that runs: docstrings, aliases of types, slots."""
    match node:
        case ast.Assign(targets=[ast.Name(id="__slots__")]):
            return True
        case ast.Expr(value=ast.Constant()) | ast.Assign(value=ast.Subscript(value=ast.Name(id="Callable" | "list"))):
            return True
    return False


def _shown(statement: ast.AST) -> str:
    """Returns a statement as text, of a compound one its head."""
    text = ast.unparse(statement)
    if isinstance(getattr(statement, "body", None), list):
        return next(line for line in text.splitlines() if not line.startswith("@"))
    return text


def _faults(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=others):
            yield ast.Compare(left, [COMPARISONS[type(op)]()], others)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for at in range(len(values)):
                rest = values[:at] + values[at + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            yield ast.BinOp(left, OPERATORS[type(op)](), right)
        case ast.IfExp(body=body, orelse=orelse):
            yield body
            yield orelse
        case ast.Constant(value=value):
            yield from _other_constants(value)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in CALLS:
            yield ast.Call(ast.Name(CALLS[name], ast.Load()), args, keywords)
        case ast.comprehension(target=target, iter=source, ifs=[_, *_]):
            yield ast.comprehension(target, source, [], node.is_async)
        case ast.Dict(keys=keys, values=values):
            for at in range(len(keys)):
                yield ast.Dict(keys[:at] + keys[at + 1 :], values[:at] + values[at + 1 :])
        case ast.Set(elts=elements) | ast.List(elts=elements) | ast.Tuple(elts=elements):
            yield from _shorter(node, elements)
        case ast.stmt():
            yield from _other_statements(node)


def _shorter(node: ast.Set | ast.List | ast.Tuple, elements: list[ast.expr]) -> Iterator[ast.AST]:
    if isinstance(node, ast.Set) or isinstance(node.ctx, ast.Load):
        for at in range(len(elements) if len(elements) > 1 else 0):
            shorter = copy.copy(node)
            shorter.elts = elements[:at] + elements[at + 1 :]
            yield shorter


def _other_constants(value: object) -> Iterator[ast.AST]:
    match value:
        case bool():
            yield ast.Constant(not value)
        case int():
            yield ast.Constant(value + 1)
        case float():
            yield ast.Constant(value * 2 if value else 1.0)
        case str():
            yield ast.Constant(f"{value}?" if value else "?")


def _other_statements(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.If(test=test, body=body, orelse=orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.While(test=test, body=body, orelse=orelse) if not isinstance(test, ast.Constant):
            yield ast.While(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.AugAssign(target=target, op=op, value=value) if type(op) in OPERATORS:
            yield ast.AugAssign(target, OPERATORS[type(op)](), value)
            yield ast.Pass()
        case _ if isinstance(node, REMOVABLE):
            yield ast.Pass()


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
