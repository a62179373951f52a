import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from potstill.core.errors import PotstillError
from potstill.data.real import Classes, RealData, Split, empty_split, require_images, tensor_split


def numbered(labels: list[int], prefix: str = "train", size: int = 4) -> Split:
    """Images whose every pixel is their row number."""
    images = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 3, size, size)
    return tensor_split(images.contiguous(), torch.tensor(labels, dtype=torch.int64), prefix)


def data(train: list[int], test: list[int]) -> RealData:
    classes = Classes(("a", "b", "c"), ("one", "two", "three"))
    return RealData("numbers", classes, numbered(train), numbered(test, "test"), size=4, mirror=True)


def test_classes_index_their_keys() -> None:
    classes = Classes(("n01440764", "n02102040"), ("tench", "springer"))
    assert len(classes) == 2
    assert classes.index("n02102040") == 1
    with pytest.raises(
        PotstillError, match="unknown class 'n02102041'.*mean 'n02102040'.*Allowed: n01440764, "
    ):
        classes.index("n02102041")


def test_classes_refuse_repeated_keys_and_odd_names() -> None:
    with pytest.raises(PotstillError, match="more than once: b"):
        Classes(("b", "a", "b"), ("1", "2", "3"))
    with pytest.raises(PotstillError, match="2 class keys but 1 names"):
        Classes(("a", "b"), ("1",))


def test_a_split_needs_one_int64_label_an_id() -> None:
    with pytest.raises(PotstillError, match="2 ids"):
        Split(("x", "y"), torch.zeros(3, dtype=torch.int64), lambda row: Image.new("RGB", (1, 1)))
    with pytest.raises(PotstillError, match="int64"):
        Split(("x",), torch.zeros(1), lambda row: Image.new("RGB", (1, 1)))


def test_rows_of_a_class_are_ascending() -> None:
    assert numbered([2, 0, 2, 1]).of_class(2).tolist() == [0, 2]
    assert numbered([2, 0, 2, 1]).of_class(7).tolist() == []


@pytest.mark.parametrize("rows", [[3, 0, 3], torch.tensor([3, 0, 3]), (3, 0, 3)])
def test_pixels_are_the_rows_asked_for(rows: object) -> None:
    pixels = numbered([0] * 5).pixels(rows, 4)  # pyright: ignore[reportArgumentType]
    assert pixels.dtype == torch.uint8 and pixels.shape == (3, 3, 4, 4)
    assert pixels[:, 0, 0, 0].tolist() == [3, 0, 3]


@pytest.mark.parametrize("size", [2, 4, 9])
def test_pixels_of_all_and_of_none(size: int) -> None:
    split = numbered([0] * 5)
    assert split.pixels(None, size)[:, 2, -1, -1].tolist() == [0, 1, 2, 3, 4]
    assert split.pixels([], size).shape == (0, 3, size, size)
    assert empty_split().pixels(None, size).shape == (0, 3, size, size)


def test_pixels_held_in_memory_cannot_be_changed_through_a_result() -> None:
    split = numbered([0, 0])
    split.pixels(None, 4).zero_()
    assert split.pixels([1], 4).max() == 1


@pytest.mark.parametrize("side", [40, 300])
def test_large_images_on_threads_give_what_one_by_one_gives(side: int) -> None:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (side, side + 7, 3), dtype=np.uint8)) for _ in range(20)]
    split = Split(tuple(map(str, range(20))), torch.zeros(20, dtype=torch.int64), images.__getitem__)
    rows = [5, 19, 0, 5]
    together = split.pixels(rows, 24)
    alone = torch.cat([split.pixels([row], 24) for row in rows])
    assert torch.equal(together, alone)


def test_an_unreadable_image_surfaces_from_a_thread() -> None:
    def read(row: int) -> Image.Image:
        if row == 2:
            raise PotstillError("row 2 is broken")
        return Image.new("RGB", (200, 200))

    split = Split(("a", "b", "c"), torch.zeros(3, dtype=torch.int64), read)
    with pytest.raises(PotstillError, match="row 2 is broken"):
        split.pixels(None, 8)


def test_take_of_take_reads_the_right_rows() -> None:
    taken = numbered([0, 1, 2, 0, 1]).take([4, 2, 0]).take(torch.tensor([2, 0]))
    assert taken.ids == ("train/0", "train/4")
    assert taken.labels.tolist() == [0, 1]
    assert [taken.read(row).getpixel((0, 0)) for row in range(2)] == [(0, 0, 0), (4, 4, 4)]
    assert taken.pixels(None, 4)[:, 0, 0, 0].tolist() == [0, 4]
    assert len(taken.take([])) == 0


def test_select_labels_classes_in_the_order_given_and_keeps_the_images_order() -> None:
    chosen = data([0, 1, 2, 1, 0], [2, 1, 0]).select(["c", "b"])
    assert chosen.classes == Classes(("c", "b"), ("three", "two"))
    assert chosen.train.ids == ("train/1", "train/2", "train/3")
    assert chosen.train.labels.tolist() == [1, 0, 1]
    assert chosen.test.labels.tolist() == [0, 1]
    assert chosen.train.pixels(None, 4)[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_select_twice_is_select_once() -> None:
    whole = data([0, 1, 2, 1, 0], [])
    twice, once = whole.select(["c", "a", "b"]).select(["b", "c"]), whole.select(["b", "c"])
    assert twice.classes == once.classes and twice.train.ids == once.train.ids
    assert torch.equal(twice.train.labels, once.train.labels)


def test_select_refuses_unknown_and_repeated_classes() -> None:
    with pytest.raises(PotstillError, match="unknown class 'd'"):
        data([0, 1, 2], []).select(["a", "d"])
    with pytest.raises(PotstillError, match="more than once: a"):
        data([0, 1, 2], []).select(["a", "a"])


def test_classes_without_images_are_named() -> None:
    assert require_images(data([0, 1, 2], [])).name == "numbers"
    with pytest.raises(PotstillError, match="no train images of 2 classes: a, c"):
        require_images(data([1], []))
    with pytest.raises(PotstillError, match="no test images of 1 classes: b"):
        require_images(data([0, 1, 2], [0, 2]))


def test_data_of_the_same_names_are_told_by_their_pixels() -> None:
    one, again, other = (data([0, 1, 2, 1], [0, 1, 2]) for _ in range(3))
    other.test.read.images[2] ^= 1  # pyright: ignore[reportFunctionMemberAccess]
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert one.fingerprint != one.select(["b", "a", "c"]).fingerprint


def test_data_survive_a_process_border() -> None:
    sent = data([0, 1, 2, 1], [0, 1, 2]).select(["b", "a"])
    received = pickle.loads(pickle.dumps(sent))
    assert received.classes == sent.classes and received.train.ids == sent.train.ids
    assert torch.equal(received.train.pixels(None, 4), sent.train.pixels(None, 4))
