"""The order in which names are listed."""

import re


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key that puts "9" before "10", and names that differ in leading zeros alone by themselves."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
