"""A set whose class keys try to leave its folder."""

import torch

from potstill.core.seeds import generator
from potstill.distilled import Manifest, Writer
from potstill.distilled.set import rounded

KEYS = (
    *("tench", "Cat", "cat", "a/b", "a\\b", "../../etc", "..", ".", ".hidden", "🐙", "naïve 猫", "x" * 300),
    *("CON", "NUL", "dot.", "space ", " lead", "two\nlines", 'q"{1..9}*?<|>', "%2F", "a=b,c", "0", "10", "9"),
)
EACH, SIZE = 2, 8


def exact(slot):
    """An image's float values, a little outside of [0, 1]."""
    return torch.rand(3, SIZE, SIZE, generator=generator("exact", slot.key, slot.index)) * 1.2 - 0.1


def fill(folder, upto=None):
    manifest = Manifest(
        name="../evil {0..3}",
        method={"kind": "guided", "scale": 1.5},
        data={"name": "imagenet-1k:imagewoof", "train": 9000, "test": 100},
        classes={"keys": KEYS, "names": tuple(f"name of {key}" for key in KEYS)},
        images_per_class=EACH,
        size=SIZE,
        seed=4,
        weights=({"name": "facebook/DiT-XL-2-256", "sha256": "0" * 64},),
    )
    writer = Writer(folder, manifest)
    floats = {slot: exact(slot) for slot in writer.missing[:upto]}
    details = {"concepts": ["long ears", "🐾"], "scores": [0.25, 1], "teacher": 0.5}
    made = {
        slot: (rounded(image), details if slot.index else {"concepts": []}) for slot, image in floats.items()
    }
    writer.add(made, 1.0, floats)
    return writer
