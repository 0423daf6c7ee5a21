"""The mutants themselves: which faults are made, and which never."""

from __future__ import annotations

import pytest

from tests.mutation.modules import MODULES
from tests.mutation.mutants import mutants_of
from tests.mutation.runner import PACKAGE, ROOT


def faults(source: str) -> set[str]:
    return {mutant.becomes for mutant in mutants_of("m.py", source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a = b < 1", {"pass", "a = b <= 1", "a = b < 2"}),
        ("a = b and not c", {"pass", "a = b or not c", "a = b", "a = not c", "a = b and c"}),
        ("a += 1", {"pass", "a -= 1", "a += 2"}),
        ("a = {1, 2}", {"pass", "a = {1}", "a = {2}", "a = {2, 2}", "a = {1, 3}"}),
        ("a = b if c else d", {"pass", "a = b", "a = d"}),
        ("a = max(b, 0.5)", {"pass", "a = min(b, 0.5)", "a = max(b, 1.0)"}),
        ("a = [b for b in c if b]", {"pass", "a = [b for b in c]"}),
        ("if a:\n    b()", {"if not a:", "pass"}),
        ("def f():\n    return a", {"return None"}),
        ("def f():\n    raise a", {"pass"}),
    ],
)
def test_faults(source: str, expected: set[str]) -> None:
    assert faults(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Words."""',
        "__slots__ = ('a', 'b')",
        "Alias = Callable[[int], None]",
        "def f(a: int | None): ...",
        "import a",
    ],
)
def test_what_nothing_reads_at_run_time_is_left_alone(source: str) -> None:
    assert faults(source) == set()


def test_each_mutant_has_one_fault_and_leaves_the_source_as_it_was() -> None:
    source = "a = b + 1\nc = d - 2\n"
    made = mutants_of("m.py", source)
    assert {(mutant.line, mutant.was) for mutant in made} == {(1, "a = b + 1"), (2, "c = d - 2")}
    for mutant in made:
        compile(mutant.tree, "m.py", "exec")
        other = mutant.tree.body[2 - mutant.line]
        assert (other.lineno, mutant.key) == (3 - mutant.line, ("m.py", mutant.was, mutant.becomes))


def test_every_module_and_every_test_of_the_list_is_there() -> None:
    """What is not there is left out when mutants run, and would be missed by nobody."""
    modules = {ROOT / "server" / PACKAGE / each.path for each in MODULES}
    tests = {ROOT / name for each in MODULES for name in each.tests}
    assert [path for path in sorted(modules | tests) if not path.is_file()] == []
