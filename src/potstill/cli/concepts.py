"""`concepts`: class names to described, checked and ranked concepts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.terminal import Data, Device, Json, Only, SkipBad, emit, err_console, out_console, progress
from potstill.core.errors import PotstillError

if TYPE_CHECKING:
    from potstill.concepts.language import LanguageModel
    from potstill.concepts.retrieve import Retrieval, Retrieved
    from potstill.data.real import Classes

concepts = typer.Typer(help="Class names to described, checked and ranked concepts.", no_args_is_help=True)


@concepts.command("check")
def concepts_check(
    bank: Annotated[str, typer.Option(help="A shipped bank or a .jsonl file.")],
    encoder: Annotated[str, typer.Option(help="A CLIP: shipped name, folder or hub id.")],
    data: Annotated[str, typer.Option(help="digits, an image folder, a parquet file or folder, or hub:ID.")],
    classes: Only = None,
    keep: Annotated[int, typer.Option(min=1, help="Phrases to keep a class.")] = 5,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Ranks every class's phrases by their validity on real images (CONCORD, Eq. 10)."""
    from potstill.concepts import ConceptBank
    from potstill.concepts.check import check
    from potstill.data import load
    from potstill.encoders import Encoder

    ConceptBank.load(bank)
    with progress() as on_step:
        real = load(data, classes=classes, skip_bad=skip_bad, on_step=on_step)
        loaded = Encoder.from_pretrained(encoder, device=device)
        checked = check(bank, loaded, real, on_step=on_step)

    def text() -> str:
        lines = []
        for row in checked:
            lines.append(f"{row.key}: {row.name}")
            lines += [
                f"  {'keep' if place < keep else '    '} {validity:6.3f}  {phrase}"
                for place, (phrase, validity) in enumerate(zip(row.phrases, row.validity, strict=True))
            ]
        return "\n".join(lines)

    emit(checked, as_json, text)


@concepts.command("retrieve")
def concepts_retrieve(
    out: Annotated[Path, typer.Option(help="The bank, a .jsonl file; the same command goes on in it.")],
    model: Annotated[str | None, typer.Option(help="The model's name at the endpoint.")] = None,
    local: Annotated[str | None, typer.Option(help="Instead: a transformers folder or hub id.")] = None,
    data: Data = None,
    class_names: Annotated[
        Path | None, typer.Option(help="Instead of --data: a file of 'key<TAB>name' or 'name' lines.")
    ] = None,
    classes: Only = None,
    template: Annotated[str, typer.Option(help="concord, classification, or a text file.")] = "concord",
    phrases: Annotated[int, typer.Option(min=1, help="Phrases a class.")] = 10,
    base_url: Annotated[str | None, typer.Option(help="The endpoint; else OPENAI_BASE_URL.")] = None,
    key_from: Annotated[str, typer.Option(help="The environment variable of the key.")] = "OPENAI_API_KEY",
    temperature: Annotated[float | None, typer.Option(min=0, help="Without: the endpoint's; greedy.")] = None,
    seed: Annotated[int, typer.Option(help="Of --local with a temperature.")] = 0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a word from the endpoint.")
    ] = 120.0,
    workers: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 8,
    tries: Annotated[int, typer.Option(min=1, help="Answers a class until it is given up.")] = 4,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask about so many classes at most.")] = None,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price of a million tokens asked.")] = None,
    price_out: Annotated[
        float | None, typer.Option(min=0, help="Price of a million tokens answered.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the start.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate, show the first prompt.")] = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Asks a language model for the look-alikes and phrases of every class (CONCORD, appendix B)."""
    from potstill.concepts.class_names import require_names
    from potstill.concepts.ledger import entries_of
    from potstill.concepts.prompt import Prompt
    from potstill.concepts.retrieve import Retrieval, retrieve

    if (model is None) == (local is None):
        raise PotstillError("name either a --model of an endpoint or a --local model")
    settings = Retrieval(
        prompt=Prompt.load(template), phrases=phrases, workers=1 if local else workers, tries=tries
    )
    listed = _listed(data, class_names, classes)
    require_names(listed)
    held = entries_of(out)
    missing = [place for place, key in enumerate(listed.keys) if key not in held][:limit]
    prompts = [settings.first_prompt(listed, place) for place in missing]
    err_console.tell(_estimated(prompts, settings, price_in, price_out))
    if dry_run:
        emit(prompts[:1], as_json, lambda: "".join(prompts[:1]))
        return
    if prompts and not yes and sys.stdin.isatty() and not typer.confirm("Ask?", err=True):
        raise typer.Exit(130)
    asked = (
        _local(local, temperature, seed, device)
        if local
        else _endpoint(str(model), base_url, key_from, temperature, timeout)
    )
    with progress() as on_step:
        found = retrieve(listed, asked, out, settings, limit=limit, on_step=on_step)
    _report(found, out, len(listed), as_json)


@concepts.command("edit")
def concepts_edit(
    context: typer.Context,
    bank: Annotated[str, typer.Option(help="A shipped bank or a .jsonl file.")],
    data: Annotated[str, typer.Option(help="digits, an image folder, a parquet file or folder, or hub:ID.")],
    encoder: Annotated[str, typer.Option(help="A CLIP: shipped name, folder or hub id.")],
    out: Annotated[Path | None, typer.Option(help="Where to save; default: the .jsonl file itself.")] = None,
    classes: Only = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; 0 takes a free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address, open no browser.")] = False,
    skip_bad: SkipBad = False,
    device: Device = "cpu",
) -> None:
    """Opens a bank as a page of this machine: phrases beside the real images that fit them best and least."""
    import webbrowser

    from potstill.concepts.editing.actions import Actions
    from potstill.concepts.editing.seen import Seen
    from potstill.concepts.editing.server import EditServer
    from potstill.concepts.editing.session import EditSession, saved_to
    from potstill.core.lock import alone_with
    from potstill.data import load
    from potstill.encoders import Encoder

    context.with_resource(alone_with(saved_to(bank, out)))
    session = EditSession(bank, out)
    with progress() as on_step:
        real = load(data, classes=classes, skip_bad=skip_bad, on_step=on_step)
        session.bank.select(real.classes.keys)
        seen = Seen(Encoder.from_pretrained(encoder, device=device), real)
    with EditServer(Actions(session, seen), port) as server:
        out_console.tell(server.url)
        err_console.tell("this address lets its bearer edit the bank; Ctrl-C ends")
        try:
            if not no_open:
                webbrowser.open(server.url)
            server.serve_forever()
        except KeyboardInterrupt:
            if session.changed:
                err_console.tell(
                    f"unsaved edits are kept in {session.draft}; the same command offers them again"
                )


def _local(source: str, temperature: float | None, seed: int, device: str) -> LanguageModel:
    from potstill.concepts.local_language import LocalLanguage

    return LocalLanguage(source, temperature=temperature, seed=seed, device=device)


def _endpoint(
    model: str, base_url: str | None, key_from: str, temperature: float | None, timeout: float
) -> LanguageModel:
    from potstill.concepts.endpoint import Endpoint

    return Endpoint(model, base_url=base_url, key_from=key_from, temperature=temperature, timeout=timeout)


def _listed(data: str | None, class_names: Path | None, chosen: str | None) -> Classes:
    """The classes to ask about; images that cannot be read do not matter here."""
    from potstill.concepts.class_names import read_class_names
    from potstill.data import load

    if (data is None) == (class_names is None):
        raise PotstillError("say where the classes come from: either --data or --class-names")
    if class_names is not None and chosen is not None:
        raise PotstillError(
            "--classes chooses from --data; leave lines out of the --class-names file instead"
        )
    if class_names is not None:
        return read_class_names(class_names)
    with progress() as on_step:
        return load(str(data), classes=chosen, skip_bad=True, on_step=on_step).classes


def _estimated(
    prompts: Sequence[str], settings: Retrieval, price_in: float | None, price_out: float | None
) -> str:
    from potstill.concepts.estimate import CHARACTERS, SECONDS, estimate

    guess = estimate(prompts, settings.phrases, settings.workers)
    lines = [
        f"{guess.requests} requests, about {guess.tokens_in} tokens in and {guess.tokens_out} out, estimated as "
        f"characters / {CHARACTERS}; answers that must be asked for again come on top",
        f"about {guess.seconds / 60:.1f} min, {settings.workers} at once, if an answer takes {SECONDS:g} s",
        "for the cost give --price-in and --price-out, per million tokens",
    ]
    if price_in is not None and price_out is not None:
        lines[-1] = f"about {guess.cost(price_in, price_out):.2f}, in the currency of the prices"
    return "\n".join(lines)


def _report(found: Retrieved, out: Path, of: int, as_json: bool) -> None:
    counts = {
        "classes": len(found.bank.entries),
        "of": of,
        "answers": found.answers,
        "rejected": found.rejected,
    }
    counts |= {"tokens_in": found.tokens_in, "tokens_out": found.tokens_out}
    emit(
        {"file": str(out), **counts, "failed": found.failed},
        as_json,
        lambda: f"{out}: " + ", ".join(f"{name} {value}" for name, value in counts.items()),
    )
    if found.failed:
        err_console.tell("\n".join(f"failed: {key}: {reason}" for key, reason in found.failed.items()))
        err_console.tell(f"to go on: {shlex.join(['potstill', *sys.argv[1:]])}")
        raise typer.Exit(2)
