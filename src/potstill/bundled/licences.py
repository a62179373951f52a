"""Under which licence a model or a data set is, as far as its publisher says so."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from potstill.bundled import models


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """A licence by its identifier on the Hugging Face hub, "unknown" where none is stated.

    `commercial` says whether commercial use is allowed, None where that is not known here; `note` is what else
    to know before relying on it.
    """

    id: str
    commercial: bool | None = None
    url: str = ""
    note: str = ""


UNKNOWN = Licence(id="unknown")
PASSED_ON = "use restrictions that pass on to what is derived"
LICENCES = {
    one.id: one
    for one in (
        UNKNOWN,
        Licence(id="apache-2.0", commercial=True, url="https://www.apache.org/licenses/LICENSE-2.0"),
        Licence(id="mit", commercial=True, url="https://opensource.org/license/mit"),
        Licence(id="cc-by-nc-4.0", commercial=False, url="https://creativecommons.org/licenses/by-nc/4.0/"),
        Licence(
            id="creativeml-openrail-m",
            commercial=True,
            url="https://huggingface.co/spaces/CompVis/stable-diffusion-license",
            note=PASSED_ON,
        ),
        Licence(
            id="openrail++",
            commercial=True,
            url="https://huggingface.co/stabilityai/stable-diffusion-2/blob/main/LICENSE-MODEL",
            note=PASSED_ON,
        ),
        Licence(
            id="imagenet",
            commercial=False,
            url="https://www.image-net.org/download.php",
            note="non-commercial research and education only, by agreement with each researcher",
        ),
    )
}
"""The licences that are judged here; those of other identifiers are named and not judged."""

MODELS = {
    "CompVis/ldm-celebahq-256": ("apache-2.0", "trained on CelebA-HQ, faces for non-commercial research"),
    "facebook/DiT-XL-2-256": ("cc-by-nc-4.0", "as its authors state beside the code, for code and weights"),
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K": ("mit", "the card calls deployed use out of scope"),
    "madebyollin/taesd": ("mit", ""),
    "microsoft/resnet-18": ("apache-2.0", "trained on ImageNet"),
    "openai/clip-vit-base-patch16": ("unknown", "none was found on the card; the code is under MIT"),
    "openai/clip-vit-base-patch32": ("unknown", "none was found on the card; the code is under MIT"),
    "radames/stable-diffusion-2-1-unclip-img2img": ("openrail++", ""),
    "runwayml/stable-diffusion-v1-5": ("creativeml-openrail-m", ""),
    "stabilityai/stable-diffusion-2-1-unclip": ("openrail++", ""),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": (
        "creativeml-openrail-m",
        f"{PASSED_ON}; as the original's card says, this mirror's was not looked up",
    ),
}
"""Hub ids of models: licence and what to know of it. A folder's licence is what its own card says."""

DATA = {
    "imagenet-1k": ("imagenet", ""),
    "tiny-imagenet": ("unknown", "cut from ImageNet; the card was not looked up"),
    "food101": ("unknown", "the photographers' images; use beyond scientific fair use is theirs to allow"),
    "cifar10": ("unknown", "the card says so"),
    "cifar100": ("unknown", "as CIFAR-10; its card was not looked up"),
    "digits": ("unknown", "a part of MNIST, of which publishers say CC BY-SA 3.0, MIT, or nothing"),
}
"""Data sets by the last part of their hub id, which is how sets name them.

None is freely usable, so that somebody's folder of the same name is warned of once too often, never once too little.
"""

_STATED = re.compile(r"\A---\n(?:(?!---\n).*\n)*?license:[ \t]*[\"']?([\w.+-]+)[\"']?[ \t]*\n")


def model_licence(source: str) -> Licence:
    """The licence of a model: of a hub id by `MODELS`, of a shipped name or a folder by its card."""
    if source in MODELS:
        return _noted(*MODELS[source])
    file = models().get(source, Path(source)) / "README.md"
    stated = _STATED.match(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else None
    return named(stated[1]) if stated else UNKNOWN


def data_licence(name: str) -> Licence:
    """The licence of a data set by its name in a set, or as `potstill.data.load` takes it ("hub:OWNER/NAME")."""
    short = name.removeprefix("hub:").split(":")[0].rpartition("/")[2]
    return _noted(*DATA[short]) if short in DATA else UNKNOWN


def licences(weights: Sequence[str], data: str) -> dict[str, str]:
    """The licences' identifiers of the models and of the data that a set was made from, by name."""
    found = {source: model_licence(source).id for source in weights}
    return found | ({data: data_licence(data).id} if data else {})


def named(identifier: str) -> Licence:
    """The licence of an identifier; one that is not judged here where it is none of `LICENCES`."""
    return LICENCES.get(identifier) or Licence(id=identifier)


def warnings(found: Mapping[str, str]) -> list[str]:
    """What to know before publishing what is made from these (name to licence): one sentence for each doubt."""
    told = []
    for name, identifier in found.items():
        commercial = named(identifier).commercial
        if commercial is None:
            unknown = "is unknown" if identifier == UNKNOWN.id else f"is {identifier}, not judged here"
            told.append(f"the licence of {name} {unknown}")
        elif not commercial:
            told.append(f"{name} is under {identifier}, which allows no commercial use")
    return told


def _noted(identifier: str, note: str) -> Licence:
    licence = named(identifier)
    return replace(licence, note=note or licence.note)
