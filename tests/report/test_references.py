"""The BibTeX of every method agrees with what its section and its own file say of its source."""

import importlib
import re

import pytest

from curvetune.config import METHOD_SECTIONS
from curvetune.methods import METHODS
from curvetune.report.references.bibtex import bibtex, references

every_method = pytest.mark.parametrize("name", METHODS)


def fields(entry: str) -> dict[str, str]:
    """Read one entry as BibTeX does: what stands in the outer braces of each field."""
    return dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, re.MULTILINE))


def plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).lower().strip()


@every_method
def test_an_entry_has_the_authors_the_venue_and_the_year_of_the_methods_source(name: str) -> None:
    (entry,) = re.findall(r"^@\w+\{.*?^\}$", bibtex([name]), re.MULTILINE | re.DOTALL)
    found, source = fields(entry), METHOD_SECTIONS[name].source
    families = [author.partition(",")[0] for author in found["author"].split(" and ")]
    named = re.match(r".*?(?=, [A-Z]\w+ 2|, arXiv)", source)
    assert named is not None
    said = re.split(r", | and ", named[0].removesuffix(" et al."))
    assert families[: len(said)] == said
    assert (named[0].endswith(" et al.")) == (len(families) > len(said))
    venue = source[named.end() :].removeprefix(", ").split(" ")[0]
    assert venue in " ".join(found.values())
    year = re.search(r"\b20\d\d\b", source[named.end() :])
    assert found["year"] == (year[0] if year else "2021")  # an archive's number begins with 21


@every_method
def test_an_entry_has_the_title_that_the_methods_own_file_names(name: str) -> None:
    text = importlib.import_module(f"curvetune.methods.{name.replace('-', '_')}").__doc__ or ""
    quoted = re.findall(r'Source: .*?"(.*?)"', " ".join(text.split()))
    (one,) = [one for one in references() if name in one.methods]
    if name == "cross-entropy":
        assert quoted == []  # the baseline: the paper's equation, without its title
    else:
        assert plain(one.title).startswith(plain(quoted[0]))


def test_a_publication_stands_once_however_many_methods_are_from_it() -> None:
    text = bibtex(["elr-plus", "elr", "cross-entropy", "curvenet"])
    assert re.findall(r"@\w+\{(\w+),", text) == ["jiang2022curvenet", "liu2020elr"]
    assert text.count("{{Early-Learning Regularization") == 1


def test_a_method_of_a_plugin_is_named_in_a_comment_that_ends_no_entry() -> None:
    text = bibtex(["focal", "mine\n@evil{"])
    assert [line for line in text.splitlines() if line.startswith("@")] == [
        "@inproceedings{lin2017focal,"
    ]
    assert "% mine" in text
