"""D4M: prototypes against k-means by hand, and what an image depends on."""

import dataclasses
import itertools
from functools import cache

import pytest
import torch

from potstill.concepts import Vocabulary
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.distilled import DistilledSet, Slot
from potstill.guidance import guided
from potstill.guidance.free import ClassifierFree
from potstill.guidance.push import Pace
from potstill.methods.d4m import D4M, prototypes
from potstill.methods.guided import Guided
from potstill.methods.terms import ConceptTerm
from potstill.priors import Condition, Prior
from potstill.priors.unclip import TEMPLATES, UnCLIP
from potstill.recipes import RECIPES
from potstill.run import distill
from potstill.sampling import Start, sample, steps_taken

COUNT = 4
SLOTS = [Slot("3", 0), Slot("3", 3), Slot("8", 1), Slot("3", 2), Slot("8", 0), Slot("8", 3)]


@cache
def small(keys=("3", "8"), held=40):
    """Some real digits, `held` of each class: k-means is fed more than twice, and encoding stays short."""
    real = digits().select(keys)
    rows = torch.cat([real.train.of_class(label)[:held] for label in range(len(keys))])
    return dataclasses.replace(real, train=real.train.take(rows))


def prepared(prior, real=None, seed=3, count=COUNT, **settings):
    method = D4M(prior=prior, **{"scale": 2.0, "steps": 6} | settings)
    return method.prepare(real or small(), seed=seed, images_per_class=count, device="cpu")


def blobs(draw, sizes, wide=0.1):
    """Points float64 [n, 3] around well separated places, in random order, and the blob of each."""
    middles = 10 * torch.eye(3, dtype=torch.float64)
    which = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    which = which[torch.randperm(len(which), generator=draw)]
    noise = torch.randn(len(which), 3, generator=draw, dtype=torch.float64)
    return middles[which] + wide * noise, which


def inertia(points, centres):
    """Sum of squared distances to the nearest centre, by definition."""
    return sum(min(float(((point - centre) ** 2).sum()) for centre in centres) for point in points)


def by_definition(points, count, batch):
    """Sculley 2010, algorithm 1, on whole batches: the first `count` points, then running means."""
    centres = [point.clone() for point in points[:count]]
    seen = [0] * count
    for start in range(0, len(points), batch):
        part = points[start : start + batch]
        away = [[float((point - centre).norm()) for centre in centres] for point in part]
        for point, distances in zip(part, away, strict=True):
            own = distances.index(min(distances))
            seen[own] += 1
            centres[own] += (point - centres[own]) / seen[own]
    return centres


def test_k_means_is_the_running_mean_of_what_is_nearest(draw):
    points = torch.randn(47, 5, generator=draw, dtype=torch.float64)
    found = prototypes(points, 4, batch=4, random_state=0)
    expected = by_definition(points, 4, 4)
    away = torch.cdist(torch.stack([one.centre for one in found]).double(), torch.stack(expected))
    assert away.min(1).values.max() < 1e-6
    assert sorted(away.argmin(1).tolist()) == [0, 1, 2, 3]


def test_the_centres_of_separable_blobs_are_the_means_of_their_members(draw):
    points, which = blobs(draw, (9, 14, 6))
    found = prototypes(points, 3, batch=len(points), random_state=1)
    assert [one.cluster for one in found] == [14, 9, 6]
    for one, blob in zip(found, (1, 0, 2), strict=True):
        torch.testing.assert_close(one.centre.double(), points[which == blob].mean(0), atol=1e-5, rtol=0)
        away = [float((point - one.centre).norm()) for point in points]
        assert one.nearest == away.index(min(away)) and which[one.nearest] == blob


def test_no_division_of_the_points_is_better_on_separable_blobs(draw):
    points, _ = blobs(draw, (5, 4))
    found = prototypes(points, 2, batch=len(points), random_state=0)
    best = float("inf")
    for division in itertools.product((0, 1), repeat=len(points)):
        if len(set(division)) == 2:
            sides = torch.tensor(division)
            best = min(best, inertia(points, [points[sides == side].mean(0) for side in (0, 1)]))
    assert inertia(points, [one.centre.double() for one in found]) == pytest.approx(best, rel=1e-5)


def test_one_prototype_is_the_mean_of_all_with_the_last_batch_too(draw):
    points = torch.randn(23, 5, generator=draw, dtype=torch.float64)
    (found,) = prototypes(points, 1, batch=10, random_state=0)
    torch.testing.assert_close(found.centre.double(), points.mean(0), atol=1e-6, rtol=0)
    assert found.cluster == 23


def test_of_equal_clusters_none_is_lost(draw):
    found = prototypes(blobs(draw, (7, 7, 7))[0], 3, batch=21, random_state=0)
    assert [one.cluster for one in found] == [7, 7, 7]
    assert len({tuple(one.centre.round().tolist()) for one in found}) == 3


@torch.no_grad()
def test_almost_no_strength_gives_back_the_decoded_real_images():
    """With as many prototypes as images, each is one real image's latent; the first step's noise is of size 0.01."""
    real, prior = small(held=COUNT), Prior.from_pretrained("digits/dit")
    slots, moved = [Slot("3", index) for index in range(COUNT)], []
    for strength in (0.02, 0.1):
        made = prepared("digits/dit", real, scale=1.0, steps=50, strength=strength).make(slots)
        rows = [real.train.ids.index(one.details["nearest"]) for one in made]
        assert sorted(rows) == real.train.of_class(0).tolist()
        assert [one.details["cluster"] for one in made] == [1] * COUNT
        again = prior.decode(prior.encode(real.train.pixels(rows, 32).float() / 255)).clamp(0, 1)
        moved.append((torch.stack([one.image for one in made]).float() / 255 - again).abs())
    assert moved[0].max() < 0.04 and moved[0].mean() < 0.003
    assert moved[1].max() > 0.2 and moved[1].mean() > 0.008


@torch.no_grad()
def test_one_image_a_class_sets_out_from_the_mean_latent(tiny_dit):
    real, prior = small(), Prior.from_pretrained(tiny_dit)
    made = prepared(tiny_dit, real, seed=5, count=1, scale=1.0, strength=0.5).make([Slot("8", 0)])[0]
    rows = real.train.of_class(1)
    mean = prior.encode(real.train.pixels(rows, 32).float() / 255).mean(0, keepdim=True)
    noise = prior.noise([generator(5, "image", "8", 0)])
    denoise = guided(prior, Condition({"class": torch.tensor([8])}), [])
    latents = sample(prior, denoise, noise, steps=6, start=Start(mean, 0.5))
    expected = prior.decode(latents).clamp(0, 1)[0] * 255
    assert (made.image.float() - expected).abs().max() < 1
    assert made.details["cluster"] == 40


@torch.no_grad()
def test_a_class_is_clustered_in_the_order_of_its_seed(tiny_dit):
    """At expand 1 the first images of that order are the first centres; a larger one lets k-means++ choose."""
    real, prior = small(), Prior.from_pretrained(tiny_dit)
    rows = real.train.of_class(0)
    for seed in (0, 1):
        order = rows[torch.randperm(len(rows), generator=generator(seed, "prototypes", "3"))]
        points = prior.encode(real.train.pixels(order, 32).float() / 255).flatten(1).double()
        found = {}
        for expand in (1, 10):
            maker = prepared(tiny_dit, seed=seed, steps=1, strength=1.0, expand=expand)
            maker.make([Slot("3", 0)])
            found[expand] = torch.stack([one.centre for one in maker.kept["3"]]).double()
        away = torch.cdist(found[1], torch.stack(by_definition(points, COUNT, COUNT)))
        assert away.min(1).values.max() < 1e-5 and len(set(away.argmin(1).tolist())) == COUNT
        once = prototypes(points, COUNT, batch=10 * COUNT, random_state=_state(seed))
        torch.testing.assert_close(
            found[10], torch.stack([one.centre for one in once]).double(), atol=1e-5, rtol=0
        )
        assert torch.cdist(found[10], found[1]).min(1).values.max() > 1e-2


def _state(seed):
    draw = generator(seed, "prototypes", "3")
    torch.randperm(40, generator=draw)
    return int(torch.randint(2**31, (), generator=draw))


@pytest.fixture(params=["dit", "unclip"], scope="module")
def maker(request, tiny_dit, tiny_unclip):
    return prepared({"dit": tiny_dit, "unclip": tiny_unclip}[request.param])


def test_an_image_does_not_depend_on_its_companions(maker):
    whole = maker.make(SLOTS)
    for rows in ([2], [4, 0, 3], [5, 4, 3, 2, 1, 0]):
        maker.kept.clear()
        for row, made in zip(rows, maker.make([SLOTS[row] for row in rows]), strict=True):
            assert torch.equal(made.image, whole[row].image)
            assert made.details == whole[row].details
    assert len({made.image.numpy().tobytes() for made in whole}) == len(SLOTS)


def test_the_largest_cluster_comes_first(maker):
    sizes = [made.details["cluster"] for made in maker.make([Slot("3", index) for index in range(COUNT)])]
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) == 40


def test_the_seed_and_the_number_of_prototypes_decide(tiny_dit):
    slot = [Slot("3", 0)]
    made = [
        prepared(tiny_dit, seed=seed, count=count).make(slot)[0].image
        for seed, count in ((0, 4), (0, 4), (1, 4), (0, 5))
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2]) and not torch.equal(made[0], made[3])


@torch.no_grad()
def test_unclip_is_shown_the_image_nearest_to_the_prototype(tiny_unclip):
    maker, prior, split = prepared(tiny_unclip), Prior.from_pretrained(tiny_unclip), small().train
    assert isinstance(prior, UnCLIP)
    made = maker.make([Slot("8", 2)])[0]
    prototype = maker.kept["8"][2]
    draw = generator(3, "image", "8", 2)
    template = TEMPLATES[int(torch.randint(len(TEMPLATES), (), generator=draw))]
    torch.randint(1, (), generator=draw)
    grain, noise = torch.randn(1, 32, generator=draw), torch.randn(1, 4, 8, 8, generator=draw)
    rows, start = split.of_class(1).tolist(), Start(prototype.centre.reshape(1, 4, 8, 8), 0.7)
    away = [
        float((prior.encode(split.pixels([row], 32).float() / 255).flatten() - prototype.centre).norm())
        for row in rows
    ]
    order = sorted(rows, key=lambda row: away[rows.index(row)])
    assert split.ids[order[0]] == made.details["nearest"]
    apart = []
    for row in order[:3]:
        condition = prior.told([template.format("handwritten eight")], [split.read(row)], grain)
        denoise = guided(prior, condition, [ClassifierFree(2.0)])
        expected = prior.decode(sample(prior, denoise, noise, steps=6, start=start)).clamp(0, 1)[0] * 255
        apart.append(float((made.image - expected).abs().max()))
    assert apart[0] < 1 < min(apart[1:])


def test_a_term_that_ends_before_the_first_step_is_refused(tiny_dit, tiny_clip):
    def at(**pace):
        words = Vocabulary(bank="digits", encoder=tiny_clip)
        return prepared(
            tiny_dit, steps=10, strength=0.7, terms=(ConceptTerm(vocabulary=words, pace=Pace(**pace)),)
        )

    with pytest.raises(PotstillError, match="a term stops at step 3 of 10, .* the first step is 3: raise"):
        at(stop=0.3)
    assert at(stop=0.4).make(SLOTS[:1])


def test_guidance_terms_work_as_in_guided_sampling(tiny_dit, tiny_clip):
    def informed(weight):
        pace = Pace(weight=weight, normalise=True)
        term = ConceptTerm(vocabulary=Vocabulary(bank="digits", encoder=tiny_clip), pace=pace)
        return prepared(tiny_dit, terms=(term,)).make(SLOTS)

    bare, still, pushed = prepared(tiny_dit).make(SLOTS), informed(0.0), informed(0.2)
    assert all(torch.equal(one.image, other.image) for one, other in zip(bare, still, strict=True))
    assert any(not torch.equal(one.image, other.image) for one, other in zip(bare, pushed, strict=True))
    assert len(still[0].details["negatives"]) == 1 and "nearest" in still[0].details


def test_a_stopped_run_goes_on_to_the_same_images(tiny_dit, tmp_path):
    method = D4M(prior=tiny_dit, scale=1.5, steps=4)

    def run(folder, batch, on_step=lambda step: None):
        return distill(
            method, small(), folder, name="t", images_per_class=3, seed=1, batch=batch, on_step=on_step
        )

    def stop(step):
        if step.stage == "distill" and step.index == 4:
            raise KeyboardInterrupt

    straight = run(tmp_path / "straight", 64)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", 2, stop)
    assert len(list((tmp_path / "stopped").rglob("*.png"))) == 4
    resumed = run(tmp_path / "stopped", 1)

    def images(made):
        return {path.relative_to(made.folder): path.read_bytes() for path in made.folder.rglob("*.png")}

    assert images(resumed) == images(straight) and len(images(straight)) == 6
    assert DistilledSet.load(resumed.folder).verify() == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"strength": 0.0}, "strength must lie above 0 and at most at 1, not 0.0"),
        ({"strength": -0.1}, "not -0.1"),
        ({"strength": 1.01}, "not 1.01"),
        ({"strength": 0.01}, "strength 0.01 of 50 steps is less than one step"),
        ({"expand": 0}, "expand must be at least 1, not 0"),
    ],
)
def test_a_setting_out_of_range_is_named(setting, message):
    with pytest.raises(PotstillError, match=message):
        D4M(prior="digits/dit", **setting)


def test_too_few_real_images_are_named(tiny_dit):
    with pytest.raises(PotstillError, match="class '3' of digits has 40 training images, fewer than 41"):
        prepared(tiny_dit, count=41)


def test_the_published_settings_are_the_defaults():
    method = D4M(prior="digits/dit")
    assert (steps_taken(method.steps, method.strength), method.steps) == (35, 50)
    assert (method.scale, method.expand) == (8.0, 1)


@pytest.mark.parametrize(
    ("name", "beside"), [("digits-d4m", "digits-dit"), ("digits-d4m-unclip", "digits-unclip")]
)
def test_a_recipe_has_the_scale_of_its_prior(name, beside):
    recipe, plain = RECIPES[name](), RECIPES[beside]()
    assert recipe.name == name and isinstance(plain.method, Guided)
    assert (recipe.method.prior, recipe.method.scale) == (plain.method.prior, plain.method.scale)
