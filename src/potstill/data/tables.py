"""Data sets opened by Hugging Face `datasets`, and the columns that matter in them."""

import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError, unknown
from potstill.data.order import natural

IMAGE_COLUMNS = ("image", "img", "images", "pixels", "picture", "photo", "jpg", "png")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "category", "y", "cls")
TEST_SPLITS = ("test", "validation", "val", "valid")

Splits = dict[str, Any]
"""Split names to `datasets.Dataset`s."""


def open_splits(place: str) -> tuple[str, Splits]:
    """The short name and the splits, always with "train", of a parquet file, a folder, "ID" or "ID:CONFIG".

    Raises PotstillError where it cannot be opened or has no training split.
    """
    path = Path(place).expanduser()
    if place and path.exists():
        name = path.resolve().name if path.is_dir() else path.stem
        splits = _open_path(path)
    else:
        identity, _, config = place.partition(":")
        name = Path(identity).name
        splits = _opened(place, lambda: _library().load_dataset(identity, config or None))
    if "train" not in splits:
        raise unknown("split", "train", splits, place)
    return name, splits


def open_test(test: str) -> Any:
    """The rows of a parquet file, or of all parquet files of a folder, as one split; raises PotstillError."""
    path = Path(test).expanduser()
    files = [path] if path.suffix == ".parquet" and path.is_file() else _parquet_files(path)
    if not files:
        raise PotstillError(f"no test images in {test!r}: it is neither a .parquet file nor a folder of them")
    return _open_parquet({"train": files})["train"]


def find_columns(features: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The names of the image and of the label column, by type and, among several, by usual name.

    An image is an Image, or encoded bytes with or without a path; a label is a ClassLabel or, where there is
    none, an integer or string called as in `LABEL_COLUMNS`. Raises PotstillError that lists the columns where
    either is missing or not to be told from others.
    """
    image = _one_of([name for name, feature in features.items() if _is_image(feature)], IMAGE_COLUMNS)
    classed = [name for name, feature in features.items() if isinstance(feature, _library().ClassLabel)]
    plain = [name for name, feature in features.items() if _is_plain(feature) and name in LABEL_COLUMNS]
    label = _one_of(classed or plain, LABEL_COLUMNS)
    if image is not None and label is not None:
        return image, label
    kind, usual = ("image", IMAGE_COLUMNS) if image is None else ("label", LABEL_COLUMNS)
    listed = ", ".join(f"{name} ({feature})" for name, feature in features.items())
    raise PotstillError(
        f"{where}: no column is plainly the {kind}. Columns: {listed}. Names that decide: {', '.join(usual)}"
    )


def column_values(dataset: Any, column: str) -> list[Any]:
    """One column's plain values, no other column being read."""
    return dataset.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()


def encoded_images(dataset: Any, column: str) -> Any:
    """The data set with nothing but its images, left encoded: rows are {column: {"bytes", "path"}}."""
    return dataset.select_columns([column]).cast_column(column, _library().Image(decode=False))


def file_roots(place: str) -> tuple[Path, ...]:
    """Where files may lie that rows name: in the folder itself, and for data of the hub where those are kept."""
    from huggingface_hub.constants import HF_HUB_CACHE

    path = Path(place).expanduser()
    if path.exists():
        return (path.resolve(),) if path.is_dir() else ()
    return tuple(Path(kept).resolve() for kept in (HF_HUB_CACHE, _library().config.HF_DATASETS_CACHE))


@contextmanager
def no_bars() -> Iterator[None]:
    """Within, `datasets` draws no progress bars."""
    datasets = _library()
    shown = not datasets.are_progress_bars_disabled()
    if shown:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _library() -> Any:
    import datasets

    return datasets


def _open_path(path: Path) -> Splits:
    if path.is_file():
        if path.suffix != ".parquet":
            raise PotstillError(f"{path} is no .parquet file")
        return _open_parquet({"train": [path]})
    if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return _opened(path, lambda: _library().load_from_disk(str(path)))
    files = _parquet_files(path)
    return (
        _open_parquet(_by_split(files))
        if files
        else _opened(path, lambda: _library().load_dataset(str(path)))
    )


def _parquet_files(folder: Path) -> list[Path]:
    files = list(folder.glob("*.parquet")) or list(folder.glob("data/*.parquet"))
    return sorted((file for file in files if file.name[0] != "."), key=lambda file: natural(file.name))


def _by_split(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Groups files by the split that their names begin with; all are "train" where none does."""
    groups: dict[str, list[Path]] = {}
    other: list[Path] = []
    for file in files:
        start = next((name for name in ("train", *TEST_SPLITS) if _begins_with(file.stem, name)), None)
        (other if start is None else groups.setdefault(start, [])).append(file)
    if not groups:
        return {"train": other}
    if other:
        raise PotstillError(
            f"{other[0].parent}: {', '.join(groups)} and unclear parquet files: "
            f"{', '.join(file.name for file in other[:20])}. Names begin with train, {', '.join(TEST_SPLITS)}"
        )
    return groups


def _begins_with(stem: str, split: str) -> bool:
    return stem.startswith(split) and not stem[len(split) :][:1].isalpha()


def _open_parquet(groups: Mapping[str, Sequence[Path]]) -> Splits:
    _require_equal_names([file for files in groups.values() for file in files])
    escaped = {split: [glob.escape(str(file.resolve())) for file in files] for split, files in groups.items()}
    where = next(iter(groups.values()))[0].parent
    return _opened(where, lambda: _library().load_dataset("parquet", data_files=escaped))


def _require_equal_names(files: Sequence[Path]) -> None:
    """Refuses files that number classes differently: `datasets` would read all by the first file's names."""
    import pyarrow
    from pyarrow import parquet

    first: tuple[Path, dict[str, list[str]]] | None = None
    for file in files:
        try:
            features = _library().Features.from_arrow_schema(parquet.read_schema(file))
        except (OSError, pyarrow.ArrowException) as error:
            raise PotstillError(f"{file} is not a valid parquet file: {error}") from error
        names = {column: feature.names for column, feature in features.items() if hasattr(feature, "names")}
        first = first or (file, names)
        if names != first[1]:
            raise PotstillError(f"{file} numbers its classes otherwise than {first[0]}")


def _opened(where: object, opening: Callable[[], Any]) -> Splits:
    with no_bars():
        try:
            found = opening()
        except PotstillError:
            raise
        except (
            Exception
        ) as error:  # anything from a missing network to a broken file, by classes of five packages
            cause = error.__cause__ or error
            raise PotstillError(f"cannot load {where} with Hugging Face datasets: {cause}") from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def _is_image(feature: Any) -> bool:
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    binary = getattr(feature, "dtype", "") in ("binary", "large_binary")
    return isinstance(feature, _library().Image) or binary


def _is_plain(feature: Any) -> bool:
    dtype = str(getattr(feature, "dtype", ""))
    return isinstance(feature, _library().Value) and dtype.lstrip("u").startswith(
        ("int", "string", "large_string")
    )


def _one_of(names: Sequence[str], usual: Sequence[str]) -> str | None:
    if len(names) == 1:
        return names[0]
    return next((name for name in usual if name in names), None)
