"""Every method has one colour, which everybody can tell from the others and from the page."""

import numpy as np
import pytest
from numpy.typing import NDArray

from curvetune.config import METHOD_SECTIONS
from curvetune.report.colours import COLOURS, ORDER, colour_of, colours_of

PAGES = ("#ffffff", "#0d1117")
# How eyes that lack one kind of cone see linear red, green and blue: Machado, Oliveira and
# Fernandes, IEEE Transactions on Visualization and Computer Graphics 15(6), 2009, severity 1.
EYES = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    ),
    "deuteranopia": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    ),
    "tritanopia": np.array(
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]
    ),
}


def linear(colour: str) -> NDArray[np.float64]:
    """Return linear red, green and blue of a hex colour: IEC 61966-2-1."""
    values = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, two: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it, 1 to 21."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (one, two))
    return high / low


def seen(colour: str, eyes: str) -> NDArray[np.float64]:
    """Return a colour as those eyes see it, in the OKLab space (B. Ottosson, 2020)."""
    rgb = np.clip(EYES[eyes] @ linear(colour), 0, 1)
    cones = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    lab = np.array([[0.2105, 0.7936, -0.0041], [1.978, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
    found: NDArray[np.float64] = lab @ np.cbrt(cones @ rgb)
    return found


def test_every_method_has_a_colour_of_its_own() -> None:
    colours = [colour_of(name) for name in METHOD_SECTIONS]
    assert len(set(colours)) == len(colours)
    assert set(ORDER) == set(METHOD_SECTIONS)


@pytest.mark.parametrize("page", PAGES)
def test_every_colour_stands_out_against_a_light_and_a_dark_page(page: str) -> None:
    assert {c: contrast(c, page) for c in COLOURS if contrast(c, page) < 3} == {}


@pytest.mark.parametrize("eyes", EYES)
def test_the_first_colours_are_apart_for_all_eyes(eyes: str) -> None:
    first = [seen(colour, eyes) for colour in COLOURS[:8]]
    least = min(float(np.linalg.norm(a - b)) for k, a in enumerate(first) for b in first[:k])
    assert least > 0.05  # 0.02 is what people just notice


def test_a_method_has_the_same_colour_in_every_grid_and_with_every_option() -> None:
    assert colours_of(["focal", "curvenet"])["curvenet"] == colour_of("curvenet")
    assert colour_of("curvenet skip_layers=1") == colour_of("curvenet")
    assert colour_of("my-plugin") == colour_of("my-plugin")
    assert colour_of("my-plugin") in COLOURS


def test_rows_of_one_method_differ_and_take_no_other_methods_colour() -> None:
    labels = ["curvenet skip_layers=0", "curvenet skip_layers=1", "mw-net-noise", "cross-entropy"]
    found = colours_of(labels)
    assert list(found) == labels
    assert len(set(found.values())) == 4
    assert found["curvenet skip_layers=0"] == colour_of("curvenet")
    assert found["mw-net-noise"] == colour_of("mw-net-noise")


def test_more_rows_than_colours_have_colours_all_the_same() -> None:
    labels = [f"curvenet skip_layers={k}" for k in range(2 * len(COLOURS))]
    assert set(colours_of(labels).values()) == set(COLOURS)
