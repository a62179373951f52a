"""Real images to begin from."""

from collections.abc import Sequence

from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.data.real import RealData, require_per_class, shuffled
from potstill.distilled import Slot
from potstill.priors import Prior


def side(prior: Prior, size: int | None) -> int:
    """A prior's side in px, its own or another; raises PotstillError for one that is not whole latent pixels."""
    chosen = prior.size if size is None else size
    if chosen < 1 or chosen % prior.shrink:
        raise PotstillError(
            f"images of this prior have a side of a multiple of {prior.shrink} px, not {chosen}"
        )
    return chosen


def real_starts(real: RealData, slots: Sequence[Slot], *, size: int, seed: int, each: int = 1) -> Tensor:
    """`each` real training images of its class for every slot, float32 [slots * each, 3, size, size] in [0, 1].

    Drawn without replacement, class by class, in an order that the seed decides: with one a slot they are those of
    the method `random`. Raises PotstillError where a class has too few.
    """
    most = max(slot.index for slot in slots) + 1
    require_per_class(real, most * each)
    order = {key: shuffled(real, key, seed) for key in {slot.key for slot in slots}}
    rows = [order[slot.key][slot.index * each + place] for slot in slots for place in range(each)]
    return real.train.pixels(rows, size).float() / 255
