"""What sampling an image costs, counted before any weight is there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.operations import operations
from potstill.core.saved import saved_bytes
from potstill.encoders import Encoder
from potstill.guidance import Moment, Targets, guided
from potstill.guidance.push import Push
from potstill.guidance.scores import OBJECTIVES, ConceptScore, MeanCosine
from potstill.methods.guided import Guided
from potstill.methods.terms import ConceptTerm
from potstill.priors import Prior
from potstill.priors.hollow import hollow, hollow_clip, hollow_tiny
from potstill.priors.prior import BROKEN
from potstill.priors.tiny import decode_tiny

BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A sampled method in numbers: side of an image in pixels, latent shape, parameters and weights' bytes.

    `operations` are those of one image, `informing` the part of them that terms take; both at their most, as if every
    image were pushed to the end. `kept` are the bytes that a gradient at the clean latent of one image keeps, in the
    term that keeps most; a batch keeps as many times that as it has images, 16 at most on a CPU.
    """

    size: int
    latent: tuple[int, int, int]
    parameters: Mapping[str, int]
    bytes: int
    kept: int
    operations: int
    informing: int


def cost(method: Guided) -> Cost:
    """Counts a guided method on the meta device; raises PotstillError for a term whose networks have no folder."""
    prior = hollow(method.prior)
    networks = {name: part for name, part in prior.pipe.components.items() if isinstance(part, nn.Module)}
    informing, kept = 0, 0
    passes = 1 if method.scale == 1 else 2
    try:
        bare = operations(lambda: _once(prior, None))
    except BROKEN as error:
        raise PotstillError(
            f"the configurations of {method.prior!r} make no prior that runs: {error}"
        ) from error
    for place, term in enumerate(method.terms):
        if not isinstance(term, ConceptTerm):
            raise PotstillError("a dry run counts concept terms alone; take the classifier out with --set")
        encoder = Encoder(hollow_clip(term.vocabulary.encoder), None, _processor(term.vocabulary.encoder))
        networks[f"encoder {place}"] = encoder.model
        tiny = None if term.tiny is None else hollow_tiny(term.tiny)
        if tiny is not None:
            networks[f"tiny decoder {place}"] = tiny
        decode = prior.decode if tiny is None else lambda latents, tiny=tiny: decode_tiny(tiny, latents)
        informing += informed(prior, encoder, decode, term, method.steps, bare, passes=passes)
        weights = [tensor for network in networks.values() for tensor in network.parameters()]
        push = looking(encoder, decode, term)
        kept = max(kept, saved_bytes(lambda push=push: _once(prior, push), weights))
    parameters = {name: sum(one.numel() for one in part.parameters()) for name, part in networks.items()}
    return Cost(
        size=prior.size,
        latent=prior.latent_shape,
        parameters=parameters,
        bytes=BYTES[method.dtype] * sum(parameters.values()),
        kept=kept * BYTES[method.dtype] // BYTES["float32"],
        operations=method.steps * passes * bare + informing,
        informing=informing,
    )


def informed(
    prior: Prior,
    encoder: Encoder,
    decode: Callable[[Tensor], Tensor],
    term: ConceptTerm,
    steps: int,
    bare: int,
    pushed: float = 1.0,
    passes: int = 1,
) -> int:
    """The operations that a concept term adds to one image; `pushed` is the mean share of images it still pushes.

    `bare` are those of one call of the denoiser, of which a step takes `passes`. A look through the denoiser adds for
    each what one of them does: its way back, and the way forth that checkpointing computes again.
    """
    pace = term.pace
    push = looking(encoder, decode, term)
    seen = operations(lambda: _once(prior, push))
    once = seen - bare
    if pace.look == "full":
        through = replace(push, pace=replace(push.pace, look="full"))
        once += passes * (operations(lambda: _once(prior, through)) - seen)
    latent = torch.zeros(1, *prior.latent_shape, device="meta")

    @torch.no_grad()
    def gauged() -> Tensor:
        return MeanCosine(encoder)(decode(functional.avg_pool2d(latent, pace.pool)), push.targets)

    window = pace.window(steps)
    looks, checks = len(window[:: pace.every]), 0 if pace.until is None else len(window[:: pace.check])
    return round(looks * pushed * once + checks * operations(gauged))


def looking(encoder: Encoder, decode: Callable[[Tensor], Tensor], term: ConceptTerm) -> Push:
    """A concept term that takes the gradient of one image at every step, at the clean latent."""
    always = replace(term.pace, until=None, every=1, start=0.0, stop=1.0, look="clean")
    texts = torch.zeros(1, 15, encoder.model.config.projection_dim, device="meta")
    targets = Targets(torch.zeros(1, dtype=torch.int64, device="meta"), texts[:, :5], texts[:, 5:])
    score = ConceptScore(encoder, OBJECTIVES[term.objective], term.temperature)
    return Push(score=score, pace=always, targets=targets, decode=decode)


def _once(prior: Prior, term: Push | None) -> Tensor:
    t = torch.tensor(len(prior.alphas_cumprod) // 2)
    moment = Moment(0, 1, t, prior.alpha_bar(t))
    denoise = guided(prior, prior.blank(1), [] if term is None else [term])
    return denoise(torch.zeros(1, *prior.latent_shape, device="meta"), moment)


def _processor(source: str) -> object:
    from transformers import CLIPImageProcessor

    from potstill.bundled import resolve

    return CLIPImageProcessor.from_pretrained(resolve(source))
