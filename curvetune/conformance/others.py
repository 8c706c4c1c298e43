"""What the loop relies on in a network, a source of images and a transform."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from curvetune import data, models
from curvetune.config.plugins import PLUGINS
from curvetune.conformance.methods import Broken
from curvetune.meta import check_forward_mode
from curvetune.models import stages_of

SIZE, CLASSES, CHANNELS = 32, 10, 3  # of the images and classes that a network is tried on

Check = Callable[[str], None]


def _network(name: str, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    return models.build(name, CLASSES, CHANNELS, generator=generator)


def _images(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, CHANNELS, SIZE, SIZE, generator=generator)


def makes_logits(name: str) -> None:
    """Images (B, 3, 32, 32) give finite logits (B, 10), also for a batch of one."""
    model = _network(name)
    for count in (4, 1):
        logits = model(_images(count))
        if not isinstance(logits, Tensor) or logits.shape != (count, CLASSES):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise Broken(f"build({CLASSES}, {CHANNELS}) makes {shape} of {count} images")
        if not torch.isfinite(logits).all():
            raise Broken(f"the logits of {count} images are not all finite")


def starts_from_its_seed(name: str) -> None:
    """Initial values are a function of PyTorch's seed, and the global generator is left alone."""
    before = torch.get_rng_state()
    one, same = _network(name).state_dict(), _network(name).state_dict()
    other = _network(name, seed=1).state_dict()
    if not torch.equal(torch.get_rng_state(), before):
        raise Broken("build changes PyTorch's global random state")
    if not all(torch.equal(one[key], same[key]) for key in one):
        raise Broken("the same seed gives other initial values; draw them with PyTorch alone")
    if all(torch.equal(one[key], other[key]) for key in one):
        raise Broken("all seeds give the same initial values")


def stages_are_the_network(name: str) -> None:
    """`.stages`, given or derived, compute what the network does."""
    model = _network(name).eval()
    if not hasattr(model, "stages"):
        return
    with torch.no_grad():
        x = _images(4)
        if not torch.allclose(stages_of(model)(x), model(x), rtol=1e-4, atol=1e-5):
            raise Broken(".stages(x) is not what the network makes of x")


def trains(name: str) -> None:
    """A step of gradient descent lowers the loss, and every parameter has a gradient."""
    model, x = _network(name), _images(16)
    y = torch.arange(16) % CLASSES
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
        lacking = [key for key, p in model.named_parameters() if p.grad is None]
        if lacking:
            raise Broken(f"no gradient reaches {', '.join(lacking[:3])}")
        optimizer.step()
    if not losses[-1] < losses[0]:
        raise Broken(f"six steps took the loss from {losses[0]:.3g} to {losses[-1]:.3g}")


def has_derivatives(name: str) -> None:
    """The meta gradient goes through it: forward mode, or a double backward, is right."""
    verdict = check_forward_mode(_network(name), (CHANNELS, SIZE, SIZE), CLASSES)
    if not verdict.repeats:
        raise Broken("two passes over the same images differ; draw random numbers with PyTorch")
    if not verdict.agrees:
        what = verdict.operation or "an operation"
        raise Broken(
            f"neither forward mode (error {verdict.error:.2g}) nor a double backward is right: "
            f"{what} hides from both; methods that learn weights need meta_gradient="
            f"finite_difference with it"
        )


def keeps_the_shape(name: str) -> None:
    """A transform keeps the shape and the type of images, and draws from its numbers alone."""
    transform = PLUGINS.transforms[name]
    x = (_images(6) * 50 + 128).clamp(0, 255)
    numbers = torch.rand(6, transform.draws, generator=torch.Generator().manual_seed(4))
    before = torch.get_rng_state()
    one, same = transform.apply(x.clone(), numbers), transform.apply(x.clone(), numbers)
    if one.shape != x.shape or one.dtype != x.dtype:
        raise Broken(f"it makes {tuple(one.shape)} {one.dtype} of {tuple(x.shape)} {x.dtype}")
    if not torch.equal(one, same) or not torch.equal(torch.get_rng_state(), before):
        raise Broken("it draws random numbers of its own; take them from its second argument")
    each = [transform.apply(x[k : k + 1].clone(), numbers[k : k + 1]) for k in range(6)]
    if not torch.allclose(torch.cat(each), one, rtol=1e-4, atol=1e-3):
        raise Broken("what it makes of an image depends on the others of its batch")


def gives_images(name: str, data_dir: Path | None) -> None:
    """A source gives uint8 images, labels of all classes, and the same digest each time."""
    source = data.find_source(name)
    found = source.load(data_dir)
    if source.digest(data_dir) != source.digest(data_dir):
        raise Broken("its digest is another one each time")
    labels = source.train_labels(data_dir)
    if labels is None or not np.array_equal(labels, found.train.y):
        raise Broken("train_labels are not the labels of the training images")


NETWORK_CHECKS: dict[str, Check] = {
    "makes logits, also of one image": makes_logits,
    "starts from its seed": starts_from_its_seed,
    "its stages are the network": stages_are_the_network,
    "trains": trains,
    "has derivatives": has_derivatives,
}
TRANSFORM_CHECKS: dict[str, Check] = {"keeps the shape, draws from its numbers": keeps_the_shape}


def source_checks(data_dir: Path | None) -> dict[str, Check]:
    """Return the checks of a source, which is given `data_dir`."""
    return {"gives images and a digest": partial(gives_images, data_dir=data_dir)}
