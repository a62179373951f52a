"""Seconds per image of distilled sets, as bars."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from potstill.core.errors import PotstillError, unknown
from potstill.distilled import Manifest
from potstill.evaluation.statistics import interval, mean
from potstill.report.figures.style import FAINT, INK, TONES, note, plain, sheet


def time_bars(manifests: Sequence[Manifest], *, title: str, baseline: str | None = None) -> Figure:
    """The mean seconds per image of the sets of each name, 95 % interval where there are several, ratio to a baseline.

    `baseline` is the name whose bar is 1; by default the first. Only the making of images counts, not the loading of
    models. Raises PotstillError for no sets, an unknown baseline, and sets made on different devices, whose times do
    not compare.
    """
    if not manifests:
        raise PotstillError("there is nothing to draw: no set was given")
    devices = sorted({manifest.device for manifest in manifests})
    if len(devices) > 1:
        raise PotstillError(f"times of different devices do not compare: {', '.join(devices)}")
    held: dict[str, list[float]] = {}
    for manifest in manifests:
        held.setdefault(manifest.name, []).append(manifest.seconds_per_image)
    first = baseline or next(iter(held))
    if first not in held:
        raise unknown("baseline", first, held)
    base = mean(held[first])
    figure, axes = sheet(title, 7.6, 1.3 + 0.45 * len(held))
    for place, (name, seconds) in enumerate(held.items()):
        centre, reach = mean(seconds), interval(seconds)
        axes.barh(place, centre, height=0.62, color=TONES[0] if name == first else TONES[1])
        if reach:
            axes.plot((max(0.0, reach[0]), reach[1]), (place, place), color=INK, linewidth=1.4)
        told = [f"{centre:.3g} s"]
        told += [f"{centre / base:.2f} \u00d7"] if name != first and base else []
        told += [f"n = {len(seconds)} sets"] if len(seconds) > 1 else []
        axes.annotate(
            ",  ".join(told),
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            color=INK,
            fontsize=9,
        )
    axes.set_yticks(range(len(held)), [plain(name) for name in held], parse_math=False)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color(FAINT)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds per image", color=INK, fontsize=10)
    bars = " Lines: 95 % interval of the mean (Student's t)." if len(manifests) > len(held) else ""
    note(
        figure,
        f"The making of images alone, without loading models, on {devices[0]}.{bars}",
        f"Ratios to {first}.",
    )
    return figure
