"""Encoder and decoder: teacher forcing is the steps one by one; padding; attention; searching."""

import itertools

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn, optim, seq
from tinygrad_seq.testing import gradcheck

pytestmark = pytest.mark.usefixtures("backend")

H = 6
ATTENTIONS = {
    "none": lambda: None,
    "dot": nn.DotAttention,
    "bilinear": lambda: nn.BilinearAttention(H, H),
    "additive": lambda: nn.AdditiveAttention(H, H, 5),
}
both = pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM])
deep = pytest.mark.parametrize(
    ("layer", "num_layers"), [(nn.GRU, 1), (nn.LSTM, 1), (nn.GRU, 3), (nn.LSTM, 2)]
)
every = pytest.mark.parametrize("attention", ATTENTIONS)


@pytest.fixture
def build():
    def make(attention, layer=nn.GRU, **depth):
        ts.set_default_dtype("f8")
        model = seq.EncoderDecoder(7, 5, 4, H, ATTENTIONS[attention](), layer, **depth)
        for parameter in model.parameters():  # far from zero, where scores would hardly differ
            with ts.no_grad():
                parameter.copy_(2 * host(parameter))
        return model

    return make


@pytest.fixture
def batch(rng):
    return rng.integers(0, 7, (5, 3)), rng.integers(0, 5, (4, 3)), np.array([5, 2, 3])


@deep
@every
def test_teacher_forcing_is_the_steps_one_by_one(build, batch, attention, layer, num_layers):
    model, (source, target, lengths) = build(attention, layer, num_layers=num_layers), batch
    scores = model(source, target, lengths)
    assert scores.shape == (4, 3, 5)
    state = model.encode(source, lengths)
    for tokens, expected in zip(target, scores, strict=True):
        got, state = model.step(tokens, state)
        np.testing.assert_allclose(host(got), host(expected), rtol=1e-11, atol=1e-13)


@deep
@every
@pytest.mark.parametrize("junk", [0, 6, -1, 99])
def test_a_padded_batch_is_each_sequence_alone(build, batch, attention, layer, num_layers, junk):
    model, (source, target, lengths) = build(attention, layer, num_layers=num_layers), batch
    source[np.arange(5)[:, None] >= lengths] = junk
    scores = model(source, target, lengths)
    for n, length in enumerate(lengths):
        alone = model(source[:length, n : n + 1], target[:, n : n + 1])
        np.testing.assert_allclose(host(scores)[:, n], host(alone)[:, 0], rtol=1e-11, atol=1e-13)


@every
def test_it_is_its_equations(build, batch, attention):
    """The GRU model from its parts, for one sequence, in plain NumPy after the layers."""
    model, (source, target, _) = build(attention), batch
    source, target = source[:, :1], target[:, :1]
    keys, last = model.encoder(host(model.source.weight)[source])
    keys, last = host(keys)[:, 0], host(last)[:, 0].ravel()
    linear = model.start.maps[0]
    start = np.tanh(host(linear.weight) @ last + host(linear.bias))
    h, _ = model.decoder(host(model.target.weight)[target], start[None, None])
    h = host(h)[:, 0]
    if attention != "none":
        context, weights = model.attention(h[:, None], keys[:, None])
        np.testing.assert_allclose(host(context)[:, 0], host(weights)[:, 0] @ keys)
        both = np.concatenate([host(context)[:, 0], h], axis=1)
        h = np.tanh(both @ host(model.combine.weight).T + host(model.combine.bias))
        np.testing.assert_allclose(host(model.weights(source, target)), host(weights))
    expected = h @ host(model.read.weight).T + host(model.read.bias)
    np.testing.assert_allclose(host(model(source, target))[:, 0], expected, rtol=1e-12, atol=1e-13)


@both
def test_a_deep_one_starts_every_layer_from_the_ends_of_all(build, batch, layer):
    model, (source, target, lengths) = build("none", layer, num_layers=2, dropout=0.5), batch
    model.eval()
    _, last = model.encoder(host(model.source.weight)[source], lengths=lengths)
    ends = np.concatenate(list(host(last[0] if layer is nn.LSTM else last)), axis=-1)
    state = model.encode(source, lengths)
    for linear, part in zip(model.start.maps, state if layer is nn.LSTM else [state], strict=True):
        flat = np.tanh(ends @ host(linear.weight).T + host(linear.bias))
        np.testing.assert_allclose(host(part), np.stack(np.split(flat, 2, axis=1)), rtol=1e-12)
    model.train()
    assert (host(model(source, target)) != host(model(source, target))).any()


@pytest.mark.host("long; cells, layers and attention have theirs checked by themselves")
@pytest.mark.parametrize("attention", [None, nn.AdditiveAttention])
def test_every_weight_has_its_gradient(build, batch, attention):
    build("none")  # in float64
    model = seq.EncoderDecoder(3, 3, 2, 2, attention and attention(2, 2, 2), num_layers=2)
    source, target, lengths = batch[0][:3, :2] % 3, batch[1][:3, :2] % 3, [3, 2]

    class Loss(nn.Module):
        def __init__(self):
            self.model = model

        def forward(self):
            return nn.cross_entropy(model(source, target[:-1], lengths), target[1:])

    gradcheck(Loss())


@deep
@every
def test_a_beam_as_wide_as_all_sequences_finds_the_best(build, batch, attention, layer, num_layers):
    model, (source, _, lengths) = build(attention, layer, num_layers=num_layers), batch
    with ts.no_grad():
        start, state = np.zeros(3, int), model.encode(source, lengths)
    found = seq.beam_search(model.step, start, state, width=125, length=3)
    for n, length in enumerate(lengths):
        every = np.array(list(itertools.product(range(5), repeat=3))).T
        fed = np.vstack([np.zeros((1, 125), int), every[:-1]])
        scores = model(np.repeat(source[:length, n : n + 1], 125, axis=1), fed).detach()
        log_p = np.take_along_axis(ts.log_softmax(scores).numpy(), every[..., None], 2)
        log_p = log_p.sum(axis=(0, 2))
        best = every[:, log_p.argmax()]
        np.testing.assert_array_equal(found[n][0].tokens, best)
        assert found[n][0].log_prob == pytest.approx(log_p.max())


@pytest.mark.host("long; the same operations on every device")
def test_it_learns_to_copy_what_it_reads(seed):
    """Sequences of unequal lengths, then an end: at least 9 of 10 without a fault."""
    rng = np.random.default_rng(seed)
    model = seq.EncoderDecoder(5, 7, 12, 24, nn.DotAttention())
    adam = optim.Adam(model.parameters(), lr=0.01)

    def draw(n):
        lengths = rng.integers(1, 5, n)
        source = rng.integers(0, 5, (4, n))
        padding = np.arange(5)[:, None] > lengths
        target = np.vstack([source, np.full((1, n), 5)])
        target[lengths, np.arange(n)] = 5
        return source, lengths, np.vstack([np.full((1, n), 6), target]), padding

    for _ in range(300):
        source, lengths, target, padding = draw(32)
        goal = np.where(padding, -100, target[1:])
        loss = nn.cross_entropy(model(source, target[:-1], lengths), goal)
        adam.zero_grad()
        loss.backward()
        adam.step()
    source, lengths, target, _ = draw(200)
    how = {"length": 6, "stop": seq.end_symbol(5)}
    rows = seq.written(seq.generate(model.step, target[0], model.encode(source, lengths), **how))
    right = [np.array_equal(y[:-1], source[: lengths[n], n]) for n, y in enumerate(rows)]
    assert np.mean(right) > 0.9


def test_bad_arguments_get_a_sentence(build):
    with pytest.raises(ValueError, match="even hidden_size"):
        seq.EncoderDecoder(7, 5, 4, 5)
    with pytest.raises(TypeError, match=r"nn\.Attention or None"):
        seq.EncoderDecoder(7, 5, 4, 6, "dot")
    model = build("none")
    for source in (np.zeros(3, int), np.zeros((0, 3), int)):
        with pytest.raises(ValueError, match=r"\(S, N\)"):
            model.encode(source)
    with pytest.raises(TypeError, match="integer source tokens"):
        model.encode(np.zeros((2, 3)))
    with pytest.raises(IndexError, match="from 0 to 6"):
        model.encode(np.full((2, 3), 7))
    with pytest.raises(ValueError, match="without attention"):
        model.weights(np.zeros((2, 3), int), np.zeros((2, 3), int))


@pytest.mark.parametrize("target", [np.zeros((4, 3), int), np.zeros(4, int), np.zeros((0, 2), int)])
def test_a_target_that_does_not_fit_its_sources_is_refused(target):
    model = seq.EncoderDecoder(5, 6, 3, 4, nn.DotAttention())
    for ask in (model, model.weights):
        with pytest.raises(
            ValueError, match=r"target tokens \(T, N\), .* N = 2 sources; got shape"
        ):
            ask(np.zeros((3, 2), int), target)
