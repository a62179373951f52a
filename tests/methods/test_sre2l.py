"""SRe2L: the whole optimisation against a slow twin, and what an image depends on."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.digits import WORDS, digits
from potstill.data.real import Classes
from potstill.distilled import Slot
from potstill.methods.sre2l import Sre2l, shared_view
from potstill.nets.augment import crop_resize, draw_crops
from potstill.nets.spec import Net, build
from potstill.nets.store import load_net, save_net
from potstill.run import distill

KEYS = ("2", "3", "5", "7", "8")


@pytest.fixture(scope="module")
def real():
    return digits().select(KEYS)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A random net of width 8 that has seen noise, so that its statistics are those of something."""
    folder, spec, draw = tmp_path_factory.mktemp("teacher"), Net.parse("convnet-3-w8"), generator("teacher")
    module = build(spec, 10, 32, draw)
    for _ in range(20):
        module.train()(torch.rand(16, 3, 32, 32, generator=draw))
    keys = tuple("0123456789")
    save_net(folder, module, spec, Classes(keys, keys), 32, {})
    return str(folder)


@pytest.fixture
def quick(teacher):
    return Sre2l(teacher=teacher, iterations=4, least_area=0.5, roll=(0, 4), classes_per_batch=2)


def ready(method, real, seed=0):
    return method.prepare(real, seed=seed, images_per_class=3, device="cpu")


def images(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*.png"))}


def slow_twin(teacher, labels, noise, *, iterations, rate, weight, first, shift):
    """The recover step written out from the pseudo-code, with its own Adam and statistics, in float64."""
    module = load_net(teacher).narrowed(KEYS).module.double()
    colours = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=torch.float64)
    mean, deviation = colours[0].reshape(3, 1, 1), colours[1].reshape(3, 1, 1)
    images, first_moment, second_moment = noise.double(), 0.0, 0.0
    for number in range(iterations):
        leaf = images.clone().requires_grad_()
        features = torch.roll(torch.roll(leaf, shift, 2), shift, 3)
        apart = torch.zeros((), dtype=torch.float64)
        for layer in module.blocks:
            if isinstance(layer, nn.BatchNorm2d):
                flat = features.transpose(0, 1).reshape(features.shape[1], -1)
                off = (flat.var(1, correction=0) - layer.running_var, flat.mean(1) - layer.running_mean)
                apart = apart + (first if not apart else 1) * sum(one.square().sum().sqrt() for one in off)
                spread = torch.sqrt(layer.running_var + layer.eps)
                normed = (features - layer.running_mean[:, None, None]) / spread[:, None, None]
                features = normed * layer.weight[:, None, None] + layer.bias[:, None, None]
            else:
                features = nn.ReLU()(features) if isinstance(layer, nn.ReLU) else layer(features)
        logits = module.head(features.flatten(1))
        naming = -logits.log_softmax(1)[range(len(labels)), labels].mean()
        (slope,) = torch.autograd.grad(naming + weight * apart, leaf)
        first_moment = 0.5 * first_moment + 0.5 * slope
        second_moment = 0.9 * second_moment + 0.1 * slope**2
        ahead = first_moment / (1 - 0.5 ** (number + 1))
        size = (second_moment / (1 - 0.9 ** (number + 1))).sqrt() + 1e-8
        images = images - rate * (1 + math.cos(math.pi * number / iterations)) / 2 * ahead / size
        images = torch.minimum(torch.maximum(images, -mean / deviation), (1 - mean) / deviation)
    return (images * deviation + mean) * 255


def test_images_equal_the_slow_twins(real, teacher):
    slots = [Slot(key, 1) for key in KEYS]
    method = Sre2l(teacher=teacher, iterations=6, statistics=0.5, first=3.0, least_area=None, roll=(2, 2))
    made = torch.stack([one.image for one in ready(method, real).make(slots, lambda step: None)])
    noise = torch.stack([torch.randn(3, 32, 32, generator=generator(0, "noise", key, 1)) for key in KEYS])
    twin = slow_twin(teacher, range(5), noise, iterations=6, rate=0.25, weight=0.5, first=3.0, shift=2)
    assert (made - twin).abs().max() < 1
    clamped = ((made == 0) | (made == 255)).double().mean()
    assert 0.02 < clamped < 0.9, "the clamp was not exercised"


def test_the_shipped_teacher_names_what_it_remembers():
    method = Sre2l(teacher="digits/teacher", iterations=50, statistics=0.1, least_area=None, roll=(0, 4))
    maker, steps = ready(method, digits()), []
    made = maker.make([Slot(key, 0) for key in "0123456789"], steps.append)
    teacher = load_net("digits/teacher").module
    pixels = torch.stack([one.image for one in made]).float() / 255
    assert teacher(pixels).argmax(1).tolist() == list(range(10))
    assert [step.index for step in steps] == list(range(1, 51)) and steps[0].total == 50
    assert steps[-1].scalars["statistics"] < 0.75 * steps[0].scalars["statistics"]
    assert steps[-1].scalars["cross-entropy"] < 0.01 * steps[0].scalars["cross-entropy"]


def test_an_image_depends_on_its_slot_alone(real, quick):
    maker = ready(quick, real)
    slots = [Slot(key, index) for key in KEYS for index in range(2)]
    whole = [one.image for one in maker.make(slots, lambda step: None)]
    for rows in ([3], [9, 0], [1, 7, 4]):
        part = maker.make([slots[row] for row in rows], lambda step: None)
        assert all(torch.equal(one.image, whole[row]) for one, row in zip(part, rows, strict=True))
    assert not torch.equal(whole[0], whole[1])
    other = ready(quick, real, seed=1).make(slots[:1], lambda step: None)
    assert not torch.equal(other[0].image, whole[0])
    assert all(image.dtype == torch.uint8 and image.shape == (3, 32, 32) for image in whole)


def test_classes_are_chunked_in_order_and_the_last_chunk_may_be_short(real, quick):
    maker = ready(quick, real)
    slots = [Slot(key, index) for key in KEYS for index in range(3)]
    assert maker.group(slots) == [Slot("2", 0), Slot("3", 0)]
    assert maker.group([Slot("3", 2), Slot("5", 2), Slot("8", 0)]) == [Slot("3", 2)]
    assert maker.group([Slot("8", 1)]) == [Slot("8", 1)]


@pytest.mark.parametrize("batch", [1, 7])
def test_the_batch_decides_nothing(real, quick, tmp_path, batch):
    sets = []
    for size in (batch, 64):
        steps = []
        folder = tmp_path / str(size)
        distill(quick, real, folder, name="t", images_per_class=2, batch=size, on_step=steps.append)
        sets.append(images(folder))
        recovered = [step for step in steps if step.stage == "recover" and step.index == step.total]
        assert len(recovered) == 6, "each batch of classes is recovered once"
    assert sets[0] == sets[1] and len(sets[0]) == 10


def test_an_interrupted_run_repeats_one_batch_and_ends_in_the_same_bits(real, quick, tmp_path):
    distill(quick, real, tmp_path / "straight", name="t", images_per_class=2)
    units = 0

    def interrupt(step):
        nonlocal units
        units += step.stage == "recover" and step.index == step.total
        if step.stage == "recover" and units == 3 and step.index == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(quick, real, tmp_path / "cut", name="t", images_per_class=2, on_step=interrupt)
    assert len(images(tmp_path / "cut")) == 6
    steps = []
    distill(quick, real, tmp_path / "cut", name="t", images_per_class=2, on_step=steps.append)
    assert sum(step.stage == "recover" for step in steps) == 3 * quick.iterations
    assert images(tmp_path / "cut") == images(tmp_path / "straight")


def test_a_batch_kept_in_part_is_completed_to_the_same_bits(real, quick, tmp_path):
    distill(quick, real, tmp_path / "straight", name="t", images_per_class=2)

    def interrupt(step):
        if step.stage == "distill":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(quick, real, tmp_path / "cut", name="t", images_per_class=2, on_step=interrupt)
    partial = tmp_path / "cut" / "metadata.partial.jsonl"
    partial.write_text(partial.read_text().splitlines(keepends=True)[0])
    distill(quick, real, tmp_path / "cut", name="t", images_per_class=2)
    assert images(tmp_path / "cut") == images(tmp_path / "straight")


def test_one_view_is_shared_by_the_batch(teacher, draw):
    method = Sre2l(teacher=teacher, least_area=0.2, roll=(-3, 3))
    batch = torch.rand(1, 3, 16, 16, generator=draw).repeat(4, 1, 1, 1)
    for number in range(20):
        view = shared_view(batch, method, True, generator(number))
        assert torch.equal(view, view[:1].expand_as(view))


def test_a_view_is_the_crop_that_augmentation_cuts(teacher, draw):
    method = Sre2l(teacher=teacher, least_area=0.1, roll=(0, 0))
    batch = torch.rand(2, 3, 16, 16, generator=draw)
    for number in range(20):
        box = draw_crops(1, 16, 0.1, generator(number)).expand(2, 4)
        view = shared_view(batch, method, False, generator(number))
        torch.testing.assert_close(view, crop_resize(batch, box, 16), rtol=0, atol=1e-5)


def test_a_flip_comes_only_where_the_data_allow_it_and_images_are_cropped(teacher, draw):
    whole = Sre2l(teacher=teacher, least_area=1.0, roll=(0, 0))
    batch = torch.rand(2, 3, 8, 8, generator=draw)

    def flips(method, mirror):
        views = [shared_view(batch, method, mirror, generator(number)) for number in range(60)]
        flipped = [bool((view - batch.flip(3)).abs().max() < 1e-5) for view in views]
        kept = [bool((view - batch).abs().max() < 1e-5) for view in views]
        assert all(one != other for one, other in zip(flipped, kept, strict=True))
        return sum(flipped)

    assert 15 < flips(whole, True) < 45
    assert flips(whole, False) == 0
    assert flips(dataclasses.replace(whole, least_area=None), True) == 0


def test_rolls_reach_both_ends_of_their_range(teacher, draw):
    method = Sre2l(teacher=teacher, least_area=None, roll=(-1, 2))
    batch = torch.rand(1, 3, 5, 5, generator=draw)
    rows, found = torch.arange(5), set()
    for number in range(200):
        view = shared_view(batch, method, False, generator(number))
        shifts = [
            (down, right)
            for down in range(-1, 3)
            for right in range(-1, 3)
            if torch.equal(view, batch[:, :, (rows - down) % 5][..., (rows - right) % 5])
        ]
        assert len(shifts) == 1
        found |= set(shifts)
    assert len(found) == 16


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"iterations": 0}, "at least 1 iteration, not 0"),
        ({"rate": 0.0}, "rate of SRe2L must be positive, not 0.0"),
        ({"rate": math.inf}, "must be positive, not inf"),
        ({"rate": math.nan}, "must be positive, not nan"),
        ({"statistics": -0.1}, "'statistics' of SRe2L must be at least 0, not -0.1"),
        ({"first": -1.0}, "'first' of SRe2L must be at least 0, not -1.0"),
        ({"least_area": 0.0}, r"in \(0, 1\] or None for no crop, not 0.0"),
        ({"least_area": 1.5}, r"in \(0, 1\] or None for no crop, not 1.5"),
        ({"roll": (4, 0)}, r"from low to high, not \[4, 0\]"),
        ({"classes_per_batch": 0}, "at least 1 class, not 0"),
    ],
)
def test_settings_out_of_range_are_named(setting, message):
    with pytest.raises(PotstillError, match=message):
        Sre2l(teacher="digits/teacher", **setting)


def test_a_teacher_that_does_not_fit_is_named(real, tmp_path):
    with pytest.raises(PotstillError, match="unknown model 'digits/nobody'"):
        ready(Sre2l(teacher="digits/nobody"), real)
    spec, keys = Net.parse("convnet-3-w8"), ("2", "3")
    save_net(tmp_path, build(spec, 2, 32, generator(0)), spec, Classes(keys, keys), 32, {})
    with pytest.raises(PotstillError, match="unknown class '5'"):
        ready(Sre2l(teacher=str(tmp_path)), real)


def test_a_teacher_without_batchnorm_is_named(real, tmp_path):
    spec = Net.parse("convnet-3-w8-instance")
    save_net(tmp_path, build(spec, 5, 32, generator(0)), spec, Classes(KEYS, KEYS), 32, {})
    with pytest.raises(PotstillError, match=f"{tmp_path} .* has no BatchNorm layers"):
        ready(Sre2l(teacher=str(tmp_path)), real)


def test_a_classifier_of_transformers_teaches_in_its_own_colours(real, tmp_path):
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    config.id2label = {place: f"handwritten {word}" for place, word in enumerate(WORDS)}
    torch.manual_seed(0)
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    processor = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.4] * 3, image_std=[0.2] * 3)
    processor.save_pretrained(tmp_path)
    still = Sre2l(teacher=str(tmp_path), iterations=1, rate=1e-9, least_area=None)
    (made,) = ready(still, real).make([Slot("7", 0)], lambda step: None)
    noise = torch.randn(3, 32, 32, generator=generator(0, "noise", "7", 0))
    assert torch.equal(made.image, (255 * (0.4 + 0.2 * noise).clamp(0, 1)).round().to(torch.uint8))


def test_the_published_settings_are_the_defaults():
    """The authors' recover script for ImageNet-1K: r_bn 0.01, first_bn_multiplier 10, lr 0.25, jitter 32."""
    method = Sre2l(teacher="digits/teacher")
    assert (method.iterations, method.rate, method.statistics, method.first) == (4000, 0.25, 0.01, 10.0)
    assert (method.least_area, method.roll, method.classes_per_batch) == (0.08, (0, 32), 100)


def test_the_teacher_is_on_record(real, quick, teacher):
    weights = ready(quick, real).weights
    assert list(weights) == [teacher] and len(weights[teacher]) == 64
