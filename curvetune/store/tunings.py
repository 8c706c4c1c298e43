"""Which trials the search of a method has had: tunings/<id>.json.

The id is a fingerprint of what the search is of. So a search with another seed, or over other
ranges, is another one, and both stay. A trial is kept before its cells run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curvetune.config.fingerprint import fingerprint
from curvetune.errors import CorruptError
from curvetune.store.files import read_json, write_json
from curvetune.store.names import tuning_file
from curvetune.store.plain import check_inside, is_there


def write_trials(
    root: Path, identity: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]
) -> None:
    """Keep the options of each trial of a search, in their order.

    Raises:
        StorageError: they cannot be written.
    """
    path = tuning_file(root, fingerprint(identity))
    check_inside(root, path.parent)
    content = {"schema_version": 1, **identity, "trials": [dict(one) for one in trials]}
    if not is_there(path) or read_json(path) != content:
        write_json(path, content)


def read_trials(root: Path, identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the options of each trial that a search has had; none of one that did not begin.

    Raises:
        CorruptError: the file is damaged.
    """
    path = tuning_file(root, fingerprint(identity))
    check_inside(root, path.parent)
    if not is_there(path):
        return []
    trials = read_json(path).get("trials")
    if not isinstance(trials, list) or any(not isinstance(one, dict) for one in trials):
        raise CorruptError(
            f"{path}: not the trials of a search; remove the file, and run `curvetune tune` again: "
            f"cells that are done stay"
        )
    return trials
