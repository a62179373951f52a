"""The denoising loop on a world whose answers are known in closed form."""

import re

import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler
from support.exact import Mixture, unconditional

from potstill.core.errors import PotstillError
from potstill.guidance import guided
from potstill.sampling import sample

ONE = torch.tensor([[[[1.0]], [[-2.0]]]])
SPREAD = 0.5


def run(world, noise, **settings):
    denoise = guided(world, unconditional(len(noise)), [])
    return sample(world, denoise, noise, **settings)


def by_hand(world, noise, steps):
    """CONCORD's Eq. 7 at eta 0 in float64, for one Gaussian: every step is linear in x_t."""
    alphas = world.pipe.scheduler.alphas_cumprod.double()
    times = [round(step * 1000 / steps) for step in range(steps)][::-1]
    x, mean = noise.double(), world.means.double()
    for place, t in enumerate(times):
        a = alphas[t]
        previous = alphas[times[place + 1]] if place + 1 < steps else torch.tensor(1.0, dtype=torch.float64)
        gain = a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a)
        x0 = mean + gain * (x - a.sqrt() * mean)
        noise_seen = (x - a.sqrt() * x0) / (1 - a).sqrt()
        x = previous.sqrt() * x0 + (1 - previous).sqrt() * noise_seen
    return x


def multistep_by_hand(world, noise, steps):
    """DPM-Solver++(2M), Algorithm 2 of Lu et al. 2022 (arXiv:2211.01095), in float64; its ends are first order."""
    alphas = world.pipe.scheduler.alphas_cumprod.double()
    times = world.schedule(steps, "dpm-solver++").timesteps.tolist()
    points = [(alphas[t].sqrt(), (1 - alphas[t]).sqrt()) for t in times]
    x, mean, before, last_h = noise.double(), world.means.double(), None, None
    for place, (signal, sigma) in enumerate(points):
        gain = signal * SPREAD**2 / (signal**2 * SPREAD**2 + sigma**2)
        x0 = mean + gain * (x - signal * mean)
        if place + 1 == steps:
            return x0
        ahead, ahead_sigma = points[place + 1]
        h = (ahead / ahead_sigma).log() - (signal / sigma).log()
        used = x0 if before is None else (1 + h / (2 * last_h)) * x0 - h / (2 * last_h) * before
        x = ahead_sigma / sigma * x - ahead * torch.expm1(-h) * used
        before, last_h = x0, h
    raise AssertionError


def test_dpm_solver_is_its_algorithm(draw):
    world = Mixture(ONE, SPREAD)
    noise = torch.randn(6, 2, 1, 1, generator=draw)
    found = run(world, noise, steps=50, solver="dpm-solver++").double()
    torch.testing.assert_close(found, multistep_by_hand(world, noise, 50), atol=1e-5, rtol=1e-5)


def flow(world, noise, t):
    """The end of the probability-flow ODE from timestep t for one Gaussian (Song et al. 2021, Eq. 13, integrated)."""
    a = world.pipe.scheduler.alphas_cumprod.double()[t]
    scale = SPREAD / (a * SPREAD**2 + 1 - a).sqrt()
    return world.means.double() + scale * (noise.double() - a.sqrt() * world.means.double())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_ddim_is_equation_7_whatever_the_network_predicts(draw, prediction):
    world = Mixture(ONE, SPREAD, prediction)
    noise = torch.randn(6, 2, 1, 1, generator=draw)
    torch.testing.assert_close(
        run(world, noise, steps=50).double(), by_hand(world, noise, 50), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(("solver", "tolerance"), [("ddim", 4e-2), ("dpm-solver++", 3e-3), ("unipc", 1e-3)])
def test_solvers_reach_the_end_of_the_flow(draw, solver, tolerance):
    world = Mixture(ONE, SPREAD, timestep_spacing="trailing")
    noise = torch.randn(6, 2, 1, 1, generator=draw)
    ended = run(world, noise, steps=100, solver=solver).double()
    torch.testing.assert_close(ended, flow(world, noise, 999), atol=tolerance, rtol=tolerance)


def test_samples_of_a_mixture_have_its_moments(draw):
    means = torch.tensor([[[[-2.0]]], [[[2.0]]]])
    world = Mixture(means, SPREAD)
    ended = run(world, torch.randn(4000, 1, 1, 1, generator=draw), steps=50).flatten()
    assert abs(ended.mean()) < 0.15
    assert ended.var() == pytest.approx(4 + SPREAD**2, rel=0.1)
    assert (ended.abs() - 2).std() == pytest.approx(SPREAD, rel=0.15)


@pytest.mark.parametrize("solver", ["ddim", "dpm-solver++", "unipc"])
def test_batch_and_order_do_not_change_an_image(tiny_dit, solver):
    from potstill.core.seeds import generator
    from potstill.priors import Condition, Prior

    prior = Prior.from_pretrained(tiny_dit)
    noise = prior.noise([generator(7, "noise", index) for index in range(21)])
    classes = torch.arange(21) % 10

    def images(rows):
        denoise = guided(prior, Condition({"class": classes[rows]}), [])
        return sample(prior, denoise, noise[rows], steps=4, solver=solver)

    whole = images(torch.arange(21))
    for rows in (torch.tensor([3]), torch.tensor([20, 3, 0, 7, 11]), torch.arange(20, -1, -1)):
        assert torch.equal(images(rows), whole[rows])


CONFIGS = [DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler]


@pytest.mark.parametrize("solver", ["ddim", "dpm-solver++", "unipc"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_latents_are_not_clipped_whatever_scheduler_the_pipeline_has(draw, kind, solver):
    noise, plain = torch.randn(6, 2, 1, 1, generator=draw), Mixture(ONE, SPREAD, timestep_spacing="leading")
    world = Mixture(ONE, SPREAD)
    world.pipe.scheduler = kind(
        beta_start=1e-4, beta_end=0.02, prediction_type="epsilon", timestep_spacing="leading"
    )
    assert torch.equal(*(run(one, noise, steps=10, solver=solver) for one in (plain, world)))


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("solver", ["ddim", "dpm-solver++", "unipc"])
def test_steps_that_begin_near_the_end_of_the_noise_schedule_are_taken(solver, spacing):
    world = Mixture(ONE, SPREAD, timestep_spacing=spacing, steps_offset=1)
    for steps in (1, 2, 5, 7, 20, 50, 51, 100, 128, 249):
        assert int(world.schedule(steps, solver).timesteps[0]) >= 999 - 1000 / steps - 200


@pytest.mark.parametrize(
    ("solver", "steps", "message"),
    [
        ("ddim", 600, "begin at timestep 600 of 1000 .* next to it: 500 or 799"),
        ("ddim", 1000, "begin at timestep 1000 of 1000 .* next to it: 999"),
        ("unipc", 600, "begin at timestep 601 of 1000 .* next to it: 499 or 798"),
        ("dpm-solver++", 999, "begin at timestep 1000 of 1000 .* next to it: 998"),
    ],
)
def test_steps_that_a_leading_schedule_cannot_spread_are_named(solver, steps, message):
    with pytest.raises(PotstillError, match=f"{steps} steps of {re.escape(solver)} {message}"):
        Mixture(ONE, SPREAD, timestep_spacing="leading", steps_offset=1).schedule(steps, solver)


@pytest.mark.parametrize("steps", [0, 1001])
def test_a_wrong_number_of_steps_is_named(steps):
    with pytest.raises(PotstillError, match=f"between 1 and 1000, not {steps}"):
        Mixture(ONE, SPREAD).schedule(steps)


def test_an_unknown_solver_is_named():
    with pytest.raises(PotstillError, match="unknown solver 'dim'. Did you mean 'ddim'"):
        Mixture(ONE, SPREAD).schedule(10, "dim")
