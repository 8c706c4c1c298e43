"""The line under a table of MA says which methods are apart, and never more than pairs allow."""

from itertools import product
from pathlib import Path

import pytest
from storage_fixtures import finish, make_cells, write_grid

from curvetune.analysis.significance import Paired, compare, corrected
from curvetune.grids.cells import read_grid
from curvetune.report.tables.main import ma_sheet
from curvetune.report.tables.paired import paired_notes, paired_sheet
from curvetune.report.verdict import Verdict, sentences, sentences_of_pairs, verdict_of

PLACES = tuple(product(range(4), range(3)))  # settings and seeds


def scored(*means: float, places: int = len(PLACES)) -> Verdict:
    """Return the verdict on methods a, b, … of such MAs, whose spread is the same everywhere."""
    methods = {
        "abcdefgh"[k]: {place: mean + n / 10 for n, place in enumerate(PLACES[:places])}
        for k, mean in enumerate(means)
    }
    return verdict_of(methods, 4, places)


def test_methods_that_are_above_the_same_others_are_named_together() -> None:
    wavering = {place: (-1) ** n * 0.2 for n, place in enumerate(PLACES)}
    high = {place: 80.0 + n / 10 for n, place in enumerate(PLACES)}
    low = {place: value - 5 for place, value in high.items()}
    other = {place: value + wavering[place] for place, value in high.items()}
    found = verdict_of({"a": high, "b": other, "c": low}, 4, len(PLACES))
    assert sentences(found) == [
        "verdict: a and b are better than c",
        "not told apart: a from b",
        "by Wilcoxon's signed-rank test, exact, two-sided, over 12 pairs of a setting and a seed, "
        "corrected after Holm for 3 comparisons, at 5 %",
        "it holds in settings like these too, by a bootstrap over 4 settings and their seeds",
    ]
    assert found.like_the_best() == {"a", "b"}
    assert (found.is_above("a", "c"), found.is_above("c", "a")) == (True, False)


def test_an_order_of_all_is_said_in_one_sentence() -> None:
    found = scored(90, 80, 70, 60)
    assert sentences(found)[0] == (
        "verdict: all 4 methods are told apart, in the order of the table"
    )
    assert found.like_the_best() == {"a"}


def with_gains(*of_settings: float) -> dict[tuple[int, int], float]:
    """Return scores that are above 70 by so much in each setting, and by a little in each seed."""
    return {(s, seed): 70 + of_settings[s] + seed / 10 for s, seed in PLACES}


def test_what_one_setting_contradicts_is_apart_in_this_grid_and_open_in_others_like_it() -> None:
    low, high = with_gains(0, 0, 0, 0), with_gains(6, 5, 4, -1)
    found = verdict_of({"high": high, "low": low}, 4, len(PLACES))
    assert found.is_above("high", "low")
    assert not found.holds_above("high", "low")
    assert sentences(found)[-1] == (
        "whether it holds in settings like these is open, by a bootstrap over 4 settings and their "
        "seeds"
    )
    assert found.like_the_best() == frozenset()  # nothing is bold
    assert paired_sheet("", found.compared).best == frozenset()


def test_what_is_open_in_settings_like_these_is_named_beside_what_holds() -> None:
    methods = {
        "high": with_gains(6, 5, 4, -1),
        "low": with_gains(0, 0, 0, 0),
        "lowest": with_gains(-9, -9, -9, -9),
    }
    found = verdict_of(methods, 4, len(PLACES))
    assert sentences(found)[-1] == (
        "it holds in settings like these too, by a bootstrap over 4 settings and their seeds, but "
        "that is open of high and low"
    )
    assert found.like_the_best() == {"high", "low"}


def test_a_grid_of_two_settings_says_nothing_of_others() -> None:
    places = {place: value for place, value in with_gains(0, 0, 0, 0).items() if place[0] < 2}
    more = {place: value + 5 for place, value in places.items()}
    found = verdict_of({"high": more, "low": places}, 2, len(places))
    assert found.like_the_best() == {"high"}
    assert not any("settings like these" in line for line in sentences(found))
    assert any("says nothing of other settings" in note for note in paired_notes(found.compared))


@pytest.mark.parametrize(
    ("methods", "places", "words"),
    [
        (2, 4, "with 4 pairs no p can be below 0.125, however large the difference; 6 pairs can"),
        (2, 1, "with 1 pair no p can be below 1, however large"),
        (3, 6, "no p can be below 0.0312, 0.0938 corrected for 3 comparisons, however large"),
        (3, 6, "7 pairs can tell, as 2 seeds in 4 settings"),
    ],
)
def test_too_few_pairs_are_said_with_the_p_that_they_allow(
    methods: int, places: int, words: str
) -> None:
    found = scored(*(90 - 30 * k for k in range(methods)), places=places)
    assert words in sentences(found)[0]
    assert sentences(found)[0].startswith("verdict: no method can be told from another: ")
    assert found.like_the_best() == frozenset()


@pytest.mark.parametrize("places", [5, 6, 7, 8])
def test_what_is_called_impossible_is_so_for_the_largest_difference(places: int) -> None:
    found = scored(90, 60, 30, places=places)
    assert found.is_possible == any(one.is_significant for one in found.compared)


def test_one_method_has_no_verdict() -> None:
    assert sentences(scored(90)) == []
    assert sentences(scored()) == []


def test_many_methods_have_a_verdict_that_can_be_read() -> None:
    found = scored(90, 80, 80, 70, 60, 50, 40, 30)
    assert max(map(len, sentences(found))) < 800


def test_methods_without_an_ma_are_left_out_and_the_line_is_under_the_table(
    tmp_path: Path,
) -> None:
    names = ("cross-entropy", "focal", "curvenet")
    cells = make_cells(methods=[{"name": name} for name in names], seeds=(0, 1, 2))
    for k, cell in enumerate(cells):
        if cell.method.name != "focal" or cell.bias.imbalance == 1:
            finish(tmp_path, cell, 60 + 10 * names.index(cell.method.name) + k / 40)
    write_grid(tmp_path, cells)
    below = ma_sheet(read_grid(tmp_path, "small")).below
    assert below[0] == "verdict: curvenet is better than cross-entropy"
    assert "over 12 pairs" in below[-2]


# -- of two, as `compare` says it ------------------------------------------------------------------


def pair(difference: float, places: int = len(PLACES), waver: float = 0.0) -> Paired:
    low = {place: 70 + n / 10 for n, place in enumerate(PLACES[:places])}
    high = {p: v + difference + waver * (-1) ** n for n, (p, v) in enumerate(low.items())}
    return corrected([compare("ce", "curvenet", low, high)])[0]


def test_a_comparison_says_whose_minus_whose_and_who_is_better() -> None:
    assert sentences_of_pairs([pair(5)]) == [
        "verdict: curvenet is better than ce: curvenet − ce = +5.00 points, p < 0.001 over 12 pairs"
    ]
    assert sentences_of_pairs([pair(-5)])[0].startswith(
        "verdict: ce is better than curvenet: curvenet − ce = -5.00 points"
    )
    alike = sentences_of_pairs([pair(0, waver=1)])[0]
    assert alike.startswith("verdict: curvenet and ce are not told apart: curvenet − ce = ")
    assert "p = 1.000 over 12 pairs" in alike


def test_a_comparison_of_few_pairs_says_that_nothing_could_be_told() -> None:
    said = sentences_of_pairs([pair(30, places=3)])[0]
    assert "are not told apart" in said
    assert "with 3 pairs no p can be below 0.25" in said
    assert sentences_of_pairs([]) == []


def test_where_the_mean_and_the_test_disagree_neither_is_above() -> None:
    low = {place: 80 + n / 100 for n, place in enumerate(PLACES)}
    collapsed = {place: value + 0.5 + n / 100 for n, (place, value) in enumerate(low.items())}
    collapsed[PLACES[0]] = 10.0
    found = verdict_of({"a": low, "b": collapsed}, 4, len(PLACES))
    assert found.compared[0].is_significant
    assert [found.is_above(*one) for one in (("a", "b"), ("b", "a"))] == [False, False]
    assert found.like_the_best() == frozenset()
    assert "the mean and the test disagree: b and a" in sentences(found)
    (said,) = sentences_of_pairs(found.compared)
    assert said.startswith("verdict: b and a: the mean and the test disagree: b − a = -")
    assert "better" not in said
    assert paired_sheet("", found.compared).best == frozenset()
    assert any("the mean and the test disagree" in note for note in paired_notes(found.compared))
