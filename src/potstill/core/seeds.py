"""One random generator an item, from what the item is and nothing else."""

import hashlib
import operator
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def generator(*identity: int | str) -> torch.Generator:
    """A CPU generator seeded by a hash of `identity`, for example (seed, "noise", class key, index).

    Integers of any kind are alike; raises TypeError for numbers that are none. An item's draws therefore do not depend
    on batch size, order, worker count or resume. Draw on the CPU, then move.
    """
    whole = [part if isinstance(part, str) else int(operator.index(part)) for part in identity]
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in whole)
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@contextmanager
def seeded(*identity: int | str) -> Iterator[None]:
    """Within, torch's global generator starts from `identity`; afterwards it is as it was.

    For code of other libraries that takes no generator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(*identity).initial_seed())
        yield
