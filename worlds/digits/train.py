"""Trains the digits world in order, two models at a time, one thread each.

Run `python -m worlds.digits.train` in the root of the repository; started again after a kill, it goes on, and after
`build/worlds/digits` is deleted it begins anew. It needs the extra `worlds` and takes under two hours on two cores.
Models go to src/potstill/bundled/digits.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from worlds.digits.training import BUILD

LANES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("dit",), ("measure", "dit"), ("gan",)),
    (("clip", "clip"), ("tiny",), ("unclip",), ("measure", "unclip"), ("clip", "referee")),
)


def step(words: Sequence[str]) -> None:
    """Runs one module of this world unless it has run to its end; raises CalledProcessError where it fails."""
    done = BUILD / f"{'-'.join(words)}.done"
    if done.exists():
        return
    command = [sys.executable, "-m", f"worlds.digits.{words[0]}", *words[1:]]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    done.touch()


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
