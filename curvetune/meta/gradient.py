"""The gradient of the meta loss with respect to the sample weights, without a double backward.

With per-sample losses ℓ_i(ω), weights v_i and one virtual step of the optimizer

    ω̂ = ω − lr · c · ∇ (1/B Σ v_i ℓ_i(ω)) − (terms without v)

the chain rule gives  ∂L_meta(ω̂)/∂v_i = −(lr · c / B) ⟨∇L_meta(ω̂), ∇ℓ_i(ω)⟩,  with c = 1 for SGD
with or without heavy-ball momentum and c = 1 + momentum for Nesterov's. The inner products with
all ∇ℓ_i at once are one Jacobian-vector product of the vector of losses in the direction
∇L_meta(ω̂), which forward-mode differentiation computes exactly in a single pass.

Sources: Ren et al., ICML 2018 (the gradient); Jiang et al., AAAI 2022, Eq. 10 and 11 (frozen
stages). With `skip_layers` the first stages run in eval mode, as in the paper's released code:
batch norm uses its running statistics there, so one pass serves the whole meta step.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from curvetune.batch import Batch
from curvetune.meta.forward import Forward, forward
from curvetune.meta.passes import ordinary_mode, sample_losses
from curvetune.meta.rules import own_rules

# ∇L_train(ω), ∇L_meta(ω̂) -> the direction of the inner products; one tensor for each parameter
Steer = Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]
Rate = float | Tensor  # a learning rate; 0-d on the GPU, where a captured step reads it


def weight_gradient(
    model: nn.Module,
    batch: Batch,
    meta: Batch,
    weights: Tensor,
    lr: Rate,
    *,
    skip_layers: int = 0,
    optimizer: Optimizer | None = None,
) -> Tensor:
    """Return d(meta loss)/d(weights), (B,), through one virtual step of size `lr` on `batch`.

    The training loss is `(weights * losses).mean()`, the meta loss the mean cross entropy on
    `meta` after the step. The model, its buffers and the optimizer are left as they were.

    Args:
        weights: (B,), one for each sample of `batch`.
        skip_layers: first stages of `model.stages` that the virtual step leaves alone.
        optimizer: the SGD whose momentum, weight decay and buffers the virtual step has; a
            plain SGD step (Eq. 11) without one.

    Raises:
        ValueError: `skip_layers` leaves no stage, or the optimizer is not a plain `SGD`.
    """
    return meta_gradient(
        model, batch, meta, weights, lr, skip_layers=skip_layers, optimizer=optimizer
    )[0]


@ordinary_mode()
def meta_gradient(
    model: nn.Module,
    batch: Batch,
    meta: Batch,
    weights: Tensor,
    lr: Rate,
    *,
    skip_layers: int = 0,
    optimizer: Optimizer | None = None,
    passed: Forward | None = None,
    steer: Steer | None = None,
    finite_difference: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `weight_gradient` and the meta loss after the virtual step, a 0-d tensor.

    Args:
        passed: the pass of the whole model over `batch`, if the caller made it already; its graph
            is kept. Not with `skip_layers`, whose frozen stages run in another mode.
        steer: changes the direction of the inner products, which is ∇L_meta(ω̂) without it.
        finite_difference: take the inner products from one more pass instead of a derivative.
    """
    if skip_layers:
        assert passed is None, "a pass of the whole model is of no use with frozen stages"
        frozen, model = _split(model, skip_layers)
        batch, meta = _features(frozen, batch, meta)
    is_shared = passed is not None  # then the caller needs the graph again, for the real step
    passed = passed or forward(model, batch, update_statistics=False)
    slopes = weighted_slopes(passed, weights, keep_graph=is_shared)
    return through_step(
        passed,
        slopes,
        meta,
        lr,
        optimizer=optimizer,
        steer=steer,
        finite_difference=finite_difference,
    )


@ordinary_mode()
def weighted_slopes(
    passed: Forward, weights: Tensor, *, keep_graph: bool = False
) -> Sequence[Tensor]:
    """Return ∇(1/B Σ v_i ℓ_i), one tensor for each of the pass's `params`.

    Args:
        weights: (B,), held constant.
        keep_graph: leave the graph of the pass for another derivative.
    """
    params = list(passed.params.values())
    coefficients = weights.detach() / len(weights)
    return torch.autograd.grad(passed.losses, params, coefficients, retain_graph=keep_graph)


@ordinary_mode()
def through_step(
    passed: Forward,
    slopes: Sequence[Tensor],
    meta: Batch,
    lr: Rate,
    *,
    optimizer: Optimizer | None = None,
    steer: Steer | None = None,
    finite_difference: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return what `meta_gradient` does, through a step along slopes that are known.

    The parameters have to be those of the pass still: a real step along `slopes` comes after it.

    Args:
        slopes: as `weighted_slopes` returns them.
    """
    direction, factor, meta_loss = look_ahead(passed, slopes, meta, lr, optimizer)
    if steer is not None:
        direction = steer(slopes, direction)
    products = passed.difference if finite_difference else passed.inner_products
    return products(direction) * (-lr * factor / len(passed.losses)), meta_loss


@ordinary_mode()
def look_ahead(
    passed: Forward,
    slopes: Sequence[Tensor],
    meta: Batch,
    lr: Rate,
    optimizer: Optimizer | None = None,
) -> tuple[Sequence[Tensor], float, Tensor]:
    """Return ∇L_meta after a virtual step, the factor c of the step, and L_meta, 0-d.

    For every f_i in a training loss Σ_i v_i f_i the chain rule gives
    ∂L_meta/∂v_i = −lr · c · ⟨∇L_meta, ∇f_i⟩.

    Args:
        slopes: gradient of the training loss, one tensor for each of the pass's `params`.
        optimizer: as in `weight_gradient`.
    """
    values, factor = _virtual_step(list(passed.params.values()), slopes, lr, optimizer)
    ahead = {name: v.requires_grad_() for name, v in zip(passed.params, values, strict=True)}
    meta_loss = sample_losses(passed.model, ahead, meta).mean()
    return torch.autograd.grad(meta_loss, list(ahead.values())), factor, meta_loss.detach()


def _split(model: nn.Module, skip_layers: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the frozen first stages and the rest."""
    stages = getattr(model, "stages", None)
    if not isinstance(stages, nn.Sequential):
        raise ValueError(
            f"skip_layers={skip_layers}: {type(model).__name__} has no .stages, an nn.Sequential "
            f"of the whole network; allowed is 0"
        )
    if not 0 < skip_layers < len(stages):
        raise ValueError(f"skip_layers={skip_layers}: allowed are 0 to {len(stages) - 1}")
    return stages[:skip_layers], stages[skip_layers:]


def _features(frozen: nn.Sequential, batch: Batch, meta: Batch) -> tuple[Batch, Batch]:
    """Return both batches with what the frozen stages make of them, in one pass in eval mode."""
    with torch.no_grad(), _evaluating(frozen):
        features = frozen(torch.cat([batch.x, meta.x]))
    features = features.to_dense() if features.is_mkldnn else features
    size = len(batch.x)
    return batch._replace(x=features[:size]), meta._replace(x=features[size:])


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put `module` into eval mode, and every part of it back into its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with ExitStack() as stack:
            for own in own_rules(module).values():
                stack.enter_context(own.frozen())
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def _virtual_step(
    params: Sequence[Tensor], slopes: Sequence[Tensor], lr: Rate, optimizer: Optimizer | None
) -> tuple[list[Tensor], float]:
    """Return the parameters after the virtual step, and the factor c of the module's formula."""
    if optimizer is None:
        return [(p - lr * g).detach() for p, g in zip(params, slopes, strict=True)], 1.0
    group = _only_group(optimizer)
    momentum, decay, nesterov = group["momentum"], group["weight_decay"], group["nesterov"]
    ahead = []
    for param, slope in zip(params, slopes, strict=True):
        step = slope.add(param.detach(), alpha=decay)
        if momentum:
            buffer = optimizer.state.get(param, {}).get("momentum_buffer")
            moving = step if buffer is None else step.add(buffer, alpha=momentum)
            step = step.add(moving, alpha=momentum) if nesterov else moving
        if isinstance(lr, Tensor):  # which `alpha` does not take
            ahead.append(param.detach() - lr * step)
        else:
            ahead.append(param.detach().add(step, alpha=-lr))
    return ahead, 1.0 + momentum if nesterov else 1.0


def _only_group(optimizer: Optimizer) -> dict[str, float]:
    """Return the settings of a plain SGD optimizer with one group of parameters."""
    if not isinstance(optimizer, SGD) or len(optimizer.param_groups) != 1:
        raise ValueError(
            f"the virtual step knows torch.optim.SGD with one parameter group, got {optimizer!r}"
        )
    group = optimizer.param_groups[0]
    if group["dampening"] or group["maximize"]:
        raise ValueError(
            "the virtual step knows no dampening and no maximize; set them to 0, False"
        )
    return group
