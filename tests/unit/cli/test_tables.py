import io

import pytest

from llmgateway_server.cli.tables import Cell, Column, Table, cut, show, width

COLUMNS = (Column("NAME"), Column("COUNT", right=True, rank=1), Column("WHY", rank=2, least=6))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(output: io.StringIO, *rows: tuple[str | Cell, ...], columns: tuple[Column, ...] = COLUMNS) -> list[str]:
    show([Table(columns, list(rows))], output)
    return output.getvalue().splitlines()


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def test_a_pipe_gets_everything_and_no_space_at_the_end() -> None:
    assert shown(io.StringIO(), ("a", "1", ""), ("long name", "1,000", "because")) == [
        "NAME       COUNT  WHY",
        "a              1",
        "long name  1,000  because",
    ]


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (30, ["NAME       COUNT  WHY", "long name  1,000  because it i"]),
        (24, ["NAME       COUNT  WHY", "long name  1,000  becau…"]),
        (22, ["NAME       COUNT", "long name  1,000", "not shown: WHY"]),
        (15, ["NAME", "long name", "not shown: COU…"]),
        (6, ["NAME", "long…", "not s…"]),
    ],
)
def test_a_terminal_gets_what_has_room(columns: int, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert shown(Terminal(), ("long name", "1,000", "because it i")) == lines


def test_columns_without_a_value_are_left_out_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert shown(Terminal(), ("a", "-", "")) == ["NAME", "a"]
    assert shown(io.StringIO(), ("a", "-", "")) == ["NAME  COUNT  WHY", "a         -"]


def test_wide_signs_take_two_columns_and_control_characters_none() -> None:
    assert width("日本é") == 5
    assert cut("日本語", 5) == "日本…"
    assert shown(io.StringIO(), ("日本", "1", "x"), ("a\x1b[31m\nb", "2", "y"))[1:] == [
        "日本         1  x",
        "a[31m b      2  y",
    ]


def test_nothing_is_no_table() -> None:
    assert shown(io.StringIO()) == []


def test_colours_do_not_move_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = shown(io.StringIO(), (Cell("a", "green"), "1", "x"))
    assert lines[1] == "\x1b[32ma\x1b[0m         1  x"
