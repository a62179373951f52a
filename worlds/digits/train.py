"""Trains the digits world in order, two models at a time, one thread each.

Run `python -m worlds.digits.train` in the root of the repository; started again after a kill, it goes on. It
needs the extra `worlds` and takes under two hours on two free cores. Checkpoints and pictures go to
build/worlds/digits, models to src/potstill/bundled/digits.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

LANES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("dit",), ("measure", "dit")),
    (("clip", "clip"), ("tiny",), ("unclip",), ("measure", "unclip"), ("clip", "referee")),
)


def step(words: Sequence[str]) -> None:
    """Runs one module of this world; raises CalledProcessError where it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", f"worlds.digits.{words[0]}", *words[1:]], env=environment, check=True
    )


def lane(steps: Sequence[Sequence[str]]) -> None:
    """Runs steps one after another."""
    for words in steps:
        step(words)


def main() -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(step, (("autoencoder",), ("teacher",))))
        list(pool.map(lane, LANES))
    step(("cards",))


if __name__ == "__main__":
    main()
