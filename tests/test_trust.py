"""Models and data of other people: by hub id the same as by folder, safetensors alone, and none of their code runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file
from support import tiny
from support.hub import LoopbackHub

from potstill.concepts.local_language import LocalLanguage
from potstill.core.errors import PotstillError
from potstill.core.fingerprint import fingerprint
from potstill.data import load
from potstill.encoders import Encoder
from potstill.nets.store import load_net
from potstill.priors import Prior
from potstill.priors.tiny import load_tiny

SAVED: dict[str, Callable[[Path], str]] = {
    "dit": tiny.save_dit,
    "unclip": tiny.save_unclip,
    "stable-diffusion": tiny.save_stable_diffusion,
    "clip": tiny.save_clip,
    "tiny-decoder": tiny.save_tiny_decoder,
    "classifier": tiny.save_classifier,
    "language": tiny.save_language,
}


def read(kind: str, source: str) -> str:
    """The hash of what a folder or hub id is read as."""
    if kind == "clip":
        return Encoder.from_pretrained(source).fingerprint
    if kind == "tiny-decoder":
        return fingerprint([load_tiny(source, "cpu", torch.float32)])
    if kind == "classifier":
        return fingerprint([load_net(source).module])
    if kind == "language":
        return fingerprint([LocalLanguage(source)._model])
    return Prior.from_pretrained(source).fingerprint


class Payload:
    """What a pickle may hold: a command of its maker."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def poison(folder: Path, mark: Path | None) -> None:
    """Puts a pickle beside all weights, by the names that libraries look for; one that runs code where `mark` is."""
    for weights in list(folder.rglob("*.safetensors")):
        name = {"model": "pytorch_model"}.get(weights.stem, weights.stem)
        held = load_file(weights) | ({"payload": Payload(mark)} if mark else {})
        torch.save(held, weights.with_name(f"{name}.bin"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("published")
    return {kind: Path(save(root / kind)) for kind, save in SAVED.items()}


@pytest.mark.parametrize("harmless", [True, False])
@pytest.mark.parametrize("kind", SAVED)
def test_a_pickle_in_place_of_safetensors_is_refused(kind: str, harmless: bool, tmp_path: Path) -> None:
    folder, mark = Path(SAVED[kind](tmp_path / "net")), tmp_path / "mark"
    poison(folder, None if harmless else mark)
    whole = read(kind, str(folder))
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(PotstillError, match=str(folder)):
        read(kind, str(folder))
    assert whole and not mark.exists()


CODE = "import os; os.mkdir({mark!r})\n"


@pytest.mark.parametrize("kind", ["classifier", "language"])
def test_code_of_a_models_folder_is_never_run(kind: str, tmp_path: Path) -> None:
    folder, mark = Path(SAVED[kind](tmp_path / "net")), tmp_path / "mark"
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    config = json.loads((folder / "config.json").read_text())
    own = {
        name: "own.Own" for name in ("AutoConfig", "AutoModelForCausalLM", "AutoModelForImageClassification")
    }
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": own, "model_type": "own"}))
    with pytest.raises(PotstillError, match=str(folder)):
        read(kind, str(folder))
    assert not mark.exists()


BY_ID = """
import json, sys
from test_trust import SAVED, read
print(json.dumps({kind: read(kind, f"me/{kind}") for kind in SAVED}))
"""


def at_hub(hub: dict[str, str], home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    own = {"HF_HOME": str(home), "PYTHONPATH": str(Path(__file__).parent)}
    call = [sys.executable, *words]
    return subprocess.run(call, env=os.environ | own | hub, capture_output=True, text=True, timeout=300)


def test_a_hub_id_is_read_as_its_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    """From a hub on loopback, and again without it; pickles that lie beside safetensors are not even asked for."""
    for folder in folders.values():
        poison(folder, tmp_path / "mark")
    hub = LoopbackHub({f"me/{kind}": folder for kind, folder in folders.items()})
    with hub.serving() as environment:
        done = at_hub(environment, tmp_path, "-c", BY_ID)
    assert done.returncode == 0, done.stderr
    by_folder = {kind: read(kind, str(folder)) for kind, folder in folders.items()}
    assert json.loads(done.stdout.splitlines()[-1]) == by_folder
    assert {Path(file).suffix for file in hub.sent} <= {".json", ".jinja", ".txt", ".safetensors"}
    again = at_hub({"HF_HUB_OFFLINE": "1"}, tmp_path, "-c", BY_ID)
    assert json.loads(again.stdout.splitlines()[-1]) == by_folder, again.stderr
    assert not (tmp_path / "mark").exists()


def test_data_of_a_hub_are_those_of_the_folder(tmp_path: Path) -> None:
    real = load("digits", classes="3,8")
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["3", "8"])}
    for name, split in (("train", real.train), ("test", real.test)):
        rows = [*split.of_class(0)[:4].tolist(), *split.of_class(1)[:4].tolist()]
        held = {"image": [split.read(row) for row in rows], "label": split.labels[rows].tolist()}
        file = tmp_path / "pets" / "data" / f"{name}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(held, features=datasets.Features(features)).to_parquet(file)
    words = ["-m", "potstill", "distill", "--method", "random", "--ipc", "2", "--data"]
    with LoopbackHub({"me/pets": tmp_path / "pets"}).serving() as hub:
        made = at_hub(hub, tmp_path, *words, "hub:me/pets", "--out", str(tmp_path / "far"))
        lost = at_hub(hub, tmp_path, *words, "hub:me/pest", "--out", str(tmp_path / "lost"))
    assert made.returncode == 0, made.stderr
    local = at_hub({}, tmp_path, *words, str(tmp_path / "pets"), "--out", str(tmp_path / "local"))
    assert local.returncode == 0, local.stderr
    told = [(tmp_path / name / "metadata.jsonl").read_text() for name in ("far", "local")]
    assert told[0] == told[1]
    assert lost.returncode == 2 and "cannot load me/pest" in lost.stderr and "Traceback" not in lost.stderr
