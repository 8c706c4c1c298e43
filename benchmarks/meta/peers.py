"""The allocating step of CurveNet against the same step written with torchopt and with betty.

Claim: on ResNet-32 with batches of 128, SL 0, curvetune's step is twice as fast as torchopt's,
which takes the same exact step (a virtual copy of the network, a double backward), so its
classifier agrees. betty takes a cheaper one that is not the same, in four fifths of the time: its
real step is the virtual step as well, and its default gradient (`darts`) is a finite difference; it
is measured as its tutorial of data reweighting has it, so no agreement is given.

    pip install -e ".[bench]"
    pip install --no-deps --ignore-requires-python betty-ml==0.2.1
    python -m benchmarks.meta.peers --pairs 8 --threads 2

(betty 0.2.1 declares Python below 3.11 and has no newer release; it runs on 3.11 as it is.) Ratios
of back-to-back pairs in one process, as in meta_step.py, which has `higher`. Rows are appended to
benchmarks/results/meta_step.csv, since they are about the same step.
"""

import argparse
import logging
from typing import Any

import torch
import torch.nn.functional as F
import torchopt
from betty.configs import Config, EngineConfig
from betty.engine import Engine
from betty.problems import ImplicitProblem
from torch import Tensor

from benchmarks.meta.meta_step import LR, allocating_step, difference, flat, random_batch, row
from benchmarks.timing import append, ratios
from curvetune.batch import Batch
from curvetune.training.engine import prepare


class TorchoptStep:
    """The allocating step with torchopt's differentiable SGD, for its virtual and its real step."""

    def __init__(self, device: torch.device) -> None:
        self.method: Any = allocating_step(0, device)
        self.sgd = torchopt.MetaSGD(
            self.method.model, lr=LR, momentum=0.9, nesterov=True, weight_decay=5e-4
        )

    def __call__(self, batch: Batch, meta: Batch) -> None:
        """Take one step."""
        model, learner = self.method.model, self.method._learner
        start, momentum = self._state(model), self._state(self.sgd)
        losses = F.cross_entropy(model(batch.x), batch.y, reduction="none")
        self.sgd.step((learner._weigh(batch, losses.detach()) * losses).mean())
        meta_loss = F.cross_entropy(model(meta.x), meta.y)
        learner._optimizer.zero_grad()
        slopes = torch.autograd.grad(meta_loss, list(learner.net.parameters()))
        for param, slope in zip(learner.net.parameters(), slopes, strict=True):
            param.grad = slope
        learner._optimizer.step()
        torchopt.recover_state_dict(model, start)
        torchopt.recover_state_dict(self.sgd, momentum)
        losses = F.cross_entropy(model(batch.x), batch.y, reduction="none")
        self.sgd.step((learner.weights(batch, losses.detach()) * losses).mean())
        torchopt.stop_gradient(model)
        torchopt.stop_gradient(self.sgd)

    @staticmethod
    def _state(owner: object) -> Any:
        return torchopt.extract_state_dict(owner, by="reference", with_buffers=True)


class Classifier(ImplicitProblem):  # type: ignore[misc]
    """betty's lower problem: the weighted cross entropy of a batch."""

    def training_step(self, batch: tuple[Tensor, ...]) -> Tensor:
        x, y, index = batch
        losses = F.cross_entropy(self.module(x), y, reduction="none")
        weights = self.weighting.module(Batch(x, y, index), losses.detach())
        loss: Tensor = (weights * losses).mean()
        return loss


class Weighting(ImplicitProblem):  # type: ignore[misc]
    """betty's upper problem: the cross entropy of a meta batch."""

    def training_step(self, batch: tuple[Tensor, ...]) -> Tensor:
        x, y, _ = batch
        return F.cross_entropy(self.classifier.module(x), y)


class Weigh(torch.nn.Module):
    """CurveNet with the curves that it reads, as the module that betty wants."""

    def __init__(self, learner: Any) -> None:
        super().__init__()
        self.net = learner.net
        self._weigh = learner._weigh

    def forward(self, batch: Batch, losses: Tensor) -> Tensor:
        """Return the weight of each sample, (B,)."""
        weights: Tensor = self._weigh(batch, losses)
        return weights


def betty_engine(batch: Batch, meta: Batch, device: torch.device) -> Any:
    """Return betty's engine on one batch and one meta batch; `train_step` takes a step."""
    method: Any = allocating_step(0, device)
    config = Config(type="darts", unroll_steps=1)
    lower = Classifier(
        name="classifier",
        config=config,
        module=method.model,
        optimizer=method._optimizer,
        train_data_loader=[(batch.x, batch.y, batch.index)],
    )
    upper = Weighting(
        name="weighting",
        config=config,
        module=Weigh(method._learner),
        optimizer=method._learner._optimizer,
        train_data_loader=[(meta.x, meta.y, meta.index)],
    )
    engine = Engine(
        config=EngineConfig(train_iters=1),
        problems=[upper, lower],
        dependencies={"u2l": {upper: [lower]}, "l2u": {lower: [upper]}},
    )
    engine.train()
    return engine


def main() -> None:
    """Measure both and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prepare(device)
    logging.disable(logging.INFO)  # betty tells every problem
    batch, meta = random_batch(1, device), random_batch(2, device)

    ours, theirs = allocating_step(0, device), TorchoptStep(device)
    ours.step(batch, meta)
    theirs(batch, meta)
    agreement = difference(flat(ours.model), flat(theirs.method.model))
    against = ratios(lambda: theirs(batch, meta), lambda: ours.step(batch, meta), options.pairs)
    rows = [row("allocating step", "torchopt", 0, against, agreement)]

    engine = betty_engine(batch, meta, device)
    weighting = next(problem for problem in engine.problems if problem.name == "weighting")
    before = flat(weighting.module)
    against = ratios(engine.train_step, lambda: ours.step(batch, meta), options.pairs)
    if torch.equal(before, flat(weighting.module)):
        raise SystemExit("betty did not learn any weights: this is not the step to compare with")
    append([*rows, row("allocating step", "betty", 0, against, float("nan"))])


if __name__ == "__main__":
    main()
