"""Gradient matching: what a net would learn from synthetic and from real images of a class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.nets.fit import batches
from potstill.objectives.batches import changed, per_class
from potstill.objectives.batchnorm import batch_norms
from potstill.objectives.comparing import Comparing, require_from_1

LOOPS = ((1, 1, 1), (10, 10, 50), (20, 20, 25), (30, 30, 20), (40, 40, 15), (50, 50, 10))
"""Images per class from which on, and then the steps of images and the epochs of the net between two of them."""

EPSILON = 1e-6
CALIBRATED = 16
"""Real images a class that BatchNorm sees before a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientMatching:
    """One minus the cosine between rows of weight gradients, class by class, along the training of nets.

    Source: DC (Zhao et al. 2021, arXiv:2006.05929), Eq. 9 and 10 and its algorithm 1; with `operations` it is DSA (Zhao
    & Bilen 2021, arXiv:2102.08259), where one Siamese change is done to both sides. Each iteration begins with a new
    net; its image steps alternate with epochs of plain SGD on the synthetic images. `outer` and `inner` of None follow
    the public code by images per class, which stops for other numbers than 1, 10, 20, ... 50: here the largest entry
    below counts. Biases and norms do not count, as there.

    Before each comparison BatchNorm (not the default) takes the statistics of 16 real images a class, and keeps them.

    Departs: gradients of all classes come from one pass over the synthetic images; no gradient of the net's weights is
    left behind; BatchNorm takes those statistics whole, where the code moves by a tenth towards them. Raises
    PotstillError for numbers below 1 (`inner` may be 0: the net is not trained).
    """

    kind: Literal["gradient"] = "gradient"
    net: str = "convnet-3-instance"
    batch: int = 256
    operations: tuple[str, ...] = ()
    outer: int | None = None
    inner: int | None = None
    rate_net: float = 0.01
    batch_net: int = 256

    def __post_init__(self) -> None:
        require_from_1(self, "batch", "batch_net", "outer")
        if self.inner is not None and self.inner < 0:
            raise PotstillError(f"gradient matching: inner must be at least 0, not {self.inner}")

    def prepare(
        self, real: RealData, *, images_per_class: int, size: int, seed: int, device: str
    ) -> "GradientMatcher":
        """Reads the real images; raises PotstillError for an unknown net or operation."""
        _, outer, inner = [entry for entry in LOOPS if entry[0] <= images_per_class][-1]
        matcher = GradientMatcher(self, real, size=size, seed=seed, device=device)
        matcher.loops = (
            outer if self.outer is None else self.outer,
            inner if self.inner is None else self.inner,
        )
        return matcher


class GradientMatcher(Comparing[GradientMatching]):
    """Gradient matching made ready."""

    loops: tuple[int, int] = (1, 1)
    """Steps of images in an iteration, and epochs of the net between two of them."""

    def begin(self, iteration: int) -> int:
        """A new random net."""
        self.iteration = iteration
        self.net = self.fresh(iteration).eval()
        return self.loops[0]

    def loss(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """The distance summed over classes, layers and output rows."""
        per_class(labels, self.classes)
        layers = weighed(self.net)
        self._calibrate(step)
        real, synthetic = self.alike(images, step)
        wanted = [class_gradient(self.net, layers, part, label) for label, part in enumerate(real)]
        found = class_gradients(self.net, layers, torch.cat(synthetic), self.classes)
        pairs = zip(zip(*wanted, strict=True), found, strict=True)
        parts = [apart(torch.stack(one).flatten(2), other.flatten(2)) for one, other in pairs]
        return torch.stack(parts).sum()

    @torch.no_grad()
    def _calibrate(self, step: int) -> None:
        """Gives BatchNorm layers the statistics of a batch of real images; leaves other nets as they are."""
        norms = batch_norms(self.net)
        if not norms:
            return
        identity = (self.seed, "statistics", self.iteration, step)
        real = [
            self.real.draw(label, CALIBRATED, generator(*identity, label)) for label in range(self.classes)
        ]
        for norm in norms:
            norm.momentum = 1.0
        self.net.train()(torch.cat(real))
        self.net.eval()

    def learn(self, images: Callable[[], Tensor], labels: Tensor, step: int) -> None:
        """Epochs of SGD on the synthetic images, each changed by itself, but after the last step."""
        if step + 1 == self.loops[0]:
            return
        synthetic, change = images(), self.change and replace(self.change, shared=False)
        draws = generator(self.seed, "train", self.iteration, step)
        optimiser = torch.optim.SGD(self.net.parameters(), lr=self.settings.rate_net)
        self.net.train()
        for _ in range(self.loops[1]):
            for rows in batches(len(synthetic), self.settings.batch_net, draws):
                optimiser.zero_grad()
                seen = changed(synthetic[rows], change, draws)
                functional.cross_entropy(self.net(seen), labels[rows]).backward()
                optimiser.step()
        self.net.eval().zero_grad()


def weighed(net: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """The layers whose weights are compared; raises PotstillError for a convolution in groups."""
    layers = [layer for layer in net.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    if any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in layers):
        raise PotstillError("gradients by class are not there for convolutions in groups")
    return layers


def class_gradient(
    net: nn.Module, layers: Sequence[nn.Conv2d | nn.Linear], images: Tensor, label: int
) -> list[Tensor]:
    """The gradients of mean cross-entropy on images of one class in each layer's weight, without graph."""
    labels = torch.full((len(images),), label, device=images.device)
    loss = functional.cross_entropy(net(images), labels)
    return list(torch.autograd.grad(loss, [layer.weight for layer in layers]))


def class_gradients(
    net: nn.Module, layers: Sequence[nn.Conv2d | nn.Linear], images: Tensor, classes: int
) -> list[Tensor]:
    """The same for every class at once, [classes, *weight], differentiable in the images.

    Images are class after class, equally many each; no layer may mix images. The gradient of a weight is the outer
    product of what goes into its layer and what comes back out of it, summed over positions and images; one pass
    forward and one back give both for all images, and the sum goes over each class's own.
    """
    seen: dict[nn.Module, Tensor] = {}
    out: dict[nn.Module, Tensor] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        seen[layer], out[layer] = inputs[0], output
        return output.clone()

    each = len(images) // classes
    labels = torch.arange(classes, device=images.device).repeat_interleave(each)
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention can't be differentiated twice
            loss = functional.cross_entropy(net(images), labels, reduction="sum") / each
    finally:
        for hook in hooks:
            hook.remove()
    slopes = torch.autograd.grad(loss, [out[layer] for layer in layers], create_graph=True)
    return [
        _by_class(layer, seen[layer], slope, classes) for layer, slope in zip(layers, slopes, strict=True)
    ]


def _by_class(layer: nn.Conv2d | nn.Linear, inputs: Tensor, slopes: Tensor, classes: int) -> Tensor:
    """Sum over a class's images and positions of slope x input, [classes, *weight]."""
    if isinstance(layer, nn.Linear):
        rows, columns = (part.reshape(len(part), -1, part.shape[-1]).mT for part in (slopes, inputs))
    else:
        padding: Any = layer.padding
        options: dict[str, Any] = {
            "dilation": layer.dilation,
            "padding": padding,
            "stride": layer.stride,
        }
        rows, columns = slopes.flatten(2), functional.unfold(inputs, layer.kernel_size, **options)
    rows, columns = (part.unflatten(0, (classes, -1)).transpose(1, 2).flatten(2) for part in (rows, columns))
    return (rows @ columns.transpose(1, 2)).unflatten(2, layer.weight.shape[1:])


def apart(wanted: Tensor, found: Tensor) -> Tensor:
    """Sum of 1 - cosine over the rows of [..., rows, d]."""
    product = (wanted * found).sum(-1)
    norms = wanted.norm(dim=-1) * found.norm(dim=-1)
    return (1 - product / (norms + EPSILON)).sum()
