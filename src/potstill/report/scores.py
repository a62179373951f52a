"""What images score beside real ones: the real range of a class, and which images are complete."""

from collections.abc import Sequence

from potstill.report.read import Arm, Facts, Picture, Quantiles


def real_range(facts: Facts, key: str) -> Quantiles | None:
    """The 5, 50 and 95 % quantiles of the mean concept score of a class's real images; None if unknown.

    Where potstill.json lacks `real_means`, the means of the phrases' quantiles stand in: as a rule an outer
    band, for the phrases of one image do not all reach their extremes together.
    """
    if key in facts.real_means:
        return facts.real_means[key]
    phrases = list(facts.real_scores.get(key, {}).values())
    if not phrases:
        return None
    low, middle, high = (sum(level) / len(phrases) for level in zip(*phrases, strict=True))
    return low, middle, high


def complete(facts: Facts, picture: Picture) -> bool | None:
    """Whether the image's mean concept score reaches the 5 % quantile of real images of its class.

    95 % of real images reach it. None where the image was not scored or the range is unknown.
    """
    found = real_range(facts, picture.key)
    if picture.mean is None or found is None:
        return None
    return picture.mean >= found[0]


def share_complete(arms: Sequence[Arm]) -> float | None:
    """The share of all judged images of the arms that are complete; None where none was judged."""
    judged = [complete(arm.facts, picture) for arm in arms for picture in arm.pictures]
    known = [one for one in judged if one is not None]
    return sum(known) / len(known) if known else None
