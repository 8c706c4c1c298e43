"""One cell, from its split to its published result: all that a trial does, without Ray.

A trial of Ray Tune and a benchmark on a machine with nothing but PyTorch call the same function.
"""

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curvetune import methods
from curvetune.config import (
    CellConfig,
    MetaSetConfig,
    NoiseRateConfig,
    TrainingConfig,
    WeightNetConfig,
)
from curvetune.config.plugins import check_loaded
from curvetune.data.recipe import fed
from curvetune.data.source import Dataset
from curvetune.errors import CorruptError
from curvetune.methods import Parts
from curvetune.probe.noise_rate import estimate_noise_rate
from curvetune.probe.run import run_probe
from curvetune.seeding import torch_stream
from curvetune.store import CellStore, CurveStore
from curvetune.store.arrays import save_arrays
from curvetune.store.files import read_json, write_json
from curvetune.store.lease import Lease, leased
from curvetune.store.names import CHECKPOINT, CONFIG, HISTORY, MANIFEST, MODEL, SAMPLES
from curvetune.training.cell_sets import CellSets
from curvetune.training.checkpoint import Checkpoint, load_state, save_state
from curvetune.training.classifier import check_classifiers, first_classifier, ready_to_train
from curvetune.training.classifier_facts import RESULT_KEY, ClassifierFacts
from curvetune.training.engine import engine_for, prepare
from curvetune.training.fit import Loop, Samples, Trained, fit, never
from curvetune.training.metrics import Evaluation, evaluate, three_accuracies, weight_gap
from curvetune.training.provenance import moved, provenance

Event = dict[str, Any]
Curves = NDArray[np.float32]
Margins = NDArray[np.float16]
Made = tuple[Trained, nn.Module]

logger = logging.getLogger(__name__)


def _ignore(_: Event) -> None:
    """Take an event and do nothing."""


def run_cell(
    cell: CellConfig,
    digest: str,
    dataset: Dataset,
    storage: Path,
    *,
    device: torch.device,
    checkpoint_every: int = 5,
    on_event: Callable[[Event], None] = _ignore,
    read_curves: Callable[[str], Curves] | None = None,
    stop: Callable[[], bool] = never,
    until: int | None = None,
    info: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the result of a cell, as in its DONE.json; what is stored already is not run again.

    Half-done stages go on from their checkpoints, bit for bit on the same kind of device.

    Args:
        digest: of the data's content; with the config it is the cell's address.
        on_event: told {"stage": "probe" | "allocate", **row of an epoch}, and {"stage": "stored",
            "probe_id"} as soon as the curves are on disk.
        read_curves: reads stored curves by probe id; from the storage if not given. It raises
            CorruptError for curves that are damaged, which are then recomputed.
        stop: asked before every epoch whether the cell is to be left, with a checkpoint, for now.
        until: epochs of the final training at which the cell is left, with a checkpoint, for now.
        info: goes into the result as it is, such as how many cells shared the device.

    Raises:
        BusyError: another process works on this cell, or on its probe.
        ConfigError: its classifier cannot be built, or a plugin of it is not loaded.
        DataError: the data cannot give the split.
        DivergedError: a loss is not finite.
        LostLeaseError: another process took the cell or its probe over, since this one stood still.
        PausedError: `until` epochs are done; the same call without it goes on bit for bit.
        StoppedError: `stop` said so; the same call goes on bit for bit.
        StorageError: the storage cannot be written.
    """
    store = CellStore(storage)
    cell_id = cell.cell_id(digest)
    if (done := store.result(cell_id)) is not None:
        return done
    for kind, name, ref in cell.plugins:
        check_loaded(ref, kind, name)
    if cell.data.validation is not None:
        dataset = dataset.without_test()
    check_classifiers([cell], dataset)
    dataset = fed(dataset, cell.data, digest)
    prepare(device)
    folder = store.folder(cell_id)
    with leased(folder) as lease:
        if (done := store.result(cell_id)) is not None:  # of another process, just now
            return done
        store.discard(cell_id)
        write_json(folder / CONFIG, cell.model_dump(mode="json") | {"data_digest": digest})
        run = _Run(cell, digest, dataset, storage, device, checkpoint_every, on_event, stop)
        curves, manifest = run.curves(read_curves or CurveStore(storage).read)
        with store.going_on(cell_id):
            made, model = run.allocate(lease, curves, until)
        final = evaluate(model, run.test, dataset.num_classes)
        lease.check()
        save_state(folder / MODEL, {"model": model.state_dict()})
        samples = {name: values.cpu().numpy() for name, values in made.samples.items()}
        save_arrays(folder / SAMPLES, samples)
        result = run.result(made, final, manifest) | dict(info or {})
        return store.publish(cell_id, result, lease=lease)


class _Run:
    """One cell on one device: its two stages."""

    def __init__(
        self,
        cell: CellConfig,
        digest: str,
        dataset: Dataset,
        storage: Path,
        device: torch.device,
        checkpoint_every: int,
        on_event: Callable[[Event], None],
        stop: Callable[[], bool],
    ) -> None:
        self.cell = cell
        self.digest = digest
        self.dataset = dataset
        self.storage = storage
        self.device = device
        self.checkpoint_every = checkpoint_every
        self.on_event = on_event
        self.stop = stop
        self.sets = CellSets(cell, digest, dataset, storage, device)
        self.split, self.train, self.test = self.sets.split, self.sets.train, self.sets.test
        self.noise_rate: float | None = None  # that the method is told, if it asks
        self.margins: Margins | None = None  # of the probe, (N, T), if the method reads them

    def curves(self, read: Callable[[str], Curves]) -> tuple[Curves | None, dict[str, Any]]:
        """Return the curves, (N, T), stored or from a probe, and the manifest of that probe.

        Margins are kept aside for a method that reads them.
        """
        probe_id, recipe = self.cell.probe_id(self.digest), self.cell.probe_recipe
        if probe_id is None or recipe is None:
            return None, {}
        store = CurveStore(self.storage)
        curves = self._stored(probe_id, read)
        if curves is None:
            with leased(store.folder(probe_id)) as lease:
                if store.has(probe_id):  # another process ended it just now
                    curves = store.read(probe_id)
                else:
                    store.discard(probe_id)
                    curves = self._probe(probe_id, recipe, lease)
            self.margins = self._margins(probe_id)
        self.on_event({"stage": "stored", "probe_id": probe_id})
        return curves, read_json(store.folder(probe_id) / MANIFEST)

    def _probe(self, probe_id: str, recipe: TrainingConfig, lease: Lease) -> Curves:
        return run_probe(
            recipe,
            self._new_model("probe.model"),
            self.train,
            torch_stream(self.cell.seed, "probe.train", self.device),
            storage=self.storage,
            probe_id=probe_id,
            info={
                "identity": self.cell.probe_identity(self.digest),
                "cell_id": self.cell.cell_id(self.digest),  # the one whose time it was
                **provenance(self.device),
            },
            checkpoint_every=self.checkpoint_every,
            on_epoch=lambda row: self.on_event({"stage": "probe", **row}),
            stop=self.stop,
            subset=self.sets.half() if recipe.trains_on_half else None,
            lease=lease,
        )

    def allocate(self, lease: Lease, curves: Curves | None, until: int | None) -> Made:
        """Run the final training; return what it made, and the classifier.

        Args:
            lease: of the cell's folder.
        """
        cell, device = self.cell, self.device
        on_device = self._on_device(curves, stays=self.cell.method.reads_by_row)
        meta = self.sets.meta(on_device)
        self.noise_rate = self._noise_rate(curves)
        parts = Parts(
            new_model=lambda k: self._new_model("model" if k == 0 else f"model.{k}"),
            recipe=cell.final_recipe,
            first_drop=cell.final_recipe.first_drop,
            y=torch.tensor(self.split.y, device=device),
            num_classes=self.dataset.num_classes,
            train=self.train,
            generator=torch_stream(cell.seed, "method"),
            draws=torch_stream(cell.seed, "method.draws", device),
            meta=meta,
            noise_rate=self.noise_rate or 0.0,
            curves=on_device,
            margins=self._on_device(self.margins),
            pretrained=self._pretrained,
            verified=self.sets.verified(),
        )
        method = methods.build(cell.method, parts)
        loop = Loop(
            recipe=cell.final_recipe,
            train=self.train,
            streams={name: torch_stream(cell.seed, name, device) for name in ("train", "meta")},
            checkpoint=Checkpoint(lease.folder / CHECKPOINT, self.checkpoint_every),
            history=lease.folder / HISTORY,
            meta=meta,
            describe=self._describe,
            evaluate=lambda model: {"accuracy": self._accuracy(model).accuracy},
            on_epoch=lambda row: self.on_event({"stage": "allocate", **row}),
            stop=self.stop,
            until=until,
            guard=lease.check,
            engine=engine_for(self.train, device),
            layers_seed=torch_stream(cell.seed, "layers").initial_seed(),
        )
        if isinstance(cell.method, MetaSetConfig):
            loop.meta_batch_size = cell.method.meta_batch_size
        if isinstance(cell.method, WeightNetConfig):
            loop.meta_every = cell.method.meta_every
        return fit(method, loop), method.model

    def result(
        self, made: Trained, final: Evaluation, manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what DONE.json says beside its files; a probe's time is that of one cell only."""
        rows = made.rows
        is_own = manifest.get("cell_id") == self.cell.cell_id(self.digest)
        seconds = {
            "probe": manifest["seconds"] if is_own else 0.0,
            "allocate": sum(row["seconds"] for row in rows),
        }
        rounded = {"rounded_curves": manifest["rounded"]} if "rounded" in manifest else {}
        share = float(self.split.wrong.mean())
        known = {"wrong_share": share} if self.cell.bias.is_human else {}
        return {
            "probe_id": self.cell.probe_id(self.digest),
            **three_accuracies([row["accuracy"] for row in rows]),
            "per_class_accuracy": final.per_class,
            **final.confusion(),
            "weight_gap": rows[-1].get("weight_gap"),
            "noise_rate_used": self.noise_rate,
            "num_samples": len(self.train),
            RESULT_KEY: ClassifierFacts.of(self.dataset).to_json(),
            "seconds": seconds,
            "finished": rows[-1]["time"],
            **known,
            **rounded,
            **provenance(self.device),
            **moved(made.devices),
            **({"probe_devices": manifest["devices"]} if "devices" in manifest else {}),
        }

    def _stored(self, probe_id: str, read: Callable[[str], Curves]) -> Curves | None:
        """Return stored curves; None if there are none, or damaged ones, which is said."""
        if not CurveStore(self.storage).has_manifest(probe_id):
            return None
        try:
            self.margins = self._margins(probe_id)
            return read(probe_id)
        except CorruptError as error:
            logger.warning("probe %s is recomputed: %s", probe_id, error)
            return None

    def _margins(self, probe_id: str) -> Margins | None:
        """Return a stored probe's margins; None if the method does not read them.

        Raises:
            CorruptError: it has none, or they are damaged.
        """
        if not self.cell.method.reads_margins:
            return None
        margins = CurveStore(self.storage).margins(probe_id)
        if margins is None:
            raise CorruptError(f"probe {probe_id} has no margins, which the method reads")
        return margins

    def _on_device(self, recorded: NDArray[Any] | None, *, stays: bool = False) -> Tensor | None:
        """Return what a probe recorded, (N, T), as float32 on the device.

        Args:
            stays: of a streamed set on a CPU, it is read-only, and mapped from its file.
        """
        if recorded is None:
            return None
        if stays and self.train.reads and self.device.type == "cpu":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of PyTorch, that nobody may write to it
                return torch.from_numpy(np.asarray(recorded, np.float32))
        return torch.tensor(recorded, dtype=torch.float32, device=self.device)

    def _noise_rate(self, curves: Curves | None) -> float | None:
        """Return the share of wrong labels that the method is told; None if it does not ask."""
        method = self.cell.method
        if not isinstance(method, NoiseRateConfig):
            return None
        if method.noise_rate_estimate == "auto":
            assert curves is not None
            return estimate_noise_rate(curves, self.split.y)
        if method.noise_rate_estimate == "given":
            bias = self.cell.bias
            return float(self.split.wrong.mean()) if bias.is_human else bias.noise_rate
        return method.noise_rate_estimate

    def _pretrained(self) -> nn.Module:
        """Return the probe's classifier."""
        folder = CurveStore(self.storage).folder(self.cell.probe_id(self.digest) or "")
        model = self._new_model("probe.model")
        model.load_state_dict(load_state(folder / MODEL)["model"])
        return model

    def _new_model(self, stream: str) -> nn.Module:
        """Return the classifier, initialised from a named stream, ready on the device."""
        initial = torch_stream(self.cell.seed, stream)
        model = first_classifier(self.cell.model, self.dataset, initial)
        return ready_to_train(model, self.device)

    def _accuracy(self, model: nn.Module) -> Evaluation:
        return evaluate(model, self.test, self.dataset.num_classes)

    def _describe(self, samples: Samples) -> dict[str, float]:
        """Return the gap between the mean weights of right and wrong labels, if there are any."""
        if "weight" not in samples:
            return {}
        known = torch.tensor(self.split.known, device=self.device)
        wrong = torch.tensor(self.split.wrong, device=self.device)
        gap = weight_gap(samples["weight"][known], wrong[known])
        return {} if gap is None else {"weight_gap": gap}
