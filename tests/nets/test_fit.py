"""The training loop against one written out by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.core.progress import Step
from potstill.core.seeds import generator
from potstill.nets.augment import Crop, CutMix, Flip, PatchShuffle, in_turn
from potstill.nets.fit import Training, View, batches, cross_entropy, fit
from potstill.nets.optimiser import AdamW, Sgd
from potstill.nets.predict import predict
from potstill.nets.schedule import Cosine
from potstill.nets.spec import Net, build


def pictures(count: int, size: int = 8) -> Tensor:
    return torch.randint(256, (count, 3, size, size), generator=generator("pictures"), dtype=torch.uint8)


def small() -> nn.Module:
    return build(Net(width=4), 4, 8, generator(0))


LABELS = torch.arange(12) % 4


def test_the_rate_that_the_optimiser_used_is_rdeds() -> None:
    steps: list[Step] = []
    fit(
        nn.Sequential(nn.Flatten(), nn.Linear(48, 4)),
        pictures(4, 4),
        LABELS[:4],
        classes=4,
        training=Training(epochs=300, batch=4, rate=1e-3, schedule=Cosine(share=0.5)),
        generator=generator(1),
        on_step=steps.append,
    )
    factors = [steps[epoch].scalars["rate"] / 1e-3 for epoch in (0, 75, 150, 225, 299)]
    assert factors == pytest.approx([1, 0.96194, 0.85355, 0.69134, 0.50262], abs=5e-6)
    assert [(step.index, step.total) for step in steps] == [(epoch, 300) for epoch in range(1, 301)]


@pytest.mark.parametrize(
    ("norm", "order"), [("batch", torch.channels_last), ("instance", torch.contiguous_format)]
)
def test_a_net_sees_images_in_its_own_order(norm: str, order: torch.memory_format) -> None:
    module = build(Net(width=4, norm=norm), 4, 8, generator(0))
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    fit(module, pictures(12), LABELS, classes=4, training=Training(epochs=1, batch=4), generator=generator(1))
    predict(module, pictures(12).float().div(255))
    assert len(seen) == 4 and all(images.is_contiguous(memory_format=order) for images in seen)
    weights = [value for value in module.parameters() if value.ndim == 4]
    assert all(value.is_contiguous(memory_format=order) for value in weights)


def test_cosines() -> None:
    assert Cosine().factor(299, 300) == pytest.approx(2.7e-5, rel=0.02)
    assert Cosine(share=0.0).factor(9, 10) == 1


def by_hand(module: nn.Module, images: Tensor, seed: int) -> nn.Module:
    """Five epochs with PyTorch's own schedule, groups by name and nothing of ours but the draws."""
    draw = generator(seed)
    change = in_turn([Flip(probability=0.5), CutMix()])
    decayed = [p for n, p in module.named_parameters() if "weight" in n and p.ndim > 1]
    others = [p for n, p in module.named_parameters() if not ("weight" in n and p.ndim > 1)]
    optimiser = torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0}], lr=5e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda epoch: 0.5 * (1 + math.cos(math.pi * epoch / (2 * 5)))
    )
    module.train()
    for _ in range(5):
        for rows in torch.randperm(12, generator=draw).split(5):
            views, shares = change(images[rows].double() / 255, torch.eye(4).double()[LABELS[rows]], draw)
            loss = -(shares * module(views).log_softmax(1)).sum(1).mean()
            module.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    return module.eval()


def test_equals_a_loop_by_hand() -> None:
    """In float64, for Adam blows up the rounding of gradients that are zero."""
    images = pictures(12)
    module = small().double()
    fit(
        module,
        images,
        LABELS,
        classes=4,
        training=Training(epochs=5, batch=5, rate=5e-3, schedule=Cosine(share=0.5)),
        generator=generator(3),
        augment=in_turn([Flip(probability=0.5), CutMix()]),
    )
    expected = by_hand(small().double(), images, 3).state_dict()
    assert not module.training
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-9)


def test_same_call_same_bits_and_no_global_draws() -> None:
    before = torch.random.get_rng_state()
    states = []
    for _ in range(2):
        module = small()
        fit(
            module,
            pictures(12),
            LABELS,
            classes=4,
            training=Training(epochs=3, batch=5),
            generator=generator(3),
            augment=in_turn([PatchShuffle(), Crop(least_area=0.5), Flip(), CutMix()]),
        )
        states.append(module.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert torch.equal(before, torch.random.get_rng_state())


def test_it_learns_and_tells_the_loss() -> None:
    steps: list[Step] = []
    module = build(Net(width=16), 4, 8, generator(0))
    last = fit(
        module,
        pictures(12),
        LABELS,
        classes=4,
        training=Training(epochs=60, batch=6, rate=1e-2),
        generator=generator(0),
        on_step=steps.append,
    )
    assert steps[0].scalars["loss"] > 1.0 > 0.1 > last == steps[-1].scalars["loss"]
    assert torch.equal(module(pictures(12) / 255).argmax(1), LABELS)


def test_decay_is_for_weights_of_more_than_one_dimension() -> None:
    module = build(Net.parse("resnet-18-w8"), 4, 32, generator(0))
    optimiser = AdamW(weight_decay=0.01).build(module, 1e-3)
    decayed, plain = optimiser.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.01, 0)
    layers = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert {id(p) for p in decayed["params"]} == {id(layer.weight) for layer in layers}
    assert len(decayed["params"]) + len(plain["params"]) == len(list(module.parameters()))


@pytest.mark.parametrize(
    ("count", "batch", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (3, 1, [1, 1, 1]), (1, 4, [1])]
)
def test_batches(count: int, batch: int, sizes: list[int]) -> None:
    parts = list(batches(count, batch, generator(0)))
    assert [len(part) for part in parts] == sizes
    assert sorted(torch.cat(parts).tolist()) == list(range(count))


def test_the_loss_told_is_the_mean_over_images() -> None:
    """Each image's loss is its row: 3, 3 and 2 rows of 8 have another mean of means."""
    last = fit(
        small(),
        pictures(12)[:8],
        LABELS[:8],
        classes=4,
        training=Training(epochs=1, batch=3),
        generator=generator(0),
        loss=lambda logits, view: 0 * logits.sum() + view.rows.float().mean(),
    )
    assert last == pytest.approx(3.5)


def test_a_listener_sees_the_net_in_eval_mode_and_changes_nothing() -> None:
    states, seen = [], []

    def listen(done: int, module: nn.Module) -> None:
        seen.append((done, module.training))

    for listener in (None, listen):
        module = small()
        training = Training(epochs=3, batch=5)
        fit(
            module,
            pictures(12),
            LABELS,
            classes=4,
            training=training,
            generator=generator(3),
            after_epoch=listener,
        )
        states.append(module.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert seen == [(1, False), (2, False), (3, False)]


def test_an_average_is_of_the_values_after_every_epoch() -> None:
    """A plain mean of the first two, then 0.6 of what there was."""
    module, kept = small(), []
    fit(
        module,
        pictures(12),
        LABELS,
        classes=4,
        training=Training(epochs=4, batch=5, rate=1e-2, average=0.6),
        generator=generator(3),
        after_epoch=lambda done, net: kept.append({k: v.clone() for k, v in net.state_dict().items()}),
    )
    for name, value in module.state_dict().items():
        first, second, third, fourth = (one[name].double() for one in kept)
        wanted = 0.6 * (0.6 * (first + second) / 2 + 0.4 * third) + 0.4 * fourth
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(value, kept[-1][name])


@pytest.mark.parametrize(
    "settings", [Sgd(momentum=0.7, weight_decay=0.2), AdamW(weight_decay=0.2, betas=(0.5, 0.8))]
)
def test_three_steps_of_an_optimiser_are_its_equations(settings: Sgd | AdamW) -> None:
    module = nn.Linear(3, 2, bias=False).double()
    start = torch.randn(2, 3, generator=generator("start"), dtype=torch.float64)
    module.weight.data.copy_(start)
    optimiser, wanted, first, second = settings.build(module, 0.1), start.clone(), 0.0, 0.0
    for number in range(1, 4):
        slope = torch.randn(2, 3, generator=generator("slope", number), dtype=torch.float64)
        module.weight.grad = slope.clone()
        optimiser.step()
        if isinstance(settings, Sgd):
            first = 0.7 * first + slope + 0.2 * wanted
            wanted = wanted - 0.1 * first
        else:
            first, second = 0.5 * first + 0.5 * slope, 0.8 * second + 0.2 * slope**2
            ahead, size = first / (1 - 0.5**number), (second / (1 - 0.8**number)).sqrt() + 1e-8
            wanted = (1 - 0.1 * 0.2) * wanted - 0.1 * ahead / size
    torch.testing.assert_close(module.weight.data, wanted, rtol=1e-9, atol=1e-12)


def test_mixed_shares_mix_the_losses() -> None:
    logits = torch.randn(5, 4, generator=generator(0), dtype=torch.float64)
    first, second = (
        torch.eye(4, dtype=torch.float64)[LABELS[:5]],
        torch.eye(4, dtype=torch.float64)[LABELS[5:10]],
    )
    mixed, *apart = (
        cross_entropy(logits, View(images=logits, shares=shares, rows=LABELS[:5], epoch=0, index=0))
        for shares in (0.3 * first + 0.7 * second, first, second)
    )
    torch.testing.assert_close(mixed, 0.3 * apart[0] + 0.7 * apart[1])


def test_a_loss_that_is_not_finite_stops() -> None:
    with pytest.raises(PotstillError, match="diverged: the loss of epoch 1 is nan"):
        fit(
            small(),
            pictures(4),
            LABELS[:4],
            classes=4,
            training=Training(epochs=2, batch=4),
            generator=generator(0),
            loss=lambda logits, view: logits.sum() * math.nan,
        )


def test_nothing_to_train_on() -> None:
    with pytest.raises(PotstillError, match="no images"):
        fit(
            small(),
            pictures(0),
            LABELS[:0],
            classes=4,
            training=Training(epochs=1, batch=1),
            generator=generator(0),
        )
    with pytest.raises(PotstillError, match="at least 1, not 0"):
        Training(epochs=0, batch=4)
