"""What storing labels in a few bits costs in accuracy: students of stored labels and of the teacher on the very views.

`python benchmarks/accuracy/labels.py` takes random real images of digits, 10 a class, and writes the table beside this
file; `--data FOLDER --teacher FOLDER` does the same for another set and a teacher of `potstill teach`.
Students are ConvNet-3 of width 32 under `fkd@1`, one a set; each pair shares images, views and start values.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from potstill.core.errors import PotstillError
from potstill.core.files import read_json, write_json, write_text
from potstill.core.memory import keep_freed_memory
from potstill.data import load
from potstill.distilled import Slot
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.protocol import Setting
from potstill.evaluation.statistics import deviation, mean, paired
from potstill.evaluation.student import hits, train_student
from potstill.labels.header import Header, view_draws
from potstill.labels.making import make, published_bytes
from potstill.labels.stored import StoredLabels
from potstill.labels.teacher import TeacherLabels
from potstill.labels.views import FILE, FORMAT, described, pixels_sha256
from potstill.methods.random import Random
from potstill.nets.spec import Net
from potstill.nets.store import load_net

STUDENT = Net.parse("convnet-3-w32")
RESULTS = Path(__file__).parent / "labels"


class Exact(TeacherLabels):
    """The teacher itself, on the views that the stored labels belong to."""

    def draws(self, seed: int) -> torch.Generator:
        """The stored labels' views."""
        return view_draws(0)


def main() -> None:
    """Trains the pairs that are missing and writes the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", default="digits")
    options.add_argument("--teacher", default="digits/teacher")
    options.add_argument("--ipc", type=int, default=10)
    options.add_argument("--sets", type=int, default=5)
    chosen = options.parse_args()
    keep_freed_memory()
    console, real = Console(), load(chosen.data)
    teacher = load_net(chosen.teacher).narrowed(real.classes)
    if teacher.size != real.size:
        raise PotstillError(f"the teacher was trained at {teacher.size} px, {real.name} has {real.size}")
    test = real.test.pixels(None, real.size), real.test.labels
    for seed in range(chosen.sets):
        file = RESULTS / f"{real.name}-ipc{chosen.ipc}-seed{seed}.json"
        if not file.exists():
            maker = Random().prepare(real, seed=seed, images_per_class=chosen.ipc, device="cpu")
            slots = [Slot(key, index) for key in real.classes.keys for index in range(chosen.ipc)]
            images = torch.stack([made.image for made in maker.make(slots, lambda step: None)])
            labels = torch.tensor([real.classes.index(slot.key) for slot in slots])
            found = pair(images, labels, teacher.module, test, real.classes.keys, real.mirror, seed)
            write_json(file, {"data": real.name, "ipc": chosen.ipc, "seed": seed, **found})
        console.print(read_json(file))
    write_text(Path(__file__).with_name("labels.md"), written())


def pair(
    images: torch.Tensor,
    labels: torch.Tensor,
    teacher: nn.Module,
    test: tuple[torch.Tensor, torch.Tensor],
    keys: tuple[str, ...],
    mirror: bool,
    seed: int,
) -> dict[str, float]:
    """Accuracies of two students, of the teacher itself and of its stored labels, and what the labels take."""
    size, classes = images.shape[-1], len(keys)
    setting = Setting(student=STUDENT, images=len(images), classes=classes, size=size, mirror=mirror)
    plan = PROTOCOLS["fkd@1"].plan(setting)
    header = Header(
        format=FORMAT,
        images=pixels_sha256(images),
        count=len(images),
        classes=keys,
        teacher="",
        teacher_sha256="",
        seed=0,
        epochs=plan.training.epochs,
        batch=plan.training.batch,
        changes=described(plan.changes),
    )
    stored = make(images, labels, teacher, header, plan.changes)
    found = {}
    for name, labeller in (
        ("exact", Exact(teacher, plan.temperature)),
        ("stored", StoredLabels(stored, plan.temperature)),
    ):
        module, _ = train_student(
            (images, labels), plan=plan, student=STUDENT, classes=classes, labeller=labeller, seed=seed
        )
        found[name] = hits(module, *test)[0]
    views = header.epochs * len(images)
    with tempfile.TemporaryDirectory() as folder:
        stored.save(Path(folder))
        taken = (Path(folder) / FILE).stat().st_size
    return {**found, "published_bytes": views * published_bytes(classes), "bytes": taken}


def written() -> str:
    """The page of saved pairs."""
    rows = [read_json(file) for file in sorted(RESULTS.glob("*.json"))]
    lines = [
        "# Stored labels against the teacher itself",
        "Made by `python benchmarks/accuracy/labels.py`; fkd@1, ConvNet-3 of width 32, random real images, one "
        "student a set; each pair shares images, views and start values. Accuracies in per cent.",
        "| data | images per class | sets | teacher itself | stored | stored minus teacher, 95 % | times smaller |\n"
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for data, ipc in sorted({(row["data"], row["ipc"]) for row in rows}):
        own = [row for row in rows if (row["data"], row["ipc"]) == (data, ipc)]
        exact, stored = ([100 * row[name] for row in own] for name in ("exact", "stored"))
        gap = paired(stored, exact)
        told = "-" if gap.low is None else f"{gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"
        smaller = own[0]["published_bytes"] / own[0]["bytes"]
        cells = [f"{mean(values):.2f} ± {deviation(values) or 0:.2f}" for values in (exact, stored)]
        lines[-1] += f"\n| {data} | {ipc} | {len(own)} | {' | '.join(cells)} | {told} | {smaller:.1f} |"
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
