"""Settings that would be taken for another: ``bias="False"`` is true, a rate ``"a"`` no number."""

import inspect

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim

GIVEN = {  # what a signature requires, by the name of the parameter
    "batch_size": 2,
    "cell": nn.GRUCell(2, 2),
    "columns": ["a"],
    "max_norm": 1.0,
    "mean": np.zeros(2),
    "params": [nn.Parameter(np.zeros(2))],
    "path": "rolls.npz",
    "sequences": [[1, 2]],
    "steps": 10,
    "targets": np.zeros(2),
    "var": np.ones(2),
}


def settings(*modules):
    """Pairs (callable, name of a parameter that is True or False) of what is public."""
    for module in modules:
        for name in module.__all__:
            made = getattr(module, name)
            if callable(made) and name not in ("ctc_loss", "csv_chunks", "read_csv"):
                for parameter in inspect.signature(made).parameters.values():
                    if isinstance(parameter.default, bool):
                        yield pytest.param(made, parameter.name, id=f"{name}-{parameter.name}")


def required(made):
    return [
        GIVEN.get(p.name, 2)
        for p in inspect.signature(made).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]


@pytest.mark.parametrize(("made", "name"), [*settings(nn, optim, data)])
def test_a_setting_that_is_true_or_false_takes_nothing_else(made, name):
    for wrong in ("False", None, 1):
        with pytest.raises(TypeError, match=f"{name} to be True or False; got {wrong!r}"):
            made(*required(made), **{name: wrong})


def test_so_do_methods_and_functions_of_files(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    scores = ts.zeros((3, 1, 2))
    for call in (
        lambda: nn.ctc_loss(scores, [[1]], zero_infinity="no"),
        lambda: data.read_csv(path, ["a"], header="no"),
        lambda: nn.Linear(1, 1).train("no"),
        lambda: nn.Linear(1, 1).load_state_dict({}, strict="no"),
        lambda: nn.Linear(1, 1).requires_grad_("no"),
        lambda: ts.zeros(2, requires_grad="no"),
    ):
        with pytest.raises(TypeError, match="True or False; got 'no'"):
            call()


@pytest.mark.parametrize("wrong", ["a", None, [0.1]])
@pytest.mark.parametrize(
    "made",
    [
        nn.Dropout,
        lambda p: nn.GRU(2, 2, num_layers=2, dropout=p),
        lambda p: nn.MinGRU(2, 2, dropout=p),
        lambda p: nn.Zoneout(nn.GRUCell(2, 2), (p,)),
        lambda p: nn.VariationalDropout(nn.GRUCell(2, 2), state=p),
        lambda p: nn.CrossEntropyLoss(label_smoothing=p),
    ],
)
def test_a_probability_is_a_number(made, wrong):
    with pytest.raises(TypeError, match="expects a number between 0 and 1"):
        made(wrong)
