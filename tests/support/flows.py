"""What potstill does with a device, one small flow each: from a device and an empty folder to what came out.

`python -m support.flows` does each on the CPU and on `support.elsewhere`, and prints both outcomes as JSON.
"""

import json
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from potstill.bundled import resolve
from potstill.canvas.chain import Chain
from potstill.canvas.pixels import Pixels
from potstill.concepts import ConceptSpace, Vocabulary
from potstill.core.processes import Processes
from potstill.core.seeds import generator
from potstill.core.settings import replace_at
from potstill.data.digits import digits
from potstill.data.real import RealData
from potstill.distilled import DistilledSet
from potstill.encoders import Encoder
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.shown import shown
from potstill.guidance import Targets
from potstill.guidance.push import Pace, Push
from potstill.guidance.scheduler import inform
from potstill.guidance.scores import ConceptScore, contrastive
from potstill.methods.matching import Matching
from potstill.methods.pruning import Pruning
from potstill.methods.watch import Watch
from potstill.nets.spec import Net
from potstill.nets.store import load_net
from potstill.objectives.distribution import DistributionMatching
from potstill.objectives.experts import Experts
from potstill.objectives.statistics import BatchNormStatistics
from potstill.pipeline import distill_recipe, evaluate_set
from potstill.priors import PRIORS
from potstill.priors.tuning import Minimax
from potstill.recipes import RECIPES

Outcome = list[float]
Flow = Callable[[str, Path], Outcome]
NET = "convnet-3-instance-w8"


@cache
def every() -> RealData:
    """A few images of every digit."""
    return thinned(digits())


@cache
def real() -> RealData:
    """A few images of three digits."""
    return thinned(digits().select(("2", "3", "5")))


def thinned(data: RealData) -> RealData:
    train, test = (
        split.take(torch.cat([split.of_class(label)[:24] for label in range(len(data.classes))]))
        for split in (data.train, data.test)
    )
    return replace(data, train=train, test=test)


def sampled(recipe: str, changes: dict[str, str], device: str, folder: Path) -> Outcome:
    """A set of two images a class by a recipe with changed fields; a witness looks at random ones."""
    chosen = replace(RECIPES[recipe](), images_per_class=2)
    if recipe != "digits-random":
        chosen = replace(chosen, witness=None)
    for field, value in changes.items():
        chosen = replace_at(chosen, f"method.{field}", value)
    return seen(distill_recipe(chosen, folder / "set", real=real(), device=device))


def seen(made: DistilledSet) -> Outcome:
    return made.images().double().mean((1, 2, 3)).tolist()


def matched(method: Matching, device: str, folder: Path) -> Outcome:
    recipe = replace(RECIPES["digits-dm"](), method=method, images_per_class=2, witness=None)
    return seen(distill_recipe(recipe, folder / "set", real=real(), device=device))


def trajectories(device: str, folder: Path) -> Outcome:
    from potstill.buffers import make_buffer

    buffer = make_buffer(real(), folder / "buffer", Experts(net=NET, count=1, epochs=2), device=device)
    method = RECIPES["digits-mtt"]().method
    settings = {
        "buffer": str(buffer.folder),
        "steps": 2,
        "expert_epochs": 1,
        "max_start": 1,
        "unroll": "constant",
    }
    method = replace(method, iterations=1, objective=replace(method.objective, **settings))
    return matched(method, device, folder)


def judged(protocol: str, student: str, device: str, folder: Path) -> Outcome:
    """Two epochs of a student of random real images."""
    data = every() if protocol in TAUGHT else real()
    distill_recipe(replace(RECIPES["digits-random"](), images_per_class=2, witness=None), folder, real=data)
    asked = PROTOCOLS[protocol].scaled({"training.epochs": 2})
    teacher = "digits/teacher" if protocol in TAUGHT else None
    if protocol == "fkd@1":
        from potstill.labelling import label_set

        label_set(folder, data, protocol=asked, teacher="digits/teacher", device=device)
    done = evaluate_set(
        folder,
        data,
        protocol=asked,
        student=Net.parse(student),
        teacher=teacher,
        seeds=range(2),
        device=device,
    )
    return [value for run in done.runs for value in (run.accuracy, run.train_loss)]


TAUGHT = ("rded@1", "fkd@1")


def taught(device: str, folder: Path) -> Outcome:
    from potstill.teaching import Teaching, teach

    stored = teach(
        real(), folder / "teacher", Teaching(net=Net.parse("convnet-3-w8"), epochs=1), device=device
    )
    return [value.double().abs().sum().item() for value in stored.module.parameters()]


def tuned(device: str, folder: Path) -> Outcome:
    from potstill.finetuning import finetune

    finetune(
        real(), folder / "dit", Minimax(prior="digits/dit", epochs=2), processes=Processes(device=device)
    )
    (file,) = (folder / "dit" / "transformer").glob("*.safetensors")
    return [value.double().abs().sum().item() for value in load_file(file).values()]


def scored(device: str, folder: Path) -> Outcome:
    from potstill.scoring import score_set

    recipe = replace(RECIPES["digits-random"](), images_per_class=2, witness=None)
    distill_recipe(recipe, folder / "set", real=every())
    found = score_set(
        folder / "set",
        every(),
        scores=["hlr"],
        protocol=PROTOCOLS["rded@1"].scaled({"training.epochs": 1}),
        student=Net.parse("convnet-3-w8"),
        teacher="digits/teacher",
        seeds=range(1),
        pool=folder / "pool",
        device=device,
    )
    return [one.mean for one in found.scores]


def looked_at(device: str, folder: Path) -> Outcome:
    """Real images, by an encoder and a teacher."""
    encoder = Encoder.from_pretrained("digits/clip", device=device)
    space = ConceptSpace.build(Vocabulary(bank="digits", encoder="digits/clip"), encoder, real())
    teacher = load_net("digits/teacher").narrowed(real().classes).to(device).module
    images, labels = real().test.pixels(range(0, 72, 6), 32), real().test.labels[::6]
    found = shown(images, labels, encoder=encoder, space=space, teacher=teacher)
    return [found.every, found.score, found.right, found.sure, *space.completeness(0.5).tolist()]


def informed(device: str, folder: Path) -> Outcome:
    """A diffusers pipeline with a wrapped scheduler."""
    from diffusers import DiTPipeline

    encoder = Encoder.from_pretrained("digits/clip", device=device)
    space = ConceptSpace.build(Vocabulary(bank="digits", encoder="digits/clip"), encoder, real())
    labels = torch.tensor([0, 1, 2])
    drawn = [space.negatives(label, generator(0, "negatives", label)) for label in labels.tolist()]
    negatives = torch.stack([torch.stack([space.texts[c, p] for c, p in one]) for one in drawn])
    targets = Targets(labels, positives=space.texts[labels], negatives=negatives)
    score = ConceptScore(encoder, contrastive, 0.05)
    term = Push(score=score, pace=Pace(weight=0.1, normalise=True), targets=targets)
    pipe: Any = DiTPipeline.from_pretrained(resolve("digits/dit")).to(device)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = inform(pipe.scheduler, PRIORS["DiTPipeline"](pipe), [term])
    draw = torch.Generator().manual_seed(0)
    images = pipe([2, 3, 5], num_inference_steps=3, output_type="np", generator=draw).images
    return (255 * images.astype("float64").mean((1, 2, 3))).tolist()


LOOK = "terms.0.pace.look"
SAMPLED: dict[str, tuple[str, dict[str, str]]] = {
    "random": ("digits-random", {}),
    "k-center": ("digits-k-center", {}),
    "herding": ("digits-herding-clip", {}),
    "rded": ("digits-rded", {"sources": "40"}),
    "sre2l": ("digits-sre2l", {"iterations": "2"}),
    "d4m": ("digits-d4m-unclip", {"steps": "4"}),
    "dit, noisy look": ("digits-dit-concord", {"steps": "2", LOOK: "noisy"}),
    "dit, full look": ("digits-dit-concord", {"steps": "2", LOOK: "full"}),
    "dit, until complete": ("digits-dit-complete", {"steps": "4"}),
    "dit, tiny decoder": ("digits-dit-concord", {"steps": "2", "terms.0.tiny": "digits/tiny_decoder"}),
    "dit, classifier": ("digits-dit-classifier", {"steps": "2"}),
    "unclip": ("digits-unclip-concord", {"steps": "2", "solver": "dpm-solver++"}),
    "dc": ("digits-dc", {"iterations": "1", "objective.batch": "4", "objective.outer": "2"}),
    "idm": ("digits-idm", {"iterations": "1", "objective.batch": "4"}),
    "latents": ("digits-dm-latents", {"iterations": "1", "objective.batch": "4"}),
    "glad": ("digits-dm-glad", {"iterations": "1", "objective.batch": "4", "chunk": "4"}),
    "ld3m": ("digits-dm-ld3m", {"iterations": "1", "objective.batch": "4", "canvas.steps": "2"}),
}
JUDGED = {
    "rded@1": "convnet-3-w8",
    "fkd@1": "convnet-3-w8",
    "hard@1": "resnet-18-small-w8",
    "hard-minimax@1": "resnetap-10-w8",
    "dc@1": NET,
    "dsa@1": NET,
    "glad@1": "vit-w64",
}
WATCHED = Matching(
    objective=DistributionMatching(net=NET, batch=4),
    canvas=Pixels(colours="zca", start="noise", parts=2, size=16),
    iterations=1,
    prune=Pruning(teacher="digits/teacher", share=0.5),
    watch=Watch(every=1, epochs=1),
    preview=1,
)
LEARNED_CONDITIONS = Matching(
    objective=DistributionMatching(net=NET, batch=4),
    canvas=Chain(prior="digits/unclip", steps=2, residual="noisy"),
    iterations=1,
)

REMEMBERED = Matching(objective=BatchNormStatistics(teacher="digits/teacher"), canvas=Pixels(), iterations=1)

FLOWS: dict[str, Flow] = {
    **{name: partial(sampled, *one) for name, one in SAMPLED.items()},
    **{protocol: partial(judged, protocol, student) for protocol, student in JUDGED.items()},
    "mtt": trajectories,
    "whitened, pruned and watched": partial(matched, WATCHED),
    "statistics": partial(matched, REMEMBERED),
    "unclip chain": partial(matched, LEARNED_CONDITIONS),
    "teach": taught,
    "finetune": tuned,
    "score": scored,
    "judge images": looked_at,
    "inform": informed,
}


def main() -> None:
    from support.elsewhere import NAME, Device

    torch.set_num_threads(1)
    told: dict[str, Any] = {}
    for name, flow in FLOWS.items():
        try:
            with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
                on_cpu = flow("cpu", Path(here))
                with Device():
                    told[name] = {"cpu": on_cpu, NAME: flow(NAME, Path(there))}
        except Exception:
            told[name] = {"error": traceback.format_exc()}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
