"""RDED against the steps of the paper done slowly: crops, scores, ranks, stitching."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from scipy import stats
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.data.real import Classes, RealData, Split, empty_split
from potstill.distilled import Slot
from potstill.methods.patches import Patches, Rded, draw_squares, framed, realism, stitch
from potstill.nets.layers import DEVIATION, MEAN
from potstill.nets.spec import Net, build
from potstill.nets.store import load_net, save_net

KEYS = ("3", "8")


def silent(step):
    pass


@pytest.fixture(scope="module")
def real():
    return digits().select(KEYS)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save(tmp_path_factory.mktemp("teacher"), Net(width=4), 32)


def save(folder, spec, size):
    module = build(spec, 2, size, generator(5))
    module(torch.rand(64, 3, size, size, generator=generator(6)))
    save_net(folder, module, spec, Classes(KEYS, KEYS), size, {})
    return str(folder)


def prepared(real, teacher, /, ipc=3, seed=0, **settings) -> Patches:
    method = Rded(**{"teacher": teacher, "sources": 40, "crops": 3} | settings)
    return method.prepare(real, seed=seed, images_per_class=ipc, device="cpu")


@pytest.mark.parametrize(("width", "height"), [(32, 32), (500, 375), (30, 400), (3, 2), (1, 1)])
def test_boxes_are_squares_inside_the_image(width, height):
    boxes = draw_squares(500, width, height, generator(0))
    left, top, right, bottom = boxes.unbind(1)
    assert torch.equal(right - left, bottom - top) and (right > left).all()
    assert left.min() >= 0 and top.min() >= 0 and right.max() <= width and bottom.max() <= height


def test_the_area_is_uniform_from_8_to_100_per_cent_and_so_is_the_place():
    left, _, right, _ = draw_squares(4000, 1000, 1000, generator(1)).double().unbind(1)
    side = right - left
    assert stats.kstest(side**2 / 1e6, stats.uniform(0.08, 0.92).cdf).pvalue > 0.01
    inner = side < 900
    place = (left / (1000 - side))[inner]
    assert stats.kstest(place, stats.uniform().cdf).pvalue > 0.01


def test_every_square_of_a_small_image_is_drawn():
    boxes = {tuple(box) for box in draw_squares(500, 3, 2, generator(0)).tolist()}
    small = {(left, top, left + 1, top + 1) for left in range(3) for top in range(2)}
    assert boxes == small | {(0, 0, 2, 2), (1, 0, 3, 2)}


def test_where_no_box_fits_the_central_square_is_taken():
    assert draw_squares(2, 10, 3000, generator(0)).tolist() == [[0, 1495, 10, 1505]] * 2


def photos(count, width=300, height=200):
    """Photos of noise at several scales, larger than what is made of them."""
    drawn = []
    for row in range(count):
        noise = torch.rand(1, 3, 8, 12, generator=generator("photo", row))
        fine = torch.rand(1, 3, height, width, generator=generator("fine", row))
        smooth = functional.interpolate(noise, (height, width), mode="bilinear")
        drawn.append((255 * (0.7 * smooth + 0.3 * fine)[0]).byte().permute(1, 2, 0).numpy())
    return drawn


def photo_data(count):
    arrays = photos(2 * count)
    labels = torch.arange(2).repeat_interleave(count)
    split = Split(
        tuple(f"train/{row}.jpg" for row in range(2 * count)),
        labels,
        lambda row: Image.fromarray(arrays[row]),
    )
    return RealData("photos", Classes(KEYS, KEYS), split, empty_split(), 256, True), arrays


def test_crops_come_from_the_whole_photo_resized_as_torch_does(teacher):
    real, arrays = photo_data(4)
    maker = prepared(real, teacher, ipc=1, seed=7, factor=2, crops=4)
    crops = maker._crops(5)
    draw = generator(7, "crops", "train/5.jpg")
    image = torch.from_numpy(arrays[5]).permute(2, 0, 1).float()[None]
    boxes = draw_squares(4, 300, 200, draw).tolist()
    assert max(right - left for left, _, right, _ in boxes) > 100, (
        "some must shrink, which needs antialiasing"
    )
    for crop, (left, top, right, bottom) in zip(crops, boxes, strict=True):
        cut = image[:, :, top:bottom, left:right]
        resized = functional.interpolate(cut, (16, 16), mode="bilinear", antialias=True)[0]
        assert (crop.float() - resized).abs().max() <= 1.5


def slow_loss(folder, crop, label, size):
    """Normalises the crop, pads it with zeros, and takes minus the log of the softmax, all in float64."""
    module = load_net(folder).module.double()
    mean, deviation = (torch.tensor(v).double()[:, None, None] for v in (MEAN, DEVIATION))
    side = size - crop.shape[-1]
    padding = (side // 2, side - side // 2) * 2
    inputs = functional.pad((crop.double() / 255 - mean) / deviation, padding)
    logits = module.head(module.blocks(inputs[None]).flatten(1))[0]
    return (logits.exp().sum().log() - logits[label]).item()


@pytest.mark.parametrize("side", [32, 16, 10])
def test_realism_is_the_cross_entropy_on_the_crop_padded_with_zeros_after_normalising(
    teacher, tmp_path, side
):
    crops = torch.randint(256, (20, 3, side, side), generator=generator(2), dtype=torch.uint8)
    found = realism(load_net(Path(teacher)).module, crops, 1, 32)
    expected = [slow_loss(Path(teacher), crop, 1, 32) for crop in crops]
    assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert max(expected) - min(expected) > 1e-3


def test_the_frame_is_the_mean_colour_which_normalises_to_zero(teacher):
    module = load_net(Path(teacher)).module
    crops = torch.full((2, 3, 16, 16), 255, dtype=torch.uint8)
    images = framed(module, crops, 32)
    inner = torch.zeros(32, 32, dtype=torch.bool)
    inner[8:24, 8:24] = True
    assert (images[:, :, inner] == 1).all()
    border = images[:, :, ~inner]
    assert torch.equal(border, torch.tensor(MEAN)[None, :, None].expand_as(border))
    assert module.get_submodule("normalise")(images)[:, :, ~inner].eq(0).all()
    whole = torch.randint(256, (2, 3, 32, 32), generator=generator(3), dtype=torch.uint8)
    assert torch.equal(framed(module, whole, 32), whole / 255)


def test_patches_are_stitched_row_by_row():
    patches = torch.randint(256, (9, 3, 5, 5), generator=generator(4), dtype=torch.uint8)
    image = stitch(patches)
    assert image.shape == (3, 15, 15)
    for place, patch in enumerate(patches):
        row, column = divmod(place, 3)
        assert torch.equal(image[:, 5 * row : 5 * row + 5, 5 * column : 5 * column + 5], patch)


@pytest.mark.parametrize("factor", [1, 2])
def test_image_k_holds_the_best_crops_of_ranks_k_and_every_ipc_on(real, teacher, factor):
    maker = prepared(real, teacher, ipc=3, factor=factor)
    made = maker.make([Slot("8", index) for index in range(3)], silent)
    ranked = sorted(candidates(maker, label=1), key=lambda candidate: candidate[0])
    for index, one in enumerate(made):
        expected = ranked[index : 3 * factor**2 : 3]
        assert one.details["sources"] == [source for _, source, _ in expected]
        assert one.details["losses"] == pytest.approx([loss for loss, _, _ in expected], rel=1e-9)
        assert torch.equal(one.image, stitch(torch.stack([crop for _, _, crop in expected])))


def candidates(maker, label):
    """The best crop of each of the 40 sources: its loss, id and pixels, each source judged by itself."""
    rows = maker.real.train.of_class(label)
    order = torch.randperm(len(rows), generator=generator(maker.seed, "sources", KEYS[label]))
    for row in rows[order][:40].tolist():
        crops = maker._crops(row)
        losses = realism(maker.teacher, crops, label, maker.size).tolist()
        best = losses.index(min(losses))
        yield losses[best], maker.real.train.ids[row], crops[best]


def test_every_patch_comes_from_another_image_of_the_class(real, teacher):
    made = prepared(real, teacher, ipc=10, factor=2).make([Slot("3", index) for index in range(10)], silent)
    sources = [source for one in made for source in one.details["sources"]]
    assert len(set(sources)) == 40
    assert {real.train.labels[real.train.ids.index(source)].item() for source in sources} == {0}


def test_an_image_depends_on_its_slot_alone(real, teacher):
    slots = [Slot("8", 2), Slot("3", 0), Slot("8", 0), Slot("3", 1), Slot("3", 0)]
    whole = prepared(real, teacher, factor=2).make(slots, silent)
    for rows in ([2], [4, 0, 3], [4, 3, 2, 1, 0]):
        part = prepared(real, teacher, factor=2).make([slots[row] for row in rows], silent)
        for row, one in zip(rows, part, strict=True):
            assert one.details == whole[row].details and torch.equal(one.image, whole[row].image)
    other = prepared(real, teacher, factor=2, seed=1).make(slots[:1], silent)[0]
    assert not torch.equal(other.image, whole[0].image)


def test_a_class_is_judged_once_while_its_places_are_filled(real, teacher):
    steps, maker = [], prepared(real, teacher)
    for index in range(3):
        maker.make([Slot("3", index)], steps.append)
    assert [(step.stage, step.index, step.total) for step in steps] == [
        ("judge crops of 3", 32, 40),
        ("judge crops of 3", 40, 40),
    ]
    assert list(maker.weights) == [teacher] and len(maker.weights[teacher]) == 64


def test_all_images_serve_where_there_are_fewer_than_sources(teacher):
    real, _ = photo_data(4)
    made = prepared(real, teacher, ipc=1, factor=2, sources=300).make([Slot("3", 0)], silent)[0]
    assert sorted(made.details["sources"]) == [f"train/{row}.jpg" for row in range(4)]
    with pytest.raises(
        PotstillError, match=r"class '3' of photos has 4 .*crops 4 \(.*=300\): fewer than 2 images x 2"
    ):
        prepared(real, teacher, ipc=2, factor=2, sources=300)
    with pytest.raises(PotstillError, match=r"crops 3 \(sources=3\): fewer than 4 images x 1\^2"):
        prepared(real, teacher, ipc=4, factor=1, sources=3)


@pytest.mark.parametrize(("size", "factor"), [(32, 1), (64, 1), (128, 2)])
def test_images_are_stitched_from_128_px_on(tmp_path, size, factor):
    folder = save(tmp_path, Net(kind="resnet", depth=18, width=2), 32)
    real, _ = photo_data(4)
    maker = prepared(real, folder, ipc=1, size=size)
    assert (maker.size, maker.factor) == (size, factor)
    assert maker.make([Slot("3", 0)], silent)[0].image.shape == (3, size, size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 64}, "the teacher .* is for images of 32 px and cannot judge 64 px"),
        ({"factor": 3}, "images of 32 px cannot be stitched of 3 x 3 patches"),
        ({"crops": 0}, "crops must be at least 1, not 0"),
        ({"sources": 0}, "sources must be at least 1, not 0"),
        ({"factor": 0}, "factor must be at least 1, not 0"),
        ({"size": -1}, "size must be at least 1, not -1"),
        ({"teacher": "digits/teecher"}, "unknown model 'digits/teecher'.*Did you mean 'digits/teacher'"),
    ],
)
def test_mistakes_are_named(real, teacher, settings, message):
    with pytest.raises(PotstillError, match=message):
        prepared(real, teacher, **settings)


def test_a_teacher_that_does_not_know_a_class_is_refused(teacher):
    with pytest.raises(PotstillError, match="unknown class '1'"):
        prepared(digits().select(["3", "1"]), teacher)
