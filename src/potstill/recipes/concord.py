"""CONCORD (arXiv:2505.18358) and what it is compared with, at full size; nothing is loaded before a recipe is run.

Settings: section 4.1 of the paper: 50 DDIM steps, weight 1, 5 concepts of 10, 10 negatives, contrastive, three runs of
ResNet-18 by RDED's protocol. ImageNet is read from the hub and cut to ImageWoof; `--classes` names another subset.

Departs:
* `look` and temperature are those of the authors' apparent code, for the paper gives neither; the sign is ours.
* Concepts come from the shipped bank and not from GPT-4o.
* DiT is computed as diffusers does, and so are the folders that `potstill finetune minimax` tunes; the authors'
  apparent code samples by DiT's own, which `--set method.original=true` computes for the published weights.
* Sets keep the prior's size; students see all at 224 px, as in the paper (`size`), and ConvNet-5 sees ImageWoof at the
  paper's 128 px with `--set size=128`.
* A teacher must be named (`teacher`): the paper's are RDED's, which no hub holds in a form that is read here.
"""

import dataclasses

from potstill.concepts import Vocabulary
from potstill.guidance.push import Pace
from potstill.methods import Method
from potstill.methods.coreset import Herding, KCenter
from potstill.methods.guided import Guided
from potstill.methods.random import Random
from potstill.methods.terms import ClassifierTerm, ConceptTerm
from potstill.recipes.recipe import Recipe
from potstill.run.witness import Seen

DIT = "facebook/DiT-XL-2-256"
UNCLIP = "radames/stable-diffusion-2-1-unclip-img2img"
CLIP = "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"
CLASSIFIER = "microsoft/resnet-18"
IMAGENET, FOOD = "hub:ILSVRC/imagenet-1k", "hub:ethz/food101"

WORDS = Vocabulary(bank="imagenet1k", encoder=CLIP)
INFORMING = ConceptTerm(vocabulary=WORDS, pace=Pace(weight=1.0, look="noisy"))
CLASSIFYING = ClassifierTerm(classifier=CLASSIFIER, pace=Pace(weight=0.05, look="noisy"))
DIFFUSION = Guided(prior=DIT, scale=4.0)
VARIATION = Guided(prior=UNCLIP, scale=10.0)


def random() -> Recipe:
    """Random real images."""
    return _recipe("imagenet-random", "random real images at 224 px", Random(size=224))


def k_center() -> Recipe:
    """Real images by K-Center in CLIP's space; the paper does not say whose features it takes."""
    return _recipe("imagenet-k-center", "real images chosen by K-Center", KCenter(features=CLIP, size=224))


def herding() -> Recipe:
    """Real images by herding in CLIP's space; the paper does not say whose features it takes."""
    return _recipe("imagenet-herding", "real images chosen by herding", Herding(features=CLIP, size=224))


def dit() -> Recipe:
    """DiT-XL/2 at 256 px."""
    return _recipe("imagenet-dit", "DiT-XL/2, not informed", DIFFUSION)


def dit_concord() -> Recipe:
    """DiT-XL/2 with concepts."""
    return _informed(dit())


def dit_classifier() -> Recipe:
    """DiT-XL/2 with classifier guidance."""
    return _with_terms(dit(), "classifier", "DiT-XL/2 with classifier guidance", CLASSIFYING)


def dit_concord_classifier() -> Recipe:
    """DiT-XL/2 with concepts and classifier guidance."""
    summary = "DiT-XL/2, informed by concepts and a classifier"
    return _with_terms(dit(), "concord-classifier", summary, INFORMING, CLASSIFYING)


def minimax() -> Recipe:
    """DiT-XL/2 fine-tuned by Minimax on ImageWoof, in the folder models/minimax-imagewoof."""
    return _minimax("imagewoof")


def minimax_concord() -> Recipe:
    """Minimax on ImageWoof with concepts."""
    return _informed(minimax())


def minimax_100() -> Recipe:
    """DiT-XL/2 fine-tuned by Minimax on ImageNet-100, in the folder models/minimax-imagenet-100."""
    return _minimax("imagenet-100")


def minimax_100_concord() -> Recipe:
    """Minimax on ImageNet-100 with concepts."""
    return _informed(minimax_100())


def minimax_1k() -> Recipe:
    """DiT-XL/2 fine-tuned by Minimax on ImageNet-1K, in the folder models/minimax-imagenet-1k.

    Made with `--groups 20`, as in the source, the folder holds a model for each group of 20 classes; one model of all
    classes serves as well, and departs.
    """
    return _minimax("imagenet-1k")


def minimax_1k_concord() -> Recipe:
    """Minimax on ImageNet-1K with concepts."""
    return _informed(minimax_1k())


def unclip() -> Recipe:
    """Stable unCLIP at 768 px: a random real image and a prompt for each image."""
    return _recipe("imagenet-unclip", "Stable unCLIP, not informed", VARIATION)


def unclip_concord() -> Recipe:
    """Stable unCLIP with concepts."""
    return _informed(unclip())


def unclip_classifier() -> Recipe:
    """Stable unCLIP with classifier guidance."""
    return _with_terms(unclip(), "classifier", "Stable unCLIP with classifier guidance", CLASSIFYING)


def food_random() -> Recipe:
    """Random real images of Food-101."""
    return _food(random())


def food_unclip() -> Recipe:
    """Stable unCLIP on Food-101."""
    return _food(unclip())


def food_unclip_concord() -> Recipe:
    """Stable unCLIP with concepts on Food-101."""
    return _food(unclip_concord())


def _recipe(name: str, summary: str, method: Method) -> Recipe:
    return Recipe(
        name=name,
        summary=summary,
        method=method,
        data=IMAGENET,
        classes="imagewoof",
        witness=Seen(vocabulary=WORDS),
        student="resnet-18",
        size=224,
    )


def _minimax(subset: str) -> Recipe:
    name = "imagenet-minimax" if subset == "imagewoof" else f"{subset}-minimax"
    method = dataclasses.replace(DIFFUSION, prior=f"./models/minimax-{subset}")
    summary = f"DiT-XL/2 fine-tuned by Minimax on {subset}, not informed"
    return dataclasses.replace(_recipe(name, summary, method), classes=subset)


def _informed(recipe: Recipe) -> Recipe:
    summary = f"CONCORD: {recipe.summary.removesuffix(', not informed')}, informed by concepts"
    return _with_terms(recipe, "concord", summary, INFORMING)


def _with_terms(recipe: Recipe, ending: str, summary: str, *terms: ConceptTerm | ClassifierTerm) -> Recipe:
    assert isinstance(recipe.method, Guided)
    return dataclasses.replace(
        recipe,
        name=f"{recipe.name}-{ending}",
        summary=summary,
        method=dataclasses.replace(recipe.method, terms=terms),
    )


def _food(recipe: Recipe) -> Recipe:
    words = dataclasses.replace(WORDS, bank="food101")
    method = recipe.method
    if isinstance(method, Guided) and method.terms:
        method = dataclasses.replace(method, terms=(dataclasses.replace(INFORMING, vocabulary=words),))
    return dataclasses.replace(
        recipe,
        name=recipe.name.replace("imagenet", "food101"),
        summary=f"Food-101: {recipe.summary}",
        method=method,
        data=FOOD,
        classes=None,
        witness=Seen(vocabulary=words),
    )
