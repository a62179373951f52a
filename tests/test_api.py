"""The Python API: every public name is there, and stays what it is after its module was imported."""

import importlib

import pytest

import potstill


@pytest.mark.parametrize("name", potstill.__all__)
def test_public_names_are_things_and_not_modules(name):
    importlib.import_module("potstill.cli")
    for _ in range(2):
        assert not hasattr(getattr(potstill, name), "__path__") and getattr(potstill, name) is not None
        assert type(getattr(potstill, name)).__name__ != "module"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        potstill.distil  # noqa: B018
