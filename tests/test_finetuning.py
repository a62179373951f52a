"""A DiT fine-tuned on a few real digits: what it writes, that it resumes to the same bits, and groups of classes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import DiTPipeline
from PIL import Image
from support import tiny
from typer.testing import CliRunner

from potstill import finetuning
from potstill.bundled.licences import model_licence
from potstill.cli import app
from potstill.core.errors import PotstillError
from potstill.core.lock import alone
from potstill.core.progress import Step
from potstill.costs import cost
from potstill.data import load
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.finetuning import finetune
from potstill.methods.guided import Guided
from potstill.priors import Condition, Prior, Request
from potstill.priors.groups import Groups
from potstill.priors.minimax import Minimax
from potstill.priors.posterior import Posterior
from potstill.recipes import RECIPES
from potstill.sampling import sample


def few() -> RealData:
    """Five training images each of three digits."""
    real = load("digits", classes="2,3,5")
    rows = torch.cat([real.train.of_class(label)[:5] for label in range(3)])
    return replace(real, train=real.train.take(rows))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save_tied_dit(tmp_path_factory.mktemp("base"))


def short(base: str, **changed: object) -> Minimax:
    return Minimax(prior=base, **({"epochs": 3, "batch": 4, "rate": 0.02, "average": 0.5} | changed))


@pytest.fixture(scope="module")
def tuned(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned")
    finetune(few(), out, short(base))
    return out


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    return DiTPipeline.from_pretrained(folder).transformer.state_dict()


def test_the_folder_is_a_plain_pipeline(base: str, tuned: Path) -> None:
    names = ["README.md", "metrics.json", "model_index.json", "scheduler", "transformer", "vae"]
    assert sorted(part.name for part in tuned.iterdir()) == names
    before, after = weights(base), weights(tuned)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    folded = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.2")
    expected = {name for name in before if name.endswith("bias") or "embedding_table" in name}
    expected |= {f"transformer_blocks.0.{part}.weight" for part in folded}
    assert moved == expected
    table = "transformer_blocks.{}.norm1.emb.class_embedder.embedding_table.weight"
    assert torch.equal(after[table.format(0)], after[table.format(1)])
    index = json.loads((tuned / "model_index.json").read_text())
    assert index["id2label"] == json.loads((Path(base) / "model_index.json").read_text())["id2label"]
    metrics = json.loads((tuned / "metrics.json").read_text())
    assert metrics["steps"] == 12 and f"{metrics['diffusion']:.4f}" in (tuned / "README.md").read_text()


def test_diffusers_and_our_prior_read_it_alike(tuned: Path) -> None:
    pipe = DiTPipeline.from_pretrained(tuned)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        [2, 5, 1],
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(5),
        num_inference_steps=6,
        output_type="pt",
    ).images
    prior = Prior.from_pretrained(str(tuned))
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    told = Condition({"class": torch.tensor([2, 5, 1])})
    with torch.no_grad():
        latents = sample(prior, lambda x, moment: prior.denoise(x, moment.t, told), noise, steps=6)
        found = prior.decode(latents).clamp(0, 1)
    torch.testing.assert_close(found, theirs, atol=2e-4, rtol=2e-4)


def test_a_finished_folder_is_read_and_another_one_refused(base: str, tuned: Path) -> None:
    (again,) = finetune(few(), tuned, short(base), on_step=lambda step: pytest.fail("trained again"))
    assert again.classes == ("2", "3", "5") and again.metrics["steps"] == 12
    with pytest.raises(PotstillError, match="holds a prior of other settings or data"):
        finetune(few(), tuned, short(base, seed=1))
    with pytest.raises(PotstillError, match="another kind of fine-tuning"):
        finetune(few(), tuned, short(base, groups=2))


def test_the_original_is_trained_as_the_authors_compute_it(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as a prior that computes so before it comes to be tuned, and not as diffusers computes."""

    def published(source: str, **options: Any) -> Prior:
        prior = opened(source, **options)
        prior.as_published()
        return prior

    opened, one_epoch = Prior.from_pretrained, short(base, epochs=1)
    (found,) = finetune(few(), tmp_path / "original", replace(one_epoch, original=True))
    (plain,) = finetune(few(), tmp_path / "plain", one_epoch)
    monkeypatch.setattr(Prior, "from_pretrained", published)
    (twin,) = finetune(few(), tmp_path / "twin", one_epoch)
    assert found.metrics["diffusion"] == twin.metrics["diffusion"] != plain.metrics["diffusion"]
    for name, value in weights(tmp_path / "twin").items():
        assert torch.equal(weights(tmp_path / "original")[name], value)
    assert "method.original=true" in (tmp_path / "original" / "README.md").read_text()
    with pytest.raises(PotstillError, match="holds a prior of other settings or data"):
        finetune(few(), tmp_path / "plain", replace(one_epoch, original=True))


def test_an_altered_prior_is_not_taken_for_the_finished_one(base: str, tuned: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(tuned, tmp_path / "copied")
    config = copied / "transformer" / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(PotstillError, match=f"{copied / 'transformer'} was altered: delete"):
        finetune(few(), copied, short(base))


def test_a_folder_of_another_priors_weights_is_refused(base: str, tuned: Path, tmp_path: Path) -> None:
    own, part, out = tmp_path / "base", tmp_path / "part", tmp_path / "out"
    shutil.copytree(base, own)
    stop_after(2, few(), part, short(str(own)))
    finetune(few(), out, short(str(own), epochs=1))
    finetune(few(), out, short(str(own), epochs=1), on_step=lambda step: pytest.fail("trained again"))
    shutil.rmtree(own / "transformer")
    shutil.copytree(tuned / "transformer", own / "transformer")
    with pytest.raises(PotstillError, match=f"{part}.* belongs to another fine-tuning"):
        finetune(few(), part, short(str(own)))
    with pytest.raises(PotstillError, match=f"{out} holds a prior that began from other weights"):
        finetune(few(), out, short(str(own), epochs=1))
    metrics = json.loads((out / "metrics.json").read_text())
    del metrics["weights"]
    (out / "metrics.json").write_text(json.dumps(metrics))
    (before,) = finetune(few(), out, short(str(own), epochs=1))
    assert before.metrics == metrics, "as finished before weights were kept"


def test_other_images_of_the_same_names_are_refused(base: str, tuned: Path, tmp_path: Path) -> None:
    real = few()
    black = replace(real.train, read=lambda row: Image.new("RGB", real.train.read(row).size))
    with pytest.raises(PotstillError, match="holds a prior of other settings or data"):
        finetune(replace(real, train=black), tuned, short(base))
    older = shutil.copytree(tuned, tmp_path / "older")
    metrics = json.loads((older / "metrics.json").read_text())
    metrics["identity"] = finetuning._identity(real, short(base), pixels=False)
    (older / "metrics.json").write_text(json.dumps(metrics))
    (before,) = finetune(real, older, short(base), on_step=lambda step: pytest.fail("trained again"))
    assert before.metrics == metrics, "as finished before pixels were told"


def test_a_folder_of_something_else_is_left_alone(base: str, tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "mine.txt").write_text("years of work")
    with pytest.raises(PotstillError, match=r"is not empty \(transformer\).*name another folder"):
        finetune(few(), tmp_path, short(base))
    assert (tmp_path / "transformer" / "mine.txt").read_text() == "years of work"


def test_a_folder_that_is_being_filled_is_left_alone(base: str, tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(PotstillError, match="is being filled by process"):
        finetune(few(), tmp_path, short(base))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rate": 0.0}, "rate must be positive, .* not 0.0, 0.002, 0.008"),
        ({"rate": float("nan")}, "rate must be positive"),
        ({"representative": -1.0}, "at least 0"),
        ({"diverse": float("inf")}, "all of them finite"),
        ({"epochs": 0}, "at least 1"),
        ({"groups": 0}, "at least 1"),
        ({"average": 1.0}, r"in \[0, 1\)"),
        ({"dropped": -0.1}, r"in \[0, 1\)"),
    ],
)
def test_settings_out_of_range(base: str, changed: dict[str, float], message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        short(base, **changed)


def test_what_cannot_be_fine_tuned(tmp_path: Path, tiny_unclip: str, tiny_dit: str) -> None:
    with pytest.raises(PotstillError, match="fine-tunes a DiT, which .* is not: UnCLIP"):
        finetune(few(), tmp_path, short(tiny_unclip))
    with pytest.raises(PotstillError, match="embedders"):
        finetune(few(), tmp_path, short(tiny_dit))


def test_divergence_is_told(base: str, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="diverged"):
        finetune(few(), tmp_path, short(base, rate=1e20))
    assert not (tmp_path / "model_index.json").exists()


KILLED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import potstill.finetuning as tuning
from test_finetuning import few, short
tuning.SECONDS = 0.0
tuning.finetune(few(), Path(sys.argv[1]), short(sys.argv[2], epochs=12))
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_goes_on_to_the_same_bits(base: str, tmp_path: Path) -> None:
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    call = [sys.executable, "-c", KILLED]
    running = subprocess.Popen([*call, str(tmp_path / "killed"), base], env=os.environ | {"PYTHONPATH": here})
    file = tmp_path / "killed" / "checkpoint.pt"
    while not file.exists() and running.poll() is None:
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "killed" / "model_index.json").exists()
    step = torch.load(file, weights_only=True)["step"]
    assert 1 <= step < 48
    steps: list[int] = []

    def told(step: object) -> None:
        if step.stage == "minimax":
            steps.append(step.index)

    (resumed,) = finetune(few(), tmp_path / "killed", short(base, epochs=12), on_step=told)
    assert steps == list(range(step + 1, 49))
    (straight,) = finetune(few(), tmp_path / "straight", short(base, epochs=12))
    kept, wanted = weights(resumed.folder), weights(straight.folder)
    assert all(torch.equal(value, kept[name]) for name, value in wanted.items())
    names = ("diffusion", "representativeness", "diversity")
    assert [resumed.metrics[name] for name in names] == [straight.metrics[name] for name in names]
    assert not file.exists()


@pytest.mark.usefixtures("one_thread")
def test_two_processes_do_what_one_does(base: str, tmp_path: Path) -> None:
    """From a checkpoint of one process on, in batches of 4 and a last one of 3, which is parted unevenly."""
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "potstill",
    ]
    for split in ("train", "test"):
        write_folder(few(), tmp_path / "data" / split)
    real, out = load(str(tmp_path / "data")), tmp_path / "two"
    stop_after(5, real, out, short(base))
    words = ["finetune", "minimax", str(out), "--prior", base, "--data", str(tmp_path / "data")]
    words += ["--epochs", "3", "--batch", "4", "--rate", "0.02", "--average", "0.5", "--json"]
    done = subprocess.run(
        [*launch, *words], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)
    (alone,) = finetune(real, tmp_path / "one", short(base))
    before, kept, wanted = (seen(folder) for folder in (base, out, alone.folder))
    torch.testing.assert_close(kept, wanted, rtol=1e-3, atol=1e-3)
    assert (wanted - before).abs().max() > 0.1, "beside which that is little"
    for name in ("diffusion", "representativeness", "diversity"):
        assert told["metrics"][name] == pytest.approx(alone.metrics[name], rel=1e-3)


def seen(folder: Path | str) -> torch.Tensor:
    """What a DiT predicts; its key biases have no gradient but rounding, so that weights can't be compared."""
    prior = Prior.from_pretrained(str(folder))
    latents = torch.randn(4, *prior.latent_shape, generator=torch.Generator().manual_seed(7))
    told = Condition({"class": torch.tensor([2, 3, 5, 2])})
    with torch.no_grad():
        return prior.predict(latents, torch.tensor([50, 300, 600, 900]), told)


def write_folder(real: RealData, folder: Path) -> None:
    for row, (pixels, label) in enumerate(zip(real.train.pixels(None, 32), real.train.labels, strict=True)):
        file = folder / f"digit {real.classes.keys[int(label)]}" / f"{row:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file)


def stop_after(step: int, real: RealData, out: Path, tuning: Minimax) -> None:
    class Stop(Exception):
        pass

    def tell(told: Step) -> None:
        if told.stage == "minimax" and told.index == step:
            raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr("potstill.finetuning.SECONDS", 0.0)
        finetune(real, out, tuning, on_step=tell)


def test_a_checkpoint_of_another_run_is_refused(base: str, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(step: object) -> None:
        if step.stage == "minimax":
            raise Stopped

    with pytest.raises(Stopped):
        finetune(few(), tmp_path, short(base), on_step=stop)
    with pytest.raises(PotstillError, match="belongs to another fine-tuning"):
        finetune(few(), tmp_path, short(base, seed=1))


def test_latents_are_encoded_once_and_drawn_anew(base: str) -> None:
    prior, real = Prior.from_pretrained(base), few()
    plain = Posterior.of(real, prior)
    both = Posterior.of(replace(real, mirror=True), prior)
    assert plain.mean.shape == (1, 15, 4, 8, 8) and both.mean.shape == (2, 15, 4, 8, 8)
    pixels = real.train.pixels(None, 32).float() / 255
    torch.testing.assert_close(plain.mean[0], prior.encode(pixels), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both.mean[1], prior.encode(pixels.flip(3)), atol=1e-5, rtol=1e-5)
    rows = torch.arange(15)
    draws = torch.stack([both.drawn(rows, torch.Generator().manual_seed(seed)) for seed in range(400)])
    torch.testing.assert_close(draws.mean(0), both.mean.mean(0), atol=0.25, rtol=0)
    variance = both.deviation.square().mean(0) + both.mean.var(0, unbiased=False)
    torch.testing.assert_close(draws.var(0).mean(), variance.mean(), rtol=0.05, atol=0)


def test_a_latents_deviation_is_the_encoders_and_each_image_is_mirrored_by_itself(base: str) -> None:
    prior, real = Prior.from_pretrained(base), few()
    both = Posterior.of(replace(real, mirror=True), prior)
    pixels = real.train.pixels(None, 32).float() / 255
    with torch.no_grad():
        seen = prior.vae.encode(pixels * 2 - 1).latent_dist
    wanted = (seen.logvar / 2).exp() * prior.vae.config.scaling_factor
    torch.testing.assert_close(both.deviation[0], wanted, atol=1e-5, rtol=1e-4)
    still = replace(both, deviation=torch.zeros_like(both.deviation))
    drawn = still.drawn(torch.arange(15), torch.Generator().manual_seed(0))
    sides = [(both.mean[:, row] == drawn[row]).flatten(1).all(1).tolist() for row in range(15)]
    assert all(sum(side) == 1 for side in sides) and 3 <= sum(side[1] for side in sides) <= 12


@pytest.fixture(scope="module")
def grouped(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grouped")
    finetune(few(), out, short(base, groups=2))
    return out


def test_a_grouped_prior_keeps_its_licence_and_is_counted_like_one_of_its_folders(
    base: str, tmp_path: Path
) -> None:
    """The base's card says non-commercial; its name is one that YAML would take for something else."""
    own = Path(shutil.copytree(base, tmp_path / "a: b #c"))
    (own / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    finetune(few(), tmp_path / "groups", short(str(own), groups=2, epochs=1))
    for folder in (tmp_path / "groups", tmp_path / "groups" / "001"):
        assert model_licence(str(folder)).id == "cc-by-nc-4.0"
        front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
        assert front == {"license": "cc-by-nc-4.0", "base_model": str(own)}
    counted = [cost(Guided(prior=str(folder))) for folder in (tmp_path / "groups", own)]
    assert counted[0] == counted[1]


def test_each_group_is_what_it_would_be_alone(base: str, grouped: Path, tmp_path: Path) -> None:
    told = json.loads((grouped / "groups.json").read_text())["groups"]
    assert [one["classes"] for one in told] == [["2", "3"], ["5"]]
    (alone,) = finetune(few().select(("5",)), tmp_path / "alone", short(base))
    theirs, ours = weights(grouped / "001"), weights(alone.folder)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def request(key: str, seed: int) -> Request:
    real = few()
    name = real.classes.names[real.classes.index(key)] if key in real.classes.keys else key
    return Request(key, name, torch.Generator().manual_seed(seed), real.train, [0])


def test_a_class_is_drawn_by_its_own_checkpoint(grouped: Path, draw: torch.Generator) -> None:
    groups = Prior.from_pretrained(str(grouped))
    assert isinstance(groups, Groups)
    condition = groups.condition([request(key, 0) for key in ("5", "2", "5", "3")])
    noise, t = torch.randn(4, *groups.latent_shape, generator=draw), torch.tensor(400)
    null = groups.null_condition(condition)
    with torch.no_grad():
        for told, found in (
            (condition, groups.denoise(noise, t, condition)),
            (null, groups.denoise(noise, t, null)),
        ):
            for rows, folder in (([1, 3], "000"), ([0, 2], "001")):
                alone = Prior.from_pretrained(str(grouped / folder))
                own = Condition({"class": told.values["class"][rows]})
                assert torch.equal(found[rows], alone.denoise(noise[rows], t, own)), folder
        raw = groups.predict(noise, t.expand(4), condition)
        alone = Prior.from_pretrained(str(grouped / "001")).predict(
            noise[[0, 2]], t.expand(2), Condition({"class": condition.values["class"][[0, 2]]})
        )
    torch.testing.assert_close(raw[[0, 2]], alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(PotstillError, match="unknown class '7'"):
        groups.condition([request("7", 0)])
    with pytest.raises(PotstillError, match="name one of its folders"):
        groups.learnable(condition)


@pytest.mark.parametrize("way", [{}, {"solver": "ancestral", "original": True}])
def test_guided_sampling_takes_a_folder_of_groups(grouped: Path, way: dict[str, Any]) -> None:
    real, slots = few(), [Slot(key, index) for key in ("2", "3", "5") for index in range(2)]
    settings = Guided(prior=str(grouped), scale=2.0, steps=4, **way)
    maker = settings.prepare(real, seed=0, images_per_class=2, device="cpu")
    together = [made.image for made in maker.make(slots)]
    for folder, own in (("000", slots[:4]), ("001", slots[4:])):
        lone = replace(settings, prior=str(grouped / folder)).prepare(
            real, seed=0, images_per_class=2, device="cpu"
        )
        for slot, made in zip(own, lone.make(own), strict=True):
            assert torch.equal(made.image, together[slots.index(slot)])
    (weight,) = maker.weights.values()
    assert weight == Prior.from_pretrained(str(grouped)).provenance


def test_a_checkpoint_that_is_not_the_listed_one_is_refused(grouped: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(grouped, copied)
    (copied / "001" / "README.md").write_text("a card of one's own")
    groups = Prior.from_pretrained(str(copied))
    assert groups.fingerprint == Prior.from_pretrained(str(grouped)).fingerprint
    groups.condition([request("5", 0)])
    groups.condition([request("2", 0)])
    config = copied / "001" / "transformer" / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(PotstillError, match="is not the checkpoint that"):
        groups.condition([request("5", 0)])


def test_only_the_checkpoints_of_a_batch_and_the_first_are_held(grouped: Path) -> None:
    groups = Prior.from_pretrained(str(grouped))
    assert isinstance(groups, Groups)
    condition = groups.condition([request("5", 0)])
    assert sorted(groups.held) == [0, 1]
    groups.condition([request("3", 0)])
    assert sorted(groups.held) == [0]
    groups.denoise(torch.zeros(1, *groups.latent_shape), torch.tensor(3), condition)
    assert sorted(groups.held) == [0, 1], "read again for a condition of an earlier batch"


def test_the_command(base: str, tmp_path: Path) -> None:
    words = [
        "finetune",
        "minimax",
        str(tmp_path / "out"),
        "--prior",
        base,
        "--classes",
        "2,3",
        "--epochs",
        "1",
    ]
    done = CliRunner().invoke(app, [*words, "--batch", "400", "--average", "0.5", "--groups", "1", "--json"])
    assert done.exit_code == 0, done.output
    first, second = json.loads(done.stdout)
    assert first["metrics"]["steps"] == 1 and Path(second["folder"]) == tmp_path / "out" / "001"
    assert isinstance(Prior.from_pretrained(str(tmp_path / "out")), Groups)


@pytest.mark.parametrize(
    ("name", "beside"), [("digits-minimax", "digits-dit"), ("digits-minimax-concord", "digits-dit-concord")]
)
def test_the_recipes_differ_from_the_plain_priors_in_the_prior_alone(name: str, beside: str) -> None:
    recipe, plain = RECIPES[name](), RECIPES[beside]()
    assert recipe.name == name and recipe.method.prior == "./runs/minimax-digits"
    assert replace(recipe.method, prior=plain.method.prior) == plain.method
    assert replace(recipe, name=plain.name, summary=plain.summary, method=plain.method) == plain
