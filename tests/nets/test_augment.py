"""Batched augmentation against the slow way of doing it image by image."""

import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.nets.augment import (
    Crop,
    CutMix,
    Flip,
    PatchShuffle,
    crop_resize,
    cutmix,
    draw_crops,
    flip,
    in_turn,
    patch_shuffle,
    unchanged,
)


def pictures(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=generator("pictures", seed))


def numbered(count: int, size: int) -> Tensor:
    """Images whose pixel values are their own row and column numbers."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack((rows, columns, rows * size + columns)).float().expand(count, 3, size, size)


def test_two_strips_give_four_equally_likely_arrangements() -> None:
    count = 4000
    shuffled = patch_shuffle(numbered(count, 4), 2, generator(0))
    arrangements = Counter(tuple(image[2].flatten().tolist()) for image in shuffled)
    assert len(arrangements) == 4
    spread = math.sqrt(count * 0.25 * 0.75)
    assert all(abs(seen - count / 4) < 4.5 * spread for seen in arrangements.values())
    blocks = numbered(1, 4)[0, 2]
    top, bottom = blocks[:2], blocks[2:]
    expected = {
        tuple(torch.cat([half.roll(turn, 1) for half in order]).flatten().tolist())
        for order in ((top, bottom), (bottom, top))
        for turn in (0, 2)
    }
    assert set(arrangements) == expected


@pytest.mark.parametrize("strips", [2, 3, 5])
def test_strips_stay_whole_and_the_last_takes_the_remainder(strips: int) -> None:
    size = 11
    width = size // strips
    pieces = [list(range(start * width, (start + 1) * width)) for start in range(strips - 1)]
    pieces.append(list(range((strips - 1) * width, size)))
    shuffled = patch_shuffle(numbered(40, size), strips, generator(1))
    orders = set()
    for image in shuffled:
        rows, columns = image[0, :, 0].long().tolist(), image[1, 0].long().tolist()
        assert torch.equal(image[2], torch.tensor(rows).float()[:, None] * size + torch.tensor(columns))
        for line in (rows, columns):
            order = sorted(pieces, key=lambda piece: line.index(piece[0]))
            assert [number for piece in order for number in piece] == line
        orders.add((tuple(rows), tuple(columns)))
    assert len(orders) > 3


def slow_draw(size: int, least: float, draws: Tensor) -> tuple[int, int, int, int]:
    """The loop over ten tries of torchvision's RandomResizedCrop, written from its description."""
    for area, ratio, down, right in draws.T.tolist():
        target = size * size * (least + (1 - least) * area)
        aspect = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * ratio)
        width, height = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < width <= size and 0 < height <= size:
            return int(down * (size - height + 1)), int(right * (size - width + 1)), height, width
    return 0, 0, size, size


@pytest.mark.parametrize("least", [0.25, 0.5, 0.97])
def test_crops_equal_the_loop(least: float) -> None:
    draws = torch.rand(4, 300, 10, generator=generator(3), dtype=torch.float64)
    expected = [slow_draw(32, least, draws[:, row]) for row in range(300)]
    assert draw_crops(300, 32, least, generator(3)).tolist() == [list(box) for box in expected]


@pytest.mark.parametrize("size", [28, 32, 33, 224])
def test_crops_of_the_whole_area_are_the_whole_image(size: int) -> None:
    boxes = draw_crops(2000, size, 1.0, generator(4))
    assert torch.equal(boxes, torch.tensor([0, 0, size, size]).expand(2000, 4))
    images = pictures(2, size)
    assert torch.equal(crop_resize(images, boxes[:2], size), images)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [32, 37])
def test_resized_crops_equal_slicing_and_interpolating(size: int, antialias: bool) -> None:
    """As crops are only ever enlarged, antialiasing (RDED has it on) changes nothing."""
    images = pictures(64, 32)
    boxes = draw_crops(64, 32, 0.2, generator(5))
    assert len(set(map(tuple, boxes.tolist()))) > 50
    quick = crop_resize(images, boxes, size)
    for row, (top, left, height, width) in enumerate(boxes.tolist()):
        piece = images[row : row + 1, :, top : top + height, left : left + width]
        slow = functional.interpolate(
            piece, (size, size), mode="bilinear", align_corners=False, antialias=antialias
        )
        torch.testing.assert_close(quick[row : row + 1], slow, rtol=0, atol=3e-6)


def test_flips() -> None:
    images = pictures(1000, 4)
    flipped = flip(images, 0.5, generator(6))
    mirrored = [torch.equal(new, old.flip(2)) for new, old in zip(flipped, images, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert sum(mirrored) + sum(kept) == 1000
    assert abs(sum(mirrored) - 500) < 70
    assert torch.equal(flip(images, 1.0, generator(6)), images.flip(3))


def test_cutmix_pastes_one_box_of_one_partner_and_mixes_shares_by_its_area() -> None:
    sizes = []
    for seed in range(300):
        images, shares = pictures(6, 16, seed), torch.eye(6)
        before = images.clone()
        mixed, new = cutmix(images, shares, generator("box", seed))
        assert torch.equal(images, before)
        changed = (mixed != images).any(1)
        moved = changed.flatten(1).any(1)
        box = changed[moved.nonzero()[0, 0]] if moved.any() else torch.zeros(16, 16, dtype=torch.bool)
        assert all(torch.equal(part, box) for part in changed[moved])
        rows, columns = box.any(1), box.any(0)
        assert torch.equal(box, rows[:, None] & columns)
        area = box.float().mean().item()
        if moved.all():
            partner = new.clone().fill_diagonal_(0).argmax(1)
            expected = torch.where(box, images[partner], images)
            assert torch.equal(mixed, expected)
            torch.testing.assert_close(new, (1 - area) * torch.eye(6) + area * torch.eye(6)[partner])
        torch.testing.assert_close(new.sum(1), torch.ones(6))
        sizes.append(area)
    assert min(sizes) == 0 and max(sizes) > 0.7


def test_cutmix_boxes_have_the_size_and_place_of_the_paper() -> None:
    """Mean pasted area against the same draw written as a loop over scalars in float64."""
    size, count = 32, 3000
    areas = []
    for seed in range(count):
        mixed, new = cutmix(pictures(2, size), torch.eye(2), generator("box", seed))
        areas.append(1 - new[0, 0].item() if new[0, 0] < 1 else 0.0)
    draw = torch.Generator().manual_seed(0)
    slow = []
    for _ in range(count):
        share, height, width = torch.rand(3, generator=draw, dtype=torch.float64).tolist()
        side, middles = int(size * math.sqrt(1 - share)), (int(height * size), int(width * size))
        sides = [min(middle + side // 2, size) - max(middle - side // 2, 0) for middle in middles]
        itself = torch.rand((), generator=draw) < 0.5
        slow.append(0.0 if itself else sides[0] * sides[1] / size**2)
    spread = torch.tensor(slow).std().item() * math.sqrt(2 / count)
    assert abs(sum(areas) / count - sum(slow) / count) < 4 * spread


def test_cutmix_mixes_a_share_of_batches() -> None:
    images, shares, mixed = pictures(4, 8), torch.eye(4), 0
    for seed in range(400):
        changed, new = CutMix(probability=0.1)(images, shares, generator("share", seed))
        mixed += changed is not images
        assert changed is not images or new is shares
    assert abs(mixed - 40) < 4 * math.sqrt(400 * 0.1 * 0.9)
    always = CutMix()(images, shares, generator(3)), cutmix(images, shares, generator(3))
    assert all(torch.equal(*pair) for pair in zip(*always, strict=True)), "at 1 nothing is drawn to decide it"


def test_everything_together_is_repeatable_and_in_range() -> None:
    images, shares = pictures(10, 32), torch.eye(10)
    change = in_turn([PatchShuffle(), Crop(least_area=0.5), Flip(), CutMix()])
    first, again = (change(images, shares, generator(9)) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert 0 <= first[0].min() and first[0].max() <= 1
    assert not torch.equal(change(images, shares, generator(10))[0], first[0])


def test_nothing_switched_on_draws_nothing() -> None:
    images, shares, draw = pictures(3, 8), torch.eye(3), generator(0)
    state = draw.get_state()
    for change in (in_turn([]), unchanged):
        result = change(images, shares, draw)
        assert result[0] is images and result[1] is shares
    assert torch.equal(draw.get_state(), state)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (lambda: PatchShuffle(strips=0), "0"),
        (lambda: Crop(least_area=0.0), "0.0"),
        (lambda: Crop(least_area=1.5), "1.5"),
        (lambda: Flip(probability=-0.1), "-0.1"),
        (lambda: CutMix(probability=2.0), "2.0"),
    ],
)
def test_settings_out_of_range(change: Callable[[], object], value: str) -> None:
    with pytest.raises(PotstillError, match=value):
        change()
