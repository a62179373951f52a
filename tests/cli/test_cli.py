"""The command line as a user meets it: real processes, real files, wrong input of every kind."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from potstill.cli import app, terminal
from potstill.core.errors import PotstillError
from potstill.core.progress import Step


def potstill(*words, timeout=120, environment=None):
    command = [sys.executable, "-m", "potstill", *map(str, words)]
    environment = {**os.environ, **(environment or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "random"
    done = potstill("distill", "--method", "random", "--data", "digits", "--ipc", 2, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_version():
    told = potstill("--version")
    assert (told.returncode, told.stdout) == (0, f"potstill {version('potstill')}\n")


def test_list_and_show():
    listed = potstill("list", "recipes", "--json")
    assert "digits-dit-concord" in json.loads(listed.stdout)
    shown = json.loads(potstill("show", "digits-dit-concord").stdout)
    assert shown["method"]["terms"][0]["vocabulary"]["bank"] == "digits"


def test_a_method_takes_what_it_needs_by_set(tmp_path):
    """What has no usual value is given on the command line, a kind alone for a part's usual settings."""
    asked = ["objective=distribution", "canvas=pixels", "objective.net=convnet-3-instance-w8", "iterations=1"]
    settings = [word for one in asked for word in ("--set", f"method.{one}")]
    done = potstill(
        "distill",
        "--method",
        "matching",
        "--classes",
        "2,5",
        "--ipc",
        1,
        "--out",
        tmp_path / "set",
        *settings,
    )
    assert done.returncode == 0, done.stderr
    method = json.loads((tmp_path / "set" / "potstill.json").read_text())["method"]
    assert (method["objective"]["kind"], method["canvas"]["kind"]) == ("distribution", "pixels")
    assert method["objective"]["net"] == "convnet-3-instance-w8"


def test_experts_see_what_is_matched_and_nothing_else(tmp_path):
    """Images held out for `watch` and those that `prune` leaves out, in the buffer as in the set."""
    told = ["--net", "convnet-3-instance-w4", "--experts", 1, "--epochs", 2, "--classes", "2,5", "--json"]
    left = ["--hold-out", 0.5, "--prune", "digits/teacher", "--keep", 0.1]
    done = potstill("buffer", tmp_path / "buffer", *told, *left)
    assert done.returncode == 0, done.stderr
    asked = {
        "objective.buffer": tmp_path / "buffer",
        "objective.steps": 1,
        "objective.expert_epochs": 1,
        "objective.max_start": 1,
        "iterations": 1,
        "prune": json.dumps({"teacher": "digits/teacher", "share": 0.1}),
    }
    settings = [word for name, value in asked.items() for word in ("--set", f"method.{name}={value}")]
    words = ["distill", "digits-mtt", "--classes", "2,5", "--ipc", 1, *settings]
    refused = potstill(*words, "--out", tmp_path / "set")
    assert refused.returncode == 2 and "--hold-out" in refused.stderr
    watch = json.dumps({"every": 1, "net": "convnet-3-instance-w4", "epochs": 1, "share": 0.5})
    done = potstill(*words, "--set", f"method.watch={watch}", "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr


def test_distill_evaluate_compare_report(made, tmp_path):
    evaluated = potstill(
        "evaluate",
        made,
        "--student",
        "convnet-3-w8",
        "--students",
        2,
        "--epochs",
        2,
        "--protocol",
        "hard@1",
        "--json",
    )
    assert evaluated.returncode == 0, evaluated.stderr
    (told,) = json.loads(evaluated.stdout)
    assert len(told["runs"]) == 2 and told["settings"] == {"training.epochs": 2}
    compared = potstill("compare", made)
    assert compared.returncode == 0 and "random" in compared.stdout
    page = tmp_path / "[bold]report.html"
    assert potstill("report", made, "--out", page).stdout == f"{page}\n"
    assert page.read_text().startswith("<!doctype html>")


def test_concepts_check(tiny_clip):
    done = potstill(
        "concepts", "check", "--bank", "digits", "--encoder", tiny_clip, "--data", "digits", "--json"
    )
    assert done.returncode == 0, done.stderr
    checked = json.loads(done.stdout)
    assert len(checked) == 10 and all(len(row["phrases"]) == 10 for row in checked)
    assert all(row["validity"] == sorted(row["validity"], reverse=True) for row in checked)


WRONG = [
    (["distill"], "name a recipe or --method"),
    (["distill", "--method", "rded"], "method 'rded' needs --set method.teacher=..."),
    (
        ["distill", "--method", "matching", "--set", "method.objective=dm", "--set", "method.canvas=pixels"],
        "unknown kind 'dm' in --method matching: objective. Did you mean 'idm'",
    ),
    (["distill", "digits-dti"], "unknown recipe 'digits-dti'. Did you mean 'digits-dit'"),
    (["distill", "--method", "ranodm"], "unknown method 'ranodm'. Did you mean 'random'"),
    (["distill", "--method", "random", "--data", "/no/such/place"], "/no/such/place"),
    (["distill", "--method", "random", "--ipc", "0"], "--ipc must be at least 1, not 0"),
    (["distill", "--method", "random", "--ipc", "9999", "--out", "OUT"], "fewer than 9999"),
    (["distill", "digits-dit", "--set", "method.scal=2"], "Did you mean 'scale'"),
    (["distill", "digits-dit", "--set", "method.scale"], "--set takes FIELD=VALUE, not 'method.scale'"),
    (["distill", "digits-dit", "--set", "method.prior=nowhere", "--out", "OUT"], "unknown model 'nowhere'"),
    (["distill", "digits-dit", "--set", "method.solver=dim", "--out", "OUT"], "unknown solver 'dim'"),
    (["distill", "--method", "random", "--classes", "3,eleven", "--out", "OUT"], "eleven"),
    (["evaluate", "/no/such/set"], "no data set '/no/such/set'"),
    (["evaluate", "MADE", "--protocol", "rded"], "unknown protocol 'rded'. Did you mean 'rded@1'"),
    (["evaluate", "MADE", "--student", "convnet-33"], "33"),
    (["evaluate", "MADE", "--size", "900000"], "out of memory: ask for fewer or smaller images"),
    (["evaluate", "MADE", "--class-order", "sorted"], "says itself which class an image is of"),
    (["evaluate", "MADE", "--ipc", "3"], "has 2 images per class, not 3"),
    (["report", "MADE", "--out", ""], "cannot write a file to '.': that is a folder"),
    (
        ["sweep", "digits-random", "--over", "teacher=a", "--over", "teacher=b"],
        "--over teacher is given twice",
    ),
    (["compare", "/no/such/set"], "no such file or folder: /no/such/set"),
    (["report", "/no/such/set"], "no such folder"),
    (["show", "nothing"], "unknown name 'nothing'"),
    (["concepts", "check", "--bank", "digit", "--encoder", "x/y", "--data", "digits"], "digit"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(words)[:60] for words, _ in WRONG])
def test_wrong_input_is_named_and_ends_with_2(made, tmp_path, words, message):
    filled = [{"MADE": str(made), "OUT": str(tmp_path / "out")}.get(word, word) for word in words]
    done = potstill(*filled)
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


OPTIONS = [
    (["distill", "digits-dit", "--dry-run", "--tflops", "0"], "Invalid value for '--tflops'"),
    (["distill", "digits-dit", "--dry-run", "--tflops", "nan"], "Invalid value for '--tflops'"),
    (["teach", "OUT", "--rate", "nan"], "--rate takes a finite number, not nan"),
    (["buffer", "OUT", "--size", "-4"], "Invalid value for '--size'"),
    (["concepts", "check", "--keep", "0"], "Invalid value for '--keep'"),
    (["concepts", "retrieve", "--timeout", "nan"], "Invalid value for '--timeout'"),
    (["buffer", "OUT", "--keep", "0.5"], "--keep and --order are for --prune TEACHER"),
    (["evaluate", "OUT", "--ipc", "0"], "Invalid value for '--ipc'"),
    (["evaluate", "OUT", "--size", "-4"], "Invalid value for '--size'"),
    (["score", "OUT", "--ipc", "0"], "Invalid value for '--ipc'"),
    (["distill", "--method", "random", "--set", "method.size=-3", "--out", "OUT"], "at least 1 px, not -3"),
]


@pytest.mark.parametrize(("words", "message"), OPTIONS, ids=[" ".join(words) for words, _ in OPTIONS])
def test_numbers_out_of_range_are_named(tmp_path, words, message):
    out = tmp_path / "out"
    found = CliRunner().invoke(app, [str(out) if word == "OUT" else word for word in words])
    told = " ".join(f"{found.output} {found.exception}".replace("│", "").split())
    assert message in told and not out.exists()
    assert isinstance(found.exception, PotstillError) or found.exit_code == 2


def test_another_seed_in_the_same_folder_is_refused(made):
    done = potstill("distill", "--method", "random", "--ipc", 2, "--seed", 5, "--out", made)
    assert done.returncode == 2 and "seed: 0 -> 5" in done.stderr


def test_the_same_command_again_changes_nothing(made):
    before = {file: file.stat().st_mtime_ns for file in made.rglob("*.png")}
    (made / "README.md").write_text("My own words.")
    assert potstill("distill", "--method", "random", "--ipc", 2, "--out", made).returncode == 0
    assert before == {file: file.stat().st_mtime_ns for file in made.rglob("*.png")}
    assert (made / "README.md").read_text() == "My own words."


def test_control_c_ends_with_130_and_says_how_to_go_on(tiny_dit, tmp_path):
    words = [
        "distill",
        "digits-dit-unguided",
        "--set",
        f"method.prior={tiny_dit}",
        "--set",
        "method.steps=900",
    ]
    command = [
        sys.executable,
        "-m",
        "potstill",
        *words,
        "--set",
        "witness=null",
        "--out",
        str(tmp_path / "set"),
    ]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    begun = time.monotonic()
    while not (tmp_path / "set" / "potstill.json").exists() and time.monotonic() - begun < 90:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the same command goes on from here" in told and "Traceback" not in told


def test_real_images_in_folders_and_parquet(shared_data, tmp_path):
    samples = potstill(
        "distill",
        "--method",
        "random",
        "--data",
        shared_data / "imagenet-samples",
        "--ipc",
        1,
        "--out",
        tmp_path / "a",
    )
    assert samples.returncode == 0, samples.stderr
    cifar = potstill(
        "distill",
        "--method",
        "random",
        "--data",
        shared_data / "cifar10",
        "--ipc",
        1,
        "--out",
        tmp_path / "b",
    )
    assert cifar.returncode == 0, cifar.stderr
    assert len(list((tmp_path / "b").rglob("*.png"))) == 10


def test_real_photos_go_through_concepts_check(shared_data, tiny_clip):
    done = potstill(
        "concepts",
        "check",
        "--bank",
        "imagenet1k",
        "--encoder",
        tiny_clip,
        "--data",
        shared_data / "imagenet-samples",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert {row["key"] for row in json.loads(done.stdout)} >= {"n01440764", "n02086240"}


def test_a_log_has_a_line_of_progress_every_half_minute(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with terminal.progress() as on_step:
        for index in range(1, 101):
            now[0] += 1
            on_step(Step(stage="distill", index=index, total=100, scalars={"loss": 1 / index}))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["distill", f"{n}/100"] for n in (31, 62, 93)]
    assert all("loss 0.0" in line for line in lines)


def test_what_is_printed_stays_as_it_is(capsys):
    terminal.err_console.print("hub:smile:x")
    assert capsys.readouterr().err == "hub:smile:x\n"


def test_a_terminal_without_the_characters_gets_question_marks(tmp_path):
    told = {
        "name": "49.5 ± 2",
        "method": {"kind": "random"},
        "data": {"name": "digits"},
        "classes": {"keys": [], "names": []},
        "images_per_class": 1,
        "size": 8,
        "seed": 0,
    }
    (tmp_path / "potstill.json").write_text(json.dumps(told), encoding="utf-8")
    done = potstill("show", tmp_path, environment={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and "49.5 ? 2" in done.stdout, done.stderr


def test_a_pickle_runs_where_the_command_says_so(tmp_path):
    file = tmp_path / "imagenet128.pkl"
    file.write_bytes(pickle.dumps({}))
    words = [
        "distill",
        "digits-dm-glad",
        "--set",
        f"method.canvas.generator={file}",
        "--out",
        tmp_path / "set",
    ]
    trusted = potstill(*words, "--trust-pickle")
    assert trusted.returncode == 2 and "needs module 'dnnlib'" in trusted.stderr
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("words", [("distill", "digits-dit"), ("teach", "absent")])
def test_a_device_that_is_not_there_is_named(words):
    done = potstill(*words, "--device", "gpu")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: there is no device 'gpu' here. Allowed: cpu")


def test_no_text_commands_the_terminal(tmp_path):
    """A name from elsewhere that would set the window's title, clear the screen and turn the reading direction."""
    name = "a\x1b]0;title\x07\x1b[2J\r\u202eb\x85"
    told = {"name": name, "set_seed": 0, "method": "random", "data": name, "ipc": 1, "protocol": "dc@1"}
    run = {"seed": 0, "accuracy": 0.5, "top5": 1.0, "seconds": 1.0, "train_loss": 0.1}
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps({**told, "student": name, "teacher": None, "runs": [run]}))
    shown, wrong = potstill("compare", file), potstill("compare", file, "--baseline", name)
    lost = potstill("show", name)
    assert shown.returncode == 0 and lost.returncode == 2 and wrong.returncode == 0
    for text in (shown.stdout, wrong.stdout, lost.stderr):
        assert not set(text) & set("\x1b\x07\r\u202e\x85") and r"\x1b]0;title\x07\x1b[2J\r\u202eb\x85" in text
