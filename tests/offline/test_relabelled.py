"""A relabelled grid on another machine: its split travels, so that it needs no list of labels."""

from pathlib import Path

from storage_fixtures import DIGEST, make_cells, write_grid

from curvetune import data
from curvetune.offline.pack import worth_carrying
from curvetune.store.relabels import relabel_content, write_relabel
from curvetune.training.split import load_split


def test_the_split_of_a_relabelled_cell_travels_before_it_is_begun(tmp_path: Path) -> None:
    digits = data.load("digits")
    digest = write_relabel(tmp_path, relabel_content({0: 1}, digits.class_names, DIGEST))
    options = {"imbalances": (1,), "noise_rates": (0.4,), "seeds": (0,)}
    plain, corrected = (
        make_cells(({"name": "cross-entropy"},), **options, data={"relabel": relabel})[0]
        for relabel in (None, digest)
    )
    for cell in (plain, corrected):
        load_split(cell, DIGEST, digits, tmp_path)
    write_grid(tmp_path, [plain, corrected])
    names = {f"{item.folder}/{name}" for item in worth_carrying(tmp_path) for name in item.names}
    assert f"splits/{corrected.split_id(DIGEST)}.safetensors" in names
    assert f"splits/{plain.split_id(DIGEST)}.safetensors" not in names  # it is made anew there
