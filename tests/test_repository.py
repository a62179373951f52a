"""The repository keeps its own rules: layers, limits, and documentation that says what is there."""

import ast
import itertools
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from importlinter.cli import lint_imports
from typer.main import get_command

from potstill.bundled import banks, models
from potstill.cli import app
from potstill.cli.distill import resolved
from potstill.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "potstill"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
DOCS = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.parent != ROOT)
ACCURACY = ROOT / "benchmarks" / "accuracy"
HEAVY = ("diffusers", "transformers", "datasets")
ABSENT = ("torchvision", "timm", "open_clip")
LINES, FUNCTION = 300, 60


def calls(tree, name):
    """The calls of a plainly named function in a module."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def tables():
    """Each table of the source: the file it stands in, its kind, and its names to "module:attribute"."""
    for file, tree in TREES.items():
        for call in calls(tree, "Table"):
            kind, parts = map(ast.literal_eval, call.args)
            yield file, kind, parts


def blocks(language):
    """The fenced code of the documentation: file and text."""
    for page in PAGES:
        for text in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            yield page, text


def test_imports_go_one_way():
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == 0


def test_every_table_names_parts_of_its_own_package():
    found = list(tables())
    assert len(found) >= 10
    for file, kind, parts in found:
        package = ".".join(["potstill", *file.relative_to(SOURCE).parts[:1]]).removesuffix(".py")
        for name, target in parts.items():
            owner = target.split(":")[0]
            inside = owner == package or owner.startswith(package + ".")
            assert inside or not owner.startswith("potstill"), f"{kind} {name!r} reaches out to {target}"


def test_importing_the_package_is_light():
    code = f"import potstill, potstill.cli, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", "importing potstill and its command line pulls these in"


def test_no_import_needs_what_cannot_stand_beside_torch():
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & set(ABSENT), file


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_style(file):
    tree, text = TREES[file], file.read_text(encoding="utf-8")
    assert text.count("\n") <= LINES, f"{file} has more than {LINES} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < FUNCTION, (
                f"{file}: {node.name} has more than {FUNCTION} lines"
            )
    if not file.stem.startswith("cli") and "cli" not in file.relative_to(SOURCE).parts:
        assert not calls(tree, "print"), f"{file} prints"
    assert file.stem != "utils"


def test_every_part_is_documented():
    named = {(kind, name) for _, kind, parts in tables() for name in parts}
    named |= {("concept bank", name) for name in banks()} | {("shipped model", name) for name in models()}
    missing = sorted(f"{kind} {name}" for kind, name in named if f"`{name}`" not in DOCS)
    assert not missing, f"docs/ does not mention in backticks: {', '.join(missing)}"


def test_every_method_has_a_page():
    pages = {page.stem for page in (ROOT / "docs" / "methods").glob("*.md")}
    assert pages == set(METHODS) | {"minimax"}


def test_documented_python_imports_what_there_is():
    seen = list(blocks("python"))
    assert len(seen) >= 5
    for page, text in seen:
        for node in ast.walk(ast.parse(text, filename=str(page))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("potstill"):
                module = import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page}: {node.module} has no {alias.name}"


def commands():
    """Each documented `potstill` command: file and words."""
    for page, text in blocks("bash"):
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["potstill"]:
                yield page, words[1:]


def test_documented_commands_exist():
    seen = list(commands())
    assert len(seen) >= 10
    for page, words in seen:
        command, rest = get_command(app), list(words)
        while hasattr(command, "commands"):
            assert rest[0] in command.commands, f"{page}: no command {' '.join(words)}"
            command = command.commands[rest.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        for word in rest:
            assert not word.startswith("--") or word in options, f"{page}: {word} of {' '.join(words)}"
        if command.name == "distill":
            given = dict(itertools.pairwise(rest))
            settings = [value for option, value in itertools.pairwise(rest) if option == "--set"]
            settings += [f"method.prior={given['--prior']}"] if "--prior" in given else []
            name = None if rest[0].startswith("--") else rest[0]
            if name or "--method" in given:
                resolved(name, given.get("--method"), {}, settings)


@pytest.mark.parametrize("name", ["cifar10", "cifar10_matching", "digits", "few_steps_accuracy", "matching"])
def test_pages_of_evidence_show_the_saved_evaluations(name, monkeypatch):
    monkeypatch.syspath_prepend(ACCURACY)
    page = ACCURACY / f"{name}_cpu.md"
    assert page.read_text(encoding="utf-8") == import_module(name).written(), f"python {ACCURACY}/{name}.py"


def test_readme_shows_the_saved_evaluations(monkeypatch):
    monkeypatch.syspath_prepend(ACCURACY)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, table in import_module("summary").tabled().items():
        assert f"<!-- {name} -->\n\n{table}\n\n<!-- end -->" in readme, (
            "python benchmarks/accuracy/summary.py --into README.md"
        )


def test_every_requirement_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    names = {re.match(r"[\w.-]+", requirement).group().lower().replace("_", "-") for requirement in wanted}
    assert not names - pins.keys()
    assert pins["torch"] == "2.13.0", "a local tag such as +cpu would not resolve on other machines"
