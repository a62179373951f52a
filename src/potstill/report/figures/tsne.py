"""Where sets lie among real images: t-SNE of an encoder's or a net's features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.distilled import DistilledSet
from potstill.methods.features import Features
from potstill.report.figures.style import INK, legend, note, plain, sheet, tones
from potstill.report.read import without_shared_words

NAMED_CLASSES = 20
"""Up to so many classes are named in the plane."""


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Images of one origin: features [n, d] and class positions [n]."""

    label: str
    features: NDArray[np.float64]
    classes: NDArray[np.int64]


def cloud(distilled: DistilledSet, keys: Sequence[str], features: Features) -> Cloud:
    """A distilled set as a cloud; `keys` are the classes of the real data, in their order."""
    images, labels = distilled.images(), distilled.labels(keys)
    return Cloud(distilled.manifest.name, features.images(images).numpy(), labels.numpy())


def real_cloud(real: RealData, features: Features, *, per_class: int, size: int) -> Cloud:
    """Up to so many real training images of each class, always the same ones, at `size` px."""
    rows = []
    for label, key in enumerate(real.classes.keys):
        own = real.train.of_class(label)
        rows.append(own[torch.randperm(len(own), generator=generator("t-sne", key))[:per_class]])
    chosen = torch.cat(rows)
    found = features.images(real.train.pixels(chosen, size))
    return Cloud("real images", found.numpy(), real.train.labels[chosen].numpy())


def tsne(
    clouds: Sequence[Cloud],
    *,
    title: str,
    classes: Sequence[str],
    features: str,
    perplexity: float = 30,
    seed: int = 0,
) -> Figure:
    """All clouds in one plane; the first, of real images, as small grey dots with its classes named where they lie.

    Source: van der Maaten and Hinton 2008, as scikit-learn computes it, started from the two main components, so that
    the same features give the same plane. `features` says in the small print what they are of; the perplexity is at
    most a third of the images. Distances between far groups mean little. Raises PotstillError for fewer than four
    images and for features that are not numbers.
    """
    everything = np.concatenate([cloud.features for cloud in clouds]) if clouds else np.zeros((0, 2))
    if len(everything) < 4:
        raise PotstillError(f"t-SNE needs at least 4 images, not {len(everything)}")
    if not np.isfinite(everything).all():
        raise PotstillError(f"the features of {features} are not all finite")
    used = min(perplexity, (len(everything) - 1) / 3)
    plane = TSNE(init="pca", perplexity=used, random_state=seed).fit_transform(everything)
    parts = np.split(plane, np.cumsum([len(cloud.features) for cloud in clouds])[:-1])
    figure, axes = sheet(title, 7.6, 5.2)
    key: list[tuple[object, str]] = []
    marks = [(INK, "."), *tones(len(clouds) - 1, "sets")]
    for place, (cloud, part, (tone, shape)) in enumerate(zip(clouds, parts, marks, strict=True)):
        look = (
            {"s": 34, "alpha": 0.6, "linewidths": 0}
            if place == 0
            else {"s": 30, "alpha": 0.85, "linewidths": 0}
        )
        drawn = axes.scatter(part[:, 0], part[:, 1], color=tone, marker=shape, **look)
        key.append((drawn, f"{cloud.label} (n = {len(part)})"))
    if len(classes) <= NAMED_CLASSES:
        _name(axes, parts, clouds, without_shared_words(classes))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    legend(axes, key)
    note(figure, f"t-SNE of features of {features}; perplexity {used:.3g}, seed {seed}.")
    return figure


def _name(
    axes: Axes, parts: Sequence[NDArray[np.float32]], clouds: Sequence[Cloud], names: Sequence[str]
) -> None:
    """Writes each class's name above its images."""
    everything, labels = np.concatenate(parts), np.concatenate([cloud.classes for cloud in clouds])
    for label in np.unique(clouds[0].classes):
        own, near = everything[labels == label], parts[0][clouds[0].classes == label]
        x, y = np.median(near, axis=0)
        reach = np.ptp(everything, axis=0) * 0.08
        beside = own[(np.abs(own - (x, y)) <= reach).all(1)]
        axes.annotate(
            plain(names[int(label)]),
            (float(x), float(beside[:, 1].max(initial=y))),
            (0, 6),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=10,
            weight="bold",
            parse_math=False,
        )
