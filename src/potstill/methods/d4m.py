"""D4M: k-means prototypes of a class in a prior's latent space, noised part-way and denoised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.fingerprint import fingerprint
from potstill.core.progress import OnStep, silent
from potstill.core.seeds import generator
from potstill.data.real import RealData, require_per_class
from potstill.distilled import Slot
from potstill.methods.features import Features
from potstill.methods.guided import Guided, GuidedSampler
from potstill.methods.method import Made
from potstill.methods.terms import Terms
from potstill.sampling import Start, steps_taken


@dataclass(frozen=True, slots=True, kw_only=True)
class D4M:
    """As many prototypes a class as images, each noised to `strength` in (0, 1] and denoised by guided sampling.

    Source: D4M (arXiv:2407.15138), with the numbers of its scripts: strength 0.7 of 50 steps, scale 8,
    k-means fed `expand` times as many latents as there are prototypes at a time. `prior`, `scale`, `terms`, `steps`,
    `solver` and `dtype` are those of `Guided`. Raises PotstillError for an `expand` below 1, a strength outside its
    range and one of less than one step.

    Departs:
    * The solver is "ddim"; D4M's is Stable Diffusion 1.5's default, PNDM.
    * Latents are the posterior's mean, of images resized and centre cropped; D4M draws from the posterior, of
      images squashed to a square.
    * All latents of every class are used, the last batch of a class too; D4M's code drops it.
    * A prior that is shown a real image is shown the one nearest to the prototype; D4M's prior sees text alone.
    * No negative prompt. Draws are seeded; D4M seeds k-means only.
    """

    kind: Literal["d4m"] = "d4m"
    prior: str
    scale: float = 8.0
    terms: Terms = ()
    strength: float = 0.7
    steps: int = 50
    solver: str = "ddim"
    expand: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        steps_taken(self.steps, self.strength)
        if self.expand < 1:
            raise PotstillError(f"d4m: expand must be at least 1, not {self.expand}")

    def prepare(self, real: RealData, *, seed: int, images_per_class: int, device: str) -> "FromPrototypes":
        """Loads the models.

        Raises PotstillError where a class has fewer images than it needs prototypes, and for a term that ends before
        the first step.
        """
        require_per_class(real, images_per_class)
        guided = Guided(
            prior=self.prior,
            scale=self.scale,
            terms=self.terms,
            steps=self.steps,
            solver=self.solver,
            dtype=self.dtype,
        )
        sampler = guided.prepare(real, seed=seed, images_per_class=images_per_class, device=device)
        prior = sampler.prior
        total = len(prior.schedule(self.steps, self.solver).timesteps)
        first = total - steps_taken(total, self.strength)
        for term in self.terms:
            if term.pace.window(total).stop <= first:
                raise PotstillError(
                    f"a term stops at step {term.pace.window(total).stop} of {total}, and at strength {self.strength} "
                    f"the first step is {first}: raise its pace.stop"
                )
        latents = Features(
            name=self.prior,
            fingerprint=fingerprint([prior.vae]),
            side=prior.size,
            device=str(prior.device),
            embed=lambda pixels: prior.encode(pixels).flatten(1),
        )
        return FromPrototypes(self, sampler, latents, images_per_class)


@dataclass(frozen=True, slots=True)
class Prototype:
    """The centre of a cluster, float32 [d]; how many points are nearest to it, and which one is nearest to it."""

    centre: Tensor
    cluster: int
    nearest: int


def prototypes(points: Tensor, count: int, *, batch: int, random_state: int) -> list[Prototype]:
    """Mini-batch k-means over points, float64 [n, d] with n >= count, each taken once and in the order given.

    Source: Sculley 2010, "Web-scale k-means clustering", as scikit-learn's `partial_fit` of `batch` points at a time:
    a centre is the running mean of what was given to it. The first batch sets the first centres by k-means++; where
    `batch` is `count`, they are its points. The largest cluster comes first, of equals the one numbered first.
    """
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(count, random_state=random_state, batch_size=batch, n_init="auto")
    for part in points.split(batch):
        means.partial_fit(part.numpy())
    centres = torch.from_numpy(means.cluster_centers_)
    away = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist")
    sizes, nearest = away.argmin(1).bincount(minlength=count), away.argmin(0)
    order = sizes.argsort(descending=True, stable=True).tolist()
    return [Prototype(centres[place].float(), int(sizes[place]), int(nearest[place])) for place in order]


@dataclass(frozen=True)
class FromPrototypes:
    """D4M made ready: a class is encoded and clustered when its first place is filled, and kept while it is needed."""

    settings: D4M
    sampler: GuidedSampler
    latents: Features
    count: int
    kept: dict[str, list[Prototype]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The prior's image size, in pixels."""
        return self.sampler.size

    @property
    def weights(self) -> Mapping[str, str]:
        """Those of guided sampling."""
        return self.sampler.weights

    def make(self, slots: Sequence[Slot], on_step: OnStep = silent) -> list[Made]:
        """One image a slot, index 0 from the largest cluster; all depend on how many prototypes a class has.

        Written down are the number of real images nearest to the prototype, and the one nearest to it.
        """
        held = {slot.key: self.kept.get(slot.key) for slot in slots}
        self.kept.clear()
        for key, found in held.items():
            self.kept[key] = found or self._of_class(key, on_step)
        chosen = [self.kept[slot.key][slot.index] for slot in slots]
        prior, split = self.sampler.prior, self.sampler.real.train
        centres = torch.stack([prototype.centre for prototype in chosen])
        start = Start(centres.unflatten(1, prior.latent_shape).to(prior.device), self.settings.strength)
        shown = [[prototype.nearest] for prototype in chosen]
        made = self.sampler.sampled(slots, shown, start=start, on_step=on_step)
        return [
            Made(
                one.image,
                {**one.details, "cluster": prototype.cluster, "nearest": split.ids[prototype.nearest]},
            )
            for one, prototype in zip(made, chosen, strict=True)
        ]

    def _of_class(self, key: str, on_step: OnStep) -> list[Prototype]:
        """The prototypes of a class, the nearest image by its row."""
        real = self.sampler.real
        draw = generator(self.sampler.seed, "prototypes", key)
        rows = real.train.of_class(real.classes.index(key))
        rows = rows[torch.randperm(len(rows), generator=draw)].tolist()
        found = prototypes(
            self.latents.of(real.train, rows, on_step),
            self.count,
            batch=self.settings.expand * self.count,
            random_state=int(torch.randint(2**31, (), generator=draw)),
        )
        return [replace(prototype, nearest=rows[prototype.nearest]) for prototype in found]
