"""Names: ``dir`` lists the API alone, and no two things have names that differ by a capital."""

import inspect
import types

import pytest

import tinygrad_seq as ts
from tinygrad_seq import data, distributions, io, nn, ops, optim, parallel, seq, viz

MODULES = [ts, data, distributions, io, nn, nn.init, ops, optim, parallel, seq, viz]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_dir_lists_the_api_alone(module):
    assert dir(module) == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in dir(module):
        made = getattr(module, name)
        assert not name.startswith("_")
        assert not isinstance(made, types.ModuleType) or made.__name__.startswith(module.__name__)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_names_that_differ_by_capitals_alone_are_a_class_and_what_makes_it(module):
    for name in dir(module):
        if name != name.lower() and name.lower() in dir(module):
            made = inspect.signature(getattr(module, name.lower())).return_annotation
            assert name in str(made)
