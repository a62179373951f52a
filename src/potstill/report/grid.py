"""The same classes and images of several sets in one picture, for a README."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from potstill.core.errors import PotstillError, unknown
from potstill.core.files import write_whole
from potstill.report.read import Arm, labels, read_arm, without_shared_words

GAP, MARGIN, TEXT = 4, 16, 13
PAPER, INK, ABSENT = "#ffffff", "#1c1d1f", "#eeece6"


def grid(
    sets: Sequence[Path],
    out: Path,
    *,
    classes: Sequence[str] | None = None,
    per_class: int = 2,
    side: int = 64,
) -> Path:
    """Writes a PNG: a band of rows for each set, a column for each class, the first images downwards.

    `classes` are keys, by default the first ten; `side` is the edge of an image in px, to which small images
    are enlarged by whole multiples without smoothing. Raises PotstillError for an unknown class and for no
    sets.
    """
    if not sets:
        raise PotstillError("an image grid needs at least one set")
    arms = [read_arm(Path(folder)) for folder in sets]
    keys = list(dict.fromkeys(key for arm in arms for key in arm.facts.classes["keys"]))
    chosen = list(classes) if classes is not None else keys[:10]
    for key in chosen:
        if key not in keys:
            raise unknown("class", key, keys, "the sets")
    drawn = _draw(arms, chosen, per_class, side)
    write_whole(out, lambda partial: drawn.save(partial, format="PNG", optimize=True))
    return out


def _draw(arms: Sequence[Arm], keys: Sequence[str], per_class: int, side: int) -> Image.Image:
    font, names = ImageFont.load_default(TEXT), labels(arms)
    left = MARGIN + max(round(font.getlength(name)) for name in names) + 2 * GAP
    step, band = side + GAP, per_class * (side + GAP) + 2 * GAP
    owners = [next(arm for arm in arms if key in arm.facts.classes["keys"]) for key in keys]
    full = [owner.facts.name_of(key) for owner, key in zip(owners, keys, strict=True)]
    headings = [_wrapped(name, font, side) for name in without_shared_words(full)]
    lines = max(heading.count("\n") + 1 for heading in headings)
    top = MARGIN + lines * (TEXT + 4) + GAP
    width, height = left + len(keys) * step - GAP + MARGIN, top + len(arms) * band - 3 * GAP + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, heading in enumerate(headings):
        place = left + column * step + side // 2, top - 2 * GAP
        pen.multiline_text(place, heading, INK, font, anchor="md", align="center")
    for place, (arm, name) in enumerate(zip(arms, names, strict=True)):
        first = top + place * band
        pen.text((MARGIN, first + (band - 3 * GAP) // 2), name, INK, font, anchor="lm")
        pictures = {(one.key, one.index): one for one in arm.pictures}
        for column, key in enumerate(keys):
            for row in range(per_class):
                corner = left + column * step, first + row * step
                found = pictures.get((key, row))
                pen.rectangle((*corner, corner[0] + side - 1, corner[1] + side - 1), fill=ABSENT)
                if found is not None:
                    tile = _tile(arm.file(found), side)
                    offset = [(side - length) // 2 for length in tile.size]
                    sheet.paste(tile, (corner[0] + offset[0], corner[1] + offset[1]))
    return sheet


def _tile(file: Path, side: int) -> Image.Image:
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    largest = max(image.size)
    if largest > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return image
    times = side // largest
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """At most three lines that fit the width; words that don't are cut short."""
    lines: list[str] = []
    for word in text.split() or [""]:
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(_fitted(line, font, width) for line in lines[:3])


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = text.removesuffix("…")[:-1].rstrip() + "…"
    return text
