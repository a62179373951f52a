"""Ancestral sampling: the published timesteps, and every step against the equations in float64."""

import pytest
import torch

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.guidance import Moment, guided
from potstill.guidance.free import ClassifierFree
from potstill.priors import Condition, Prior
from potstill.sampling import Start, sample


def draws(count: int) -> list[torch.Generator]:
    return [generator(0, "ancestral", place) for place in range(count)]


def prior_of(folder: str) -> tuple[Prior, Condition]:
    return Prior.from_pretrained(folder), Condition({"class": torch.tensor([1, 2, 3])})


def test_timesteps_are_those_of_the_original_code(tiny_dit: str) -> None:
    grid = [int(t) for t in prior_of(tiny_dit)[0].schedule(50, "ancestral").timesteps]
    assert grid[:3] == [999, 979, 958] and grid[-5:] == [82, 61, 41, 20, 0] and len(grid) == 50


def twin(prior: Prior, condition: Condition, noise: torch.Tensor, steps: int, scale: float) -> torch.Tensor:
    """DDPM's posterior (Ho et al. 2020, Eq. 7) of the process that has only the timesteps taken, learned variance by
    Nichol and Dhariwal 2021, Eq. 15, one image after the other's noise in float64."""
    grid = torch.linspace(0, 999, steps, dtype=torch.float64).round().long()
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    all_bars = (1 - betas).cumprod(0)
    bars = all_bars[grid]
    before = torch.cat([torch.ones(1, dtype=torch.float64), bars[:-1]])
    kept = 1 - bars / before
    noises, x = draws(len(noise)), noise.double()
    for one in noises:
        torch.randn(prior.latent_shape, generator=one)
    null = prior.null_condition(condition)
    for place in reversed(range(steps)):
        t = grid[place]
        told, v = prior.see(x.float(), t, condition)
        empty = prior.denoise(x.float(), t, null)
        x0 = (empty + scale * (told - empty)).double()
        mean = (
            before[place].sqrt() * kept[place] / (1 - bars[place]) * x0
            + (1 - kept[place]).sqrt() * (1 - before[place]) / (1 - bars[place]) * x
        )
        x = mean
        if place:
            least = kept[place] * (1 - before[place]) / (1 - bars[place])
            share = (v.double() + 1) / 2
            deviation = (0.5 * (share * kept[place].log() + (1 - share) * least.log())).exp()
            fresh = torch.stack([torch.randn(prior.latent_shape, generator=one) for one in noises])
            x = mean + deviation * fresh.double()
    return x


def test_one_step_would_begin_at_the_clean_end(tiny_dit: str) -> None:
    with pytest.raises(PotstillError, match="ancestral .* needs at least 2 steps, not 1"):
        Prior.from_pretrained(tiny_dit).schedule(1, "ancestral")


def test_a_run_with_learned_variance_is_the_equations_in_float64(tiny_dit: str) -> None:
    prior, condition = prior_of(tiny_dit)
    assert prior.learned_variance
    own = draws(3)
    noise = prior.noise(own)
    denoise = guided(prior, condition, [ClassifierFree(2.0)])
    made = sample(prior, denoise, noise, steps=7, solver="ancestral", draws=own)
    torch.testing.assert_close(made.double(), twin(prior, condition, noise, 7, 2.0), rtol=1e-3, atol=1e-3)


def test_an_image_is_its_own_generators(tiny_dit: str) -> None:
    prior, condition = prior_of(tiny_dit)
    own = draws(3)
    both = sample(
        prior, guided(prior, condition, []), prior.noise(own), steps=4, solver="ancestral", draws=own
    )
    last = draws(3)[2:]
    alone = Condition({"class": condition.values["class"][2:]})
    made = sample(prior, guided(prior, alone, []), prior.noise(last), steps=4, solver="ancestral", draws=last)
    assert torch.equal(made[0], both[2])


def test_the_variance_that_is_seen_is_the_conditions_own(tiny_dit: str) -> None:
    """Guidance asks the network again without the condition; the variance stays that of the first call."""
    prior, condition = prior_of(tiny_dit)
    noise, t = prior.noise(draws(3)), torch.tensor(500)
    denoise = guided(prior, condition, [ClassifierFree(4.0)])
    denoise(noise, Moment(0, 1, t, prior.alpha_bar(t)))
    assert torch.equal(denoise.spread, prior.see(noise, t, condition)[1])
    assert not torch.equal(denoise.spread, prior.see(noise, t, prior.null_condition(condition))[1])


def test_a_network_without_learned_variance_takes_the_posteriors(tiny_unclip: str) -> None:
    prior = Prior.from_pretrained(tiny_unclip)
    assert not prior.learned_variance
    schedule = prior.schedule(4, "ancestral")
    x_t, x0 = torch.randn(2, 4, 8, 8, generator=generator("x")), torch.zeros(2, 4, 8, 8)
    t, following = schedule.timesteps[1], schedule.timesteps[2]
    own = draws(2)
    stepped = schedule.step(x0, t, x_t, generator=draws(2), return_dict=False)[0]
    bar, next_bar = prior.alphas_cumprod.double()[t], prior.alphas_cumprod.double()[following]
    beta = 1 - bar / next_bar
    fresh = torch.stack([torch.randn(4, 8, 8, generator=one) for one in own]).double()
    mean = (1 - beta).sqrt() * (1 - next_bar) / (1 - bar) * x_t.double()
    wanted = mean + (beta * (1 - next_bar) / (1 - bar)).sqrt() * fresh
    torch.testing.assert_close(stepped.double(), wanted, rtol=1e-4, atol=1e-4)


def test_a_start_part_of_the_way(tiny_dit: str) -> None:
    prior, condition = prior_of(tiny_dit)
    own = draws(3)
    begun = Start(torch.zeros(3, *prior.latent_shape), 0.5)
    seen = []
    sample(
        prior,
        guided(prior, condition, []),
        prior.noise(own),
        steps=4,
        solver="ancestral",
        start=begun,
        draws=own,
        on_step=seen.append,
    )
    assert [step.total for step in seen] == [2, 2]
