"""SVG figures as a page can hold them: one string each, in which no script runs and from which no request goes."""

import base64
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from potstill.core.errors import PotstillError

SVG, TITLE = "{http://www.w3.org/2000/svg}svg", "{http://purl.org/dc/elements/1.1/}title"


def embedded(file: Path) -> dict[str, str]:
    """A figure for a page: its source as a data URI and what it is called, by its own title or its file's name.

    As the source of an image it is isolated by the browser. Raises PotstillError where the file is missing or no SVG.
    """
    try:
        content = file.read_bytes()
        root = ElementTree.fromstring(content)
    except FileNotFoundError:
        raise PotstillError(f"no such file: {file}") from None
    except (OSError, ElementTree.ParseError) as error:
        raise PotstillError(f"{file} is not an SVG file: {error}") from None
    if root.tag != SVG:
        raise PotstillError(f"{file} is not an SVG file: it begins with {root.tag!r}")
    title = root.find(f".//{TITLE}")
    name = (title.text or "").strip() if title is not None else ""
    source = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
    return {"src": source, "title": name or file.stem}
