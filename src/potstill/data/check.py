"""Whether images can be read, found out before hours of work depend on it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, Step
from potstill.data.read import UnreadableImage
from potstill.data.real import READERS

PHOTO_SIZE = 256
"""Native size of photos of many or of large sizes, in px: that of the DiT priors."""

_SHOWN = 20
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found: the sizes (width, height) met, and why which rows cannot be read."""

    sizes: frozenset[tuple[int, int]]
    bad: Mapping[int, str]


def check_images(probe: Callable[[int], tuple[int, int]], rows: Sequence[int], on_step: OnStep) -> Check:
    """Probes every row on several threads; `probe` gives an image's size or raises UnreadableImage."""
    sizes: set[tuple[int, int]] = set()
    bad: dict[int, str] = {}
    parts = [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]
    done = 0
    with ThreadPoolExecutor(READERS) as pool:
        try:
            for part, found in zip(
                parts, pool.map(lambda part: [_try(probe, row) for row in part], parts), strict=True
            ):
                for row, result in zip(part, found, strict=True):
                    if isinstance(result, str):
                        bad[row] = result
                    else:
                        sizes.add(result)
                done += len(part)
                on_step(Step(stage="check images", index=done, total=len(rows)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Check(frozenset(sizes), bad)


def bad_images(where: str, reasons: Sequence[str], total: int) -> PotstillError:
    """The error that counts the unreadable images and names the first 20."""
    listed = "\n".join(f"  {reason}" for reason in reasons[:_SHOWN])
    rest = f"\n  and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return PotstillError(
        f"{len(reasons)} of {total} images in {where} cannot be read (skip_bad leaves them out):\n"
        f"{listed}{rest}"
    )


def native_size(sizes: Iterable[tuple[int, int]]) -> int:
    """The side in px where all images are equal squares of at most `PHOTO_SIZE`, else `PHOTO_SIZE`."""
    found = set(sizes)
    if len(found) == 1:
        width, height = found.pop()
        if width == height <= PHOTO_SIZE:
            return width
    return PHOTO_SIZE


def _try(probe: Callable[[int], tuple[int, int]], row: int) -> tuple[int, int] | str:
    try:
        return probe(row)
    except UnreadableImage as error:
        return str(error)
