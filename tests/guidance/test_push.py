"""Guidance terms against closed forms on the exact world."""

import pytest
import torch
from support.exact import Mixture, unconditional

from potstill.core.errors import PotstillError
from potstill.core.saved import saved_bytes
from potstill.guidance import Moment, Targets, guided
from potstill.guidance.free import ClassifierFree
from potstill.guidance.push import Pace, Push
from potstill.priors import Condition, Prior
from potstill.sampling import sample

MEANS = torch.tensor([[[[-1.0]], [[0.5]]], [[[1.5]], [[-0.5]]], [[[0.0]], [[2.0]]]])
GOAL = torch.tensor([[[0.7]], [[-0.3]]])
SPREAD = 0.4


@pytest.fixture
def world():
    return Mixture(MEANS, SPREAD, "sample")


@pytest.fixture
def noisy(draw):
    return torch.randn(5, 2, 1, 1, generator=draw)


def near(pixels, targets):
    """A score with a known gradient: GOAL - pixels."""
    return -((pixels - GOAL) ** 2).flatten(1).sum(1) / 2


def moment(world, t, index=0, total=50):
    return Moment(index, total, torch.tensor(t), world.alpha_bar(torch.tensor(t)))


def targets(n, complete=None):
    return Targets(torch.zeros(n, dtype=torch.long), complete=complete)


def push(n, score=near, complete=None, gauge=None, **pace):
    return Push(score=score, pace=Pace(**pace), targets=targets(n, complete), gauge=gauge)


def bent(world, x_t, at, term):
    return guided(world, unconditional(len(x_t)), [term])(x_t, at)


def jacobian(world, x_t, a):
    """d E[x0|x_t] / d x_t of a mixture by the second-order Tweedie formula: sqrt(a)/(1-a) Cov[x0|x_t]."""
    weights, each = world.posterior(x_t.double(), a)
    within = (1 - a) * SPREAD**2 / (a * SPREAD**2 + 1 - a)
    away = (each - (weights[:, :, None, None, None] * each).sum(1, keepdim=True)).flatten(2)
    spread = torch.einsum("nk,nkd,nke->nde", weights, away, away) + within * torch.eye(2, dtype=torch.float64)
    return a**0.5 / (1 - a) * spread


@pytest.mark.parametrize("t", [20, 300, 700, 960])
@pytest.mark.parametrize("look", ["noisy", "clean", "full"])
def test_one_push_is_the_closed_form(world, noisy, t, look):
    at, weight = moment(world, t), 0.3
    a = at.alpha_bar
    x0 = world.clean(noisy.double(), a)
    toward = GOAL - (noisy.double() if look == "noisy" else x0)
    if look == "full":
        toward = torch.einsum("nde,ne->nd", jacobian(world, noisy, a), toward.flatten(1)).reshape(
            toward.shape
        )
    expected = x0 + weight * (1 - a) / a**0.5 * toward
    found = bent(world, noisy, at, push(5, look=look, weight=weight))
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first", ["noisy", "clean", "full"])
def test_a_full_look_after_another_push_is_the_closed_form(world, noisy, first):
    """The second term sees what the first has made of x0, whose edit it takes as given."""
    at, weights = moment(world, 300), (0.3, 0.2)
    a = at.alpha_bar
    once = bent(world, noisy, at, push(5, look=first, weight=weights[0]))
    through = torch.einsum("nde,ne->nd", jacobian(world, noisy, a), (GOAL - once.double()).flatten(1))
    expected = once + weights[1] * (1 - a) / a**0.5 * through.reshape(once.shape)
    terms = [push(5, look=look, weight=weight) for look, weight in zip((first, "full"), weights, strict=True)]
    found = guided(world, unconditional(5), terms)(noisy, at)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_full_look_keeps_no_activations_of_either_pass(tiny_dit):
    prior = Prior.from_pretrained(tiny_dit)
    at, told = moment(prior, 500), Condition({"class": torch.tensor([3, 1])})
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    score = lambda pixels, seen: pixels.flatten(1).sum(1)  # noqa: E731
    weights = list(prior.network.parameters())

    def kept(scale):
        terms = [ClassifierFree(scale), push(2, score=score, look="full", weight=0.1)]
        return saved_bytes(lambda: guided(prior, told, terms)(noise, at), weights)

    single = saved_bytes(lambda: prior.denoise(noise.clone().requires_grad_(), at.t, told), weights)
    assert kept(4.0) - kept(1) < single / 20


@pytest.mark.parametrize("look", ["noisy", "clean", "full"])
def test_a_normalised_push_moves_the_noise_by_its_share(world, noisy, look):
    at = moment(world, 500)
    a = at.alpha_bar
    noise = [
        (noisy - a**0.5 * x0) / (1 - a) ** 0.5
        for x0 in (
            world.clean(noisy, a),
            bent(world, noisy, at, push(5, look=look, weight=0.1, normalise=True)),
        )
    ]
    moved = (noise[1] - noise[0]).flatten(1).norm(dim=1) / noise[0].flatten(1).norm(dim=1)
    torch.testing.assert_close(moved, torch.full((5,), 0.1), atol=1e-4, rtol=1e-4)


def test_the_authors_post_step_form_is_the_same_push(world, noisy):
    """facts 4.4: what x_{t-1} moves by, [sqrt(1-a') - sqrt(a'(1-a)/a)] w sqrt(1-a) g with g of a loss."""
    a, before = 0.3, 0.4
    gradient = torch.ones(5, 2, 1, 1)
    x0 = world.clean(noisy, a)

    def step(clean):
        seen = (noisy - a**0.5 * clean) / (1 - a) ** 0.5
        return before**0.5 * clean + (1 - before) ** 0.5 * seen

    at = Moment(0, 50, torch.tensor(0), a)
    term = push(5, score=lambda pixels, _: pixels.flatten(1).sum(1), weight=0.2, look="clean")
    edited = term.bind(world, unconditional(5))(noisy, at, x0)
    bracket = (1 - before) ** 0.5 - (before * (1 - a) / a) ** 0.5
    torch.testing.assert_close(step(edited) - step(x0), bracket * 0.2 * (1 - a) ** 0.5 * -gradient)


@pytest.mark.parametrize("normalise", [False, True])
def test_where_no_signal_is_left_nothing_is_pushed(world, noisy, normalise):
    """The first step of a schedule that is rescaled to end in pure noise, where Eq. 9 has no meaning."""
    x0 = torch.zeros_like(noisy)
    bound = push(5, normalise=normalise).bind(world, unconditional(5))
    assert torch.equal(bound(noisy, Moment(0, 50, torch.tensor(999), 0.0), x0), x0)
    assert not torch.equal(bound(noisy, Moment(1, 50, torch.tensor(979), 1e-3), x0), x0)


def test_a_noise_aware_classifier_turns_the_prior_into_the_conditional_one(world, noisy):
    """Bayes: the unconditional x0 plus (1-a)/sqrt(a) grad log p(k|x_t) is E[x0|x_t, k]."""
    at = moment(world, 400)

    def posterior(pixels, seen):
        return world.posterior(pixels, at.alpha_bar)[0].log().gather(1, seen.labels[:, None])[:, 0]

    found = bent(world, noisy, at, push(5, score=posterior, look="noisy", weight=1.0))
    expected = world.denoise(noisy, at.t, Condition({"class": torch.zeros(5, dtype=torch.long)}))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_classifier_free_guidance_is_the_line_through_both_predictions(world, noisy):
    at, condition = moment(world, 400), Condition({"class": torch.tensor([0, 1, 2, 0, 1])})
    a = at.alpha_bar
    each = world.posterior(noisy, a)[1][torch.arange(5), condition.values["class"]]
    null = world.clean(noisy, a)
    found = guided(world, condition, [ClassifierFree(3.0)])(noisy, at)
    torch.testing.assert_close(found, null + 3 * (each - null), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("look", ["noisy", "clean", "full"])
def test_weight_zero_is_bitwise_the_bare_sampler(world, noisy, look):
    bare = sample(world, guided(world, unconditional(5), []), noisy, steps=10)
    still = sample(
        world,
        guided(world, unconditional(5), [ClassifierFree(1), push(5, look=look, weight=0.0)]),
        noisy,
        steps=10,
    )
    assert torch.equal(bare, still)


@pytest.mark.parametrize("look", ["noisy", "clean", "full"])
@pytest.mark.parametrize("normalise", [False, True])
def test_a_score_rises_with_the_weight_and_falls_with_the_wrong_sign(world, draw, look, normalise):
    noise = torch.randn(32, 2, 1, 1, generator=draw)
    reached = []
    for weight in (-0.1, 0.0, 0.1, 0.2):
        term = push(32, look=look, weight=weight, normalise=normalise)
        clean = sample(world, guided(world, unconditional(32), [term]), noise, steps=25)
        reached.append(float(near(clean, None).mean()))
    assert reached == sorted(reached) and len(set(reached)) == 4


def test_the_window_bounds_the_steps_that_are_pushed(world, noisy):
    term = push(5, weight=0.3, start=0.2, stop=0.6).bind(world, unconditional(5))
    x0 = torch.zeros(5, 2, 1, 1)
    moved = [
        index for index in range(10) if not torch.equal(term(noisy, moment(world, 500, index, 10), x0), x0)
    ]
    assert moved == [2, 3, 4, 5]


def test_a_window_ends_at_the_nearest_step(world, noisy):
    """0.29 x 100 is 28.999... in floats."""
    term = push(5, weight=0.3, start=0.29, stop=0.58).bind(world, unconditional(5))
    x0 = torch.zeros(5, 2, 1, 1)
    moved = [
        index for index in range(100) if not torch.equal(term(noisy, moment(world, 500, index, 100), x0), x0)
    ]
    assert moved == list(range(29, 58))


@pytest.mark.parametrize("until", [None, 1.0])
def test_steps_between_looks_are_counted_from_the_windows_first(world, noisy, until):
    looked, checked, at = [], [], [0]

    def score(pixels, seen):
        looked.append(at[0])
        return near(pixels, seen)

    def gauge(pixels, seen):
        checked.append(at[0])
        return near(pixels, seen)

    pace = {"weight": 0.3, "start": 0.2, "every": 3, "until": until, "check": 6}
    term = push(5, score=score, gauge=gauge, complete=torch.full((5,), 1.0), **pace)
    bound = term.bind(world, unconditional(5))
    for index in range(10):
        at[0] = index
        bound(noisy, moment(world, 500, index, 10), torch.zeros(5, 2, 1, 1))
    assert looked == [2, 5, 8] and checked == ([] if until is None else [2, 8])


def test_a_look_is_at_the_mean_of_pools_through_the_decoder_given(world, draw):
    """For half the sum of squares of 3 x the means of 2 x 2 latents, the gradient is 9 / 4 of the mean."""
    noisy, x0 = torch.randn(2, 3, 2, 4, 6, generator=draw)
    term = Push(
        score=lambda pixels, _: pixels.square().flatten(1).sum(1) / 2,
        pace=Pace(weight=0.2, pool=2),
        targets=targets(3),
        decode=lambda latents: 3 * latents,
    )
    at = moment(world, 500)
    means = x0.unflatten(3, (3, 2)).unflatten(2, (2, 2)).mean((3, 5))
    slope = 9 / 4 * means.repeat_interleave(2, 2).repeat_interleave(2, 3)
    wanted = x0 + 0.2 * (1 - at.alpha_bar) / at.alpha_bar**0.5 * slope
    torch.testing.assert_close(term.bind(world, unconditional(3))(noisy, at, x0), wanted)


def test_every_k_repeats_the_last_direction(world, noisy):
    looked = []

    def counting(pixels, seen):
        looked.append(1)
        return near(pixels, seen)

    term = push(5, score=counting, weight=0.3, every=3).bind(world, unconditional(5))
    x0 = torch.zeros(5, 2, 1, 1)
    edits = []
    for index in range(7):
        at = moment(world, 500, index, 7)
        edits.append(term(noisy, at, x0 + index) - x0 - index)
    assert len(looked) == 3
    torch.testing.assert_close(edits[0], edits[1])
    torch.testing.assert_close(edits[1], edits[2])
    assert not torch.allclose(edits[2], edits[3])


def test_beside_until_a_gradient_is_taken_when_due_or_where_an_image_has_none(world, noisy):
    """Image 1 is complete at the first look and not at the second check, image 0 is complete at that check alone."""
    looked, x0 = [], torch.zeros(2, 2, 1, 1)
    heights = iter([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])

    def counting(pixels, seen):
        looked.append(seen.labels.unique().tolist())
        return near(pixels, seen)

    term = Push(
        score=counting,
        gauge=lambda pixels, seen: torch.tensor(next(heights))[seen.labels],
        pace=Pace(weight=0.3, until=0.5, check=2, every=6),
        targets=Targets(torch.arange(2), complete=torch.full((2,), 0.5)),
    ).bind(world, unconditional(2))
    moved = []
    for index in range(8):
        moved.append((term(noisy[:2], moment(world, 500, index, 8), x0) != x0).flatten(1).any(1).tolist())
    assert moved == [[True, False]] * 2 + [[False, True]] * 2 + [[True, True]] * 4
    assert looked == [[0], [1], [0, 1]]


def test_only_incomplete_images_are_pushed_and_shares_are_told(world, noisy):
    told = []
    x0 = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]).reshape(5, 1, 1, 1).expand(5, 2, 1, 1)
    height = lambda pixels, seen: pixels[:, 0, 0, 0]  # noqa: E731
    term = Push(
        score=near,
        gauge=height,
        pace=Pace(weight=0.3, until=0.5, check=2),
        targets=targets(5, complete=torch.full((5,), 2.5)),
        on_step=lambda step: told.append(step.scalars["pushed"]),
    ).bind(world, unconditional(5))
    at = [moment(world, 500, index, 4) for index in range(4)]
    moved = [(term(noisy, at[0], x0) != x0).flatten(1).any(1).tolist()]
    risen = x0 + 1.0
    moved += [(term(noisy, at[1], risen) != risen).flatten(1).any(1).tolist()]
    moved += [(term(noisy, at[2], risen) != risen).flatten(1).any(1).tolist()]
    done = x0 + 3.0
    moved += [torch.equal(term(noisy, at[3], done), done)]
    assert moved[0] == [True, True, True, False, False]
    assert moved[1] == moved[0], "between two checks the same images are pushed"
    assert moved[2] == [True, True, False, False, False]
    assert told == [0.6, 0.6, 0.4, 0.4]


@pytest.mark.parametrize("look", ["noisy", "clean", "full"])
def test_an_image_is_pushed_alike_in_any_company(world, draw, look):
    noise = torch.randn(19, 2, 1, 1, generator=draw)

    def images(rows):
        term = Push(
            score=near,
            gauge=near,
            pace=Pace(weight=0.2, look=look, until=0.5, check=3, every=2),
            targets=targets(len(rows), complete=torch.linspace(-1, 0, 19)[rows]),
        )
        return sample(world, guided(world, unconditional(len(rows)), [term]), noise[rows], steps=12)

    whole = images(torch.arange(19))
    for rows in (torch.tensor([4]), torch.tensor([18, 2, 9, 5]), torch.arange(18, -1, -1)):
        assert torch.equal(images(rows), whole[rows])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"look": "dirty"}, "unknown look 'dirty'.*noisy, clean, full"),
        ({"start": 0.5, "stop": 0.5}, "start < stop"),
        ({"every": 0}, "every must be at least 1, not 0"),
        ({"until": 1.5}, r"quantile in \(0, 1\], not 1.5"),
    ],
)
def test_bad_paces_are_named(settings, message):
    with pytest.raises(PotstillError, match=message):
        Pace(**settings)
