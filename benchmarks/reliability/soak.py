"""Concepts of 1,000 classes from an endpoint that fails in every way: what was injected, what was seen, what was lost.

`python benchmarks/reliability/soak.py --out FILE.md` starts a real HTTP server on this machine, retrieves from it, and
prints and writes the table. It ends with 1 where a class is lost or an answered question is asked again.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from support.endpoint import ANSWERS, TRANSPORT, phrases_of, serving  # noqa: E402

from potstill.concepts import ConceptBank  # noqa: E402
from potstill.concepts.endpoint import Endpoint  # noqa: E402
from potstill.concepts.language import Message, Reply, Unavailable  # noqa: E402
from potstill.concepts.patience import Patience  # noqa: E402
from potstill.concepts.prompt import Prompt  # noqa: E402
from potstill.concepts.retrieve import Retrieval, retrieve  # noqa: E402
from potstill.data.real import Classes  # noqa: E402

SEEN_AS = {
    "429": "HTTP 429",
    "500": "HTTP 500",
    "slow": "no answer in time",
    "dropped": "Server disconnected",
    "truncated": "peer closed connection",
    "malformed": "JSONDecodeError",
    "no choices": "IndexError",
    "wrong class": "which is not the one asked for",
    "9 phrases": "has 9 phrases",
    "11 phrases": "has 11 phrases",
    "overlong": "has 128 characters",
    "upper case": "upper-case",
    "nothing": "it is empty",
}
SHARE = 0.04
"""Of each kind of fault, at each of the first three requests about a class."""


class Watched:
    """An endpoint whose failures are written down as they come."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint, self.provenance = endpoint, endpoint.provenance
        self.seen: list[str] = []
        self.lock = threading.Lock()

    def ask(self, messages: Sequence[Message]) -> Reply:
        """Asks, and notes why no answer came."""
        try:
            return self.endpoint.ask(messages)
        except Unavailable as error:
            with self.lock:
                self.seen.append(str(error))
            raise


def plan(name: str, nth: int) -> str:
    """What the n-th request about a class meets: the same in every run."""
    drawn = random.Random(f"{name}/{nth}").random() / SHARE
    kinds = [*TRANSPORT, *ANSWERS]
    return kinds[int(drawn)] if nth < 3 and drawn < len(kinds) else "good"


def main() -> None:
    """Runs the soak."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--classes", type=int, default=1000)
    options.add_argument("--workers", type=int, default=16)
    options.add_argument("--out", type=Path)
    wanted = options.parse_args()
    names = tuple(f"thing {place}" for place in range(wanted.classes))
    with tempfile.TemporaryDirectory() as folder, serving(plan, slow=3.0) as server:
        out, begun = Path(folder) / "bank.jsonl", time.perf_counter()
        model = Watched(Endpoint("soak", base_url=server.url, timeout=2.0))
        patience = Patience(first=0.01, most=0.1)
        settings = Retrieval(prompt=Prompt.load("concord"), workers=wanted.workers, patience=patience)
        found = retrieve(Classes(names, names), model, out, settings)
        seconds = time.perf_counter() - begun
        bank = ConceptBank.load(str(out)).entries
        rejected = [json.loads(line)["reason"] for line in out.with_suffix(".rejected.jsonl").open()]
    kept = [name for name in names if name in bank and list(bank[name].concepts) == phrases_of(name)]
    again = sum(count - 1 for count in server.good.values() if count > 1)
    seen = Counter(kind for told in [*model.seen, *rejected] for kind in SEEN_AS if SEEN_AS[kind] in told)
    lines = [
        f"# Retrieval from a faulty endpoint, {datetime.now(UTC).date()}",
        "",
        f"Printed by `python benchmarks/reliability/soak.py --classes {wanted.classes} --workers "
        f"{wanted.workers}`: a real HTTP server on the same machine, {seconds:.0f} s.",
        "",
        "| fault | injected | seen by the client |",
        "|---|--:|--:|",
        *(f"| {kind} | {server.met[kind]} | {seen[kind]} |" for kind in SEEN_AS),
        f"| all | {sum(server.met[kind] for kind in SEEN_AS)} | {len(model.seen) + len(rejected)} |",
        "",
        "| | |",
        "|---|--:|",
        f"| classes | {wanted.classes} |",
        f"| requests | {sum(server.asked.values())} |",
        f"| most requests at once, of {wanted.workers} allowed | {server.most_at_once} |",
        f"| answers, {len(rejected)} of them rejected and kept | {found.answers} |",
        f"| questions asked again after a good answer | {again} |",
        f"| classes in the bank in the list's order | {sum(map(str.__eq__, bank, names))} |",
        f"| classes reported as failed | {len(found.failed)} |",
        f"| classes lost | {wanted.classes - len(kept)} |",
    ]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if wanted.out:
        wanted.out.write_text(text, encoding="utf-8")
    if len(kept) < wanted.classes or again:
        sys.exit(1)


if __name__ == "__main__":
    main()
