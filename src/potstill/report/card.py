"""The dataset card of a distilled set: what it is, how it was made, how it is loaded."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from potstill.bundled.licences import named, warnings
from potstill.core.files import write_text
from potstill.report.payload import flat
from potstill.report.read import Facts, read_facts

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
CARD = "README.md"
MOST_CLASSES = 200

REAL = {
    "random": "random real {many} of {of}, the baseline that a distilled set must beat",
    "k-center": "real {many} of {of}, chosen to leave none of the others far away",
    "herding": "real {many} of {of}, chosen so that their mean follows that of their class",
}
"""Methods whose images are real ones, and what their cards say."""


def card(
    folder: Path,
    *,
    license: str | None = None,
    front: Sequence[str] = (),
    loading: str | None = None,
    record: str = "",
) -> str:
    """The README.md of a distilled set, with the front matter that the Hugging Face Hub reads.

    `license` is a Hub identifier such as "cc-by-4.0"; without one the card says "unknown", for the images
    derive from data and models whose terms only their owner knows. Of a set in another format, `front` are more lines
    of the front matter, `loading` says how it is loaded and `record` is the subfolder of potstill.json. Raises
    PotstillError where there is no set.
    """
    facts = read_facts(folder)
    return "\n\n".join(
        [
            _front_matter(facts, license, front),
            f"# {_plain(facts.name)}",
            _what(facts),
            f"## Loading\n\n{loading or image_folder(folder.name or '.')}",
            "## How it was made",
            _table(("setting", "value"), _settings(facts)),
            _made_with(facts, f"{record}/" if record else ""),
            *_licences(facts),
            _classes(facts),
        ]
    ) + ("\n")


def write_card(folder: Path, *, license: str | None = None) -> Path:
    """Writes FOLDER/README.md, whole or not at all, and returns its path."""
    file = folder / CARD
    write_text(file, card(folder, license=license))
    return file


def image_folder(name: str) -> str:
    """How an image folder of that name is loaded, as markdown."""
    return f"""```python
import datasets

train = datasets.load_dataset("imagefolder", data_dir={json.dumps(name)}, split="train")
train[0]  # {{"image": <PIL image>, "label": 0}}
```

`label` counts the folder names in their sorted order, as in `torchvision.datasets.ImageFolder`;
`potstill.json` lists the classes in the order of the source data. `metadata.jsonl` holds a line an image:
class, index, seed and, where they were recorded, concepts, scores and negatives."""


def _front_matter(facts: Facts, license: str | None, front: Sequence[str]) -> str:
    size = next((name for most, name in SIZES if _count(facts) < most), "n>1M")
    lines = [
        f"license: {json.dumps(license or 'unknown')}",
        f"pretty_name: {json.dumps(facts.name)}",
        "task_categories:",
        "- image-classification",
        "size_categories:",
        f"- {size}",
        "tags:",
        "- dataset-distillation",
        "- synthetic",
        "- potstill",
        *front,
    ]
    if facts.kind in REAL:
        lines.remove("- synthetic")
    return "\n".join(["---", *lines, "---"])


def _what(facts: Facts) -> str:
    per_class = "1 image" if facts.images_per_class == 1 else f"{facts.images_per_class} images"
    classes = len(facts.classes["keys"])
    source = _plain(str(facts.data.get("name", "a larger data set")))
    real = facts.data.get("train")
    of = f" ({real:,} training images)" if isinstance(real, int) else ""
    size = f" of {facts.size} x {facts.size} px" if facts.size else ""
    many = "image" if _count(facts) == 1 else "images"
    what = REAL.get(facts.kind, "{many} made from {of}, few enough to train a network on in moments")
    what = what.format(many=many, of=f"{source}{of}")
    return f"{_count(facts):,} {what}: {per_class}{size} for each of {classes} classes."


def _settings(facts: Facts) -> list[tuple[str, str]]:
    settings: dict[str, Any] = {**flat(facts.method), **flat(facts.data, "data"), "seed": facts.seed}
    return [
        (_plain(name), _plain(value if isinstance(value, str) else json.dumps(value)))
        for name, value in settings.items()
    ]


def _made_with(facts: Facts, place: str) -> str:
    known: Mapping[str, str | None] = {
        "device": facts.device,
        "seconds": None if facts.seconds is None else f"{facts.seconds:.1f}",
        "peak memory, GiB": None if facts.peak_memory_gib is None else f"{facts.peak_memory_gib:.2f}",
        **facts.versions,
    }
    parts = [
        "## Provenance",
        _table(("made with", ""), [(_plain(name), _plain(value)) for name, value in known.items() if value]),
    ]
    if facts.weights:
        weights = [(_plain(one.get("name", "")), _plain(one.get("sha256", ""))) for one in facts.weights]
        parts.append(_table(("weights", "SHA-256"), weights))
    parts.append(
        f"`{place}potstill.json` is the full record; each image's SHA-256 is in `{place}metadata.jsonl`."
    )
    return "\n\n".join(parts)


def _licences(facts: Facts) -> list[str]:
    """What it derives from and under which licences, with a warning where these do not allow all use."""
    used = facts.licensed
    if not used:
        return []
    rows = [(_plain(name), _judged(identifier)) for name, identifier in used.items()]
    told = "; ".join(_plain(one) for one in warnings(used))
    warning = [f"**Before you publish or use it commercially:** {told}."] if told else []
    return ["## Licences of what it was made from", _table(("model or data", "licence"), rows), *warning]


def _judged(identifier: str) -> str:
    licence = named(identifier)
    return f"[{licence.id}]({licence.url})" if licence.url else _plain(licence.id)


def _classes(facts: Facts) -> str:
    keys = facts.classes["keys"]
    rows = [(_plain(key), _plain(facts.name_of(key))) for key in keys[:MOST_CLASSES]]
    rest = f"\n\nand {len(keys) - MOST_CLASSES} more, in `potstill.json`." if len(keys) > MOST_CLASSES else ""
    return f"## Classes\n\n{_table(('key', 'name'), rows)}{rest}"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {first} | {second} |" for first, second in rows]
    return "\n".join([f"| {head[0]} | {head[1]} |", "|---|---|", *lines])


def _count(facts: Facts) -> int:
    return len(facts.classes["keys"]) * facts.images_per_class


def _plain(text: str) -> str:
    """Text that markdown shows as it is: no tag, link, image, cell or emphasis, and no new line."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    escaped = re.sub(r"([\\`*\[\]|])", r"\\\1", shown.replace("&", "&amp;").replace("<", "&lt;"))
    return " ".join(escaped.split())
