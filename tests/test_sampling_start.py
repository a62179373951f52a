"""The denoising loop from part-way, against closed forms, by hand and with a diffusers scheduler."""

import pytest
import torch
from diffusers import DDIMScheduler
from support.exact import Mixture, unconditional

from potstill.guidance import guided
from potstill.guidance.free import ClassifierFree
from potstill.priors import Condition, Prior
from potstill.sampling import Start, sample, steps_taken

ONE = torch.tensor([[[[1.0]], [[-2.0]]]])
SPREAD = 0.5


def part_way(world, start, noise, strength, steps, **settings):
    denoise = guided(world, unconditional(len(noise)), [])
    return sample(world, denoise, noise, steps=steps, start=Start(start, strength), **settings)


def by_hand(world, start, noise, steps, taken):
    """Noise added at the first of the last steps, then CONCORD's Eq. 7 at eta 0, for one Gaussian in float64."""
    alphas = world.pipe.scheduler.alphas_cumprod.double()
    times = [round(step * 1000 / steps) for step in range(steps)][::-1][steps - taken :]
    x = alphas[times[0]].sqrt() * start.double() + (1 - alphas[times[0]]).sqrt() * noise.double()
    mean = world.means.double()
    for place, t in enumerate(times):
        a = alphas[t]
        previous = alphas[times[place + 1]] if place + 1 < taken else torch.tensor(1.0, dtype=torch.float64)
        x0 = mean + a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a) * (x - a.sqrt() * mean)
        x = previous.sqrt() * x0 + ((1 - previous) / (1 - a)).sqrt() * (x - a.sqrt() * x0)
    return x


@pytest.mark.parametrize(("strength", "taken"), [(0.7, 35), (1.0, 50), (0.02, 1), (0.29, 14)])
def test_the_last_steps_are_equation_7_from_the_noised_start(draw, strength, taken):
    world = Mixture(ONE, SPREAD)
    start, noise = torch.randn(2, 6, 2, 1, 1, generator=draw)
    found = part_way(world, start, noise, strength, 50).double()
    torch.testing.assert_close(found, by_hand(world, start, noise, 50, taken), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("solver", "tolerance"), [("ddim", 3e-2), ("dpm-solver++", 1e-3), ("unipc", 1e-3)])
def test_every_solver_reaches_the_end_of_the_flow_from_part_way(draw, solver, tolerance):
    """For one Gaussian the probability-flow ODE (Song et al. 2021, Eq. 13) has a closed end from any time."""
    world = Mixture(ONE, SPREAD, timestep_spacing="trailing")
    start, noise = torch.randn(2, 6, 2, 1, 1, generator=draw)
    a = world.pipe.scheduler.alphas_cumprod.double()[599]
    x, mean = a.sqrt() * start.double() + (1 - a).sqrt() * noise.double(), world.means.double()
    ended = mean + SPREAD / (a * SPREAD**2 + 1 - a).sqrt() * (x - a.sqrt() * mean)
    found = part_way(world, start, noise, 0.6, 100, solver=solver).double()
    torch.testing.assert_close(found, ended, atol=tolerance, rtol=tolerance)


def test_where_the_schedule_ends_in_pure_noise_full_strength_is_plain_sampling(draw):
    world = Mixture(ONE, SPREAD, "v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    start, noise = torch.randn(2, 6, 2, 1, 1, generator=draw)
    plain = sample(world, guided(world, unconditional(6), []), noise, steps=20)
    assert torch.equal(part_way(world, start, noise, 1.0, 20), plain)
    assert not torch.equal(part_way(world, start, noise, 0.9, 20), plain)


def test_a_moment_keeps_its_place_and_progress_counts_the_steps_taken(draw):
    world, moments, told = Mixture(ONE, SPREAD), [], []

    def denoise(x_t, moment):
        moments.append(moment)
        return x_t

    noise = torch.randn(1, 2, 1, 1, generator=draw)
    sample(world, denoise, noise, steps=10, start=Start(noise, 0.3), on_step=told.append)
    assert [(moment.index, moment.total, int(moment.t)) for moment in moments] == [
        (7, 10, 200),
        (8, 10, 100),
        (9, 10, 0),
    ]
    assert [(step.index, step.total) for step in told] == [(1, 3), (2, 3), (3, 3)]


@torch.no_grad()
def test_it_is_what_a_diffusers_scheduler_does_from_a_noised_latent(tiny_dit, draw):
    """An image-to-image loop with the network's own epsilon, classifier-free guidance and `add_noise`."""
    prior = Prior.from_pretrained(tiny_dit)
    start, noise = torch.randn(2, 3, 4, 8, 8, generator=draw)
    classes, scale = torch.tensor([3, 1, 9]), 2.5
    scheduler = DDIMScheduler.from_config(prior.pipe.scheduler.config)
    scheduler.set_timesteps(10)
    x = scheduler.add_noise(start, noise, scheduler.timesteps[3:4])
    for t in scheduler.timesteps[3:]:
        told, empty = (
            prior.pipe.transformer(x, timestep=t.expand(3), class_labels=labels).sample[:, :4]
            for labels in (classes, torch.full((3,), 1000))
        )
        x = scheduler.step(empty + scale * (told - empty), t, x).prev_sample
    denoise = guided(prior, Condition({"class": classes}), [ClassifierFree(scale)])
    found = sample(prior, denoise, noise, steps=10, start=Start(start, 0.7))
    torch.testing.assert_close(found, x, atol=2e-4, rtol=2e-4)


def test_steps_are_counted_in_decimals():
    assert [steps_taken(50, 0.7), steps_taken(100, 0.29), steps_taken(10, 0.75)] == [35, 29, 7]
