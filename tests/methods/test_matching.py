"""The loop of matching: two passes are one, a killed run goes on to the same bits, and sets keep what was learned."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_dataset
from PIL import Image
from safetensors.torch import load_file

from potstill.canvas import CANVASES
from potstill.canvas.chain import Chain
from potstill.canvas.gan_code import GanCode
from potstill.canvas.latents import Latents
from potstill.canvas.pixels import Pixels
from potstill.core.errors import PotstillError
from potstill.core.progress import Step, silent
from potstill.data.digits import digits
from potstill.data.real import RealData
from potstill.distilled import DistilledSet
from potstill.distilled.mosaic import unfolded
from potstill.methods import matching
from potstill.methods.matching import Matching
from potstill.methods.pruning import Pruning
from potstill.objectives.distribution import DistributionMatching
from potstill.objectives.gradient import GradientMatching
from potstill.run import distill

DM = DistributionMatching(net="convnet-3-instance-w4", batch=20)
DC = GradientMatching(net="convnet-3-instance-w4", batch=20, outer=3, inner=2)


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def real() -> RealData:
    return digits().select(("2", "3", "5"))


def learned(method: Matching, real: RealData, ipc: int = 2) -> dict[str, torch.Tensor]:
    made = method.prepare(real, seed=0, images_per_class=ipc, device="cpu")
    made.optimise(silent)
    return {name: one.value.detach() for name, one in made.surface.learned.items()}


@pytest.mark.parametrize("objective", [DM, DC])
@pytest.mark.parametrize("canvas", [*CANVASES, "tiles"])
def test_in_chunks_or_all_at_once(objective, canvas: str, real: RealData, tiny_dit: str) -> None:
    """GLaD's two passes against one graph, on every canvas of the table; six slots in chunks of four."""
    kinds = {
        "pixels": Pixels(size=16, rate=0.5),
        "tiles": Pixels(size=16, parts=2),
        "latents": Latents(prior=tiny_dit),
        "chain": Chain(prior=tiny_dit, steps=2),
        "gan-code": GanCode(generator="digits/gan"),
    }
    whole, parted = (
        learned(Matching(objective=objective, canvas=kinds[canvas], iterations=2, chunk=chunk), real)
        for chunk in (None, 4)
    )
    for name, value in whole.items():
        torch.testing.assert_close(parted[name], value, rtol=1e-4, atol=1e-5)


def test_a_step_is_sgd_with_momentum(real: RealData) -> None:
    """The second step moves by rate (g2 + 0.5 g1)."""
    method = Matching(objective=DM, canvas=Pixels(size=16, rate=2.0), iterations=2)
    made = method.prepare(real, seed=0, images_per_class=1, device="cpu")
    pixels, moved = made.surface.learned["pixels"].value, torch.zeros(())
    wanted = pixels.detach().clone()
    for iteration in range(2):
        made.matcher.begin(iteration)
        trial = wanted.clone().requires_grad_()
        images = made.surface.colours.images(trial)
        (slope,) = torch.autograd.grad(made.matcher.loss(images, made.labels, 0), trial)
        moved = 0.5 * moved + slope
        wanted = wanted - 2.0 * moved
    made.optimise(silent)
    torch.testing.assert_close(pixels.detach(), wanted, rtol=1e-4, atol=1e-5)


def test_without_iterations_a_set_is_the_canvas_as_it_begins(real: RealData, tmp_path: Path) -> None:
    method = Matching(objective=DM, canvas=Pixels(size=16, start="noise"), iterations=0)
    made = distill(method, real, tmp_path, name="begun", images_per_class=1, seed=0)
    begun = method.prepare(real, seed=0, images_per_class=1, device="cpu").surface
    torch.testing.assert_close(made.examples(real.classes.keys)[0], begun.kept(slice(0, 3)))


def test_distribution_matching_brings_noise_nearer(real: RealData) -> None:
    whole = DistributionMatching(net="convnet-3-instance-w4", batch=500, operations=())
    method = Matching(objective=whole, canvas=Pixels(size=16, start="noise", rate=10.0), iterations=40)
    made = method.prepare(real, seed=0, images_per_class=1, device="cpu")
    made.optimise(silent)
    assert sum(made.losses[-10:]) < 0.7 * sum(made.losses[:10])


@pytest.mark.parametrize("objective", [DM, DC])
@pytest.mark.parametrize("stop", [1, 3])
def test_a_killed_run_goes_on_to_the_same_bits(
    objective, stop: int, real: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "SECONDS", 0.0)
    method = Matching(objective=objective, canvas=Pixels(size=16), iterations=4, preview=2)

    def run(folder: Path, stop: int = 0) -> DistilledSet:
        def listen(step: Step) -> None:
            if step.stage == "match" and step.index == stop:
                raise Killed

        return distill(method, real, folder, name="m", images_per_class=2, on_step=listen)

    straight = run(tmp_path / "straight")
    with pytest.raises(Killed):
        run(tmp_path / "killed", stop)
    resumed = run(tmp_path / "killed")
    keys = real.classes.keys
    assert torch.equal(straight.examples(keys)[0], resumed.examples(keys)[0])
    assert resumed.verify() == []
    previews = sorted(file.name for file in (tmp_path / "killed/.previews").iterdir())
    assert previews == ["000002.png", "000004.png"]
    assert Image.open(tmp_path / "killed/.previews/000004.png").size == (32, 48), "a line a class"
    folder = load_dataset("imagefolder", data_dir=str(tmp_path / "killed"), split="train")
    assert len(folder) == 6, "previews are no images of the set"


KILLED = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from potstill.canvas.pixels import Pixels
from potstill.data.digits import digits
from potstill.methods import matching
from potstill.objectives.idm import Idm
from potstill.run import distill
matching.SECONDS = 0.0
idm = Idm(net="convnet-3-instance-w4", batch=20, batch_net=20, nets=3, interval=2, steps=2)
method = matching.Matching(objective=idm, canvas=Pixels(size=16, parts=2), iterations=8, chunk=2)
slow = len(sys.argv) > 2
distill(method, digits().select(("2", "3", "5")), Path(sys.argv[1]), name="m", images_per_class=1,
        on_step=lambda step: time.sleep(0.1 * slow))
"""


def test_sigkill_costs_no_bit_of_images_nets_and_optimiser(tmp_path: Path) -> None:
    """IDM keeps a queue of nets in training beside the images and their momentum."""
    call = [sys.executable, "-c", KILLED]
    subprocess.run([*call, str(tmp_path / "straight")], check=True)
    running = subprocess.Popen([*call, str(tmp_path / "killed"), "slow"])
    while not (tmp_path / "killed" / matching.STATE).exists() and running.poll() is None:
        time.sleep(0.01)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    with pytest.raises(PotstillError, match="unfinished"):
        DistilledSet.load(tmp_path / "killed")
    subprocess.run([*call, str(tmp_path / "killed")], check=True)
    straight, resumed = (load_file(tmp_path / name / "images.safetensors") for name in ("straight", "killed"))
    assert straight.keys() == resumed.keys() and len(straight) == 3
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())


def test_a_set_keeps_its_exact_values(real: RealData, tmp_path: Path) -> None:
    method = Matching(objective=DM, canvas=Pixels(size=16, start="noise"), iterations=1)
    made = distill(method, real, tmp_path / "set", name="m", images_per_class=2)
    images, labels = made.examples(real.classes.keys)
    assert images.dtype == torch.float32 and images.min() < 0, "noise leaves [0, 1]"
    assert torch.equal((images.clamp(0, 1) * 255).round().byte(), made.images())
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    again = DistilledSet.load(tmp_path / "set")
    assert torch.equal(again.first(1).examples(real.classes.keys)[0], images[::2])
    picture = tmp_path / "set" / made.records[0].slot.file_name
    Image.fromarray(255 - np.asarray(Image.open(picture))).save(picture)
    assert any("altered" in fault for fault in again.verify())


def test_a_set_of_tiles_is_trained_on_tile_by_tile(real: RealData, tmp_path: Path) -> None:
    method = Matching(objective=DM, canvas=Pixels(size=16, parts=2), iterations=1)
    made = distill(method, real, tmp_path / "set", name="m", images_per_class=1)
    images, labels = made.examples(real.classes.keys)
    assert made.manifest.parts == 2 and labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    held = made._exact()
    torch.testing.assert_close(images, unfolded(held, 2))


def test_another_folders_state_is_refused(real: RealData, tmp_path: Path) -> None:
    method = Matching(objective=DM, canvas=Pixels(size=16), iterations=1)
    made = method.prepare(real, seed=0, images_per_class=1, device="cpu")
    made.keep_in(tmp_path)
    made.optimise(silent)
    other = method.prepare(real, seed=1, images_per_class=1, device="cpu")
    other.keep_in(tmp_path)
    with pytest.raises(PotstillError, match=r"matching.pt belongs to other settings"):
        other.optimise(silent)
    (tmp_path / "matching.pt").write_bytes(b"torn")
    with pytest.raises(PotstillError, match=r"matching.pt is no whole checkpoint"):
        made.optimise(silent)


def test_what_diverges_says_so(real: RealData) -> None:
    method = Matching(objective=DM, canvas=Pixels(size=16, rate=1e30), iterations=5)
    with pytest.raises(PotstillError, match="matching diverged.*lower the canvas's rate"):
        learned(method, real)


@pytest.mark.parametrize("order", ["easiest", "hardest"])
def test_pruning_keeps_the_share_that_the_teacher_ranks_first(order, real: RealData) -> None:
    from torch.nn import functional

    from potstill.core.fingerprint import fingerprint
    from potstill.nets.store import load_net

    few = real.select(("2", "5"))
    pruning = Pruning(teacher="digits/teacher", share=0.1, order=order)
    kept = pruning.of(few, "cpu")
    teacher = load_net("digits/teacher").module
    with torch.no_grad():
        logits = teacher(few.train.pixels(None, 32).float() / 255)
    digit = torch.tensor([2, 5])[few.train.labels]
    losses = functional.cross_entropy(logits, digit, reduction="none")
    for label in (0, 1):
        own = few.train.of_class(label)
        ranked = sorted(own.tolist(), key=lambda row: losses[row].item(), reverse=order == "hardest")
        wanted = {few.train.ids[row] for row in ranked[: len(own) // 10]}
        assert {kept.train.ids[row] for row in kept.train.of_class(label)} == wanted
    assert len(kept.test) == len(few.test)
    assert pruning.weights == {"digits/teacher": fingerprint([teacher])}
    ninety = replace(
        few, train=few.train.take(torch.cat([few.train.of_class(label)[:90] for label in (0, 1)]))
    )
    assert len(Pruning(teacher="digits/teacher", share=0.7).of(ninety, "cpu").train) == 2 * 63
    with pytest.raises(PotstillError, match="a share above 0 and at most 1, not 1.5"):
        Pruning(teacher="digits/teacher", share=1.5)
