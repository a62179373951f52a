"""Informing in few steps: what digits show against the number of steps, by solver.

`python benchmarks/accuracy/few_steps.py` samples the same 50 digits (the same noise) without informing, informed with
the weight that 50 steps have, and with that weight times 50 / steps, and prints what an encoder that guided nothing
sees: the mean cosine to the class's concepts, the share of images that show every phrase, and the share that the
teacher names right.
"""

import argparse
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table

from potstill.concepts import ConceptSpace, Vocabulary
from potstill.data.digits import digits
from potstill.distilled import Slot
from potstill.encoders import Encoder
from potstill.evaluation.shown import Shown, shown
from potstill.methods.guided import Guided
from potstill.methods.terms import ConceptTerm
from potstill.nets.store import load_net
from potstill.recipes import RECIPES

JUDGE = "digits/referee"


def main() -> None:
    """Samples every arm and prints the table as markdown."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--recipe", default="digits-dit-unguided-concord")
    options.add_argument("--solvers", nargs="+", default=["ddim", "unipc"])
    options.add_argument("--steps", nargs="+", type=int, default=[8, 12, 20, 50])
    options.add_argument("--ipc", type=int, default=5)
    chosen = options.parse_args()
    real, method = digits(), RECIPES[chosen.recipe]().method
    assert isinstance(method, Guided) and isinstance(method.terms[0], ConceptTerm)
    encoder = Encoder.from_pretrained(JUDGE)
    space = ConceptSpace.build(Vocabulary(bank="digits", encoder=JUDGE), encoder, real)
    teacher = load_net("digits/teacher").module
    slots = [Slot(key, index) for key in real.classes.keys for index in range(chosen.ipc)]
    labels = torch.arange(10).repeat_interleave(chosen.ipc)
    table = Table("solver", "steps", "arm", "weight", "concept cosine", "every phrase", "teacher")
    for solver in chosen.solvers:
        for steps in chosen.steps:
            term = method.terms[0]
            scaled = replace(term.pace, weight=term.pace.weight * 50 / steps)
            arms = {
                "not informed": (),
                "weight of 50 steps": (term,),
                **({"weight x 50 / steps": (replace(term, pace=scaled),)} if steps != 50 else {}),
            }
            for name, terms in arms.items():
                asked = replace(method, terms=terms, steps=steps, solver=solver)
                made = asked.prepare(real, seed=0, images_per_class=chosen.ipc, device="cpu").make(slots)
                images = torch.stack([one.image for one in made])
                seen = shown(images, labels, encoder=encoder, space=space, teacher=teacher)
                weight = f"{terms[0].pace.weight:.3f}" if terms else "-"
                cosine, whole, right = cells(seen)
                table.add_row(solver, str(steps), name, weight, cosine, whole, right)
                Console(width=120).print(solver, steps, name, cosine, whole, right)
    Console(width=120).print(table)


def cells(seen: Shown) -> tuple[str, str, str]:
    """Numbers as shown."""
    return f"{seen.score:.3f}", f"{100 * seen.every:.0f} %", f"{100 * seen.right:.0f} %"


if __name__ == "__main__":
    main()
