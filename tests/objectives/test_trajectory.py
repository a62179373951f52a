"""Trajectory matching against finite differences, plain torch SGD, and the truncated gradient written out."""

import copy
import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.files import sha256, write_json
from potstill.core.seeds import generator
from potstill.core.settings import to_plain
from potstill.data.real import Classes, RealData, tensor_split
from potstill.nets.augment import unchanged
from potstill.nets.siamese import OPERATIONS, Siamese
from potstill.nets.spec import Net, build
from potstill.objectives.experts import BUFFER, Contents, Experts, file_name, images_of
from potstill.objectives.trajectory import TrajectoryMatching, constant_memory, full_unroll

KEYS, SIZE, NET = ("1", "4", "7"), 8, "convnet-3-instance-w4"
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


@pytest.fixture(scope="module")
def real():
    return black()


def black():
    """Data of which only names matter here."""
    split = tensor_split(torch.zeros(3, 3, SIZE, SIZE, dtype=torch.uint8), torch.arange(3), "train")
    return RealData("black", Classes(KEYS, KEYS), split, split, size=SIZE, mirror=False)


def net(index=0):
    return build(Net.parse(NET), len(KEYS), SIZE, generator("expert", index))


def pictures(number=0, dtype=torch.float64):
    return torch.rand(len(LABELS), 3, SIZE, SIZE, generator=generator("pictures", number)).to(dtype)


def save_buffer(folder, trained, **changes):
    """A buffer of experts, each a list of state dicts, one an epoch."""
    for index, epochs in enumerate(trained):
        rows = {name: torch.stack([one[name].contiguous() for one in epochs]) for name in epochs[0]}
        save_file(rows, folder / file_name(index))
    settings = Experts(net=NET, count=len(trained), epochs=len(trained[0]) - 1)
    told = {"experts": settings, "data": "t", "classes": KEYS, "images": images_of(black()), "size": SIZE}
    told |= {
        "mirror": False,
        "seed": 0,
        "files": {name: sha256(folder / name) for name in map(file_name, range(len(trained)))},
    }
    write_json(folder / BUFFER, to_plain(Contents(**(told | changes))))
    return str(folder)


@pytest.fixture(scope="module")
def buffer(tmp_path_factory):
    """Three experts over four epochs that took random moves."""
    experts = []
    for index in range(3):
        draw, values = generator("moves", index), [dict(net(index).named_parameters())]
        for _ in range(4):
            values.append(
                {
                    name: value + 0.05 * torch.randn(value.shape, generator=draw)
                    for name, value in values[-1].items()
                }
            )
        experts.append([{name: value.detach() for name, value in one.items()} for one in values])
    return save_buffer(tmp_path_factory.mktemp("buffer"), experts)


def ready(settings, real, seed=0, rate=None, iteration=0):
    """A matcher in an iteration; with a rate its step size is a float64 leaf."""
    matcher = settings.prepare(real, images_per_class=2, size=SIZE, seed=seed, device="cpu")
    if rate is not None:
        matcher.rate = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
    assert matcher.begin(iteration) == 1
    return matcher


def gradients(matcher, images):
    leaf = images.clone().requires_grad_()
    loss = matcher.loss(leaf, LABELS, 0)
    return loss.detach(), *torch.autograd.grad(loss, (leaf, matcher.rate))


SHORT = TrajectoryMatching(buffer="", steps=4, expert_epochs=2, max_start=3, batch=4)


@pytest.mark.parametrize("unroll", ["full", "constant"])
def test_the_order_within_a_class_does_not_matter(real, buffer, unroll):
    """Where every step sees all images; smaller batches are drawn by place."""
    settings = dataclasses.replace(SHORT, buffer=buffer, operations=(), unroll=unroll, batch=len(LABELS))
    images = pictures()
    swapped = images.unflatten(0, (3, 2)).flip(1).flatten(0, 1)
    one, other = (gradients(ready(settings, real, rate=0.3), some) for some in (images, swapped))
    torch.testing.assert_close(one[0], other[0])
    torch.testing.assert_close(one[1].unflatten(0, (3, 2)).flip(1).flatten(0, 1), other[1])


@pytest.mark.parametrize("operations", [(), OPERATIONS])
def test_the_full_gradient_is_that_of_finite_differences(real, buffer, operations):
    settings = dataclasses.replace(SHORT, buffer=buffer, operations=operations)
    matcher, images, small = ready(settings, real, rate=0.3), pictures(), 1e-6
    _, of_images, of_rate = gradients(matcher, images)

    def value(moved, rate):
        matcher.rate = torch.tensor(rate, dtype=torch.float64)
        return matcher.loss(moved, LABELS, 0).item()

    for number in range(3):
        way = torch.randn(images.shape, generator=generator("way", number), dtype=torch.float64)
        slope = (value(images + small * way, 0.3) - value(images - small * way, 0.3)) / (2 * small)
        assert slope == pytest.approx((of_images * way).sum().item(), rel=1e-5)
    slope = (value(images, 0.3 + small) - value(images, 0.3 - small)) / (2 * small)
    assert slope == pytest.approx(of_rate.item(), rel=1e-6)
    constant = ready(dataclasses.replace(settings, unroll="constant"), real, rate=0.3)
    _, other, _ = gradients(constant, images)
    assert (other - of_images).norm() > 0.01 * of_images.norm(), (
        "the steps' dependence on each other is too small"
    )


@pytest.mark.parametrize("unroll", ["full", "constant"])
def test_nothing_is_left_where_the_expert_made_these_very_steps(real, tmp_path, unroll):
    module, images = net(), pictures(dtype=torch.float32)
    steps, rate, epochs = 3, 0.05, [copy.deepcopy(dict(module.named_parameters()))]
    optimiser = torch.optim.SGD(module.parameters(), lr=rate)
    for _ in range(4):
        for _ in range(steps):
            optimiser.zero_grad()
            functional.cross_entropy(module(images), LABELS).backward()
            optimiser.step()
        epochs.append(copy.deepcopy(dict(module.named_parameters())))
    place = save_buffer(tmp_path, [[{name: value.detach() for name, value in one.items()} for one in epochs]])
    settings = TrajectoryMatching(
        buffer=place, steps=2 * steps, expert_epochs=2, max_start=3, rate=rate, operations=(), unroll=unroll
    )
    starts = set()
    for iteration in range(6):
        matcher = ready(settings, real, iteration=iteration)
        starts.add(tuple(matcher._stretch()[0]["head.weight"].flatten().tolist()))
        assert matcher.loss(images, LABELS, 0).item() < 1e-8
    assert matcher.loss(pictures(1, torch.float32), LABELS, 0).item() > 0.01
    assert len(starts) == 3


def truncated(start, target, images, rate, steps):
    """Value and gradients of |theta_0 - rate sum_i g_i - target|^2 / |theta_0 - target|^2, all graphs at once."""
    leaf, factor = (
        images.clone().requires_grad_(),
        torch.tensor(rate, dtype=torch.float64, requires_grad=True),
    )
    module = net().double()
    module.load_state_dict(start, strict=False)
    slopes = []
    for _ in range(steps):
        loss = functional.cross_entropy(module(leaf), LABELS)
        slopes.append(torch.autograd.grad(loss, tuple(module.parameters()), create_graph=True))
        still = copy.deepcopy(module)
        with torch.no_grad():
            for value, slope in zip(still.parameters(), slopes[-1], strict=True):
                value -= rate * slope
        module = still
    top, bottom = 0.0, 0.0
    for place, name in enumerate(dict(module.named_parameters())):
        end = start[name] - factor * sum(one[place] for one in slopes)
        top, bottom = (
            top + ((end - target[name]) ** 2).sum(),
            bottom + ((start[name] - target[name]) ** 2).sum(),
        )
    loss = top / bottom
    return loss.detach(), *torch.autograd.grad(loss, (leaf, factor))


def test_the_constant_gradient_is_that_of_the_loss_with_still_parameters(real, buffer):
    settings = dataclasses.replace(
        SHORT, buffer=buffer, steps=5, batch=None, operations=(), unroll="constant"
    )
    matcher, images = ready(settings, real, rate=0.3), pictures()
    start, target = ({name: value.double() for name, value in one.items()} for one in matcher._stretch())
    found = gradients(matcher, images)
    for one, other in zip(found, truncated(start, target, images, 0.3, 5), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)
    full = ready(dataclasses.replace(settings, unroll="full"), real, rate=0.3)
    torch.testing.assert_close(found[0], gradients(full, images)[0], rtol=1e-12, atol=0)


def test_both_unrolls_agree_on_one_step(real, buffer):
    for iteration in range(5):
        found = []
        for unroll in ("full", "constant"):
            settings = dataclasses.replace(SHORT, buffer=buffer, steps=1, unroll=unroll)
            found.append(gradients(ready(settings, real, rate=0.3, iteration=iteration), pictures()))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("unroll", ["full", "constant"])
def test_each_step_is_sgd_on_its_batch_changed_by_its_own_draw(real, buffer, unroll):
    settings = dataclasses.replace(SHORT, buffer=buffer, operations=("color", "crop"), unroll=unroll)
    matcher, images = ready(settings, real, seed=2, rate=0.3, iteration=4), pictures()
    start, target = ({name: value.double() for name, value in one.items()} for one in matcher._stretch())
    student, rows = net().double(), matcher._rows(6)
    student.load_state_dict(start, strict=False)
    optimiser = torch.optim.SGD(student.parameters(), lr=0.3)
    for number in range(4):
        chosen, draw = next(rows), generator(2, "trajectory", "change", 4, number)
        changed, labels = Siamese(operations=("color", "crop"))(images[chosen], LABELS[chosen], draw)
        optimiser.zero_grad()
        functional.cross_entropy(student(changed), labels).backward()
        optimiser.step()
    ends = dict(student.named_parameters())
    left, way = (
        sum((one[name] - target[name]).square().sum().item() for name in target) for one in (ends, start)
    )
    assert matcher.loss(images.requires_grad_(), LABELS, 0).item() == pytest.approx(left / way, rel=1e-9)


def most_saved(unroll, steps):
    """The most bytes that graphs keep at a time while a loss and its gradients are computed."""
    alive, most = 0, 0

    class Kept:
        def __init__(self, tensor):
            nonlocal alive, most
            self.tensor = tensor
            alive += tensor.nbytes
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= self.tensor.nbytes

    module = build(Net.parse("convnet-3-none-w4"), len(KEYS), SIZE, generator("memory"))
    start = {name: value.detach() for name, value in module.named_parameters()}
    target = {name: value + 0.1 for name, value in start.items()}
    images, rate = pictures(dtype=torch.float32).requires_grad_(), torch.tensor(0.1, requires_grad=True)

    def cost(values, images, number):
        return functional.cross_entropy(torch.func.functional_call(module, values, (images,)), LABELS)

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        loss = unroll(cost, images, start, target, rate, steps)
        torch.autograd.grad(loss, (images, rate))
    del loss
    assert alive == 0
    return most


def test_the_memory_of_constant_does_not_grow_with_steps():
    assert (
        most_saved(constant_memory, 8) == most_saved(constant_memory, 2) <= most_saved(full_unroll, 1) * 1.1
    )
    assert most_saved(full_unroll, 8) > 3.5 * most_saved(full_unroll, 2)


def test_gradients_reach_images_and_step_size_alone(real, buffer):
    for unroll in ("full", "constant"):
        settings = dataclasses.replace(SHORT, buffer=buffer, unroll=unroll)
        matcher, images = ready(settings, real), pictures(dtype=torch.float32).requires_grad_()
        loss = matcher.loss(images, LABELS, 0)
        assert loss.shape == () and loss.dtype == torch.float32
        loss.backward()
        (learned,) = matcher.learned.values()
        assert learned.value is matcher.rate and learned.rate == 1e-5
        assert learned.value.is_leaf and learned.value.grad.abs() > 0
        assert images.grad.flatten(1).abs().amax(1).min() > 0
        assert all(value.grad is None for value in matcher.module.parameters())


def test_a_resumed_iteration_has_the_same_bits(real, buffer):
    settings = dataclasses.replace(SHORT, buffer=buffer)
    straight, seen = ready(settings, real), []
    for iteration in range(4):
        straight.begin(iteration)
        seen.append(gradients(straight, pictures()))
    again = ready(settings, real, iteration=3)
    again.restore(straight.state())
    assert all(torch.equal(*pair) for pair in zip(gradients(again, pictures()), seen[3], strict=True))
    other = ready(settings, real, seed=1, iteration=3)
    assert gradients(other, pictures())[0] != seen[3][0]


def test_every_expert_has_its_turn(real, buffer):
    matcher, orders = ready(dataclasses.replace(SHORT, buffer=buffer, max_start=1), real), set()
    known = [matcher.buffer.expert(index, 0, 2)[0]["head.weight"] for index in range(3)]
    for turn in range(12):
        order = []
        for place in range(3):
            matcher.begin(3 * turn + place)
            start = matcher._stretch()[0]["head.weight"]
            order.append(next(index for index in range(3) if torch.equal(known[index], start)))
        assert sorted(order) == [0, 1, 2]
        orders.add(tuple(order))
    assert len(orders) > 2


def test_batches_take_all_images_before_they_begin_anew(real, buffer):
    matcher = ready(dataclasses.replace(SHORT, buffer=buffer, batch=4), real)
    rows = matcher._rows(6)
    taken = [next(rows).tolist() for _ in range(4)]
    assert [len(one) for one in taken] == [4, 2, 4, 2]
    assert sorted(taken[0] + taken[1]) == sorted(taken[2] + taken[3]) == list(range(6))
    assert taken[:2] != taken[2:]


def test_a_flip_comes_only_where_the_data_allow_it(real, buffer):
    settings = dataclasses.replace(SHORT, buffer=buffer)
    assert ready(settings, real).augment.operations == tuple(name for name in OPERATIONS if name != "flip")
    mirrored = dataclasses.replace(real, mirror=True)
    assert ready(settings, mirrored).augment.operations == OPERATIONS
    assert not ready(settings, mirrored).augment.shared
    assert ready(dataclasses.replace(settings, operations=("flip",)), real).augment is unchanged


def test_the_buffer_is_on_record(real, buffer):
    weights = ready(dataclasses.replace(SHORT, buffer=buffer), real).weights
    assert list(weights) == [buffer] and len(weights[buffer]) == 64


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"steps": 0}, "'steps' of trajectory matching must be at least 1, not 0"),
        ({"expert_epochs": 0}, "'expert_epochs' .* not 0"),
        ({"max_start": 0}, "'max_start' .* not 0"),
        ({"batch": 0}, "'batch' .* not 0"),
        ({"rate": 0.0}, "rate of trajectory matching must be positive, not 0.0"),
        ({"rate_of_rate": -1.0}, "must be at least 0, not -1.0"),
        ({"operations": ("blur",)}, "unknown operation of Siamese augmentation 'blur'"),
    ],
)
def test_settings_out_of_range_are_named(setting, message):
    with pytest.raises(PotstillError, match=message):
        TrajectoryMatching(buffer="b", **setting)


def test_a_buffer_that_does_not_fit_is_named(real, buffer, tmp_path):
    settings = dataclasses.replace(SHORT, buffer=buffer)
    with pytest.raises(PotstillError, match="label 1 is '4' there and '7' in black"):
        ready(settings, real.select(["1", "7", "4"]))
    with pytest.raises(PotstillError, match="label 2 is '7' there and None in black"):
        ready(settings, real.select(["1", "4"]))
    with pytest.raises(PotstillError, match=f"{BUFFER} is for images of 8 px, not 16"):
        settings.prepare(real, images_per_class=2, size=16, seed=0, device="cpu")
    with pytest.raises(PotstillError, match="holds 4 epochs; max_start 4 and expert_epochs 2 need 5"):
        ready(dataclasses.replace(settings, max_start=4), real)
    with pytest.raises(
        PotstillError, match="nowhere holds no experts: `potstill buffer .*nowhere` makes them"
    ):
        ready(dataclasses.replace(settings, buffer=str(tmp_path / "nowhere")), real)
    fewer = dataclasses.replace(real, train=real.train.take([0, 1]))
    with pytest.raises(
        PotstillError, match="its experts have seen other images of t than .* of black.*--hold-out"
    ):
        ready(settings, fewer)
    vit = Experts(net="vit-w64", count=1, epochs=5)
    place = save_buffer(tmp_path, [[{}] * 6], experts=vit, size=16)
    with pytest.raises(PotstillError, match="vit-w64, which has dropout"):
        dataclasses.replace(settings, buffer=place).prepare(
            real, images_per_class=2, size=16, seed=0, device="cpu"
        )
