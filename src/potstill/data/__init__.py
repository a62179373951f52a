"""Real images in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from potstill.core.progress import OnStep, silent
from potstill.core.table import Table
from potstill.data.source import Source, kind_and_place

if TYPE_CHECKING:
    from potstill.data.real import RealData

DATASETS = Table(
    "kind of data set",
    {
        "digits": "potstill.data.digits:digits",
        "folder": "potstill.data.folder:image_folder",
        "hub": "potstill.data.hub:hub_data",
    },
)


def load(
    source: str,
    *,
    classes: str | None = None,
    test: str | None = None,
    skip_bad: bool = False,
    on_step: OnStep = silent,
) -> RealData:
    """Real images from "digits", an image folder, a parquet file or folder of them, or "hub:ID[:CONFIG]".

    `classes` is the name of an ImageNet subset or class keys with commas; the data are then named
    "NAME:CLASSES". `test` is the place of the test images where the source itself has none. Raises
    PotstillError for an unknown source or class, classes without images and, unless `skip_bad`, images that
    cannot be read.
    """
    from potstill.data.classes import subset_name

    kind, place = kind_and_place(source, DATASETS)
    request = Source(place=place, classes=classes, test=test, skip_bad=skip_bad, on_step=on_step)
    data: RealData = DATASETS[kind](request)
    if classes is None:
        return data
    return replace(data, name=f"{data.name}:{subset_name(classes) or classes.replace(' ', '')}")
