"""What `plan` says of a grid's price, and what the start of a grid keeps of it."""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curvetune.config.networks import MODEL_NAMES
from curvetune.errors import ConfigError
from curvetune.system.collecting import not_collected
from curvetune.system.machine import gpu_names, ray_cpus

if TYPE_CHECKING:
    from curvetune.config import CellConfig
    from curvetune.data import ClassSizes
    from curvetune.places import Places
    from curvetune.planning.plan import Plan
    from curvetune.planning.price.price import Machine, Price
    from curvetune.planning.resources import LaunchOptions


Tell = Callable[[str], object]


class Sizes:
    """How many samples cells train on, from how many images of each class there are."""

    def __init__(self, images: "ClassSizes") -> None:
        self.images = images
        self.classes = len(images.train)
        self._known: dict[Any, int] = {}

    def __call__(self, cell: "CellConfig") -> int:
        """Return the size of a cell's training set.

        Raises:
            DataError: the data cannot give it.
        """
        from curvetune.data.limits import train_size

        key = (cell.data, cell.bias)
        if key not in self._known:
            self._known[key] = train_size(self.images, cell.data, cell.bias)
        return self._known[key]


def price_plan(
    plan: "Plan",
    places: "Places",
    options: "LaunchOptions",
    *,
    device: str | None = None,
    calibrate: bool = False,
    tell: Tell = print,
) -> "Price":
    """Return what a plan costs on this machine, or on another kind of device.

    Args:
        tell: hears how the measuring comes along.
        calibrate: measure first, here, what was not measured yet; it is kept in the storage.

    Raises:
        ConfigError: trials that this machine has no room for, or a device that is not here.
        DataError: the data cannot give a cell its training set.
    """
    machine = machine_for(options, device)
    if not calibrate or not plan.left:
        return _price(plan, places, machine, None if plan.sizes is None else Sizes(plan.sizes))
    if machine.device != machine_for(options, None).device:
        raise ConfigError(
            f"--calibrate measures the device of this machine, not --device {device}; leave one of "
            f"them out"
        )
    from curvetune.data import ClassSizes

    dataset = places.source(plan.cells[0].config.data).load(places.data_dir)
    sizes = Sizes(ClassSizes.of(dataset.train.y, dataset.test.y, dataset.num_classes))
    found = _price(plan, places, machine, sizes)
    _calibrate(plan, found, dataset, sizes, places.storage, tell)
    return _price(plan, places, machine, sizes)


def keep_estimate(
    plan: "Plan", images: "ClassSizes", storage: Path, options: "LaunchOptions"
) -> None:
    """Write down what the cells that now begin are expected to take, for `plan` to check later.

    Which kind of device they get is not known yet, so it is done for each that was measured.

    Args:
        images: how many of each class there are.
    """
    from curvetune.planning.price.estimates import write_estimate
    from curvetune.planning.price.measured import read_measured
    from curvetune.planning.price.price import Machine, price

    evidence, sizes = read_measured(storage).evidence, Sizes(images)
    devices = {}
    for device in evidence.devices():
        found = price(plan, Machine(device, None, 1.0, *_sharing(options)), evidence, sizes)
        cells, probes = (
            {key: e.seconds for key, e in runs.items() if e.seconds is not None}
            for runs in (found.cells, found.probes)
        )
        devices[device] = cells, probes
    write_estimate(storage, plan.name, devices)


def machine_for(options: "LaunchOptions", device: str | None) -> "Machine":
    """Return what trials get on this machine; of others only what the options say.

    A device that is named, with how many cells run at once, is that of a cluster.

    Raises:
        ConfigError: it has no room for a trial.
    """
    from curvetune.planning.price.price import Machine
    from curvetune.planning.resources import fit_slots

    gpus = gpu_names() if options.gpus_per_trial != 0 else []
    here = gpus[0] if gpus else f"cpu ({platform.machine()})"
    is_cluster = options.max_concurrent is not None
    if device is not None and (device != here or is_cluster):
        cpus = options.cpus_per_trial or 1.0
        return Machine(device, options.max_concurrent, cpus, *_sharing(options))
    slots = fit_slots([{"CPU": float(ray_cpus()), "GPU": float(len(gpus))}], options)
    return Machine(
        here, slots.count, slots.cpus, *_sharing(options), data_cpus=options.data_cpus or 0
    )


def _sharing(options: "LaunchOptions") -> tuple[int, int]:
    """Return the GPUs of each cell, and the cells that share one (`auto` is decided later)."""
    share = options.gpus_per_trial
    if not isinstance(share, float) or share in (0.0, 1.0):
        return 1, 1
    return (int(share), 1) if share > 1 else (1, int(1 / share + 1e-6))


@not_collected()
def _price(plan: "Plan", places: "Places", machine: "Machine", sizes: Sizes | None) -> "Price":
    from curvetune.planning.price.disk import disk_of, free_bytes
    from curvetune.planning.price.estimates import read_past
    from curvetune.planning.price.evidence import TEST_IMAGES
    from curvetune.planning.price.measured import read_measured
    from curvetune.planning.price.price import price

    measured = read_measured(places.storage)
    disk = None
    if sizes is not None:
        data = plan.cells[0].config.data
        disk = disk_of(
            plan,
            sizes,
            classes=sizes.classes,
            images=TEST_IMAGES.get(data.name, 0) + data.meta_per_class * sizes.classes,
            slots=machine.slots or len(plan.left),
            free=free_bytes(places.storage),
            networks=_networks(plan, sizes.classes),
        )
    past = read_past(places.storage, measured)
    return price(plan, machine, measured.evidence, sizes, disk=disk, past=past)


def _networks(plan: "Plan", classes: int) -> dict[str, int]:
    """Return the bytes of each network of a plan that is of a plugin or of torchvision."""
    names = {cell.config.model.name for cell in plan.left} - set(MODEL_NAMES)
    if not names:
        return {}
    from curvetune.models import bytes_of  # PyTorch, which such a plugin has imported already

    return {name: bytes_of(name, classes) for name in sorted(names)}


def _calibrate(
    plan: "Plan", found: "Price", dataset: Any, sizes: Sizes, storage: Path, tell: Tell
) -> None:
    """Measure what is not known yet, and keep it."""
    import torch

    from curvetune.cell import run_cell
    from curvetune.planning.price.calibrate import ShortRun, calibrate, cells_to_measure
    from curvetune.planning.price.measured import add_calibrated
    from curvetune.store import open_storage
    from curvetune.training.provenance import device_name

    cells = cells_to_measure(plan, found)
    if not cells:
        tell("nothing to calibrate: every kind of cell was measured before")
        return
    if found.machine.is_gpu and not torch.cuda.is_available():
        raise ConfigError(
            f"--calibrate: PyTorch cannot use the {found.machine.device} of this machine "
            f"(`curvetune doctor` says why); --gpus-per-trial 0 measures the CPU"
        )
    device = torch.device("cuda" if found.machine.is_gpu else "cpu")
    torch.set_num_threads(max(1, int(found.machine.cpus)))  # as each trial has

    def run(cell: "CellConfig", folder: Path) -> None:
        run_cell(cell, plan.digest, dataset, folder, device=device)

    name = device_name(device)
    short_run = ShortRun(plan.digest, dataset, device.type, name, run, sizes)
    tell(f"measuring {len(cells)} kinds of cells on {found.machine.device}:")
    samples = calibrate(cells, short_run, lambda text: tell(f"  {text}"))
    if samples:
        add_calibrated(open_storage(storage), samples)
