"""The tables and line figures of CONCORD (arXiv:2505.18358), each at full size and on digits.

Where the text leaves open what a table varies (which prior the ablations use, the values of a curve), the choice is
ours and `source` says so.
"""

from dataclasses import dataclass
from functools import partial

from potstill.recipes.study import Arm, Over, Study

PAPER = "CONCORD (arXiv:2505.18358)"
IPC = {"images_per_class": ("1", "10", "50")}
SETS_ALONE = {"students": ("0",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where a study runs: the recipes' common beginning, and what fits the size of the world."""

    name: str
    prefix: str
    tuned: str
    """The recipe without concepts that tables and curves lead with; with "-concord" it is informed."""
    students: tuple[str, ...]
    weights: tuple[str, ...]
    negatives: tuple[str, ...]
    steps: tuple[str, ...]
    images: tuple[str, ...]
    banks: tuple[str, ...]


FULL = World(
    name="concord",
    prefix="imagenet-",
    tuned="imagenet-minimax",
    students=("convnet-5", "resnet-18", "resnet-101"),
    weights=("0.5", "1", "2", "4"),
    negatives=("1", "3", "5", "9"),
    steps=("10", "25", "50", "100"),
    images=("1", "10", "50", "100", "200"),
    banks=("./banks/imagenet1k-classification.jsonl", "./banks/imagenet1k-gpt-3.5.jsonl", "imagenet1k"),
)
DIGITS = World(
    name="digits",
    prefix="digits-",
    tuned="digits-dit",
    students=("convnet-3", "resnet-18-small"),
    weights=("0.01", "0.03", "0.1", "0.3"),
    negatives=("1", "3", "5", "9"),
    steps=("10", "25", "50", "100"),
    images=("1", "2", "5", "10", "20", "50"),
    banks=("./banks/digits-classification.jsonl", "digits"),
)


def _main(world: World) -> Study:
    names = ("random", "dit", "dit-concord", "unclip", "unclip-concord")
    arms = [f"{world.prefix}{name}" for name in names]
    arms += ["digits-rded"] if world is DIGITS else [world.tuned, f"{world.tuned}-concord"]
    return Study(
        name=f"{world.name}-table-1",
        source=f"{PAPER}, table 1, without the methods that have no recipe at this size",
        summary="every prior with and without concepts, beside random real images",
        arms=_arms(*arms),
        over={**IPC, "student": world.students},
    )


def _imagenet() -> Study:
    subsets = {"classes": ("imagenet-100", "imagenet-1k")}
    shared = ("imagenet-random", "imagenet-dit", "imagenet-unclip", "imagenet-unclip-concord")
    tuned = [f"{subset}-minimax{ending}" for subset in subsets["classes"] for ending in ("", "-concord")]
    return Study(
        name="concord-imagenet",
        source=f"{PAPER}, table 2 or 3: which of the two is not known here",
        summary="ImageNet-100 and ImageNet-1K",
        arms=(*_arms(*shared, over=subsets), *_arms(*tuned)),
        over=IPC,
    )


def _food() -> Study:
    return Study(
        name="concord-food-101",
        source=f"{PAPER}, table 2 or 3: which of the two is not known here",
        summary="Food-101, which unCLIP never saw by class",
        arms=_arms("food101-random", "food101-unclip", "food101-unclip-concord"),
        over=IPC,
    )


def _prompts(world: World) -> Study:
    banks = {"method.terms.0.vocabulary.bank": world.banks}
    unclip = f"{world.prefix}unclip"
    return Study(
        name=f"{world.name}-table-4-prompts",
        source=f"{PAPER}, table 4; banks below banks/ are yours to bring",
        summary="concepts by another prompt or language model",
        arms=(Arm(recipe=unclip), Arm(recipe=f"{unclip}-concord", over=banks)),
        over=IPC,
    )


def _policy(world: World) -> Study:
    policies = {"method.terms.0.vocabulary.policy": ("weighted", "random", "similar")}
    return Study(
        name=f"{world.name}-table-5-negatives-policy",
        source=f"{PAPER}, table 5; its prior is not known here",
        summary="how negatives are chosen",
        arms=_arms(f"{world.prefix}unclip-concord", over=policies),
        over=IPC,
    )


def _objective(world: World) -> Study:
    unclip = f"{world.prefix}unclip"
    objectives = {"method.terms.0.objective": ("cosine", "contrastive")}
    return Study(
        name=f"{world.name}-table-6-objective",
        source=f"{PAPER}, table 6; its prior is not known here",
        summary="classifier guidance, the cosine and the contrastive objective",
        arms=(*_arms(unclip, f"{unclip}-classifier"), *_arms(f"{unclip}-concord", over=objectives)),
        over=IPC,
    )


def _combination(world: World) -> Study:
    names = ("dit", "dit-classifier", "dit-concord", "dit-concord-classifier")
    return Study(
        name=f"{world.name}-table-7-combination",
        source=f"{PAPER}, table 7; its rows are known from the text alone",
        summary="concepts on DiT, with and without classifier guidance",
        arms=_arms(*(f"{world.prefix}{name}" for name in names)),
        over=IPC,
    )


def _time(world: World) -> Study:
    tuned, unclip = world.tuned, f"{world.prefix}unclip"
    return Study(
        name=f"{world.name}-table-8-time",
        source=f"{PAPER}, table 8; give --batch 1 as there, and draw it with `potstill figure time`",
        summary="seconds per image with and without concepts",
        arms=_arms(tuned, f"{tuned}-concord", unclip, f"{unclip}-concord"),
        over={"images_per_class": ("1",), **SETS_ALONE},
    )


def _coresets(world: World) -> Study:
    names = ("random", "k-center", "herding", "unclip", "unclip-concord")
    student = {} if world is DIGITS else {"student": ("resnet-101",)}
    arms = [f"{world.prefix}{name}" for name in names]
    if world is FULL:
        arms += [world.tuned, f"{world.tuned}-concord"]
    return Study(
        name=f"{world.name}-table-9-selection",
        source=f"{PAPER}, table 9, without its IDM",
        summary="selected real images beside sampled ones",
        arms=_arms(*arms),
        over={"images_per_class": ("10",), **student},
    )


def _looks(world: World) -> Study:
    names = (world.tuned, f"{world.prefix}dit", f"{world.prefix}unclip")
    pairs = dict.fromkeys(f"{name}{ending}" for name in names for ending in ("", "-concord"))
    return Study(
        name=f"{world.name}-figure-3-images",
        source=f"{PAPER}, figures 3 and 8 to 13; which classes they show is not known here; look at them in the page",
        summary="images from the same noise without and with concepts",
        arms=_arms(*pairs),
        over={"images_per_class": ("10",), **SETS_ALONE},
    )


def _images(world: World) -> Study:
    return Study(
        name=f"{world.name}-figure-4a-images",
        source=f"{PAPER}, figure 4a; its numbers of images are not known here",
        summary="accuracy against images per class",
        arms=_arms(world.tuned, f"{world.tuned}-concord"),
        over={"images_per_class": world.images},
    )


def _along(world: World, place: str, source: str, summary: str, swept: Over) -> Study:
    informed = Arm(recipe=f"{world.tuned}-concord", over=swept)
    return Study(
        name=f"{world.name}-figure-{place}",
        source=f"{PAPER}, {source}; its values are not known here",
        summary=summary,
        arms=(Arm(recipe=world.tuned), informed),
    )


def _weight(world: World) -> Study:
    swept = {"method.terms.0.pace.weight": world.weights}
    return _along(world, "4b-weight", "figure 4b", "accuracy against the weight of the concepts", swept)


def _negatives(world: World) -> Study:
    swept = {"method.terms.0.vocabulary.negatives": world.negatives}
    return _along(world, "4c-negatives", "figure 4c", "accuracy against the number of negatives", swept)


def _steps(world: World) -> Study:
    return Study(
        name=f"{world.name}-figure-5-steps",
        source=f"{PAPER}, figure 5; its values are not known here",
        summary="accuracy against denoising steps",
        arms=_arms(world.tuned, f"{world.tuned}-concord"),
        over={"method.steps": world.steps},
    )


def _features(world: World) -> Study:
    return Study(
        name=f"{world.name}-figure-6-features",
        source=f"{PAPER}, figure 6; its sets are not known here; draw it with `potstill figure tsne`",
        summary="where sets lie among real images",
        arms=_arms(world.tuned, f"{world.tuned}-concord"),
        over={"images_per_class": ("50",), **SETS_ALONE},
    )


def _arms(*recipes: str, over: Over | None = None) -> tuple[Arm, ...]:
    return tuple(Arm(recipe=recipe, over=over or {}) for recipe in recipes)


full_main, digits_main = partial(_main, FULL), partial(_main, DIGITS)
full_imagenet, full_food = _imagenet, _food
full_prompts, digits_prompts = partial(_prompts, FULL), partial(_prompts, DIGITS)
full_policy, digits_policy = partial(_policy, FULL), partial(_policy, DIGITS)
full_objective, digits_objective = partial(_objective, FULL), partial(_objective, DIGITS)
full_combination, digits_combination = partial(_combination, FULL), partial(_combination, DIGITS)
full_time, digits_time = partial(_time, FULL), partial(_time, DIGITS)
full_coresets, digits_coresets = partial(_coresets, FULL), partial(_coresets, DIGITS)
full_looks, digits_looks = partial(_looks, FULL), partial(_looks, DIGITS)
full_images, digits_images = partial(_images, FULL), partial(_images, DIGITS)
full_weight, digits_weight = partial(_weight, FULL), partial(_weight, DIGITS)
full_negatives, digits_negatives = partial(_negatives, FULL), partial(_negatives, DIGITS)
full_steps, digits_steps = partial(_steps, FULL), partial(_steps, DIGITS)
full_features, digits_features = partial(_features, FULL), partial(_features, DIGITS)
