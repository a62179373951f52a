"""What an image costs, counted without weights: published operations, and what a run of the same networks counts."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel
from support import tiny
from torch.utils.flop_counter import FlopCounterMode

from potstill.core.errors import PotstillError
from potstill.core.operations import operations
from potstill.core.saved import saved_bytes
from potstill.costs import _processor, cost, looking
from potstill.encoders import Encoder
from potstill.guidance import Moment, Term, guided
from potstill.guidance.free import ClassifierFree
from potstill.guidance.push import Pace
from potstill.guidance.scores import MeanCosine
from potstill.methods.guided import Guided
from potstill.methods.terms import ClassifierTerm, ConceptTerm
from potstill.priors import Prior
from potstill.priors.hollow import hollow, hollow_clip
from potstill.recipes.digits import VOCABULARY


def test_operations_are_two_a_multiplication_and_addition() -> None:
    a, b = torch.zeros(3, 5, device="meta"), torch.zeros(5, 7, device="meta", requires_grad=True)
    assert operations(lambda: a @ b) == 2 * 3 * 5 * 7
    assert operations(lambda: torch.autograd.grad((a @ b).sum(), b)) == 2 * 2 * 3 * 5 * 7


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_a_gradient_keeps(device: str) -> None:
    a, b = torch.ones(3, 5, device=device, requires_grad=True), torch.ones(5, 7, device=device)
    bias = torch.ones(7, device=device)
    assert saved_bytes(lambda: a @ b) == 4 * 5 * 7, "the other factor"
    assert saved_bytes(lambda: (a @ b + bias).exp().exp(), [b]) == 2 * 4 * 3 * 7, "each result of exp"
    assert saved_bytes(lambda: (a @ b).detach().exp(), [b]) == 0


def test_dit_xl_2_is_the_published_119_gigamacs() -> None:
    """DiT's README: 119 GFLOPs a forward pass, by which it means multiplications with their additions."""
    with torch.device("meta"):
        from potstill.priors.published import dit_xl_2

        network = dit_xl_2().transformer
        asked = (torch.zeros(1, 4, 32, 32), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
        found = operations(lambda: network(asked[0], timestep=asked[1], class_labels=asked[2]))
    assert found / 2 == pytest.approx(118.7e9, rel=2e-3)


def test_a_folder_without_weights_is_counted_as_the_run_with_them(tmp_path) -> None:
    folder = tiny.save_dit(tmp_path / "dit")
    whole = Prior.from_pretrained(folder)
    parameters = sum(one.numel() for one in whole.network.parameters())
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        network = DiTTransformer2DModel.from_config(whole.network.config)
        network(
            torch.zeros(1, 4, 8, 8), timestep=torch.zeros(1), class_labels=torch.zeros(1, dtype=torch.int64)
        )
    run = counter.get_total_flops()
    for file in (tmp_path / "dit").rglob("*.safetensors"):
        file.unlink()
    found = cost(Guided(prior=folder, scale=4.0, steps=10))
    assert found.parameters["transformer"] == parameters and found.informing == 0
    assert found.operations == 10 * 2 * run
    assert found.latent == (4, 8, 8) and found.size == whole.size
    assert cost(Guided(prior=folder, scale=1.0, steps=10)).operations == 10 * run
    assert found.bytes == 4 * sum(found.parameters.values())
    assert cost(Guided(prior=folder, dtype="bfloat16")).bytes == 2 * sum(found.parameters.values())


@pytest.mark.parametrize("kind", ["dit", "unclip", "stable_diffusion"])
def test_every_prior_can_be_counted(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"tiny_{kind}")
    assert cost(Guided(prior=folder, steps=2)).operations > 0


def test_informing_costs_by_how_often_it_looks(tiny_dit: str) -> None:
    def informing(**pace: object) -> int:
        term = ConceptTerm(vocabulary=VOCABULARY, pace=Pace(weight=0.1, **pace))  # pyright: ignore[reportArgumentType]
        return cost(Guided(prior=tiny_dit, steps=20, terms=(term,))).informing

    each = informing()
    assert informing(every=4) * 4 == each and informing(start=0.5) * 2 == each
    assert informing(until=0.2, check=20) > each, "measuring completeness comes on top"
    assert (
        informing(until=0.2, check=2) - informing(until=0.2, check=4) == informing(until=0.2, check=4) - each
    )
    assert informing(every=4, until=0.2, check=4) - informing(every=4) == informing(until=0.2, check=4) - each
    assert informing(look="noisy") == each
    prior = hollow(tiny_dit)
    free, moment = ClassifierFree(4.0), Moment(10, 20, torch.tensor(500), prior.alpha_bar(torch.tensor(500)))
    noise = torch.zeros(1, *prior.latent_shape, device="meta")

    def denoised(*terms: Term) -> int:
        return operations(lambda: guided(prior, prior.blank(1), terms)(noise, moment))

    encoder = Encoder(hollow_clip("digits/clip"), None, _processor("digits/clip"))
    pushes = {
        look: looking(encoder, prior.decode, ConceptTerm(vocabulary=VOCABULARY)) for look in ("clean", "full")
    }
    pushes["full"] = replace(pushes["full"], pace=replace(pushes["full"].pace, look="full"))
    for look, push in pushes.items():
        real = denoised(free, push) - denoised(free)
        assert informing(look=look) == pytest.approx(20 * real, rel=0.02), "as the denoiser itself does it"
    with torch.no_grad():
        seen, gauge = noise[..., ::2, ::2], MeanCosine(encoder)
        check = operations(lambda: gauge(prior.decode(seen), pushes["clean"].targets))
    assert informing(until=0.2, pool=2) - informing(pool=2) == 20 * check


def test_a_pooled_look_keeps_less_and_none_nothing(tiny_dit: str) -> None:
    def kept(**changes: object) -> int:
        term = ConceptTerm(vocabulary=VOCABULARY, pace=Pace(**changes))  # pyright: ignore[reportArgumentType]
        return cost(Guided(prior=tiny_dit, steps=20, terms=(term,))).kept

    assert kept() == kept(every=4) > kept(pool=2) > 0
    method = Guided(prior=tiny_dit, terms=(ConceptTerm(vocabulary=VOCABULARY),), dtype="bfloat16")
    assert cost(method).kept == kept() // 2 and cost(replace(method, terms=())).kept == 0


@pytest.mark.parametrize(
    "broken", [{"num_layers": "x"}, {"num_attention_heads": 0}, {"sample_size": -1}], ids=str
)
def test_a_configuration_of_no_network_is_named(
    broken: dict[str, object], tiny_dit: str, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(tiny_dit, tmp_path / "prior"))
    file = own / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | broken))
    with pytest.raises(PotstillError, match=f"{own}"):
        cost(Guided(prior=str(own)))
    if "num_layers" in broken:
        with pytest.raises(PotstillError, match=f"cannot load the pipeline '{own}'"):
            Prior.from_pretrained(str(own))


def test_a_dry_run_needs_no_weights_and_writes_nothing(tmp_path) -> None:
    folder = tiny.save_dit(tmp_path / "dit")
    for file in (tmp_path / "dit").rglob("*.safetensors"):
        file.unlink()
    words = ["distill", "imagenet-dit", "--prior", folder, "--dry-run", "--out", str(tmp_path / "set")]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "potstill", *words], capture_output=True, text=True)

    told = json.loads(run(*words, "--json").stdout)
    assert told["images"] == 100 and told["seconds_per_image"] == pytest.approx(told["operations"] / 1e14)
    assert "on one device" in run(*words).stdout and not (tmp_path / "set").exists()
    refused = run("distill", "digits-random", "--dry-run")
    assert refused.returncode == 2 and "'random'" in refused.stderr


def test_what_is_not_counted_is_named(tiny_dit: str) -> None:
    method = Guided(prior=tiny_dit, terms=(ClassifierTerm(classifier="digits/teacher"),))
    with pytest.raises(PotstillError, match="counts concept terms alone"):
        cost(method)
    assert cost(replace(method, terms=())).informing == 0
