"""What informing costs: seconds per image of every look and saving, as ratios to the uninformed sampler.

`python benchmarks/speed/guidance.py` times arms in turn, several rounds, in one run on the digits world, and prints
the median ratio of each arm to classifier-free guidance without informing in the same round, with its range.
`--batch`, `--steps`, `--rounds`, `--threads` change the size of the run, `--arms` takes a few by name. `--size full`
is full_size.py beside this file, with its options: the published architectures.
"""

import argparse
import statistics
import time

import full_size
import torch
from rich.console import Console
from rich.table import Table

from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.distilled import Slot
from potstill.guidance.push import Pace
from potstill.methods.guided import Guided
from potstill.methods.terms import ConceptTerm
from potstill.recipes.digits import VOCABULARY, WITNESS
from potstill.run.witness import Witness

NORMALISED = {"weight": 0.1, "normalise": True}
BASELINE = "guidance 1.5, not informed"


def term(tiny: bool = False, **pace: object) -> ConceptTerm:
    """An informing term; `tiny` looks through the tiny decoder."""
    settings = Pace(**NORMALISED | pace)
    return ConceptTerm(vocabulary=VOCABULARY, pace=settings, tiny="digits/tiny_decoder" if tiny else None)


def arms(steps: int) -> dict[str, Guided]:
    """Every arm: name to method."""

    def guided(scale: float, *terms: ConceptTerm) -> Guided:
        return Guided(prior="digits/dit", scale=scale, terms=terms, steps=steps)

    saving = {"every": 2, "start": 0.2, "stop": 0.9}
    return {
        BASELINE: guided(1.5),
        "no guidance, not informed": guided(1.0),
        "guidance + full look": guided(1.5, term(look="full")),
        "guidance + noisy look": guided(1.5, term(look="noisy")),
        "guidance + clean look": guided(1.5, term()),
        "guidance + clean, tiny decoder": guided(1.5, term(tiny=True)),
        "guidance + clean, window 0.2 to 0.9": guided(1.5, term(start=0.2, stop=0.9)),
        "guidance + clean, every 2": guided(1.5, term(every=2)),
        "guidance + clean, every 4": guided(1.5, term(every=4)),
        "guidance + clean, tiny, every 4": guided(1.5, term(tiny=True, every=4)),
        "guidance + clean, tiny, window, every 2": guided(1.5, term(tiny=True, **saving)),
        "guidance + clean, until 0.2, check 2": guided(1.5, term(until=0.2, check=2)),
        "no guidance + clean": guided(1.0, term()),
        "no guidance + clean, until 0.2, check 2": guided(1.0, term(until=0.2, check=2)),
        "no guidance + clean, until 0.2, check 4, tiny": guided(1.0, term(tiny=True, until=0.2, check=4)),
    }


def main() -> None:
    """Times every arm and prints the table."""
    sized = argparse.ArgumentParser(add_help=False)
    sized.add_argument("--size", choices=("digits", "full"), default="digits")
    size, words = sized.parse_known_args()
    if size.size == "full":
        full_size.main(words)
        return
    options = argparse.ArgumentParser(description=__doc__, parents=[sized])
    options.add_argument("--batch", type=int, default=50)
    options.add_argument("--steps", type=int, default=50)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--arms", nargs="+", default=[], help="only these, beside the one ratios are of")
    chosen = options.parse_args(words)
    torch.set_num_threads(chosen.threads)
    real = digits()
    slots = [Slot(key, index) for index in range(-(-chosen.batch // 10)) for key in real.classes.keys][
        : chosen.batch
    ]
    makers = {
        name: method.prepare(real, seed=0, images_per_class=len(slots), device="cpu")
        for name, method in arms(chosen.steps).items()
        if not chosen.arms or name in (BASELINE, *chosen.arms)
    }
    witness = Witness.prepare(WITNESS, real)
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    scores: dict[str, float] = {}
    for turn in range(chosen.rounds):
        order = torch.randperm(len(makers), generator=generator("order", turn)).tolist()
        for name in (list(makers)[place] for place in order):
            started = time.perf_counter()
            made = makers[name].make(slots, lambda step: None)
            seconds[name].append(time.perf_counter() - started)
            seen = [note["scores"] for note in witness.describe(slots, made)]
            scores[name] = statistics.mean(value for row in seen for value in row)
    show(chosen, seconds, scores)


def show(chosen: argparse.Namespace, seconds: dict[str, list[float]], scores: dict[str, float]) -> None:
    """Prints the table: ratios are taken within a round."""
    title = f"batch {chosen.batch}, {chosen.steps} steps, {chosen.rounds} rounds, {chosen.threads} threads"
    shown = Table("arm", "s/image", "ratio (median)", "lowest to highest", "mean concept cosine", title=title)
    for name, times in seconds.items():
        ratios = [one / base for one, base in zip(times, seconds[BASELINE], strict=True)]
        shown.add_row(
            name,
            f"{statistics.median(times) / chosen.batch:.3f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            f"{scores[name]:.3f}",
        )
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
