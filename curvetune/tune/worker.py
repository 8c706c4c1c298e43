"""The first thing of a trial: bring in what it needs, and say so where that fails.

A worker may lack what the driver has: a broken PyTorch on one node, a module of the user's that is
not there. Ray Tune would call that a lost process and try four times. So nothing heavy is imported
up here, and a cell's config stays in its own bytes until its own trial: one that cannot be read
there costs no other.
"""

import pickle
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curvetune.errors import ConfigError
from curvetune.system.redact import redact
from curvetune.training.import_errors import IMPORT, import_words, is_import_error

if TYPE_CHECKING:
    from curvetune.config import CellConfig
    from curvetune.plugins.code import Plugin
    from curvetune.tune.nodes.asked import Question

_asked: set[str] = set()  # the launches for which this process found its node fit


@dataclass(frozen=True)
class Sent:
    """A cell's config on its way to another process, with the source of the plugins that it needs.

    As JSON: the class of a plugin's section is not known there before the plugin is.
    """

    config: str
    plugins: "tuple[Plugin, ...]"

    @classmethod
    def of(cls, cell: "CellConfig") -> "Sent":
        """Pack a config.

        Raises:
            ConfigError: a plugin that it needs is not loaded.
        """
        from curvetune.plugins.load import of_refs

        return cls(cell.model_dump_json(), tuple(of_refs(ref for _, _, ref in cell.plugins)))

    def opened(self) -> "CellConfig":
        """Return the config, once the plugins are imported here.

        Raises:
            ConfigError: one of them cannot be.
        """
        from curvetune.config import CellConfig
        from curvetune.plugins.load import activate

        activate(self.plugins)
        return CellConfig.model_validate_json(self.config)


def sent(cell: "CellConfig") -> "CellConfig | Sent":
    """Return a config as it travels: packed with its plugins, if it has any.

    Raises:
        ConfigError: a plugin that it needs is not loaded.
    """
    return Sent.of(cell) if cell.plugins else cell


def opened(cell: "CellConfig | Sent") -> "CellConfig":
    """Return a config that has travelled.

    Raises:
        ConfigError: a plugin that it needs cannot be imported here.
    """
    return cell.opened() if isinstance(cell, Sent) else cell


def run_trial(
    config: Mapping[str, Any], *, parts: Mapping[str, Any], cells: Mapping[str, bytes]
) -> None:
    """Run `train_cell`; Tune hears of a module that cannot be imported as of any other failure.

    Args:
        parts: references to `work`, `dataset` and `curves` in Ray's object store.
        cells: the config of each cell, pickled.
    """
    import ray.tune

    cell_id = config["cell_id"]
    try:
        from curvetune.tune.trainable import runner, train_cell

        work = _fetched(parts["work"])
        if (unfit := unfit_here(work.question)) is not None:
            ray.tune.report({"stage": "unfit", **unfit, "cell_id": cell_id})
            return
        cell = opened(pickle.loads(cells[cell_id]))
        given = {name: _fetched(ref) for name, ref in parts.items()}
        runner(work)
    except (Exception, SystemExit) as error:
        if not isinstance(error, ConfigError) and not is_import_error(error):
            raise
        words = str(error) if isinstance(error, ConfigError) else import_words(error)
        failed = redact(words)
        log = redact(traceback.format_exc())
        told = {"stage": "failed", "failed": failed, "kind": IMPORT, "log": log}
        ray.tune.report({**told, "cell_id": cell_id})
        return
    train_cell(config, cell=cell, **given)


def unfit_here(question: "Question | None") -> dict[str, str] | None:
    """Return which node this is and why it cannot run trials; None if it can.

    A process asks itself once for a launch: the nodes that were there at its start were asked by
    the driver, but others come later.
    """
    if question is None or question.nonce in _asked:
        return None
    import ray

    from curvetune.tune.nodes.asked import faults
    from curvetune.tune.nodes.look import look

    node: str = ray.get_runtime_context().get_node_id()
    found = faults(look(question.to(node)), question)
    if found:
        return {"node": node, "why": "; ".join(found)}
    _asked.add(question.nonce)
    return None


def _fetched(ref: Any) -> Any:
    """Return an object from the store; where it cannot be unpickled here, raise why."""
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RaySystemError as error:
        if isinstance(error.client_exc, BaseException):
            raise error.client_exc from None
        raise
