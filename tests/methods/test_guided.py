"""Methods on real digits and tiny random priors: what an image depends on, and what is written down."""

import dataclasses
from functools import partial

import pytest
import torch
from torch.nn import functional

from potstill.concepts import Vocabulary
from potstill.core.errors import PotstillError
from potstill.core.progress import silent
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.distilled import Slot
from potstill.guidance import Targets
from potstill.guidance.push import Pace
from potstill.methods import METHODS
from potstill.methods.guided import Guided
from potstill.methods.random import Random
from potstill.methods.terms import ClassifierTerm, ConceptTerm
from potstill.nets.spec import Net, build
from potstill.nets.store import load_net, save_net
from potstill.priors import Condition
from potstill.priors.tiny import decode_tiny, load_tiny
from potstill.recipes import RECIPES

SLOTS = [Slot("3", 0), Slot("3", 1), Slot("8", 0), Slot("1", 5), Slot("8", 2)]


@pytest.fixture(scope="module")
def real():
    return digits()


def concept(tiny_clip, **pace):
    pace = Pace(**{"weight": 0.2, "normalise": True} | pace)
    return ConceptTerm(vocabulary=Vocabulary(bank="digits", encoder=tiny_clip), pace=pace)


@pytest.fixture(params=["random", "dit", "dit concept", "dit until", "unclip concept"], scope="module")
def maker(request, real, tiny_dit, tiny_unclip, tiny_clip):
    terms = {
        "dit concept": (concept(tiny_clip),),
        "dit until": (concept(tiny_clip, until=0.5, check=2, every=2),),
        "unclip concept": (concept(tiny_clip),),
    }
    prior = tiny_unclip if request.param.startswith("unclip") else tiny_dit
    guided = Guided(prior=prior, scale=2.0, terms=terms.get(request.param, ()), steps=4)
    method = Random() if request.param == "random" else guided
    return method.prepare(real, seed=3, images_per_class=6, device="cpu")


def test_an_image_depends_on_its_slot_alone(maker):
    whole = maker.make(SLOTS, lambda step: None)
    for rows in ([2], [4, 0, 3], [4, 3, 2, 1, 0]):
        part = maker.make([SLOTS[row] for row in rows], lambda step: None)
        for row, made in zip(rows, part, strict=True):
            assert torch.equal(made.image, whole[row].image)
            assert made.details == whole[row].details
    assert not torch.equal(whole[0].image, whole[1].image)
    assert all(made.image.dtype == torch.uint8 and made.image.shape == (3, 32, 32) for made in whole)


def test_another_seed_gives_other_images(real, tiny_dit):
    method = Guided(prior=tiny_dit, scale=1.0, steps=3)
    makers = [method.prepare(real, seed=seed, images_per_class=1, device="cpu") for seed in (0, 1)]
    images = [maker.make(SLOTS[:1], lambda step: None)[0].image for maker in makers]
    assert not torch.equal(*images)


def test_informing_keeps_the_noise_and_writes_its_negatives(real, tiny_dit, tiny_clip):
    bare = Guided(prior=tiny_dit, scale=1.0, steps=3)
    still = dataclasses.replace(bare, terms=(concept(tiny_clip, weight=0.0),))
    made = [
        method.prepare(real, seed=0, images_per_class=1, device="cpu").make(SLOTS, lambda step: None)
        for method in (bare, still)
    ]
    for one, other in zip(*made, strict=True):
        assert torch.equal(one.image, other.image)
        assert "negatives" not in one.details
        assert len({negative["class"] for negative in other.details["negatives"]}) == 9


def test_an_images_negatives_are_drawn_by_its_own_generator(real, tiny_dit, tiny_clip):
    method = Guided(prior=tiny_dit, scale=1.0, steps=1, terms=(concept(tiny_clip),))
    maker = method.prepare(real, seed=4, images_per_class=2, device="cpu")
    (loaded,) = maker.loaded
    told = [made.details["negatives"] for made in maker.make(SLOTS[:2])]
    for slot, own in zip(SLOTS, told, strict=False):
        drawn = loaded.space.negatives(3, generator(4, "negatives", slot.key, slot.index))
        assert own == [
            {"class": loaded.space.keys[other], "phrase": loaded.space.phrases[other][phrase]}
            for other, phrase in drawn
        ]
    assert told[0] != told[1]


def test_a_term_looks_through_its_tiny_decoder(real, tiny_dit, tiny_clip, tiny_decoder, draw):
    term = dataclasses.replace(concept(tiny_clip), tiny=tiny_decoder)
    method = Guided(prior=tiny_dit, scale=1.0, steps=3, terms=(term,))
    maker = method.prepare(real, seed=0, images_per_class=1, device="cpu")
    push = maker.loaded[0].build(Targets(torch.zeros(2, dtype=torch.int64)), lambda step: None)
    latents = torch.randn(2, 4, 8, 8, generator=draw)
    tiny = partial(decode_tiny, load_tiny(tiny_decoder, "cpu", torch.float32))
    torch.testing.assert_close(push.decode(latents), tiny(latents))
    assert list(maker.weights) == [tiny_dit, tiny_clip, tiny_decoder]


def test_images_are_complete_above_the_quantile_asked_for(real, tiny_dit, tiny_clip):
    method = Guided(prior=tiny_dit, scale=1.0, steps=1, terms=(concept(tiny_clip, until=0.2),))
    (loaded,) = method.prepare(real, seed=0, images_per_class=1, device="cpu").loaded
    for bound, scores in zip(loaded.complete, loaded.space.real, strict=True):
        assert (scores.mean(1) < bound).float().mean() == pytest.approx(0.2, abs=0.01)


def test_random_images_are_real_ones_drawn_once(real):
    maker = Random().prepare(real, seed=0, images_per_class=20, device="cpu")
    slots = [Slot("5", index) for index in range(20)]
    made = maker.make(slots, lambda step: None)
    rows = [real.train.ids.index(one.details["source"]) for one in made]
    assert len(set(rows)) == 20 and set(real.train.labels[rows].tolist()) == {5}
    assert all(
        torch.equal(one.image, real.train.pixels([row], 32)[0]) for one, row in zip(made, rows, strict=True)
    )


def test_too_few_real_images_are_named(real):
    with pytest.raises(PotstillError, match="class '0' of digits has 400 training images, fewer than 401"):
        Random().prepare(real, seed=0, images_per_class=401, device="cpu")


def test_every_method_says_its_kind():
    for name, method in ((name, METHODS[name]) for name in METHODS):
        fields = {field.name: field.default for field in dataclasses.fields(method)}
        assert fields["kind"] == name


def test_one_class_alone_cannot_be_told_apart(real, tiny_dit, tiny_clip):
    method = Guided(prior=tiny_dit, terms=(concept(tiny_clip),))
    with pytest.raises(PotstillError, match="at least two names"):
        method.prepare(real.select(["3"]), seed=0, images_per_class=1, device="cpu")


def test_a_classifier_sees_images_at_its_own_size(real, tiny_dit, tmp_path):
    """The first step's push of a net of 16 px, by hand: the prior's images have 32 px."""
    save_net(tmp_path, build(Net(width=8), 10, 16, generator(0)), Net(width=8), real.classes, 16, {})
    term = ClassifierTerm(classifier=str(tmp_path), pace=Pace(weight=0.2))
    method = Guided(prior=tiny_dit, scale=1.0, steps=3, terms=(term,))
    maker = method.prepare(real, seed=0, images_per_class=1, device="cpu")
    (made,) = maker.make(SLOTS[:1])
    prior, net, (draw,) = maker.prior, load_net(tmp_path).module, [generator(0, "image", "3", 0)]
    x = prior.noise([draw])
    schedule, told = prior.schedule(3), Condition({"class": torch.tensor([3])})
    for t in schedule.timesteps:
        leaf, a = prior.denoise(x, t, told).detach().requires_grad_(), prior.alpha_bar(t)
        small = functional.interpolate(prior.decode(leaf), (16, 16), mode="bilinear", antialias=True)
        (gradient,) = torch.autograd.grad(net(small).log_softmax(1)[0, 3], leaf)
        x = schedule.step(leaf.detach() + 0.2 * (1 - a) / a**0.5 * gradient, t, x).prev_sample
    wanted = prior.decode(x).clamp(0, 1)[0] * 255
    assert (made.image - wanted).abs().max() < 1


def test_cosine_needs_no_negatives(real, tiny_dit, tiny_clip):
    words = Vocabulary(bank="digits", encoder=tiny_clip, negatives=0)
    pace = Pace(weight=0.2, normalise=True)
    terms = [
        ConceptTerm(vocabulary=vocabulary, objective="cosine", pace=pace)
        for vocabulary in (words, dataclasses.replace(words, negatives=3))
    ]
    without, beside = (
        Guided(prior=tiny_dit, scale=1.0, steps=3, terms=(term,))
        .prepare(real.select(["3", "8"]), seed=0, images_per_class=1, device="cpu")
        .make(SLOTS[:2])
        for term in terms
    )
    assert [made.details["negatives"] for made in without] == [[], []]
    assert all(torch.equal(*(one.image for one in pair)) for pair in zip(without, beside, strict=True))
    with pytest.raises(
        PotstillError, match="'contrastive' needs negatives.*at least 1, or the objective cosine"
    ):
        ConceptTerm(vocabulary=words)


def test_bfloat16_keeps_the_images_within_a_step_of_255_on_average():
    """The tolerance that docs/methods/guided.md states, on informed digits by the shipped models."""
    few, made = digits().select(("2", "3", "5")), []
    for dtype in ("float32", "bfloat16"):
        method = dataclasses.replace(RECIPES["digits-dit-concord"]().method, steps=10, dtype=dtype)
        maker = method.prepare(few, seed=0, images_per_class=1, device="cpu")
        slots = [Slot(key, 0) for key in few.classes.keys]
        made.append(torch.stack([one.image.float() for one in maker.make(slots, silent)]))
    apart = (made[0] - made[1]).abs().mean((1, 2, 3))
    assert (0 < apart).all() and (apart < 1).all()


def test_a_classifier_has_no_until():
    with pytest.raises(PotstillError, match="classifier term: pace.until is 0.2"):
        ClassifierTerm(classifier="digits/teacher", pace=Pace(until=0.2))


@pytest.mark.parametrize(
    ("pace", "message"),
    [
        ({"pool": 9}, "pace.pool must be at most 8, the latents' side, not 9"),
        ({"stop": 0.1}, "window from 0.0 to 0.1 holds none of 4 steps"),
        ({"start": 0.9}, "window from 0.9 to 1.0 holds none of 4 steps"),
    ],
)
def test_a_pace_that_the_prior_cannot_do_is_named(real, tiny_dit, tiny_clip, pace, message):
    method = Guided(prior=tiny_dit, terms=(concept(tiny_clip, **pace),), steps=4)
    with pytest.raises(PotstillError, match=message):
        method.prepare(real, seed=0, images_per_class=1, device="cpu")


def poison(maker, slots, attempts):
    """Makes the network answer NaN where it is given the first noise of these slots in these attempts."""
    bad = []
    for slot in slots:
        for attempt in attempts:
            later = ("attempt", attempt) if attempt else ()
            bad.append(maker.prior.noise([generator(3, "image", slot.key, slot.index, *later)])[0])

    def spoil(module, inputs, output):
        for row, noisy in enumerate(inputs[0]):
            if any(torch.equal(noisy, one) for one in bad):
                output.sample[row] = torch.nan
        return output

    return maker.prior.network.register_forward_hook(spoil)


@pytest.mark.parametrize("terms", ["none", "concept"])
def test_an_image_that_is_not_finite_is_drawn_again_by_its_next_generator(real, tiny_dit, tiny_clip, terms):
    own = (concept(tiny_clip),) if terms == "concept" else ()
    method = Guided(prior=tiny_dit, scale=2.0, terms=own, steps=3)
    maker = method.prepare(real, seed=3, images_per_class=6, device="cpu")
    whole = maker.make(SLOTS)
    hook = poison(maker, SLOTS[1:3], [0])
    mended = maker.make(SLOTS)
    alone = maker.make(SLOTS[2:3])
    hook.remove()
    assert [made.details.get("attempt") for made in mended] == [None, 1, 1, None, None]
    for place in (0, 3, 4):
        assert torch.equal(mended[place].image, whole[place].image)
        assert mended[place].details == whole[place].details
    assert not torch.equal(mended[1].image, whole[1].image) and mended[2].image.float().std() > 1
    assert torch.equal(alone[0].image, mended[2].image), "whatever it is made beside"


def test_a_prior_that_is_never_finite_ends_with_the_images_named(real, tiny_dit):
    method = Guided(prior=tiny_dit, scale=1.0, steps=3)
    maker = method.prepare(real, seed=3, images_per_class=6, device="cpu")
    poison(maker, SLOTS[3:4], range(3))
    with pytest.raises(PotstillError, match="not finite for train/1/00005.png, 3 times each"):
        maker.make(SLOTS)
