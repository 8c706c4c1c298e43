"""Steps that are done again from a tape are ordinary steps, bit for bit."""

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy import CASES, Case, new_model, tensors, toy, train_on

from curvetune.batch import Batch
from curvetune.methods import Method
from curvetune.methods.base import State, descend
from curvetune.methods.shared.optimizers import RECORDER, Sgd
from curvetune.training.engine import Eager
from curvetune.training.tape.recording import MOST_BYTES
from curvetune.training.tape.taped import Taped, is_ours

SIZES = (*(12,) * 7, 5)
EPOCHS = 4
train = partial(train_on, sizes=SIZES, epochs=EPOCHS)

# Methods whose steps are ordinary ones: a step of theirs reads a number, asks for a shape that
# depends on the data, or changes in a way that a tape does not know. Written down, so that a method
# which had tapes and lost them is seen.
ORDINARY = {
    "class-balanced, sigmoid",
    "class-balanced, focal",
    "focal, sigmoid",
    "ldam-drw",
    "ldam",
    "curvenet by finite differences",
    "bootstrapping",
    "bootstrapping, detached",
    "bootstrapping, hard",
    "distill",
    "distill as released",
    "rolt-drw",
    "rolt",
    "dividemix",
    "dividemix for asymmetric noise",
    "elr-plus",
    "elr-plus, growing",
    "dynamic-loss",
    "dynamic-loss with the clean set",
    "sop",
}
LATER = [pytest.mark.faults, pytest.mark.slow]
NOW = {"cross-entropy", "gce", "curvenet", "mw-net-noise", "co-teaching with adam", "sop"}


def agree(one: Method, other: Method, engine: Taped, epochs: int = EPOCHS) -> None:
    """See that a method ends on tapes where its twin ends without."""
    expected, found = train(one, Eager(), epochs=epochs), train(other, engine, epochs=epochs)
    for (index, metrics), (other_index, other_metrics) in zip(expected, found, strict=True):
        assert torch.equal(index, other_index)
        assert metrics.keys() == other_metrics.keys()
        assert all(torch.equal(metrics[name], other_metrics[name]) for name in metrics)
    ends = tensors(one.state.state_dict()), tensors(other.state.state_dict())
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case[0] in NOW else LATER, id=case[0]) for case in CASES],
)
def test_every_method_ends_on_tapes_bit_for_bit_where_it_ends_without(case: Case) -> None:
    engine = Taped(anyone=True)
    agree(toy(case), toy(case), engine)
    assert (engine.repeated > 0) == (case[0] not in ORDINARY), engine.refused


class Toy:
    """A method of one linear layer; `extra` is what a step does beside."""

    phase: object = None

    def __init__(self, extra: Any = None) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        self.optimizer = Sgd(self.model.parameters(), lr=0.01, momentum=0.9)
        self.mean = torch.zeros(())
        self.extra = extra
        self.state = State(model=self.model, optimizer=self.optimizer, mean=self.mean)

    def start_epoch(self, epoch: int) -> None:
        self.optimizer.param_groups[0]["lr"] = 0.01 / (1 + epoch // 2)

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        losses = nn.functional.cross_entropy(self.model(batch.x), batch.y, reduction="none")
        descend(losses.mean(), self.optimizer)
        more = {} if self.extra is None else self.extra(self, batch, losses.detach())
        return {"loss": losses.detach(), **more}


def test_a_step_that_reads_a_number_is_an_ordinary_one() -> None:
    def reads(toy: Toy, batch: Batch, losses: Tensor) -> dict[str, Tensor]:
        return {"more": losses * float(losses.max())}

    engine = Taped(anyone=True)
    agree(Toy(reads), Toy(reads), engine)
    assert engine.repeated == 0
    assert engine.refused is not None
    assert "reads a number" in engine.refused


def test_a_step_with_a_shape_that_depends_on_the_data_is_an_ordinary_one() -> None:
    def picks(toy: Toy, batch: Batch, losses: Tensor) -> dict[str, Tensor]:
        chosen = losses[losses >= losses.median()]
        return {"more": chosen.sum() / len(chosen)}

    engine = Taped(anyone=True)
    agree(Toy(picks), Toy(picks), engine)
    assert engine.refused is not None
    assert "depends on the data" in engine.refused


def test_a_step_that_counts_in_python_is_found_out() -> None:
    def counts(toy: Toy, batch: Batch, losses: Tensor) -> dict[str, Tensor]:
        toy.count = getattr(toy, "count", 0) + 1  # type: ignore[attr-defined]
        return {"more": losses * toy.count}  # type: ignore[attr-defined]

    engine = Taped(anyone=True)
    train(Toy(counts), engine)
    assert (engine.repeated, engine.refused) == (0, "a step differs when it is recorded")


def test_what_a_step_keeps_in_its_state_is_kept_on_tapes_too() -> None:
    def keeps(toy: Toy, batch: Batch, losses: Tensor) -> dict[str, Tensor]:
        toy.mean.mul_(0.9).add_(losses.mean(), alpha=0.1)
        return {"mean": toy.mean.clone()}

    engine = Taped(anyone=True)
    agree(Toy(keeps), Toy(keeps), engine)
    assert engine.repeated > 0


def test_what_a_step_draws_is_drawn_anew_in_each_repetition() -> None:
    def drawing(seed: int) -> Toy:
        draws = torch.Generator().manual_seed(seed)
        made = Toy(lambda _, __, losses: {"drawn": torch.rand(len(losses), generator=draws)})
        made.state = State(model=made.model, optimizer=made.optimizer, draws=draws)
        return made

    engine = Taped(anyone=True)
    expected, found = train(drawing(3), Eager()), train(drawing(3), engine)
    assert engine.repeated > 0
    drawn = [metrics["drawn"] for _, metrics in found]
    assert all(torch.equal(a["drawn"], b) for (_, a), b in zip(expected, drawn, strict=True))
    assert not torch.equal(drawn[3], drawn[4])


def test_another_learning_rate_or_phase_gets_another_tape() -> None:
    def scales(toy: Toy, batch: Batch, losses: Tensor) -> dict[str, Tensor]:
        return {"more": losses * (2.0 if toy.phase == "late" else 1.0)}

    one, other = Toy(scales), Toy(scales)
    engine = Taped(anyone=True)
    agree(one, other, engine, epochs=6)  # three learning rates
    assert engine.repeated > 6
    one.phase = other.phase = "late"
    agree(one, other, engine, epochs=2)
    assert engine.refused is None


def test_a_step_of_large_tensors_is_not_held() -> None:
    def large(toy: Toy, batch: Batch, losses: Tensor) -> dict[str, Tensor]:
        return {"more": torch.zeros(MOST_BYTES // 4 + 1).sum() + losses.sum()}

    engine = Taped(anyone=True)
    agree(Toy(large), Toy(large), engine)
    assert engine.refused == f"its tensors have more than {MOST_BYTES} bytes"


def test_an_operation_that_torchscript_does_not_know_costs_only_the_tape() -> None:
    @torch.library.custom_op("curvetune_tests::doubled", mutates_args=())
    def doubled(x: Tensor) -> Tensor:
        return x * 2

    def custom(toy: Toy, batch: Batch, losses: Tensor) -> dict[str, Tensor]:
        return {"more": doubled(losses)}

    agree(Toy(custom), Toy(custom), Taped(anyone=True))


def test_a_network_that_draws_for_itself_draws_what_it_draws_without_tapes() -> None:
    ends = []
    for engine in (Eager(), Taped(anyone=True)):
        method = Toy()
        torch.manual_seed(1)
        method.model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5, inplace=True), nn.Linear(64, 3))
        method.optimizer = Sgd(method.model.parameters(), lr=0.1)
        method.state = State(model=method.model, optimizer=method.optimizer)
        seen = train(method, engine)
        drawn = torch.default_generator.get_state()
        ends.append([*method.model.parameters(), *(m["loss"] for _, m in seen), drawn])
    assert all(map(torch.equal, *ends))


class Shifted(Toy):
    """A method whose steps are others while somebody watches them."""

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        found = super().step(batch, meta)
        if RECORDER.get() is not None:
            with torch.no_grad():
                next(self.model.parameters()).mul_(1 + 1e-6)
        return found


def test_a_step_that_differs_when_it_is_recorded_is_an_ordinary_one() -> None:
    engine = Taped(anyone=True)
    agree(Shifted(), Shifted(), engine)
    assert (engine.repeated, engine.refused) == (0, "a step differs when it is recorded")


def test_a_method_or_a_network_of_a_plugin_has_ordinary_steps() -> None:
    class Own(nn.Identity):
        """A layer that a plugin brings."""

    engine = Taped()
    train(Toy(), engine)
    assert engine.repeated == 0
    assert engine.refused == "it, or its network, is not one of curvetune's own"
    own = toy(("cross-entropy", {}))
    assert is_ours(own)
    own.model.add_module("own", Own())
    assert not is_ours(own)


def test_a_network_of_batch_norm_keeps_its_statistics_on_tapes() -> None:
    ends = []
    for engine in (Eager(), Taped(anyone=True)):
        method = Toy()
        method.model = new_model(0)
        method.optimizer = Sgd(method.model.parameters(), lr=0.1)
        method.state = State(model=method.model, optimizer=method.optimizer)
        train(method, engine)
        ends.append(list(method.model.buffers()))
    assert len(ends[0]) > 0
    assert all(map(torch.equal, *ends))


def test_recording_does_not_import_the_compiler_of_pytorch() -> None:
    program = """
import sys, torch
from curvetune.training.tape.recording import Recording
with Recording().going():
    torch.ones(2) + 1
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
