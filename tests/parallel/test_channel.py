"""Ranks that do not do the same find out, all of them, with one sentence. Ranks are threads."""

import threading

import numpy as np
import pytest

import tinygrad_seq as ts
from parallel.threads import together
from tinygrad_seq import nn
from tinygrad_seq.parallel import TeamError


def everywhere(size, program, **options):
    """The sentence of the error that all ranks raise."""
    errors = together(size, program, **options)
    assert all(isinstance(e, TeamError) for e in errors), errors
    (sentence,) = {str(e) for e in errors}
    return sentence


def gradient():
    p = nn.Parameter(np.ones(3))
    p.grad = ts.Tensor(np.ones(3))
    return [p]


def test_another_task():
    def program(team):
        team.mean(1.0, 1) if team.rank == 1 else team.gather(np.ones((1, 1)))

    assert everywhere(3, program).startswith(
        "the ranks do not do the same: ranks 0, 2 gather at step 0; rank 1 takes a mean at step 0. "
        "Run the same program on every rank, with the same number of batches"
    )


def test_another_step():
    def program(team):
        params = gradient()
        for _ in range(2 + team.rank):
            team.average(params, 1)
        team.mean(1.0, 1)

    assert "rank 0 takes a mean at step 2; rank 1 averages gradients at step 3" in everywhere(
        2, program
    )


def test_a_rank_that_leaves_early():
    def program(team):
        params = gradient()
        for _ in range(5 if team.rank else 2):
            team.average(params, 1)
        team._lines("end")

    sentence = everywhere(3, program)
    assert "rank 0 has ended after step 2; ranks 1, 2 average gradients at step 3" in sentence


def test_other_batches():
    def program(team):
        params = gradient()
        for k in range(3):
            odd = team.rank == 1 and k == 2
            for _ in team.shard([(np.full((4, 6), k), np.full((4, 6), k + odd))]):
                team.average(params, 1)

    sentence = everywhere(3, program)
    assert "have read different batches by step 3 (ranks 0, 2 / rank 1)" in sentence
    assert "Seed their order" in sentence


def test_other_batches_behind_an_accumulated_gradient():
    def program(team):
        for k, _ in enumerate(team.shard([np.full((1, 2), team.rank), np.ones((1, 2))])):
            if k == 1:
                team.average(gradient(), 1)

    assert "different batches by step 1" in everywhere(2, program)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda: nn.Linear(3, 4),
            "rank 1 shares a model at step 0 with weight (4, 3) float32 learns",
        ),
        (
            lambda: nn.Linear(3, 5, bias=False),
            "with nothing where rank 0 has bias (5,) float32 learns",
        ),
        (lambda: nn.GRUCell(3, 5), "differences"),
    ],
)
def test_another_model(change, sentence):
    def program(team):
        team.share(nn.Linear(3, 5) if team.rank == 0 else change())

    assert sentence in everywhere(2, program)


def test_another_dtype_and_a_frozen_weight():
    def program(team):
        model = nn.Linear(3, 5)
        if team.rank == 2:
            model.bias.requires_grad = False
        team.share(model)

    assert "bias (5,) float32 where rank 0 has bias (5,) float32 learns:" in everywhere(3, program)


def test_a_rank_that_does_not_answer_is_named_by_the_others():
    woken = threading.Event()

    def program(team):
        params = gradient()
        team.average(params, 1)
        team._channel._timeout = 1.0  # only from here on: threads may begin late
        if team.rank == 1:
            woken.wait()
            return None
        try:
            return team.average(params, 1)
        finally:
            woken.set()

    errors = together(3, program)
    assert errors[1] is None
    assert "rank 1 did not answer at step 2 in 1 s" in str(errors[0])
    assert "(last heard of at step 1)" in str(errors[0])
    assert str(errors[2]) == str(errors[0])


def test_a_rank_that_stops_within_a_sum_is_named_too():
    woken = threading.Event()

    def program(team):
        team._lines("mean", count=1.0)
        team._channel._timeout = 1.0
        if team.rank == 1:  # it has said its line, and never comes to the sum
            woken.wait()
            return None
        try:
            return team._channel.sum(np.ones(3))
        finally:
            woken.set()

    errors = together(3, program)
    for rank in (0, 2):
        assert "rank 1 did not answer at step 0" in str(errors[rank])
        assert "where the others wait for a sum" in str(errors[rank])


def test_what_rank_0_raises_all_raise():
    def program(team):
        team._from_first(lambda: 1 / 0, "save")

    errors = together(3, program)
    assert [type(e) for e in errors] == [ZeroDivisionError] * 3


def test_an_error_that_cannot_be_sent_is_sent_in_words():
    class Odd(Exception):
        pass

    def fails():
        raise Odd("a disk is full")

    errors = together(2, lambda team: team._from_first(fails, "save"))
    assert [str(e) for e in errors] == ["rank 0: Odd: a disk is full"] * 2
