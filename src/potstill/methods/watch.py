"""Looking at a set while it is made: students trained on it, tried on real images that nothing else has seen."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.real import RealData, Split, require_per_class
from potstill.nets.fit import Training, fit
from potstill.nets.optimiser import Sgd
from potstill.nets.predict import predict
from potstill.nets.schedule import Cosine
from potstill.nets.spec import Net, build


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Every `every` iterations a student of `epochs` epochs, tried on a `share` of each class's training images.

    These are taken out beforehand, by the data alone, so that a set is never chosen by the test images, as the sources'
    best-of-many looks are. Raises PotstillError for numbers below 1 and a share outside of (0, 1).
    """

    every: int = 100
    net: str = "convnet-3-instance-w32"
    epochs: int = 300
    share: float = 0.1

    def __post_init__(self) -> None:
        if min(self.every, self.epochs) < 1:
            raise PotstillError(
                f"watch: every and epochs must be at least 1, not {self.every}, {self.epochs}"
            )
        if not 0 < self.share < 1:
            raise PotstillError(f"watch: the share must lie between 0 and 1, not {self.share}")

    def split(self, real: RealData) -> tuple[RealData, Split]:
        """The data without, and the training images that are kept for looking; at least one a class.

        Raises PotstillError where a class has no second one.
        """
        require_per_class(real, 2)
        kept, held = [], []
        for label, key in enumerate(real.classes.keys):
            own = real.train.of_class(label)
            order = own[torch.randperm(len(own), generator=generator(0, "watch", key))]
            count = max(int(self.share * len(own)), 1)
            held.append(order[:count])
            kept.append(order[count:])
        rest, looked = (torch.cat(parts).sort().values for parts in (kept, held))
        return replace(real, train=real.train.take(rest)), real.train.take(looked)

    def accuracy(self, images: Tensor, labels: Tensor, held: Split, seed: int) -> float:
        """A student's accuracy on the images held, after training on float images [n, 3, s, s] by plain SGD."""
        classes, size = int(labels.max()) + 1, images.shape[-1]
        module = build(Net.parse(self.net), classes, size, generator(seed, "watch", "start"))
        training = Training(
            epochs=self.epochs,
            batch=min(256, len(images)),
            rate=0.01,
            optimiser=Sgd(momentum=0.9, weight_decay=5e-4),
            schedule=Cosine(share=1.0),
        )
        draws = generator(seed, "watch", "fit")
        module = module.to(images.device)
        fit(module, images, labels, classes=classes, training=training, generator=draws)
        pixels = held.pixels(None, size).to(images.device).float() / 255
        right = predict(module, pixels).argmax(1).cpu() == held.labels
        return right.float().mean().item()
