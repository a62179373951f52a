"""Sweeps: the product is complete, folders stay the same, nothing finished is made again, and a kill costs little."""

import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from potstill.cli import app
from potstill.core.errors import PotstillError
from potstill.core.lock import alone
from potstill.core.settings import at, to_plain
from potstill.data import load
from potstill.distilled import DistilledSet
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.record import Evaluation
from potstill.nets import NETS
from potstill.nets.spec import Net
from potstill.pipeline import distill_recipe, evaluate_set
from potstill.plans import plan
from potstill.recipes import RECIPES, STUDIES
from potstill.recipes.study import Arm, Study
from potstill.sweeps import Sweep, sweep

WEIGHT, STEPS = "method.terms.0.pace.weight", "method.steps"
QUICK = {"witness": "null", "protocol": "hard@1", "student": "convnet-3-w4", "students": "2"}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Random digits at 1 and 2 images per class, two sets each, one epoch."""
    out = tmp_path_factory.mktemp("sweep")
    made = sweep(
        RECIPES["digits-random"](), {"images_per_class": [1, 2]}, out, seeds=2, changes=QUICK, epochs=1
    )
    return out, made


def stripped(evaluation):
    """All of an evaluation but its seconds."""
    return replace(evaluation, runs=tuple(replace(run, seconds=0.0) for run in evaluation.runs))


def times(folder):
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_the_product_is_complete_and_seeds_come_first():
    recipe = RECIPES["digits-dit-concord"]()
    weights, steps, sizes = ("0.03", "0.10", "0.1"), (10, 20), ("1", "10")
    planned = plan(recipe, {WEIGHT: weights, STEPS: steps, "images_per_class": sizes}, seeds=2)
    found = [
        (
            one.recipe.seed,
            one.recipe.method.terms[0].pace.weight,
            one.recipe.method.steps,
            one.recipe.images_per_class,
        )
        for one in planned
    ]
    assert sorted(found) == sorted(itertools.product((0, 1), (0.03, 0.1), (10, 20), (1, 10)))
    assert [seed for seed, *_ in found] == sorted(seed for seed, *_ in found)
    assert len({one.folder for one in planned}) == len(planned) == 16


def test_a_point_keeps_its_folder_and_name_whatever_is_swept_beside_it():
    recipe = RECIPES["digits-dit-concord"]()
    (alone,) = plan(recipe, {WEIGHT: ["0.1"], STEPS: ["10"]})
    among = plan(recipe, {STEPS: [5, 10], WEIGHT: (0.3, 0.1), "student": ("convnet-3", "resnet-18")}, seeds=3)
    same = [one for one in among if one.folder == alone.folder]
    assert [one.recipe.student for one in same] == ["convnet-3", "resnet-18"]
    assert (
        {one.recipe.name for one in same} == {alone.recipe.name} == {"digits-dit-concord steps=10 weight=0.1"}
    )
    sets = {one.folder: to_plain(replace(one.recipe, student="")) for one in among}
    assert len(sets) == 2 * 2 * 3
    for one in among:
        assert sets[one.folder] == to_plain(replace(one.recipe, student="")), "a folder holds one set"


def test_fields_of_the_same_last_name_are_told_by_their_paths():
    recipe = RECIPES["digits-dit-concord-classifier"]()
    (one,) = plan(recipe, {WEIGHT: ["0.1"], WEIGHT.replace("0", "1"): ["0.2"]})
    assert one.recipe.name.split(" ")[1:] == [f"{WEIGHT}=0.1", f"{WEIGHT.replace('0', '1')}=0.2"]


def test_a_study_is_swept_arm_by_arm():
    study = Study(
        name="s",
        source="",
        summary="",
        arms=(Arm(recipe="digits-dit"), Arm(recipe="digits-dit-concord", over={WEIGHT: ("0.1", "0.3")})),
        over={"images_per_class": ("1", "10")},
    )
    assert len(plan(study, {})) == 2 + 2 * 2
    assert len(plan(study, {"images_per_class": ["5"]}, seeds=2)) == (1 + 2) * 2


WRONG = [
    ({"method.scal": ["1"]}, "Did you mean 'scale'"),
    ({"method.scale": ["much"]}, "expected float, found 'much'"),
    ({"seed": ["1"]}, "'seed' is not a field to sweep: use --seeds"),
    ({"name": ["a"]}, "'name' is not a field to sweep"),
    ({"students": ["1", "2"]}, "'students' is not a field to sweep: name the largest number alone"),
    ({"method.steps": []}, "names no value"),
    ({"images_per_class": ["0"]}, "images_per_class must be at least 1, not 0"),
    ({"protocol": ["rded"]}, "unknown protocol 'rded'"),
    ({"student": ["convnet-33"]}, "33"),
]


@pytest.mark.parametrize(("over", "message"), WRONG, ids=[next(iter(over)) for over, _ in WRONG])
def test_wrong_fields_are_named_before_anything_is_made(tmp_path, over, message):
    with pytest.raises(PotstillError, match=message):
        sweep(RECIPES["digits-dit"](), over, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_point_is_what_the_verbs_make_one_by_one(swept, tmp_path):
    out, made = swept
    assert len(made.points) == 4 and Sweep.load(out) == made
    recipe = replace(RECIPES["digits-random"](), images_per_class=2, seed=1, witness=None)
    distill_recipe(recipe, tmp_path / "set")
    wanted = evaluate_set(
        tmp_path / "set",
        load("digits"),
        protocol=PROTOCOLS["hard@1"],
        student=Net.parse("convnet-3-w4"),
        teacher=None,
        seeds=range(2),
        epochs=1,
    )
    (point,) = [one for one in made.points if one.at("images_per_class") == 2 and one.at("seed") == 1]
    assert point.set == "digits-random/images_per_class=2/seed1"
    assert stripped(Evaluation.load(out / point.evaluation)) == stripped(wanted)
    assert DistilledSet.load(out / point.set).images().equal(DistilledSet.load(tmp_path / "set").images())


def test_what_is_finished_is_read_and_more_is_added(swept, tmp_path):
    out = shutil.copytree(swept[0], tmp_path / "moved")
    recipe, before, made = RECIPES["digits-random"](), times(out), swept[1]
    again = sweep(recipe, {"images_per_class": ["2", "1"]}, out, seeds=2, changes=QUICK, epochs=1)
    assert times(out) == before and set(map(str, again.points)) == set(map(str, made.points))
    sets = {file: stamp for file, stamp in before.items() if "train" in file.parts}
    students = {"images_per_class": [1], "student": ["convnet-3-w4", "convnet-3-w8"]}
    more = sweep(recipe, students, out, seeds=2, changes=QUICK, epochs=1)
    assert len(more.points) == 4 and len(Sweep.load(out).points) == 6
    assert {file: times(out)[file] for file in sets} == sets, "another student uses the same sets"
    fewer = sweep(recipe, {"images_per_class": [1]}, out, changes=QUICK | {"students": "1"}, epochs=1)
    assert len(fewer.evaluations(out)[0].runs) == 2, "the second student is not lost"


def test_points_of_recipes_that_had_no_size_yet_are_read(swept, tmp_path):
    out, made = swept
    older = shutil.copytree(out, tmp_path / "older")
    plain = json.loads((older / "sweep.json").read_text())
    for point in plain["points"]:
        del point["recipe"]["size"]
    (older / "sweep.json").write_text(json.dumps(plain))
    steps = []
    axes = {"images_per_class": [1, 2]}
    again = sweep(
        RECIPES["digits-random"](), axes, older, seeds=2, changes=QUICK, epochs=1, on_step=steps.append
    )
    assert {step.stage for step in steps} == {"sweep"} and len(again.points) == len(made.points)


def test_a_lost_evaluation_is_made_again(swept, tmp_path):
    out, made = shutil.copytree(swept[0], tmp_path / "moved"), swept[1]
    file = out / made.points[0].evaluation
    wanted = Evaluation.load(file)
    file.unlink()
    sweep(RECIPES["digits-random"](), {"images_per_class": [1, 2]}, out, seeds=2, changes=QUICK, epochs=1)
    assert stripped(Evaluation.load(file)) == stripped(wanted)
    assert len(Sweep.load(out).points) == 4


def test_no_students_make_sets_alone(tmp_path):
    changes = QUICK | {"students": "0"}
    made = sweep(RECIPES["digits-random"](), {"images_per_class": [1]}, tmp_path, changes=changes)
    assert made.points[0].evaluation is None and made.evaluations(tmp_path) == []
    before = times(tmp_path)
    sweep(RECIPES["digits-random"](), {"images_per_class": [1]}, tmp_path, changes=changes)
    assert times(tmp_path) == before


def test_lines_and_levels_of_a_figure(swept):
    out, made = swept
    with pytest.raises(PotstillError, match="can't be an x axis"):
        made.places("images_per_class")
    assert made.places(WEIGHT) == {"digits-random": None}
    named = replace(
        made.points[0],
        arm="a",
        values={WEIGHT: 0.1, "b.c": "d"},
        recipe={"name": "n", "x": [{"y": 0.1}], "z": "w"},
    )
    assert Sweep(points=(named,)).places("x.0.y") == {"n": ("a weight=0.1 c=d", 0.1)}
    with pytest.raises(PotstillError, match="'z' is 'w' at 'n': an x axis needs numbers"):
        Sweep(points=(named,)).places("z")
    assert at({"a": [{"b": 1}]}, "a.0.b") == 1
    with pytest.raises(PotstillError, match="no '1' of 'a.1.b'"):
        at({"a": [{"b": 1}]}, "a.1.b")


def test_accuracy_is_drawn_against_seconds(tmp_path):
    """Two sets at 2 steps and two at 4: each mark stands at the mean seconds of its two."""
    recipe, changes = RECIPES["digits-dit"](), {**QUICK, "images_per_class": "1", "classes": "2,3,5"}
    made = sweep(recipe, {STEPS: [2, 4]}, tmp_path, seeds=2, changes=changes, epochs=1)
    for place, point in enumerate(made.points):
        file = tmp_path / point.set / "potstill.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": 10.0 * (place + 1)}))
    told = {point.values[STEPS]: made.seconds(tmp_path)[point.recipe["name"]] for point in made.points}
    assert told == {2: 20.0, 4: 30.0}, "seed by seed: 10 and 30, 20 and 40"
    out = tmp_path / "curve.svg"
    words = ["figure", "curve", str(tmp_path), "--over", STEPS, "--seconds", "--out", str(out)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "seconds a set, by steps" in out.read_text()
    refused = CliRunner().invoke(app, ["figure", "curve", str(tmp_path), "--seconds", "--out", str(out)])
    assert "--seconds needs a field" in str(refused.exception)


def test_two_sweeps_of_one_folder_are_refused(tmp_path):
    with alone(tmp_path), pytest.raises(PotstillError, match="is being filled by process"):
        sweep(RECIPES["digits-random"](), {}, tmp_path)


def test_a_malformed_sweep_file_is_named(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps({"pionts": []}))
    with pytest.raises(PotstillError, match=r"sweep.json. Did you mean 'points'"):
        Sweep.load(tmp_path)


def test_an_interrupted_sweep_goes_on_to_the_same_numbers(swept, tmp_path):
    _, undisturbed = swept
    settings = [word for item in QUICK.items() if item[0] == "witness" for word in ("--set", "=".join(item))]
    command = [
        sys.executable,
        "-m",
        "potstill",
        "sweep",
        "digits-random",
        "--over",
        "images_per_class=1,2",
        *settings,
    ]
    command += ["--protocol", "hard@1", "--student", "convnet-3-w4", "--students", "2", "--epochs", "1"]
    command += ["--seeds", "2", "--out", str(tmp_path / "s")]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun = time.monotonic()
    while not (tmp_path / "s" / "sweep.json").exists() and time.monotonic() - begun < 90:
        time.sleep(0.002)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 130 and "Traceback" not in told
    assert "the same command goes on from here" in told
    assert 1 <= len(Sweep.load(tmp_path / "s").points) < 4
    done = CliRunner().invoke(app, command[3:])
    assert done.exit_code == 0, done.output
    assert "2 images per class" in done.output and "4 points are listed" in done.output
    first = {one.set: one for one in undisturbed.points}
    finished = Sweep.load(tmp_path / "s")
    assert {one.set for one in finished.points} == first.keys()
    for one in finished.points:
        ours = Evaluation.load(tmp_path / "s" / one.evaluation)
        theirs = Evaluation.load(swept[0] / first[one.set].evaluation)
        assert stripped(replace(ours, versions={})) == stripped(replace(theirs, versions={}))


CLI = [
    (["digits-rnadom"], "unknown recipe or study 'digits-rnadom'. Did you mean 'digits-random'"),
    (["digits-random", "--over", "images_per_class"], "--over takes FIELD=VALUE, not 'images_per_class'"),
    (["digits-random", "--over", "data=[1,"], "is not a list of values"),
    (["digits-random", "--set", "seed=7"], "'seed' is not a field to sweep: use --seeds"),
]


@pytest.mark.parametrize(("words", "message"), CLI, ids=[words[-1] for words, _ in CLI])
def test_wrong_use_is_named(tmp_path, words, message):
    found = CliRunner().invoke(app, ["sweep", *words, "--out", str(tmp_path / "o")])
    assert isinstance(found.exception, PotstillError) and message in str(found.exception)


def test_a_change_is_made_where_a_study_has_the_field():
    study = STUDIES["ld3m-figure-2-images"]()
    trusted = plan(study, {}, changes={"method.canvas.trust_pickle": "true"})
    told = {one.arm: to_plain(one.recipe.method)["canvas"].get("trust_pickle") for one in trusted}
    assert told == {arm: True if "glad" in arm else None for arm in told} and True in told.values()
    with pytest.raises(PotstillError, match="setting 'trust_pickles'"):
        plan(study, {}, changes={"method.canvas.trust_pickles": "true"})


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_carries_its_name_and_fits_its_recipes(name):
    study = STUDIES[name]()
    assert study.name == name and study.summary and study.source
    planned = plan(study, {"student": ["resnet-18"]})
    assert len(planned) >= 2 and len({one.folder for one in planned}) == len(planned)
    for one in planned:
        for path, value in one.values.items():
            assert at(to_plain(one.recipe), path) == value


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_names_students_there_are(name):
    for student in STUDIES[name]().over.get("student", ()):
        if student == "resnet-101" and 101 not in NETS["resnet"].depths:
            pytest.skip("needs ResNet-101 in nets/resnet.py")
        assert Net.parse(student).short == student
