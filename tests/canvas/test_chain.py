"""LD3M's chain against hand-written recursions, and its gradient with and without memory."""

import pytest
import torch
from torch import Tensor

from potstill.canvas.chain import Chain, chained, timesteps
from potstill.canvas.latents import Latents
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.priors import Condition, Prior

SLOTS = [Slot("2", 0), Slot("5", 1)]
ALL = slice(0, 2)


def surface(few: RealData, prior: str, **changes: object):
    return Chain(prior=prior, **{"steps": 3} | changes).prepare(  # pyright: ignore[reportArgumentType]
        few, SLOTS, seed=0, device="cpu"
    )


def ddim(prior: Prior, z: Tensor, told: Condition, noise: Tensor, steps: int, scale: float, residual: str):
    """The recursion of the facts written out: eta 0, epsilon, from alpha_bar of the schedule."""
    bars = prior.alphas_cumprod
    times = [1 + k * 1000 // steps for k in range(steps)]
    x = bars[times[-1]] ** 0.5 * z + (1 - bars[times[-1]]) ** 0.5 * noise
    first, null = x, prior.null_condition(told)
    for k in range(steps - 1, -1, -1):
        t = torch.full((len(x),), times[k])
        bar, before = bars[times[k]], bars[times[k - 1]] if k else bars[0]
        conditional, empty = (prior.predict(x, t, one)[:, :4] for one in (told, null))
        error = empty + scale * (conditional - empty)
        x0 = (x - (1 - bar) ** 0.5 * error) / bar**0.5
        w = k / (steps - 1) if steps > 1 else 0
        if residual == "clean":
            x0 = (1 - w) * x0 + w * z
        x = before**0.5 * x0 + (1 - before) ** 0.5 * error
        if residual == "noisy":
            x = (1 - w) * x + w * first
    return x


@pytest.mark.parametrize("residual", ["clean", "noisy", "none"])
@pytest.mark.parametrize("steps", [2, 3, 7])
def test_the_chain_is_the_recursion_written_out(few, tiny_dit, residual: str, steps: int) -> None:
    made = surface(few, tiny_dit, residual=residual, steps=steps)
    told = Condition(made.conditions)
    found = chained(made.prior, made.latents, told, made.noise, made.settings)
    with torch.no_grad():
        wanted = ddim(made.prior, made.latents, told, made.noise, steps, 3.0, residual)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())


@pytest.mark.parametrize("kind", ["tiny_dit", "tiny_unclip"])
@pytest.mark.parametrize("residual", ["clean", "noisy", "none"])
def test_computing_again_gives_the_plain_gradient(few, kind: str, residual: str, request) -> None:
    slopes = []
    for remember in (True, False):
        made = surface(few, request.getfixturevalue(kind), residual=residual, remember=remember)
        values = [one.value for one in made.learned.values()]
        weights = torch.randn(2, 3, made.size, made.size, generator=generator("w"))
        slopes.append(torch.autograd.grad((made.images(ALL) * weights).sum(), values))
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * other.abs().max().item())
        assert other.abs().max() > 0, "latents and every condition are learned"


@pytest.mark.parametrize("steps", [2, 5, 10, 40])
def test_with_a_silent_network_the_chain_is_its_start(few, tiny_dit, steps: int) -> None:
    """Facts 1.4: the direct gain of the quantised Z is sqrt(alpha_bar_0) for any number of steps."""
    prior = Prior.from_pretrained(tiny_dit)
    prior.predict = lambda x_t, t, condition: torch.zeros_like(x_t)
    z = torch.randn(2, 4, 8, 8, generator=generator("z")).requires_grad_()
    noise = torch.randn(2, 4, 8, 8, generator=generator("e"))
    told = Condition({"class": torch.tensor([1, 2])})
    found = chained(prior, z, told, noise, Chain(prior="", steps=steps))
    gain = float(prior.alphas_cumprod[0]) ** 0.5
    torch.testing.assert_close(found, gain * z, rtol=1e-5, atol=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), z)
    torch.testing.assert_close(slope, torch.full_like(z, gain), rtol=1e-5, atol=1e-6)


def test_a_slot_is_the_same_whoever_is_asked_for_beside_it_and_again(few, tiny_dit) -> None:
    made = surface(few, tiny_dit)
    both = made.images(ALL)
    assert torch.equal(both[1:], made.images(slice(1, 2))) and torch.equal(both, made.images(ALL))
    assert both.min() >= 0 and both.max() <= 1
    alone = Chain(prior=tiny_dit, steps=3).prepare(few, SLOTS[1:], seed=0, device="cpu")
    assert torch.equal(alone.noise[0], made.noise[1])


def test_learned_classes_are_told_as_rows_of_the_table_are(tiny_dit) -> None:
    prior = Prior.from_pretrained(tiny_dit)
    told = Condition({"class": torch.tensor([3, 7])})
    x, t = torch.randn(2, 4, 8, 8, generator=generator("x")), torch.tensor(500)
    for one in (told, prior.null_condition(told)):
        by_row, by_vector = (prior.denoise(x, t, way) for way in (one, prior.learnable(one)))
        torch.testing.assert_close(by_vector, by_row, rtol=1e-6, atol=1e-6)
    null = prior.null_condition(prior.learnable(told))
    assert torch.equal(
        null.values["embedding"], prior.learnable(prior.null_condition(told)).values["embedding"]
    )


def test_timesteps_need_not_divide() -> None:
    assert [int(t) for t in timesteps(10, 1000)] == [1, 101, 201, 301, 401, 501, 601, 701, 801, 901]
    odd = [int(t) for t in timesteps(35, 1000)]
    assert len(odd) == 35 and odd[0] == 1 and odd[-1] <= 999 and len(set(odd)) == 35


def test_what_is_refused() -> None:
    for residual, steps in (("clean", 1), ("noisy", 1), ("none", 0)):
        with pytest.raises(PotstillError, match=f"at least {steps + 1} steps, not {steps}"):
            Chain(prior="x", steps=steps, residual=residual)  # pyright: ignore[reportArgumentType]
    with pytest.raises(PotstillError, match="fewer steps than the prior's 1000, not 1000"):
        timesteps(1000, 1000)


def test_another_size_than_the_priors(few, tiny_dit) -> None:
    for canvas in (Chain(prior=tiny_dit, steps=3, size=16), Latents(prior=tiny_dit, size=16)):
        made = canvas.prepare(few, SLOTS, seed=0, device="cpu")
        assert made.size == 16 and made.images(ALL).shape == (2, 3, 16, 16)
        assert made.latents.shape[2:] == (4, 4)
    with pytest.raises(PotstillError, match="a side of a multiple of 4 px, not 18"):
        surface(few, tiny_dit, size=18)


def test_latents_alone_are_the_decoded_encoding(few, tiny_dit) -> None:
    made = Latents(prior=tiny_dit).prepare(few, SLOTS, seed=0, device="cpu")
    prior = made.prior
    chain = surface(few, tiny_dit)
    assert torch.equal(made.latents, chain.latents), "both begin at the same encodings"
    with torch.no_grad():
        wanted = prior.decode(made.latents).clamp(0, 1)
    torch.testing.assert_close(made.images(ALL), wanted, rtol=1e-5, atol=1e-5)


def test_an_untrained_denoiser_is_its_seeds_and_leaves_the_rest_alone(few, tiny_dit) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again = (surface(few, tiny_dit, pretrained=False) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    other = Chain(prior=tiny_dit, steps=3, pretrained=False).prepare(few, SLOTS, seed=1, device="cpu")
    trained = surface(few, tiny_dit)
    x, told = torch.randn(2, 4, 8, 8, generator=generator("x")), Condition(first.conditions)
    assert (first.prior.predict(x, torch.tensor([500, 500]), told) == 0).all()
    weights = [made.prior.network.state_dict() for made in (first, again, other, trained)]
    name = "transformer_blocks.0.attn1.to_q.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])
    assert not torch.equal(weights[0][name], weights[3][name])
    for part, kept in first.prior.vae.state_dict().items():
        assert torch.equal(kept, trained.prior.vae.state_dict()[part])
    assert first.weights != trained.weights, "a record tells them apart"
