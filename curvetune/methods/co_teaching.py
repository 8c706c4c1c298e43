"""Co-teaching: two networks, each trained on the samples whose loss the other finds low.

Per batch each network keeps the int(R·B) samples of its own lowest cross entropy, and the other one
takes a step on the mean loss of those. R falls from 1 to 1 − noise rate in the first epochs.

Source: Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy
Labels", NeurIPS 2018, Algorithm 1; the schedule is that of the authors' repository
bhanML/Co-teaching (main.py, loss.py). That code divides the mean by the number kept once more,
which Adam does not notice; here, where SGD may be used, it is left out.
"""

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import CoTeachingConfig
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.optimizers import new_adam

FIRST_BETA1, LATE_BETA1, BETA2 = 0.9, 0.1, 0.999  # of Adam in the released code


def forget_rate(epoch: int, noise_rate: float, gradual_epochs: int, exponent: float) -> float:
    """Return the share of a batch that is left out in `epoch`.

    It rises linearly from 0 in the first epoch to noise_rate^exponent in the last of
    `gradual_epochs`, and is the noise rate itself from then on.
    """
    if epoch >= gradual_epochs:
        return noise_rate
    return float(noise_rate**exponent) * epoch / max(gradual_epochs - 1, 1)


def num_kept(batch_size: int, forget: float) -> int:
    """Return int((1 − forget)·B), but at least 1: the mean of no loss is no number."""
    return max(1, int((1 - forget) * batch_size))


def lowest(losses: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` lowest of losses, (B,), in no order."""
    return losses.detach().topk(count, largest=False, sorted=False).indices


class CoTeaching:
    """The method: see the module.

    Args:
        models: the two networks; the first is the one that is evaluated.
        optimizers: of each.
        noise_rate: share of wrong labels, and so what is left out of a batch in the end.
        late_from: first epoch of Adam's late beta1.
    """

    def __init__(
        self,
        models: tuple[nn.Module, nn.Module],
        optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
        recipe: Recipe,
        config: CoTeachingConfig,
        *,
        noise_rate: float,
        late_from: int,
    ) -> None:
        self.model, self._other = models
        self._optimizers = optimizers
        self._recipe = recipe
        self._config = config
        self._noise_rate = noise_rate
        self._late_from = late_from
        self._forget = 0.0
        self.phase: object = None
        self.state = State(
            model=self.model,
            other=self._other,
            optimizer=optimizers[0],
            other_optimizer=optimizers[1],
        )

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate, Adam's beta1 and how much is left out."""
        config = self._config
        self._forget = forget_rate(epoch, self._noise_rate, config.gradual_epochs, config.exponent)
        beta1 = LATE_BETA1 if epoch >= self._late_from else FIRST_BETA1
        self.phase = (self._forget, beta1)
        for optimizer in self._optimizers:
            set_lr(optimizer, self._recipe.lr_at(epoch))
            for group in optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (beta1, BETA2)

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take a step of each network; weight: whether the evaluated one was trained on it."""
        count = num_kept(len(batch.y), self._forget)
        losses, other = (cross_entropy(m(batch.x), batch.y) for m in (self.model, self._other))
        trained_on, others = lowest(other, count), lowest(losses, count)
        # No weight of one network is in the graph of the other's loss: one backward pass does.
        loss = losses.index_select(0, trained_on).mean() + other.index_select(0, others).mean()
        descend(loss, *self._optimizers)
        losses = losses.detach()
        return {
            "loss": losses,
            "weight": torch.zeros_like(losses).index_fill(0, trained_on, 1.0),
            "other_loss": other.detach().mean(),
        }


def adam(model: nn.Module, recipe: Recipe) -> torch.optim.Adam:
    """Return Adam with the recipe's learning rate and weight decay."""
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    lr = recipe.lr_at(0)
    return new_adam(
        model.parameters(),
        lr=torch.tensor(lr, device=device) if on_gpu else lr,
        betas=(FIRST_BETA1, BETA2),
        weight_decay=recipe.weight_decay,
    )


def build(config: CoTeachingConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    models = parts.new_model(0), parts.new_model(1)
    new = adam if config.optimizer == "adam" else sgd
    first, second = (new(model, parts.recipe) for model in models)
    return CoTeaching(
        models,
        (first, second),
        parts.recipe,
        config,
        noise_rate=parts.noise_rate,
        late_from=parts.first_drop,
    )
