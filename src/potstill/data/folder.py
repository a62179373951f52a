"""Images in folders, one folder a class."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from potstill.core.errors import PotstillError
from potstill.data.check import bad_images, check_images, native_size
from potstill.data.classes import choose, mirror_keeps, named
from potstill.data.order import natural
from potstill.data.read import UnreadableImage, image_size, read_image
from potstill.data.real import RealData, Split, empty_split, require_images
from potstill.data.source import Source

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"})
TEST_FOLDERS = ("test", "val", "validation")
LAYOUTS = (
    "ROOT/train/CLASS/*.png with ROOT/test, ROOT/val or ROOT/validation beside train, or ROOT/CLASS/*.png"
)

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class _Files:
    """Reads row i from the i-th of the files below a root."""

    root: Path
    files: tuple[str, ...]

    def __call__(self, row: int) -> Image.Image:
        return read_image(self.root / self.files[row])


def image_folder(source: Source) -> RealData:
    """Reads ROOT/train/KEY/* with the first of test, val and validation that holds classes, or ROOT/KEY/*.

    `source.test` names another folder of KEY/* to test on; with none of these the test split is empty. Keys
    and files are in natural order; hidden files and other suffixes than `SUFFIXES` are passed over. Only
    chosen classes are looked at, and each of their images is decoded once, so that a broken one is known now
    and not hours later. Raises PotstillError for another layout, a class without images, test classes other
    than the training ones, folder names that are not UTF-8, and unless `source.skip_bad` for unreadable images, which
    it lists.
    """
    root = Path(source.place).expanduser()
    if not source.place or not root.is_dir():
        raise PotstillError(f"no such folder: {source.place!r}. Expected {LAYOUTS}")
    train_root, test_root = _split_roots(root, source.test)
    available = _class_keys(train_root)
    if not available:
        raise PotstillError(f"{train_root} holds no class folders. Expected {LAYOUTS}")
    keys = choose(source.classes, available, str(train_root))
    _require_utf8([root.resolve().name, *keys], str(root))
    if test_root is not None:
        _require_same_classes(test_root, keys, others=source.classes is not None)

    files = _files(train_root, keys)
    train_files = len(files)
    files += _files(test_root, keys) if test_root is not None else []
    check = check_images(lambda row: _size(files[row][0]), range(len(files)), source.on_step)
    if check.bad and not source.skip_bad:
        raise bad_images(str(root), list(check.bad.values()), len(files))
    good = [row for row in range(len(files)) if row not in check.bad]
    train = _split([files[row] for row in good if row < train_files], root)
    test = (
        _split([files[row] for row in good if row >= train_files], test_root.parent)
        if test_root
        else empty_split()
    )
    return require_images(
        RealData(
            name=root.resolve().name,
            classes=named(keys),
            train=train,
            test=test,
            size=native_size(check.sizes),
            mirror=mirror_keeps(available),
            skipped=tuple(str(files[row][0]) for row in sorted(check.bad)),
        )
    )


def _split_roots(root: Path, test: str | None) -> tuple[Path, Path | None]:
    split = bool(_class_keys(root / "train"))
    if test is not None:
        chosen = Path(test).expanduser().resolve()
        if not chosen.is_dir():
            raise PotstillError(f"no such test folder: {test!r}. Expected a folder of CLASS/*.png")
        return (root / "train" if split else root), chosen
    if not split:
        return root, None
    return root / "train", next((root / name for name in TEST_FOLDERS if _class_keys(root / name)), None)


def _class_keys(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        (part.name for part in folder.iterdir() if part.is_dir() and part.name[0] != "."), key=natural
    )


def _require_utf8(names: list[str], where: str) -> None:
    strange = [name for name in names if not _is_utf8(name)]
    if strange:
        told = ", ".join(map(repr, strange[:_SHOWN]))
        raise PotstillError(f"{where!r}: {len(strange)} folder names are not UTF-8, rename them: {told}")


def _is_utf8(name: str) -> bool:
    """Whether a name can be written down; the system gives bytes that are not UTF-8 as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _size(file: Path) -> tuple[int, int]:
    if not _is_utf8(file.name):
        raise UnreadableImage(f"cannot read {str(file)!r}: its name is not UTF-8")
    return image_size(file)


def _require_same_classes(folder: Path, keys: tuple[str, ...], *, others: bool) -> None:
    found = _class_keys(folder)
    absent = [key for key in keys if key not in found]
    surplus = [] if others else [key for key in found if key not in keys]
    if absent or surplus:
        parts = [("lacks", absent), ("has but the training folder has not", surplus)]
        told = "; ".join(
            f"it {verb} {len(which)}: {', '.join(which[:_SHOWN])}" for verb, which in parts if which
        )
        raise PotstillError(f"{folder} does not hold the classes of the training images: {told}")


def _files(folder: Path, keys: tuple[str, ...]) -> list[tuple[Path, int]]:
    """The image files of each class with its label; raises PotstillError for classes without any."""
    files: list[tuple[Path, int]] = []
    bare: list[str] = []
    for label, key in enumerate(keys):
        names = [path.name for path in (folder / key).iterdir() if path.suffix.lower() in SUFFIXES]
        names = sorted((name for name in names if name[0] != "."), key=natural)
        files += [(folder / key / name, label) for name in names]
        if not names:
            bare.append(key)
    if bare:
        raise PotstillError(
            f"{folder}: {len(bare)} of {len(keys)} class folders hold no images: {', '.join(bare[:_SHOWN])}. "
            f"Expected {LAYOUTS}, ending in {', '.join(sorted(SUFFIXES))}"
        )
    return files


def _split(files: list[tuple[Path, int]], root: Path) -> Split:
    names = tuple(path.relative_to(root).as_posix() for path, _ in files)
    return Split(names, torch.tensor([label for _, label in files], dtype=torch.int64), _Files(root, names))
