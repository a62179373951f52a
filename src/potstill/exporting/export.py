"""A set to a folder of another format, whole or not at all."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from potstill.bundled.licences import warnings
from potstill.core.errors import PotstillError
from potstill.core.files import write_text
from potstill.core.progress import OnStep, silent
from potstill.distilled import DistilledSet, Manifest
from potstill.distilled.set import EXACT, MANIFEST, METADATA
from potstill.exporting import Format
from potstill.labels.views import FILE as LABELS
from potstill.labels.views import ViewLabels, pixels_sha256
from potstill.report.card import card
from potstill.report.read import read_facts

CARRIED = {
    EXACT: "`images.safetensors` holds the images as float32 by `file_name`; the PNG images are these in 8 bits.",
    LABELS: "`labels.safetensors` holds a teacher's labels of every view of a training, for the images in their order "
    "and the classes in that of its header; `potstill.labels.views.ViewLabels` reads it.",
}
"""Files that go along where a set has them, and what the card says of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: the folder, its images and bytes, and what to know before it is published."""

    folder: str
    images: int
    bytes: int
    warnings: tuple[str, ...]


def export(
    source: Path | str, out: Path | str, form: Format, *, license: str | None = None, on_step: OnStep = silent
) -> Exported:
    """Writes the set in the folder `source` to the new folder `out`, with its card, provenance and soft labels.

    `license` goes into the card, which says "unknown" without one. The folder appears by a rename: whatever happens
    before leaves no `out`. Raises PotstillError where `out` exists, `source` is no finished and sound set or its labels
    are of other images, or nothing can be written.
    """
    source, out = Path(source), Path(out)
    distilled = _sound(source)
    if out.exists():
        raise PotstillError(f"{out} exists: name another folder")
    if out.resolve().is_relative_to(source.resolve()):
        raise PotstillError(f"{out} lies inside the set: name a folder elsewhere")
    carried = {name: told for name, told in CARRIED.items() if (source / name).is_file()}
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        (partial / form.record).mkdir(parents=True)
        form.write(distilled, partial, on_step)
        for name in (MANIFEST, METADATA):
            shutil.copyfile(source / name, partial / form.record / name)
        for name in carried:
            shutil.copyfile(source / name, partial / name)
        loading = "\n\n".join([form.loading(out.name), *carried.values()])
        text = card(source, license=license, front=form.front, loading=loading, record=form.record)
        write_text(partial / "README.md", text)
        partial.rename(out)
    except OSError as error:
        raise PotstillError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Exported(
        folder=str(out),
        images=len(distilled.records),
        bytes=sum(file.stat().st_size for file in out.rglob("*") if file.is_file()),
        warnings=tuple(warnings(read_facts(source).licensed)),
    )


def _sound(source: Path) -> DistilledSet:
    manifest = Manifest.load(source)
    if not manifest.finished:
        slots = manifest.slots()
        missing = sum(not (source / slot.file_name).is_file() for slot in slots)
        raise PotstillError(
            f"{source} is unfinished: {missing} of its {len(slots)} images are missing; run the same `potstill "
            "distill` again to finish it"
        )
    distilled = DistilledSet.load(source)
    distilled.require_sound()
    _require_own_labels(distilled)
    return distilled


def _require_own_labels(distilled: DistilledSet) -> None:
    file = distilled.folder / LABELS
    if file.is_file():
        images, _ = distilled.examples(distilled.manifest.classes["keys"])
        if ViewLabels.read(distilled.folder).header.images != pixels_sha256(images):
            raise PotstillError(f"{file} labels other images: run `potstill label` again, or delete it")
