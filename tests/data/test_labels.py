"""What a label means: a name, a number that is a name, or a position; never a guess."""

import unicodedata
from fractions import Fraction

import numpy as np
import pytest

from curvetune.data.labels import Classes, alike, named_by, number, positions, same, unfit
from curvetune.errors import DataError

PADDED = ("001", "002", "003")
ANIMALS = ("cat", "dog", "horse")
MIXED_ORDER = ("0", "1", "10", "11", "2")  # as folders are sorted
NFC, NFD = "caf\u00e9", "cafe\u0301"


def meanings(names: tuple[str, ...], *labels: str) -> list[str | None]:
    """Return the name of the class that each label is taken for."""
    classes = Classes(names)
    return [None if (k := classes.find(label)) is None else names[k] for label in labels]


@pytest.mark.parametrize("seed", range(3))
def test_numbers_are_the_same_exactly_where_their_values_are(seed: int) -> None:
    random = np.random.default_rng(seed)
    texts = [
        "0" * random.integers(3) + str(random.integers(12)) + random.choice(["", ".0", ".", ".50"])
        for _ in range(60)
    ]
    for a in texts:
        for b in texts:
            values = Fraction(a.rstrip(".")), Fraction(b.rstrip("."))
            assert (same(a) == same(b)) == (values[0] == values[1]), (a, b)


@pytest.mark.parametrize(
    ("label", "shortest"),
    [
        ("-0", "0"),
        ("-1.0", "-1"),
        ("+2", "2"),
        ("0.10", "0.1"),
        ("000", "0"),
        ("9" * 200, "9" * 200),
    ],
)
def test_a_number_has_one_shortest_form(label: str, shortest: str) -> None:
    assert number(label) == shortest


@pytest.mark.parametrize(
    "label", ["", ".", "1e3", "٣", "²", "1_000", "0x1", "nan", "inf", "1 2", "1.2.3", "9" * 5000]
)
def test_what_is_no_plain_number_is_a_name_or_nothing(label: str) -> None:
    assert number(label) is None
    assert meanings(ANIMALS, label) == meanings(PADDED, label) == [None]


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (PADDED, ["1", "2", "3"], ["001", "002", "003"]),
        (PADDED, ["1.0", "02", "003"], ["001", "002", "003"]),
        (PADDED, ["0", "4", "-1"], [None] * 3),
        (("1", "2", "3"), ["1", "2.0", "003", "0"], ["1", "2", "3", None]),
        (MIXED_ORDER, ["2", "10", "4", "1", "00"], ["2", "10", None, "1", "0"]),
        (("5", "7", "other"), ["0", "1", "2", "07"], [None, None, None, "7"]),
        (("0.50", "1.50"), ["0.5", "1.5", "1", "0"], ["0.50", "1.50", None, None]),
    ],
)
def test_where_class_names_are_numbers_a_label_is_one_of_them_and_never_a_position(
    names: tuple[str, ...], labels: list[str], expected: list[str | None]
) -> None:
    assert meanings(names, *labels) == expected
    assert positions(Classes(names), labels, "here") == {}


def test_a_number_that_several_names_are_is_one_of_them_only_as_it_is_written() -> None:
    names = ("01", "1", "2")
    assert meanings(names, "1", "01", "001", "1.0") == ["1", "01", None, None]
    assert Classes(names).why_not("001") == (
        " means 2 classes ('01', '1'); write one of these names"
    )


@pytest.mark.parametrize("name", ["café", "Ångström", "한국어", "żółw\udcff"])
def test_a_name_is_the_same_in_every_form_of_unicode(name: str) -> None:
    composed, taken_apart = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert composed != taken_apart
    assert meanings((composed, "x"), taken_apart) == [composed]
    assert meanings((taken_apart, "x"), composed) == [taken_apart]
    assert alike(["x", composed, taken_apart]) == sorted([composed, taken_apart])
    assert alike(["x", composed]) == []


@pytest.mark.parametrize(
    "labels", [["0"], ["0", "2"], ["0", "1.0", "2.0"], ["00", "01", "02"], ["0", "-1", ""]]
)
def test_numbers_count_the_classes_if_they_can_be_nothing_else(labels: list[str]) -> None:
    found = positions(Classes(ANIMALS), labels, "here")
    assert found == {label: int(float(label)) for label in labels if label and label != "-1"}


@pytest.mark.parametrize(
    "labels",
    [["1", "2", "3"], ["1", "2"], ["1"], ["0", "1", "2", "3"], ["7"], ["0", "9" * 200], ["2.0"]],
)
def test_numbers_that_may_count_from_1_or_something_else_are_refused(labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"here: its labels are numbers from .*cat, dog, horse"):
        positions(Classes(ANIMALS), labels, "here")


def test_a_number_among_names_is_no_position() -> None:
    assert positions(Classes(ANIMALS), ["0", "cat"], "here") == {}
    assert positions(Classes(ANIMALS), ["0", "1e0"], "here") == {}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["1", "01", "1.0", "2"], ("1", "2")),
        (["001", "002", "010"], ("001", "002", "010")),
        (["1.0", "10.0", "2.0"], ("1.0", "2.0", "10.0")),
        (["B", "1", "A", "01"], ("1", "A", "B")),
        ([NFC, NFD, "b"], ("b", NFC)),
        ([NFD, "b"], ("b", NFD)),
        (["1", "2", "", "3.5", "-1", "1e3", "٣", "²", "9" * 5000], ("1", "2")),
        (["nan", "inf", "五"], ("inf", "nan", "五")),
    ],
)
def test_labels_alone_name_each_class_once(labels: list[str], expected: tuple[str, ...]) -> None:
    assert named_by(labels) == expected
    assert named_by(reversed(labels)) == expected


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("", "no label"),
        ("3.5", "a fraction"),
        ("-1", "a negative number"),
        ("1e3", "a number that is not written in the digits 0 to 9"),
        ("٣", "a number that is not written in the digits 0 to 9"),
        ("²", "a number that is not written in the digits 0 to 9"),
        ("9" * 5000, "longer than 255 characters"),
        ("003", None),
        ("3.0", None),
        ("3a", None),
    ],
)
def test_a_label_that_cannot_name_a_class_is_told_why(label: str, problem: str | None) -> None:
    assert unfit(label) == problem
