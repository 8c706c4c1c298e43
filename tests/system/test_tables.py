"""A table fits its terminal, its names are whole, and each of its rows can be told from others."""

import io

import pytest
from rich.text import Text

from curvetune.system.tables import Column, Table, print_table, table_lines
from curvetune.system.terminal import plain_console

METHODS = ("curvenet skip_layers=1", "cross-entropy", "mw-net-noise")
NUMBERS = tuple(f"{k}{k}.{k}{k}" for k in range(1, 9))


def table(keys: int = 2) -> Table:
    titles = ["method", "seed", *(f"imbalance 10\nnoise 0.{k}" for k in range(8))]
    columns = [Column(t, is_key=c < keys, is_left=c == 0) for c, t in enumerate(titles)]
    return Table(columns, [(name, str(k), *NUMBERS) for k, name in enumerate(METHODS)])


def shown(found: Table, width: int) -> list[str]:
    return [line.plain for line in table_lines(found, width)]


@pytest.mark.parametrize("width", [32, 40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(width: int) -> None:
    lines = shown(table(), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    for name in METHODS:
        assert any(name in line for line in lines)
    for number in NUMBERS:
        assert sum(line.split().count(number) for line in lines) == len(METHODS)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_each_row_of_each_block_begins_with_its_keys(width: int) -> None:
    rows = [line for line in shown(table(), width) if any(n in line.split() for n in NUMBERS)]
    assert rows
    for row in rows:
        (name,) = [name for name in METHODS if row.startswith(name)]
        assert row.removeprefix(name).split()[0] == str(METHODS.index(name))


def test_where_keys_and_one_column_are_too_wide_a_row_is_a_few_lines() -> None:
    lines = shown(table(), 30)
    assert lines[0] == "curvenet skip_layers=1, seed 0"
    assert lines[1] == "  imbalance 10, noise 0.0  11.11"
    assert lines.index("cross-entropy, seed 1") == 2 + len(NUMBERS)


def test_a_table_that_fits_is_one_block_aligned_by_its_kind() -> None:
    lines = shown(Table([Column("a", is_key=True, is_left=True), Column("b")], [("xyz", "1")]), 80)
    assert lines == ["a    b", "──────", "xyz  1"]


def test_sentences_go_on_below_between_words_and_the_rest_stays_whole() -> None:
    columns = [
        Column("method", is_key=True, is_left=True),
        Column("what it does", is_left=True, is_prose=True),
        Column("time"),
    ]
    found = Table(columns, [("curvenet", "weights samples by their recorded loss curves", "2×")])
    assert shown(found, 40)[2:] == [
        "curvenet  weights samples by their    2×",
        "          recorded loss curves",
    ]
    assert len(shown(found, 120)) == 3


def test_a_sum_stands_below_a_rule() -> None:
    found = Table([Column("a", is_key=True), Column("b")], [("1", "2"), ("all", "2")], last=1)
    assert shown(found, 80)[3] == "─" * 6


def test_a_style_changes_no_width() -> None:
    columns = [Column("a", is_key=True, is_left=True), Column("b", is_left=True), Column("c")]
    plain = Table(columns, [("x", "done", "1"), ("y", "failed", "2")])
    styled = Table(columns, [("x", Text("done", "green"), "1"), ("y", Text("failed", "red"), "2")])
    assert shown(styled, 80) == shown(plain, 80)


def test_a_pipe_has_no_width_and_no_colours() -> None:
    file = io.StringIO()
    print_table(table(), plain_console(file=file))
    lines = file.getvalue().splitlines()
    assert len(lines) == 3 + len(METHODS)
    assert "\x1b" not in file.getvalue()
    long = io.StringIO()
    plain_console(file=long).print("word " * 500)
    assert len(long.getvalue().splitlines()) == 1


def test_an_empty_table_has_its_titles() -> None:
    assert shown(Table([Column("a", is_key=True), Column("b")], []), 80) == ["a  b", "────"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_long_table_is_printed_as_its_lines_are_one_by_one(is_terminal: bool) -> None:
    columns = [Column("cell", is_key=True, is_left=True), Column("state"), Column("accuracy")]
    rows = [(f"c{k}", Text("done", "green"), f"{k}") for k in range(1234)]
    found = Table(columns, rows, last=1)

    def printed(at_once: bool) -> str:
        file = io.StringIO()
        console = plain_console(file=file, force_terminal=is_terminal, width=60)
        if at_once:
            print_table(found, console)
        else:
            for line in table_lines(found, console.width):
                console.print(line, soft_wrap=True, highlight=False)
        return file.getvalue()

    assert printed(at_once=True) == printed(at_once=False)
    assert ("\x1b[32mdone" in printed(at_once=True)) == is_terminal
