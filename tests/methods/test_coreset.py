"""Coresets against their definitions, in exact arithmetic; what a choice depends on; both kinds of features."""

import dataclasses
import itertools
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.data.real import Classes
from potstill.distilled import Slot
from potstill.encoders import Encoder
from potstill.methods.coreset import Herding, KCenter, farthest_first, follow_mean
from potstill.methods.features import load_features
from potstill.nets.spec import Net, build
from potstill.nets.store import load_net, save_net

SLOTS = [Slot("8", 2), Slot("3", 0), Slot("8", 0), Slot("3", 4), Slot("3", 0)]


def silent(step):
    pass


@st.composite
def grids(draw):
    """Few points on a small grid, with repeats and ties; 4 or 8 of them, so that their mean is exact in binary."""
    count = draw(st.sampled_from([4, 8]))
    point = st.tuples(*[st.integers(-3, 3)] * 2)
    return draw(st.lists(point, min_size=count, max_size=count))


def squared(one, other):
    return sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(one, other, strict=True))


def mean(points):
    return [sum(map(Fraction, values)) / len(points) for values in zip(*points, strict=True)]


def slow_farthest_first(points, count):
    rows = range(len(points))
    chosen = [min(rows, key=lambda row: squared(points[row], mean(points)))]
    while len(chosen) < count:
        free = [row for row in rows if row not in chosen]
        chosen.append(max(free, key=lambda row: min(squared(points[row], points[c]) for c in chosen)))
    return chosen


def slow_follow_mean(points, count):
    chosen = []
    while len(chosen) < count:
        free = [row for row in range(len(points)) if row not in chosen]

        def error(row):
            return squared(mean(points), mean([points[taken] for taken in [*chosen, row]]))

        chosen.append(min(free, key=error))
    return chosen


RULES = [(farthest_first, slow_farthest_first), (follow_mean, slow_follow_mean)]


@pytest.mark.parametrize(("rule", "slow"), RULES)
@given(points=grids())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_choices_are_those_of_the_definition_ties_included(rule, slow, points):
    features = torch.tensor(points, dtype=torch.float64)
    for count in (1, 3, len(points)):
        assert rule(features, count) == slow(points, count)


@pytest.mark.parametrize(("rule", "slow"), RULES)
def test_choices_are_those_of_the_definition_on_real_numbers(rule, slow):
    features = torch.randn(23, 5, dtype=torch.float64, generator=generator(0))
    assert rule(features, 12) == slow(features.tolist(), 12)


def test_k_center_is_within_twice_the_best_radius():
    for seed in range(20):
        features = torch.rand(9, 2, dtype=torch.float64, generator=generator(seed))
        apart = torch.cdist(features, features)
        best = min(apart[:, list(rows)].amin(1).max() for rows in itertools.combinations(range(9), 3))
        assert apart[:, farthest_first(features, 3)].amin(1).max() <= 2 * best


def test_herding_comes_nearer_to_the_mean_than_random_rows_do():
    features = torch.randn(400, 16, dtype=torch.float64, generator=generator(1))

    def error(rows):
        return (features[rows].mean(0) - features.mean(0)).norm().item()

    draws = [error(torch.randperm(400, generator=generator(2, seed))[:20]) for seed in range(20)]
    assert error(follow_mean(features, 20)) < 0.5 * min(draws)


@pytest.fixture(scope="module")
def real():
    return digits().select(["3", "8"])


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A tiny net of other classes than the digits': its features serve all the same."""
    folder, spec, classes = tmp_path_factory.mktemp("net"), Net(width=4), Classes(("a", "b"), ("a", "b"))
    save_net(folder, build(spec, 2, 32, generator(0)), spec, classes, 32, {})
    return str(folder)


@pytest.fixture(scope="module", params=["net", "clip"])
def source(request, net, tiny_clip):
    return net if request.param == "net" else tiny_clip


def test_features_are_the_encoders_embeddings(real, tiny_clip):
    features = load_features(tiny_clip, "cpu")
    encoder = Encoder.from_pretrained(tiny_clip)
    assert torch.equal(features.of(real.train, range(70)).float(), encoder.images_of(real.train, range(70)))
    assert features.fingerprint == encoder.fingerprint


def test_features_are_what_the_last_layer_of_the_net_sees(real):
    module = load_net("digits/teacher").module
    found = load_features("digits/teacher", "cpu").of(real.train, range(20)).float()
    logits = module(real.train.pixels(range(20), 32).float() / 255)
    torch.testing.assert_close(module.head(found), logits, rtol=1e-4, atol=1e-4)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_features_of_an_image_do_not_depend_on_its_companions(real, source):
    features = load_features(source, "cpu")
    whole = features.of(real.train, range(100))
    for rows in ([7], [99, 3, 50], range(40, 97)):
        assert torch.equal(features.of(real.train, list(rows)), whole[list(rows)])


@pytest.fixture(scope="module", params=[KCenter, Herding])
def method(request, source):
    return request.param(features=source)


def prepared(method, real, count, seed=0):
    return method.prepare(real, seed=seed, images_per_class=count, device="cpu")


def test_images_are_those_that_the_rule_chooses_among_the_class(real, method):
    rule = farthest_first if isinstance(method, KCenter) else follow_mean
    made = prepared(method, real, 5).make([Slot("8", index) for index in range(5)], silent)
    rows = real.train.of_class(1).tolist()
    features = load_features(method.features, "cpu").of(real.train, rows)
    expected = [rows[place] for place in rule(features, 5)]
    assert [one.details["source"] for one in made] == [real.train.ids[row] for row in expected]
    assert torch.equal(torch.stack([one.image for one in made]), real.train.pixels(expected, 32))


def test_a_choice_depends_on_its_slot_alone(real, method):
    """Not on the seed, nor on how many images are asked for: a small set is the beginning of a large one."""
    whole = [prepared(method, real, 5).make([slot], silent)[0] for slot in SLOTS]
    for count, seed, rows in ((5, 0, range(5)), (9, 1, [4, 2, 0, 3, 1])):
        made = prepared(method, real, count, seed).make([SLOTS[row] for row in rows], silent)
        for row, one in zip(rows, made, strict=True):
            assert one.details == whole[row].details and torch.equal(one.image, whole[row].image)


def test_no_image_is_taken_twice_even_where_all_are(real, method):
    few = real.train.take([*real.train.of_class(0)[:6], *real.train.of_class(1)[:6]])
    maker = prepared(method, dataclasses.replace(real, train=few), 6)
    made = maker.make([Slot("3", index) for index in range(6)], silent)
    assert len({one.details["source"] for one in made}) == 6


def test_size_and_progress_and_the_model_are_told(real, source):
    steps = []
    maker = prepared(Herding(features=source, size=16), real, 1)
    assert maker.size == 16 and maker.make([Slot("3", 0)], steps.append)[0].image.shape == (3, 16, 16)
    assert (steps[-1].stage, steps[-1].index, steps[-1].total) == ("features", 400, 400)
    assert list(maker.weights) == [source] and len(maker.weights[source]) == 64


def test_too_few_images_are_named(real, method):
    with pytest.raises(PotstillError, match="class '3' of digits has 400 training images, fewer than 401"):
        prepared(method, real, 401)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("digits/clop", "unknown model 'digits/clop'.*Did you mean 'digits/clip'"),
        (
            "digits/dit",
            "features 'digits/dit': .* holds neither a CLIP nor a net, as .*config.json is missing",
        ),
    ],
)
def test_features_that_are_none_are_named(real, features, message):
    with pytest.raises(PotstillError, match=message):
        prepared(KCenter(features=features), real, 1)
