import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from potstill.core.errors import PotstillError
from potstill.core.progress import Step
from potstill.data.folder import image_folder
from potstill.data.read import read_image
from potstill.data.real import RealData
from potstill.data.source import Source

Make = Callable[..., Path]


def load(root: Path, **options: object) -> RealData:
    return image_folder(Source(place=str(root), **options))  # pyright: ignore[reportArgumentType]


def broken(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".whole.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        whole, "JPEG"
    )
    path.write_bytes(whole.read_bytes()[:2000])
    whole.unlink()
    return path


def test_plain_classes_are_all_training_images(make_folder: Make) -> None:
    data = load(make_folder("dog/1.png", "cat/1.png", "cat/2.png"))
    assert data.name == "root" and data.classes.keys == ("cat", "dog")
    assert data.train.ids == ("cat/1.png", "cat/2.png", "dog/1.png")
    assert data.train.labels.tolist() == [0, 0, 1]
    assert len(data.test) == 0
    assert data.mirror and data.skipped == ()


@pytest.mark.parametrize("folder", ["test", "val", "validation"])
def test_train_with_a_test_folder_beside_it(folder: str, make_folder: Make) -> None:
    data = load(
        make_folder("train/cat/1.png", "train/dog/1.png", f"{folder}/cat/9.png", f"{folder}/dog/8.png")
    )
    assert data.train.ids == ("train/cat/1.png", "train/dog/1.png")
    assert data.test.ids == (f"{folder}/cat/9.png", f"{folder}/dog/8.png")
    assert data.test.labels.tolist() == [0, 1]


def test_test_goes_before_val_unless_it_holds_no_classes(make_folder: Make) -> None:
    root = make_folder("train/a/1.png", "val/a/1.png", "test/1.png")
    assert load(root).test.ids == ("val/a/1.png",)
    make_folder("test/a/1.png")
    assert load(root).test.ids == ("test/a/1.png",)


def test_train_alone_has_no_test_images(make_folder: Make) -> None:
    data = load(make_folder("train/a/1.png", "train/b/1.png"))
    assert len(data.train) == 2 and len(data.test) == 0


def test_a_class_may_be_called_train(make_folder: Make) -> None:
    assert load(make_folder("train/1.png", "bus/1.png")).classes.keys == ("bus", "train")


def test_another_folder_to_test_on(make_folder: Make) -> None:
    root = make_folder("a/1.png", "b/1.png")
    other = make_folder("a/1.png", "b/2.png", root="elsewhere")
    data = load(root, test=str(other))
    assert data.test.ids == ("elsewhere/a/1.png", "elsewhere/b/2.png")
    assert torch.equal(
        data.test.pixels([1], 12)[0],
        torch.from_numpy(np.array(read_image(other / "b/2.png"))).permute(2, 0, 1),
    )
    with pytest.raises(PotstillError, match="no such test folder.*nowhere"):
        load(root, test=str(root / "nowhere"))


def test_another_test_folder_goes_before_the_one_beside_train(make_folder: Make) -> None:
    root = make_folder("train/a/1.png", "test/a/1.png")
    assert load(root, test=str(make_folder("a/7.png", root="other"))).test.ids == ("other/a/7.png",)


def test_keys_and_files_are_in_natural_order(make_folder: Make) -> None:
    data = load(make_folder("10/b10.png", "10/b9.png", "9/a.png", "2/x.png"))
    assert data.classes.keys == ("2", "9", "10")
    assert data.train.ids == ("2/x.png", "9/a.png", "10/b9.png", "10/b10.png")


def test_hidden_files_and_other_suffixes_are_passed_over(make_folder: Make) -> None:
    root = make_folder("a/1.PNG", "a/2.jpeg", "a/.hidden.png", "a/._2.jpeg.png", ".git/x.png")
    (root / "a" / "metadata.jsonl").write_text("{}")
    (root / "README.md").write_text("about")
    (root / "a" / "deeper").mkdir()
    assert load(root).train.ids == ("a/1.PNG", "a/2.jpeg")


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "JPEG", "webp", "bmp", "tif", "tiff", "gif", "ppm"])
def test_every_suffix_is_read(suffix: str, make_folder: Make) -> None:
    data = load(make_folder(f"a/1.{suffix}"))
    assert data.train.read(0).size == (12, 12)


def test_what_is_read_is_the_file_upright_and_rgb(make_folder: Make) -> None:
    root = make_folder("a/1.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (4, 2), 9).save(root / "a" / "2.png", exif=exif)
    image = load(root).train.read(1)
    assert image.mode == "RGB" and image.size == (2, 4)


def test_wordnet_keys_have_imagenets_names(make_folder: Make) -> None:
    assert load(make_folder("n02099601/1.png", "n01440764/1.png")).classes.names == (
        "tench",
        "Golden Retriever",
    )
    assert (
        load(make_folder("n01440764/1.png", "apple_pie/1.png", root="mixed")).classes.names[0] == "apple pie"
    )


def test_the_size_is_that_of_equal_small_squares_else_of_photos(make_folder: Make) -> None:
    assert load(make_folder("a/1.png", "b/1.png", size=(32, 32), root="small")).size == 32
    assert load(make_folder("a/1.png", size=(32, 30), root="oblong")).size == 256
    assert load(make_folder("a/1.png", size=(300, 300), root="large")).size == 256
    make_folder("a/2.png", size=(31, 31), root="small")
    assert load(make_folder("a/1.png", size=(32, 32), root="small")).size == 256


def test_chosen_classes_are_in_the_order_given_and_others_are_not_looked_at(make_folder: Make) -> None:
    root = make_folder(
        "train/a/1.png", "train/b/1.png", "train/c/1.png", "val/c/2.png", "val/b/2.png", "val/x/2.png"
    )
    broken(root / "train" / "a" / "2.jpg")
    data = load(root, classes="c,b")
    assert data.classes.keys == ("c", "b")
    assert data.train.ids == ("train/c/1.png", "train/b/1.png")
    assert data.test.labels.tolist() == [0, 1]


def test_a_named_subset_of_a_folder(make_folder: Make) -> None:
    from potstill.data.classes import subset

    root = make_folder(*(f"{key}/1.png" for key in sorted(subset("woof"))), "n01440764/1.png")
    data = load(root, classes="imagewoof")
    assert data.classes.keys == subset("imagewoof") and data.classes.names[0] == "Australian Terrier"
    assert data.train.ids[0] == "n02096294/1.png"


def test_unreadable_images_are_all_counted_and_the_first_20_named(make_folder: Make) -> None:
    root = make_folder("train/a/good.png", "test/a/good.png")
    for number in range(22):
        broken(root / "train" / "a" / f"bad{number}.jpg")
    (root / "test" / "a" / "text.png").write_text("not an image")
    with pytest.raises(PotstillError) as caught:
        load(root)
    message = str(caught.value)
    assert message.startswith(f"23 of 25 images in {root} cannot be read")
    assert all(str(root / "train" / "a" / f"bad{number}.jpg") in message for number in range(20))
    assert "bad20.jpg" not in message and message.endswith("and 3 more")
    assert "truncated" in message


def test_unreadable_images_can_be_skipped_and_are_told(make_folder: Make) -> None:
    root = make_folder("train/a/1.png", "train/a/3.png", "test/a/2.png", size=(8, 8))
    bad = [broken(root / "train" / "a" / "2.jpg"), broken(root / "test" / "a" / "1.jpg")]
    data = load(root, skip_bad=True)
    assert data.skipped == tuple(map(str, bad))
    assert data.train.ids == ("train/a/1.png", "train/a/3.png") and data.test.ids == ("test/a/2.png",)
    assert data.size == 8
    data.train.pixels(None, 8)


def test_a_class_left_without_readable_images_is_named(make_folder: Make) -> None:
    root = make_folder("a/1.png", "b/1.png")
    (root / "b" / "1.png").write_text("no image")
    with pytest.raises(PotstillError, match="no train images of 1 classes: b"):
        load(root, skip_bad=True)


def test_a_file_broken_after_loading_is_named_when_read(make_folder: Make) -> None:
    root = make_folder("a/1.png", "a/2.png")
    data = load(root)
    (root / "a" / "2.png").write_text("no image any more")
    data.train.read(0)
    with pytest.raises(PotstillError, match=r"cannot read .*root/a/2\.png"):
        data.train.pixels(None, 12)


def test_the_check_tells_its_progress(make_folder: Make) -> None:
    steps: list[Step] = []
    load(make_folder(*(f"a/{number}.png" for number in range(70))), on_step=steps.append)
    assert [(step.stage, step.index, step.total) for step in steps] == [
        ("check images", 64, 70),
        ("check images", 70, 70),
    ]


def test_the_check_can_be_interrupted(make_folder: Make) -> None:
    def interrupt(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(make_folder(*(f"a/{number}.png" for number in range(70))), on_step=interrupt)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["1.png"], "holds no class folders. Expected ROOT/train/CLASS"),
        (["a/1.png", "b/deep/1.png"], r"1 of 2 class folders hold no images: b\. Expected"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png"], r"test does not hold.*it lacks 1: b"),
        (["train/a/1.png", "test/a/1.png", "test/z/1.png"], "training folder has not 1: z"),
        (["test/a/1.png", "val/a/1.png"], "2 of 2 class folders hold no images: test, val"),
    ],
)
def test_other_layouts_are_explained(files: list[str], message: str, make_folder: Make) -> None:
    with pytest.raises(PotstillError, match=message):
        load(make_folder(*files))


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="no such folder: .*gone"):
        load(tmp_path / "gone")
    with pytest.raises(PotstillError, match="holds no class folders"):
        load(tmp_path)
    with pytest.raises(PotstillError, match="no such folder: ''"):
        image_folder(Source())


def test_a_class_folder_may_be_a_link(make_folder: Make) -> None:
    root = make_folder("a/1.png")
    (root / "b").symlink_to(make_folder("b/5.png", root="elsewhere") / "b", target_is_directory=True)
    assert load(root).train.ids == ("a/1.png", "b/5.png")


def test_names_with_spaces_accents_and_brackets(make_folder: Make) -> None:
    data = load(make_folder("café au lait/my photo [1].png", "b*/x.png"))
    assert data.train.ids == ("b*/x.png", "café au lait/my photo [1].png")
    data.train.pixels(None, 12)


def test_a_pipe_is_no_image(make_folder: Make) -> None:
    root = make_folder("a/1.png", "b/1.png", size=(8, 8))
    os.mkfifo(root / "a" / "2.png")
    with pytest.raises(PotstillError, match="(?s)1 of 3 images.*2.png: not a file"):
        load(root)


def test_names_that_are_not_utf8_are_listed(make_folder: Make) -> None:
    root = make_folder("a/1.png", "b/1.png", size=(8, 8))
    (root / "a" / "1.png").rename(root / "a" / os.fsdecode(b"caf\xe9.png"))
    make_folder("a/2.png", size=(8, 8))
    with pytest.raises(PotstillError, match=r"(?s)1 of 3 images in .*caf\\udce9.png': its name is not UTF-8"):
        load(root)
    assert load(root, skip_bad=True).train.ids == ("a/2.png", "b/1.png")
    (root / "b").rename(root / os.fsdecode(b"b\xe9"))
    with pytest.raises(PotstillError, match=r"1 folder names are not UTF-8, rename them: 'b\\udce9'"):
        load(root)


def test_data_survive_a_process_border(make_folder: Make) -> None:
    sent = load(make_folder("a/1.png", "b/1.png"))
    received = pickle.loads(pickle.dumps(sent))
    assert torch.equal(received.train.pixels(None, 12), sent.train.pixels(None, 12))


def test_real_photos(shared_data: Callable[[str], Path]) -> None:
    data = load(shared_data("imagenet-samples"))
    assert len(data.classes) == len(data.train) == 20 and data.size == 256
    assert data.classes.names[data.classes.index("n03888257")] == "parachute"
    assert load(shared_data("imagenet-samples"), classes="imagenette").classes.names[0] == "tench"
    pixels = data.train.pixels([0, 19], 64)
    assert pixels.shape == (2, 3, 64, 64) and pixels.float().std() > 20
