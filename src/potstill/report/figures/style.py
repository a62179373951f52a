"""How every figure looks: no background, inks that stand out from white and near-black alike, a shape each."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from potstill.core.errors import PotstillError
from potstill.core.files import write_whole

INK, FAINT = "#777a80", "#777a8040"
TONES = ("#2f7dbf", "#cf6c21", "#8c603b", "#967afe", "#de1870", "#9a9552", "#cc75ac", "#ba1a96")
"""Each at least 3 to 1 against #ffffff and #16181b, and apart for colour-blind eyes; a shape goes with each."""
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "p")
FORMATS = (".png", ".svg")
DPI = 200


def sheet(title: str, width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of so many inches with one pair of axes under a title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(plain(title), loc="left", color=INK, fontsize=11, parse_math=False)
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    axes.tick_params(which="both", colors=INK, labelcolor=INK, labelsize=9)
    axes.set_axisbelow(True)
    return figure, axes


def note(figure: Figure, *lines: str) -> None:
    """Small print at the foot of the figure."""
    text = "\n".join(map(plain, lines))
    figure.supxlabel(text, x=0.01, ha="left", color=INK, fontsize=8, parse_math=False)


def legend(axes: Axes, handles: Iterable[tuple[object, str]]) -> None:
    """The key, right of the axes, in the order given; labels are taken literally."""
    drawn, labels = zip(*handles, strict=True)
    key = axes.legend(
        drawn, [" "] * len(labels), loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9
    )
    for text, label in zip(key.get_texts(), labels, strict=True):
        literal(text, label)


def literal(text: Text, label: str) -> None:
    """Sets a text without reading mathematics into its dollar signs."""
    text.set_parse_math(False)
    text.set_text(plain(label))
    text.set_color(INK)


def plain(text: str) -> str:
    """One line without characters that an SVG file may not hold."""
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())


def tones(count: int, what: str) -> Sequence[tuple[str, str]]:
    """A colour and a shape for each of `count` things; raises PotstillError for more than can be told apart."""
    if count > len(TONES):
        raise PotstillError(
            f"a figure tells at most {len(TONES)} {what} apart, not {count}: draw several figures"
        )
    return list(zip(TONES, SHAPES, strict=True))[:count]


def save(figure: Figure, out: Path) -> tuple[Path, ...]:
    """Writes a figure as OUT.png or OUT.svg, or as both where OUT has no suffix; the same figure, the same bytes.

    Raises PotstillError for another suffix.
    """
    if out.suffix and out.suffix not in FORMATS:
        raise PotstillError(f"a figure is written as {' or '.join(FORMATS)}, or as both: not {out.name!r}")
    files = (out,) if out.suffix else tuple(out.with_name(out.name + suffix) for suffix in FORMATS)
    for file in files:
        form = file.suffix[1:]
        metadata = {"Date": None, "Title": figure.axes[0].get_title(loc="left")} if form == "svg" else None
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "potstill"}):
            write_whole(
                file,
                lambda path, form=form, metadata=metadata: figure.savefig(
                    path, format=form, dpi=DPI, transparent=True, metadata=metadata
                ),
            )
    return files
