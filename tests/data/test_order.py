from hypothesis import given
from hypothesis import strategies as st

from potstill.data.order import natural


def test_numbers_count() -> None:
    names = ["img10.png", "img9.png", "img1.png", "10", "9", "a", "img01.png"]
    assert sorted(names, key=natural) == ["9", "10", "a", "img01.png", "img1.png", "img9.png", "img10.png"]


@given(st.lists(st.text(), unique=True), st.randoms())
def test_the_order_does_not_depend_on_the_listing(names: list[str], random) -> None:  # noqa: ANN001
    shuffled = list(names)
    random.shuffle(shuffled)
    assert sorted(shuffled, key=natural) == sorted(names, key=natural)


@given(st.lists(st.integers(0, 10**30), unique=True))
def test_plain_numbers_sort_as_numbers(numbers: list[int]) -> None:
    assert sorted(map(str, numbers), key=natural) == [str(number) for number in sorted(numbers)]
