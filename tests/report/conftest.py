"""Fake sets and evaluations as other stages would leave them."""

import json
from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image
from report.fakes import KEYS, NAMES, PHRASES, RANGE, metadata, shade_of

from potstill.evaluation.record import Evaluation, Run


@pytest.fixture
def make_set(tmp_path):
    """Writes a distilled set of three classes and four images a class; `changes` go into potstill.json."""

    def make(name, arm=0, *, kind="guided", scored=True, size=8, changes: Mapping | None = None):
        folder = tmp_path / f"set-{arm}-{name}"
        lines = []
        for label in range(3):
            (folder / f"train/{label}").mkdir(parents=True)
            for index in range(4):
                shade = shade_of(arm, label, index)
                pixels = np.full((size, size, 3), shade, np.uint8)
                Image.fromarray(pixels).save(folder / f"train/{label}/{index:05d}.png")
                lines.append(json.dumps(metadata(arm, label, index, scored)))
        (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
        manifest = {
            "format": 1,
            "name": name,
            "method": {
                "kind": kind,
                "scale": 1.5 + arm,
                "terms": [{"kind": "concept", "pace": {"weight": 0.1}}],
            },
            "data": {"name": "digits", "train": 4000, "test": 1000},
            "classes": {"keys": KEYS, "names": NAMES},
            "images_per_class": 4,
            "size": size,
            "seed": 7,
            "finished": True,
            "versions": {"potstill": "0.1.0", "torch": "2.13.0"},
            "weights": [{"name": "digits/dit", "sha256": "ab" * 32}],
            "device": "cpu",
            "seconds": 12.0 * (1 + arm),
            "seconds_per_image": 1.0 + arm,
            "peak_memory_gib": 1.5,
            "real_scores": {key: {phrase: RANGE for phrase in PHRASES} for key in KEYS} if scored else {},
        }
        (folder / "potstill.json").write_text(json.dumps(manifest | dict(changes or {})))
        return folder

    return make


@pytest.fixture
def evaluation():
    """Makes an evaluation whose students reach the accuracies given."""

    def make(name, accuracies, *, set_seed=7, method="guided", seeds=None, best=None, **changes):
        runs = [
            Run(seed=seed, accuracy=accuracy, top5=1.0, seconds=1.0, train_loss=0.1, best=look)
            for seed, accuracy, look in zip(
                seeds or range(len(accuracies)), accuracies, best or [None] * len(accuracies), strict=True
            )
        ]
        fixed = {
            "data": "digits",
            "ipc": 4,
            "protocol": "rded@1",
            "student": "convnet-3",
            "teacher": "convnet-3",
        }
        return Evaluation(name=name, set_seed=set_seed, method=method, runs=tuple(runs), **(fixed | changes))

    return make


@pytest.fixture
def saved(tmp_path, evaluation):
    """Saves an evaluation and gives its path."""

    def save(name, accuracies, **options):
        made = evaluation(name, accuracies, **options)
        path = tmp_path / f"{len(list(tmp_path.glob('*.json')))}.json"
        made.save(path)
        return path

    return save
