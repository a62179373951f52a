"""IDM's queue is bounded and outlives a kill; labels count by as much as the net is right."""

import copy
import dataclasses

import torch
from torch.nn import functional

from potstill.canvas.pixels import Pixels
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.methods.matching import Matching
from potstill.objectives.batches import RealBatches
from potstill.objectives.idm import Idm, IdmMatcher

SMALL = Idm(net="convnet-3-instance-w4", batch=32, nets=5, interval=2, steps=2, operations=())
LABELS = torch.arange(3).repeat_interleave(2)


def ready(few: RealData, settings: Idm = SMALL) -> IdmMatcher:
    return settings.prepare(few, images_per_class=2, size=8, seed=0, device="cpu")


def images() -> torch.Tensor:
    return torch.rand(6, 3, 8, 8, generator=generator("images"))


def test_the_queue_grows_by_one_each_interval_and_lets_the_oldest_go(few: RealData) -> None:
    matcher, numbers = ready(few), []
    for iteration in range(9):
        matcher.begin(iteration)
        numbers.append([one.number for one in matcher.queue])
    assert numbers[0] == numbers[1] == [0, 1, 2, 3]
    assert numbers[2] == [0, 1, 2, 3, 4]
    assert numbers[4] == [1, 2, 3, 4, 5]
    assert numbers[8] == [3, 4, 5, 6, 7]


def test_labels_count_by_as_much_as_the_net_is_right(few: RealData) -> None:
    matcher = ready(few)
    matcher.begin(0)
    assert matcher.seen.accuracy == 0
    bare = matcher.loss(images(), LABELS, 0)
    matcher.seen.accuracy = 0.25
    with torch.no_grad():
        each = functional.cross_entropy(matcher.seen.net(images()), LABELS, reduction="none")
    wanted = 0.5 * 25 * each.unflatten(0, (3, 2)).mean(1).sum()
    torch.testing.assert_close(matcher.loss(images(), LABELS, 0) - bare, wanted, rtol=1e-4, atol=1e-4)


def test_training_on_real_images_makes_a_net_better(few: RealData) -> None:
    settings = Idm(net="convnet-3-instance-w8", batch=64, nets=5, steps=40, trained=4, operations=())
    matcher = settings.prepare(few, images_per_class=2, size=16, seed=0, device="cpu")
    matcher.begin(0)
    matcher.learn(lambda: images(), LABELS, 0)
    first = [one.accuracy for one in matcher.taught]
    matcher.learn(lambda: images(), LABELS, 0)
    assert max(one.accuracy for one in matcher.taught) > max(first) > 1 / 3
    with torch.no_grad():
        best = max(matcher.taught, key=lambda one: one.accuracy)
        pixels = few.train.pixels(range(0, 1200, 10), 16).float() / 255
        right = (best.net.eval()(pixels).argmax(1) == few.train.labels[::10]).float().mean().item()
    assert right > 0.6


def test_a_training_is_sgd_with_momentum_and_decay_from_rest(few: RealData) -> None:
    """Written out in float64: v <- 0.9 v + g + 0.0005 w and w <- w - rate v."""
    matcher = ready(few, dataclasses.replace(SMALL, steps=4, trained=1, rate_net=0.5, batch_net=48))
    matcher.begin(0)
    (queued,) = matcher.taught
    twin = copy.deepcopy(queued.net).double().train()
    for turn in range(2):
        matcher.begin(turn)
        matcher.taught = [queued]
        matcher.learn(images, LABELS, 0)
        draws, speeds = generator(0, "train", turn, 0), [0.0] * len(list(twin.parameters()))
        for _ in range(4):
            pictures, labels = matcher.real.any(48, draws)
            loss = functional.cross_entropy(twin(pictures.double()), labels)
            slopes = torch.autograd.grad(loss, list(twin.parameters()))
            with torch.no_grad():
                for place, (value, slope) in enumerate(zip(twin.parameters(), slopes, strict=True)):
                    speeds[place] = 0.9 * speeds[place] + slope + 5e-4 * value
                    value -= 0.5 * speeds[place]
    for value, wanted in zip(queued.net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(value.double(), wanted, rtol=2e-4, atol=2e-5)


def test_the_queue_outlives_the_process(few: RealData) -> None:
    one, other = ready(few), ready(few)
    for iteration in range(3):
        one.begin(iteration)
        one.learn(images, LABELS, 0)
    other.restore(one.state())
    for matcher in (one, other):
        matcher.begin(3)
    assert torch.equal(one.loss(images(), LABELS, 0), other.loss(images(), LABELS, 0))
    for matcher in (one, other):
        matcher.learn(images, LABELS, 0)
    assert [q.accuracy for q in one.queue] == [q.accuracy for q in other.queue]
    for mine, theirs in zip(one.queue, other.queue, strict=True):
        for value, again in zip(mine.net.parameters(), theirs.net.parameters(), strict=True):
            assert torch.equal(value, again)


def test_on_tiles(few: RealData) -> None:
    """Two slots of four tiles become eight images of a class."""
    method = Matching(objective=SMALL, canvas=Pixels(size=16, parts=2, rate=0.2), iterations=2)
    made = method.prepare(few, seed=0, images_per_class=2, device="cpu")
    assert made.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    made.optimise(lambda step: None)
    assert len(made.losses) == 2


def test_random_batches_are_of_whatever_class(few: RealData) -> None:
    pictures, labels = RealBatches.of(few, 8, "cpu").any(600, generator("any"))
    assert pictures.shape == (600, 3, 8, 8) and set(labels.tolist()) == {0, 1, 2}
    wanted = few.train.pixels(None, 8).float() / 255
    first = (wanted == pictures[0]).flatten(1).all(1).nonzero()[0]
    assert few.train.labels[first] == labels[0]
