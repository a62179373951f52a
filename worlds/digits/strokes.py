"""What can be measured of a handwritten digit's strokes, as facts that hold or don't."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

INK = 0.4


@dataclass(frozen=True)
class Box:
    """The ink of a digit cut to its bounding box, with the box's size in px."""

    ink: NDArray[np.bool_]

    @property
    def height(self) -> int:
        return self.ink.shape[0]

    @property
    def width(self) -> int:
        return self.ink.shape[1]


def facts(grey: NDArray[np.float32]) -> dict[str, bool]:
    """Every named fact of one digit, grey [32, 32] in [0, 1]."""
    ink = grey > INK
    if ink.sum() < 8:
        ink = grey > grey.max() / 2
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    box = Box(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return _holes(box) | _ends(box) | _shape(box) | _bars(box) | _slant(ink) | _openings(box)


def _holes(box: Box) -> dict[str, bool]:
    padded = np.pad(box.ink, 1)
    labelled, count = ndimage.label(~padded)
    holes = [
        (np.argwhere(labelled == place), (labelled == place).sum())
        for place in range(1, count + 1)
        if place != labelled[0, 0] and (labelled == place).sum() >= 3
    ]
    middles = [where.mean(0)[0] / box.height for where, _ in holes]
    area = sum(size for _, size in holes) / box.ink.size
    tall = max((np.ptp(where[:, 0]) + 1 for where, _ in holes), default=0) / box.height
    return {
        "no hole": not holes,
        "one hole": len(holes) == 1,
        "two holes": len(holes) == 2,
        "high hole": any(middle < 0.45 for middle in middles) and len(holes) == 1,
        "low hole": any(middle > 0.55 for middle in middles) and len(holes) == 1,
        "middle hole": len(holes) == 1 and 0.4 <= middles[0] <= 0.6,
        "large hole": area > 0.2,
        "small hole": bool(holes) and area < 0.09,
        "tall hole": tall > 0.55,
        "lower loop larger": len(holes) == 2 and _lower_larger(holes),
    }


def _lower_larger(holes: list[tuple[NDArray[np.int64], np.int64]]) -> bool:
    top, bottom = sorted(holes, key=lambda hole: hole[0].mean(0)[0])
    return bool(bottom[1] > top[1])


def _ends(box: Box) -> dict[str, bool]:
    line = np.pad(skeletonize(box.ink), 1)
    near = ndimage.convolve(line.astype(int), np.ones((3, 3), int), mode="constant") - 1
    tips = np.argwhere(line & (near == 1)) - 1
    crossings, count = ndimage.label(line & (near >= 3), structure=np.ones((3, 3)))
    down, right = (
        (tips / np.maximum([box.height - 1, box.width - 1], 1)).T if len(tips) else (np.array([]),) * 2
    )

    def tip(high: float, low: float, left: float, end: float) -> bool:
        return bool(((down >= high) & (down <= low) & (right >= left) & (right <= end)).any())

    return {
        "no free end": len(tips) == 0,
        "one free end": len(tips) == 1,
        "two free ends": len(tips) == 2,
        "three free ends": len(tips) >= 3,
        "strokes meet": count >= 1,
        "no branch": count == 0,
        "end upper left": tip(0, 0.4, 0, 0.5),
        "end upper right": tip(0, 0.4, 0.5, 1),
        "end lower left": tip(0.6, 1, 0, 0.5),
        "end lower right": tip(0.6, 1, 0.5, 1),
        "end at the bottom": tip(0.85, 1, 0, 1),
        "end at the top": tip(0, 0.15, 0, 1),
        "end middle left": tip(0.3, 0.7, 0, 0.4),
    }


def _shape(box: Box) -> dict[str, bool]:
    inside = np.pad(box.ink, 1)
    depth = ndimage.distance_transform_edt(inside)
    thickness = 2 * float(depth[skeletonize(inside)].mean()) if inside.any() else 0.0
    spans = np.array([np.ptp(np.flatnonzero(row)) + 1 if row.any() else 0 for row in box.ink]) / box.width
    third = max(box.height // 3, 1)
    top, middle, bottom = spans[:third].mean(), spans[third:-third].mean(), spans[-third:].mean()
    mirrored = float((box.ink & box.ink[:, ::-1]).sum() / box.ink.sum())
    return {
        "narrow": box.width / box.height < 0.45,
        "wide": box.width / box.height > 0.95,
        "tall": box.height >= 20 and box.width / box.height < 0.7,
        "thin stroke": thickness < 2.6,
        "thick stroke": thickness > 3.8,
        "wide top": top > bottom + 0.2,
        "wide bottom": bottom > top + 0.2,
        "pinched": bool(middle + 0.12 < min(top, bottom)),
        "bulging middle": bool(middle > max(top, bottom) + 0.12),
        "symmetric": mirrored > 0.8,
        "much ink": box.ink.mean() > 0.5,
        "little ink": box.ink.mean() < 0.3,
    }


def _bars(box: Box) -> dict[str, bool]:
    def run(line: NDArray[np.bool_]) -> int:
        edges = np.flatnonzero(np.diff(np.pad(line.astype(int), 1)))
        return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0

    across = np.array([run(row) for row in box.ink]) / box.width
    along = np.array([run(column) for column in box.ink.T]) / box.height
    quarter = max(box.height // 4, 1)
    side = max(box.width // 3, 1)
    return {
        "top bar": bool(across[:quarter].max() > 0.75 and box.width / box.height > 0.45),
        "bottom bar": bool(across[-quarter:].max() > 0.75 and box.width / box.height > 0.45),
        "middle bar": bool(across[quarter:-quarter].max() > 0.75 and box.width / box.height > 0.45),
        "stem right": bool(along[-side:].max() > 0.5),
        "stem left": bool(along[:side].max() > 0.5),
        "stem middle": bool(along[side:-side].max() > 0.6) if box.width > 2 * side else False,
    }


def _slant(ink: NDArray[np.bool_]) -> dict[str, bool]:
    down, right = (np.argwhere(ink) - np.argwhere(ink).mean(0)).T
    lean = -float((down * right).sum() / max((down * down).sum(), 1))
    return {
        "upright": abs(lean) < 0.1,
        "leans right": lean > 0.2,
        "leans left": lean < -0.1,
        "strong slant": lean > 0.45,
    }


def _openings(box: Box) -> dict[str, bool]:
    """Where the blank reaches in from the left or right edge beyond the middle of the box."""
    half = box.width / 2
    first = np.array([np.flatnonzero(row)[0] if row.any() else box.width for row in box.ink])
    last = np.array([box.width - 1 - np.flatnonzero(row)[-1] if row.any() else box.width for row in box.ink])
    top, bottom = slice(box.height // 8, box.height // 2), slice(box.height // 2, -max(box.height // 8, 1))
    columns = [np.flatnonzero(column) for column in box.ink.T]
    blank_above = np.array([column[0] if len(column) else box.height for column in columns])
    middle = slice(box.width // 4, max(3 * box.width // 4, box.width // 4 + 1))
    return {
        "open upper left": bool((first[top] > half).mean() > 0.25),
        "open lower left": bool((first[bottom] > half).mean() > 0.25),
        "open upper right": bool((last[top] > half).mean() > 0.25),
        "open lower right": bool((last[bottom] > half).mean() > 0.25),
        "open top": bool(blank_above[middle].max() > box.height * 0.35),
        "closed top": bool(blank_above[middle].max() < box.height * 0.15),
    }
