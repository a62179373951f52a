"""Savings in how networks are run: the same latents and images, up to what each promises."""

import pytest
import torch
from support.tiny import save_tied_dit
from torch import nn

from potstill.core.errors import PotstillError
from potstill.data.digits import digits
from potstill.finetuning import finetune
from potstill.guidance.push import Pace
from potstill.methods.guided import Guided
from potstill.methods.terms import ConceptTerm
from potstill.priors import Prior
from potstill.priors.execution import Execution
from potstill.priors.minimax import Minimax
from potstill.recipes.digits import VOCABULARY


def pushed(prior):
    """A denoised latent, its image, and a gradient through the decoder, as a push takes it."""
    draw = torch.Generator().manual_seed(3)
    x_t = torch.randn(3, *prior.latent_shape, generator=draw)
    with torch.no_grad():
        latents = prior.denoise(x_t, torch.tensor(400), prior.blank(3))
    leaf = latents.clone().requires_grad_()
    pixels = prior.decode(leaf)
    (slope,) = torch.autograd.grad(pixels.square().sum(), leaf)
    return latents, pixels.detach(), slope


@pytest.mark.parametrize("kind", ["dit", "unclip", "stable_diffusion"])
def test_offloaded_weights_compute_the_same(kind, request):
    folder = request.getfixturevalue(f"tiny_{kind}")
    plain, other = Prior.from_pretrained(folder), Prior.from_pretrained(folder)
    Execution(offload=True).arrange(other)
    parts = [part for part in other.pipe.components.values() if isinstance(part, nn.Module)]
    assert all(weight.is_meta for part in parts for weight in part.parameters()), "none is kept on the device"
    assert other.device == plain.device and other.fingerprint == plain.fingerprint
    for one, same in zip(pushed(plain), pushed(other), strict=True):
        assert torch.equal(one, same)
    assert all(weight.is_meta for part in parts for weight in part.parameters()), "nor afterwards"


def test_a_compiled_denoiser_agrees_to_rounding(tiny_dit):
    plain, other = Prior.from_pretrained(tiny_dit), Prior.from_pretrained(tiny_dit)
    Execution(compile=True).arrange(other)
    for one, same in zip(pushed(plain), pushed(other), strict=True):
        torch.testing.assert_close(same, one, rtol=1e-4, atol=1e-4 * one.abs().max().item())
    assert other.fingerprint == plain.fingerprint
    assert other.network._compiled_call_impl is not None and plain.network._compiled_call_impl is None


def test_tiles_see_less_and_say_nearly_the_same():
    plain, other = Prior.from_pretrained("digits/dit"), Prior.from_pretrained("digits/dit")
    Execution(tile=16).arrange(other)
    latents = plain.denoise(torch.zeros(4, *plain.latent_shape), torch.tensor(999), plain.blank(4))
    whole, tiled = plain.decode(latents), other.decode(latents)
    assert 0 < (whole - tiled).abs().mean() < 0.05
    Execution(tile=32).arrange(other)
    assert torch.equal(other.decode(latents), whole), "one tile holds it"


def test_what_cannot_be_is_refused(tiny_dit, tmp_path):
    with pytest.raises(PotstillError, match="exclude each other"):
        Execution(compile=True, offload=True)
    with pytest.raises(PotstillError, match="at least 8 px, not 4"):
        Execution(tile=4)
    term = ConceptTerm(vocabulary=VOCABULARY, pace=Pace(look="full"))
    with pytest.raises(PotstillError, match="nothing differentiates"):
        Guided(prior=tiny_dit, terms=(term,), execution=Execution(compile=True))
    group = Minimax(prior=save_tied_dit(tmp_path / "dit"), epochs=1, batch=16, groups=1)
    finetune(digits().select(["0"]), tmp_path / "groups", group)
    with pytest.raises(PotstillError, match="several checkpoints"):
        Execution(offload=True).arrange(Prior.from_pretrained(str(tmp_path / "groups")))
