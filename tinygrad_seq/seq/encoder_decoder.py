"""Encoder and decoder: reads a sequence and writes another, of another length."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autograd.observe import replaceable
from ..nn import GRU, Attention, Embedding, Linear, Module
from ..nn.checks import integers, positive, valid_steps
from ..nn.recurrent.layers import RecurrentLayer
from ..tensor import Tensor
from .context import ContextState


class EncoderDecoder(Module):
    """The probability of a target sequence, given a source sequence of another length.

        keys k_1 … k_S, last states C = bidirectional encoder(x_1 … x_S)
        h_0 = tanh(W C + b),    h_t = decoder(y_{t-1}, h_{t-1})
        p(y_t | y_1 … y_{t-1}, x) = softmax(W_s h_t + b_s)

    With attention, the decoder looks back at every step of the source:

        c_t = attention(h_t, k_1 … k_S),    h̃_t = tanh(W_c [c_t, h_t] + b_c),    in place of h_t

    Only y is fed back to the decoder, so with the target y given (teacher forcing) all training
    steps are computed at once. To write, pass :meth:`step` and the state from :meth:`encode` to
    :func:`generate` or :func:`beam_search`:

        seq.beam_search(model.step, starts, model.encode(source, lengths), width=5, ...)

    Args:
        source_size: Number of source tokens.
        target_size: Number V of target tokens.
        embedding_size: The size of token vectors in the encoder and the decoder.
        hidden_size: H, even: H units in the decoder, H/2 in each direction of the encoder.
        attention: A module for queries and keys of size H, such as ``nn.DotAttention()`` or
            ``nn.AdditiveAttention(H, H, A)``; None to use the source only in h_0.
        layer: The recurrent layer, such as ``nn.GRU`` or ``nn.LSTM``.
        num_layers: L, the number of layers of encoder and decoder. C has the states of all encoder
            layers, and h_0 those of all decoder layers; the keys and h_t are of the top layers.
        dropout: Probability of dropout on the outputs of each layer but the top one, in training.

    Source: Deep Learning, 10.4; Sutskever et al. 2014; attention: Bahdanau et al. 2015, placed
    after the decoder as in Luong et al. 2015, eq. 5-7.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        embedding_size: int,
        hidden_size: int,
        attention: Attention | None = None,
        layer: type[RecurrentLayer] = GRU,
        num_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        if positive("EncoderDecoder", "hidden_size", hidden_size) % 2:
            raise ValueError(
                f"EncoderDecoder expects an even hidden_size, half for each direction of the "
                f"encoder; got {hidden_size}"
            )
        if attention is not None and not isinstance(attention, Attention):
            raise TypeError(f"EncoderDecoder expects an nn.Attention or None; got {attention!r}")
        make: Any = layer
        depth: dict[str, Any] = {"num_layers": num_layers, "dropout": dropout}
        self.source = Embedding(source_size, embedding_size)
        self.encoder = make(embedding_size, hidden_size // 2, bidirectional=True, **depth)
        self.target = Embedding(target_size, embedding_size)
        self.decoder = make(embedding_size, hidden_size, **depth)
        self.start = ContextState(num_layers * hidden_size, self.decoder)
        self.attention = attention
        self.combine = None if attention is None else Linear(2 * hidden_size, hidden_size)
        self.read = Linear(hidden_size, target_size)

    @replaceable
    def encode(self, source: Any, lengths: Any = None) -> Any:
        """Read the source.

        Args:
            source: Token ids ``(S, N)``.
            lengths: Length of each ``(N,)``; padding after it has no effect.

        Returns:
            The state that :meth:`step` starts from: (state of the decoder, keys ``(S, N, H)``,
            which of them to look at ``(S, N, 1)``), or without attention the first alone. N is
            the axis before the last of every part, so that beams can be chosen from it.
        """
        source = integers("EncoderDecoder", "source tokens", source)
        if source.ndim != 2 or not len(source):
            raise ValueError(
                f"EncoderDecoder reads token ids (S, N), S at least 1; got shape {source.shape}"
            )
        valid = valid_steps(lengths, None, (*source.shape, 1), "EncoderDecoder")
        if valid is None:
            valid = np.ones(source.shape, bool)
        keys, last = self.encoder(self.source(np.where(valid, source, 0)), mask=valid)
        h = last[0] if isinstance(last, tuple) else last
        start = self.start(ops.concatenate(ops.unstack(h), axis=-1))
        return start if self.attention is None else (start, keys, valid[..., None])

    def forward(self, source: Any, target: Any, lengths: Any = None) -> Tensor:
        """Scores of every next token, given the target tokens before it (teacher forcing).

        Args:
            source: Token ids ``(S, N)``.
            target: y_0 … y_{T-1}, ids ``(T, N)``: the start symbol, then the target without its
                last token. Padding at the end has no effect on earlier scores.
            lengths: Lengths of the sources ``(N,)``.

        Returns:
            Scores ``(T, N, V)`` of y_1 … y_T.
        """
        return self._taught(source, target, lengths)[0]

    def weights(self, source: Any, target: Any, lengths: Any = None) -> Tensor:
        """The attention weights of each step ``(T, N, S)``; arguments as for :meth:`forward`."""
        weights = self._taught(source, target, lengths)[1]
        if weights is None:
            raise ValueError("this EncoderDecoder was built without attention: it has no weights")
        return weights

    @replaceable
    def step(self, tokens: Any, state: Any) -> tuple[Tensor, Any]:
        """Read one token of each sequence: ids ``(N,)`` -> (scores ``(N, V)``, state)."""
        scores, _, state = self._scores(np.asarray(tokens)[None], state)
        return scores[0], state

    def _taught(self, source: Any, target: Any, lengths: Any) -> tuple[Tensor, Tensor | None]:
        """Scores and attention weights, given the target tokens before each."""
        state = self.encode(source, lengths)
        target, count = integers("EncoderDecoder", "target tokens", target), np.shape(source)[1]
        if target.ndim != 2 or not len(target) or target.shape[1] != count:
            raise ValueError(
                f"EncoderDecoder expects target tokens (T, N), T at least 1, for the N = {count} "
                f"sources; got shape {target.shape}"
            )
        return self._scores(target, state)[:2]

    def _scores(self, target: Any, state: Any) -> tuple[Tensor, Tensor | None, Any]:
        """Scores, weights of attention, and the state after."""
        if self.attention is None or self.combine is None:
            h, state = self.decoder(self.target(target), state)
            return self.read(h), None, state
        before, keys, valid = state
        h, after = self.decoder(self.target(target), before)
        context, weights = self.attention(h, keys, mask=valid[..., 0])
        h = ops.tanh(self.combine(ops.concatenate([context, h], axis=-1)))
        return self.read(h), weights, (after, keys, valid)
