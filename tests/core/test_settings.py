"""Settings survive the way to plain values and back, and every mistake is named."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.core.errors import PotstillError
from potstill.core.settings import from_plain, replace_at, to_plain
from potstill.recipes import RECIPES
from potstill.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    kind: str = "inner"
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    kind: str = "other"
    steps: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    terms: tuple[Inner | Other, ...] = ()
    limit: float | None = None
    pair: tuple[float, float] = (0.0, 1.0)


@given(
    st.builds(
        Outer,
        name=st.text(),
        inner=st.builds(Inner, weight=st.floats(allow_nan=False)),
        terms=st.lists(st.builds(Inner) | st.builds(Other, steps=st.integers())).map(tuple),
        limit=st.none() | st.floats(allow_nan=False),
    )
)
def test_there_and_back(value):
    assert from_plain(Outer, to_plain(value), "file") == value


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (
            {"name": "a", "inner": {"wieght": 2}},
            "unknown Inner setting 'wieght' in file: inner. Did you mean 'weight'",
        ),
        ({"limit": 1}, "file: Outer lacks name"),
        ({"name": 3}, "file: name: expected str, found 3"),
        ({"name": "a", "inner": {"weight": True}}, "expected float, found True"),
        ({"name": "a", "terms": [{"kind": "third"}]}, "unknown kind 'third'.*Allowed: inner, other"),
        ({"name": "a", "terms": ["third"]}, "unknown kind 'third'.*Allowed: inner, other"),
        ({"name": "a", "pair": [1.0]}, "expected 2 values, found 1"),
        ([], "expected an object for Outer"),
        ({"name": "a", "terms": [{"kind": []}]}, r"unknown kind '\[\]'.*Allowed: inner, other"),
    ],
)
def test_mistakes_are_named(plain, message):
    with pytest.raises(PotstillError, match=message):
        from_plain(Outer, plain, "file")


def test_a_kind_alone_has_its_usual_settings():
    assert from_plain(Outer, {"name": "a", "terms": ["other", "inner"]}, "file").terms == (Other(), Inner())


def test_one_field_of_a_recipe_is_changed():
    recipe = RECIPES["digits-dit-concord"]()
    changed = replace_at(recipe, "method.terms.0.pace.weight", "0.25")
    assert changed.method.terms[0].pace.weight == 0.25
    before = str(recipe.method.terms[0].pace.weight)
    assert replace_at(changed, "method.terms.0.pace.weight", before) == recipe
    assert replace_at(recipe, "images_per_class", "3").images_per_class == 3


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("method.scal", "2", "unknown Guided setting 'scal'.*Did you mean 'scale'"),
        ("method.scale", "much", "expected float, found 'much'"),
        ("method.terms.1.pace", "2", "unknown position '1'.*Allowed: 0"),
        ("method.terms.0", "2", "name a field of ConceptTerm"),
        ("seed.x", "2", "there is nothing inside 0"),
        ("method", "3", "--set method: expected Method, found 3"),
        ("method.terms.0.pace.wieght", "2", "'wieght' in --set method.terms.0.pace.wieght. Did"),
        ("method.scale", "NaN", "finite numbers, not NaN"),
        ("method.scale", "-Infinity", "finite numbers, not -Infinity"),
        ("method.terms.0.pace.weight", "1e999", "finite numbers, not 1e999"),
        ("method.terms.0.pace.look", "dirty", "unknown value 'dirty'.*Allowed: noisy, clean, full"),
    ],
)
def test_mistakes_on_the_command_line_are_named(path, text, message):
    with pytest.raises(PotstillError, match=message):
        replace_at(RECIPES["digits-dit-concord"](), path, text)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_carries_its_name_and_can_be_saved(name):
    recipe = RECIPES[name]()
    assert isinstance(recipe, Recipe) and recipe.name == name and recipe.summary
    plain = to_plain(recipe.method)
    assert from_plain(type(recipe.method), plain, "file") == recipe.method
