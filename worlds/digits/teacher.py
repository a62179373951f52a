"""The teacher: a ConvNet-3 trained on the 4,000 real digits with light variation."""

import time

import torch
from torch import Tensor

from potstill.data.digits import digits
from potstill.nets.fit import Training, fit
from potstill.nets.optimiser import AdamW
from potstill.nets.spec import Net, build
from potstill.nets.store import save_net
from worlds.digits.augment import test_pixels, train_pixels, vary
from worlds.digits.autoencoder import BUNDLED


def varied(images: Tensor, shares: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    return vary(images, draw), shares


def main() -> None:
    started = time.perf_counter()
    spec = Net(kind="convnet", depth=3, width=64)
    module = build(spec, 10, 32, torch.Generator().manual_seed(0))
    pixels, labels = train_pixels()
    fit(
        module,
        (pixels * 255).round().to(torch.uint8),
        labels,
        classes=10,
        training=Training(epochs=30, batch=64, rate=2e-3, optimiser=AdamW(weight_decay=0.05)),
        generator=torch.Generator().manual_seed(0),
        augment=varied,
        on_step=lambda step: print(step.index, dict(step.scalars), flush=True),
    )
    seen, truth = test_pixels()
    with torch.no_grad():
        right = (module(seen).argmax(1) == truth).float().mean().item()
    metrics = {"test_accuracy": right, "seconds": time.perf_counter() - started}
    save_net(BUNDLED / "teacher", module, spec, digits().classes, 32, metrics)
    print(metrics, flush=True)


if __name__ == "__main__":
    main()
