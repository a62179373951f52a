"""How far apart the images of one class lie."""

from torch import Tensor


def spread(embedded: Tensor) -> float | None:
    """The mean of 1 - cosine over all pairs of unit embeddings [n, d]; None for fewer than two.

    Its expectation does not depend on n, so small sets can be held against large ones.
    """
    count = len(embedded)
    if count < 2:
        return None
    together = embedded.double().sum(0).square().sum() - embedded.double().square().sum()
    return float(1 - together / (count * (count - 1)))
