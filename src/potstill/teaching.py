"""Trains a teacher on real images, where none is published, into a folder that `--teacher` takes."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.files import require_own, write_text
from potstill.core.lock import alone
from potstill.core.progress import OnStep, silent
from potstill.core.seeds import generator
from potstill.core.settings import to_plain
from potstill.data.real import RealData
from potstill.evaluation.student import hits
from potstill.nets.augment import Augment, Crop, Flip, Shift, in_turn
from potstill.nets.checkpoint import Checkpoint
from potstill.nets.fit import Training, fit
from potstill.nets.optimiser import Sgd
from potstill.nets.schedule import Cosine
from potstill.nets.spec import Net, build
from potstill.nets.store import CONFIG, StoredNet, load_net, save_net

CHECKPOINT = "checkpoint.pt"
SMALL = 64
"""Up to this side images are shifted, above it cropped and resized."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """How a teacher is trained.

    Source: SRe2L's squeeze of small data (rate 0.1, momentum 0.9, weight decay 5e-4, cosine to 0, batch 128, shifts
    by 4 px and flips) and the 300 epochs that CONCORD trains its ResNet-18 for Food-101. Departs: above 64 px it crops
    from 8 per cent of the area, as is usual for photos; a flip is used only where classes survive it. `size` is
    the side in px, None that of the data.
    """

    net: Net
    epochs: int = 300
    batch: int = 128
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0
    size: int | None = None

    def training(self) -> Training:
        """The optimiser's settings."""
        return Training(
            epochs=self.epochs,
            batch=self.batch,
            rate=self.rate,
            optimiser=Sgd(momentum=self.momentum, weight_decay=self.weight_decay),
            schedule=Cosine(share=1.0),
        )

    def changes(self, size: int, *, mirror: bool) -> tuple[Augment, ...]:
        """What is done to a batch of images of `size` px."""
        moved: Augment = Shift(most=4) if size <= SMALL else Crop(least_area=0.08)
        return (moved, Flip()) if mirror else (moved,)


def teach(
    real: RealData, out: Path | str, teaching: Teaching, *, device: str = "cpu", on_step: OnStep = silent
) -> StoredNet:
    """Trains a teacher on all training images and writes it into the folder `out`, with a card.

    The images are held in memory as uint8. A killed run goes on from its last checkpoint to the same bits (on a CPU
    with the same number of threads); a finished one is read. The test images are read once, after the last epoch.
    Raises PotstillError where `out` holds a teacher of other settings or data, or something else.
    """
    out, size = Path(out), teaching.size or real.size
    with alone(out):
        if (out / CONFIG).is_file():
            return _finished(out, real, teaching, size)
        require_own(out, CHECKPOINT)
        return _trained(real, out, teaching, size, device, on_step)


def _trained(
    real: RealData, out: Path, teaching: Teaching, size: int, device: str, on_step: OnStep
) -> StoredNet:
    identity = _identity(real, teaching, size)
    started = time.perf_counter()
    module = build(teaching.net, len(real.classes), size, generator(teaching.seed, "teacher", "start")).to(
        device
    )
    checkpoint = Checkpoint(path=out / CHECKPOINT, identity=identity)
    loss = fit(
        module,
        real.train.pixels(None, size),
        real.train.labels,
        classes=len(real.classes),
        training=teaching.training(),
        generator=generator(teaching.seed, "teacher", "fit"),
        augment=in_turn(teaching.changes(size, mirror=real.mirror)),
        stage="teach",
        checkpoint=checkpoint,
        on_step=on_step,
    )
    metrics = {"train_loss": loss, "identity": identity, "seconds": round(time.perf_counter() - started, 1)}
    if len(real.test):
        metrics["test_accuracy"] = hits(module, real.test.pixels(None, size), real.test.labels)[0]
    write_text(out / "README.md", _card(real, teaching, size, metrics))
    save_net(out, module, teaching.net, real.classes, size, metrics)
    checkpoint.path.unlink(missing_ok=True)
    return load_net(out)


def _identity(real: RealData, teaching: Teaching, size: int, *, pixels: bool = True) -> str:
    """All that decides a teacher, as a hash; earlier ones were told by the names of images, without `pixels`."""
    told: dict[str, Any] = {
        "teaching": to_plain(teaching),
        "size": size,
        "classes": list(real.classes.keys),
        "images": list(real.train.ids),
        "labels": real.train.labels.tolist(),
        "mirror": real.mirror,
    }
    if pixels:
        told["data"] = real.train.fingerprint(real.size).hex()
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _finished(out: Path, real: RealData, teaching: Teaching, size: int) -> StoredNet:
    stored = load_net(out)
    allowed = [_identity(real, teaching, size, pixels=pixels) for pixels in (True, False)]
    if stored.metrics.get("identity") not in allowed:
        raise PotstillError(f"{out} holds a net trained with other settings or data: name another folder")
    return stored


def _card(real: RealData, teaching: Teaching, size: int, metrics: dict[str, object]) -> str:
    tested = metrics.get("test_accuracy")
    score = f"{100 * float(str(tested)):.2f} %" if tested is not None else "no test images"
    lines = [
        f"# {teaching.net.label}, teacher of {real.name}",
        f"- Data: {real.name}, {len(real.train)} training images of {len(real.classes)} classes at {size} px.",
        f"- Test accuracy after the last epoch: {score} ({len(real.test)} images, read once).",
        f"- Training: {teaching.epochs} epochs of SGD, rate {teaching.rate:g} to 0 along a cosine, momentum "
        f"{teaching.momentum:g}, weight decay {teaching.weight_decay:g}, batch {teaching.batch}, seed {teaching.seed}; "
        f"{', '.join(type(change).__name__ for change in teaching.changes(size, mirror=real.mirror))}.",
        f"- Seconds of the last run: {metrics['seconds']}.",
        "- Use: `potstill evaluate SET --teacher THIS_FOLDER`; in Python `potstill.nets.store.load_net`.",
    ]
    return "\n".join(lines[:1] + [""] + lines[1:]) + "\n"
