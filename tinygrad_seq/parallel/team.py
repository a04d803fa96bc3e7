"""The methods by which a program uses its team."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from ..backend import get_rng_state, set_rng_state
from ..io import Checkpoint, load
from ..io.tree import encode
from ..nn import Module
from ..tensor import Tensor
from .averaging import Sum, average, listed
from .channel import Channel, TeamError
from .parts import Axis, checksum, each_array, joined, part_of

M = TypeVar("M", bound=Module)


class Team:
    """The processes that train one model together; :func:`team` makes it.

        with parallel.team() as team:
            model = team.share(Model())
            optimizer = optim.Adam(model.parameters())
            for x, y in team.shard(batches):
                loss = nn.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                team.average(model.parameters(), count=y.size)
                optim.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()

    All ranks must call every method except :meth:`part` and :meth:`shard` at the same place.

    Attributes:
        rank: The number of this process, from 0.
        size: The number of processes.
        step: How often gradients were averaged.
    """

    def __init__(self, channel: Channel | None = None, device_sum: Sum | None = None) -> None:
        self._channel = channel
        self._device_sum = device_sum
        self._data = 0  # checksum of the batches since the last step
        self._parted = False  # whether the random numbers of the ranks differ
        self.rank, self.size = (channel.rank, channel.size) if channel else (0, 1)
        self.step = 0

    def __repr__(self) -> str:
        return f"<rank {self.rank} of a team of {self.size}, at step {self.step}>"

    # -- the model ------------------------------------------------------------------------------

    def share(self, model: M) -> M:
        """Copy the weights and buffers of rank 0 to every rank. Afterwards random numbers differ.

        Before, all ranks draw the same random numbers, so data made before are equal. Afterwards
        each draws from its own part of the generator (PCG64, jumped 2^127 · φ numbers), so that
        dropout is independent.

        Returns:
            The model.

        Raises:
            TeamError: The parameters or buffers of a rank have other names, shapes or dtypes.
        """
        form = [
            f"{name} {p.shape} {p.dtype}{' learns' if p.requires_grad else ''}"
            for name, p in (*model.named_parameters(), *model.named_buffers())
        ]
        if self._channel is None:
            return model
        self._lines("share", form=form)
        weights, numbers = self._from_first(lambda: (model.state_dict(), get_rng_state()), "share")
        if self.rank:
            model.load_state_dict(weights)
        if not self._parted:
            self._part_numbers(numbers)
        return model

    def average(self, parameters: Iterable[Tensor], count: float) -> None:
        """Make every ``.grad`` the mean over the items of all ranks.

            g = Σ_r n_r g_r / Σ_r n_r

        where g_r, the gradient on rank r, is a mean over its n_r items. The result is that of the
        whole batch on one process; a rank without items takes part like the others. To accumulate
        over several backward passes, let each loss be a sum over items divided by the n_r of all
        of them. Clip afterwards, so that all ranks clip equally.

        Args:
            parameters: ``model.parameters()``. Frozen ones are not changed. One without a gradient
                here gets that of the other ranks, and none if no rank has one.
            count: n_r, the number of items in the mean of this rank's loss, without those that
                ``ignore_index`` leaves out. With class weights it is their sum.

        Raises:
            TeamError: The ranks are at different steps, or their parameters differ.
            ValueError: ``count`` is negative or not finite.
        """
        count, parameters = _count(count), listed(parameters)
        self.step += 1
        if self._channel is None:
            if not count:
                for p in parameters:
                    p.grad = None
            return
        self._channel.step = self.step
        average(self._channel, parameters, count, self._data, self._device_sum)
        self._data = 0

    # -- data -----------------------------------------------------------------------------------

    def shard(self, batches: Iterable[Any], axis: Axis = 1) -> Iterator[Any]:
        """This rank's part of each batch; see :meth:`part`.

        All ranks read the same batches, which :meth:`average` checks.
        """
        for batch in batches:
            if self._channel is not None:
                self._data = checksum(batch, self._data)
            yield self.part(batch, axis)

    def part(self, value: Any, axis: Axis = 1) -> Any:
        """This rank's part: neighbours along the axis. Sizes of parts differ by at most 1.

        A part may be empty. Column n of batches of one width always belongs to the same rank, so
        the state of parallel streams stays on its rank.

        Args:
            value: Arrays or Tensors, in tuples and dicts: a batch, or a state (None stays None).
            axis: The axis of the sequences: 1 for (T, N) and (L, N, H), 0 for (N, H) or labels
                (N,), or a tuple with the axis of each item.

        Raises:
            ValueError: The axis is missing, or has another length in another array.
        """
        return part_of(value, axis, self.rank, self.size)

    def gather(self, value: Any, axis: Axis = 1) -> Any:
        """The parts of all ranks joined, on all ranks: the inverse of :meth:`part`.

        Returns:
            NumPy arrays, in the structure of ``value``.

        Raises:
            ValueError: The parts do not fit together.
        """
        host = each_array(lambda a, _: a.detach().numpy() if isinstance(a, Tensor) else a, value, 0)
        if self._channel is None:
            return joined([host], axis)
        parts = self._channel.collect("gather", pickle.dumps(host))
        return joined([pickle.loads(part) for part in parts], axis)

    def mean(self, value: Any, count: float) -> float:
        """The mean of a loss or metric over the items of all ranks:  Σ_r n_r v_r / Σ_r n_r.

        Args:
            value: v_r, a number or a Tensor of one element: a mean over this rank's items.
            count: n_r, the number of these items.

        Returns:
            The mean; NaN if no rank has an item.
        """
        count = _count(count)
        value = float(value.detach() if isinstance(value, Tensor) else value)
        if self._channel is None:
            return value if count else math.nan
        lines = self._lines("mean", count=count, value=value if count else 0.0)
        total = sum(lines["count"].tolist())
        return sum((lines["count"] * lines["value"]).tolist()) / total if total else math.nan

    # -- checkpoints ----------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint, path: str | os.PathLike[str], **notes: Any) -> None:
        """Write one checkpoint on rank 0, after checking that all ranks are equal to the bit.

        It holds the generator of every rank. Any number of ranks can restore it, and so can
        ``checkpoint.restore``, which returns an additional note ``team``.

        Args:
            checkpoint: Its parts must be equal on all ranks. Make buffers that change while the
                model runs equal first.
            path: See :func:`tinygrad_seq.save`; only rank 0 writes there.
            **notes: Taken from rank 0; use :meth:`gather` for values spread over the ranks.

        Raises:
            TeamError: The ranks are not equal; nothing was written.
            OSError: Rank 0 could not write; raised on all ranks.
        """
        if "team" in notes:
            raise ValueError("the note name 'team' is reserved: use another name")
        generators = [get_rng_state()]
        if self._channel is not None:
            mine = (_digests(checkpoint), get_rng_state())
            everyone = [pickle.loads(b) for b in self._channel.collect("save", pickle.dumps(mine))]
            self._compare([digests for digests, _ in everyone])
            generators = [numbers for _, numbers in everyone]
        own = {"step": self.step, "generators": generators}
        self._from_first(lambda: checkpoint.save(path, team=own, **notes), "save")

    def restore(self, checkpoint: Checkpoint, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Restore the state saved in ``path`` on all ranks; only rank 0 reads the file.

        With the number of ranks that saved it, each continues its own random numbers, bit for bit.
        With another number the generators are derived from rank 0's.

        Returns:
            The notes.

        Raises:
            CheckpointError, FileNotFoundError: As by :meth:`Checkpoint.restore`, on all ranks.
        """
        content = self._from_first(lambda: load(path), "restore")
        notes = checkpoint.take(content, path)
        own = notes.pop("team", {"step": 0, "generators": []})
        self.step = own["step"]
        if self._channel is not None:
            self._channel.step = self.step
        if len(own["generators"]) == self.size:
            set_rng_state(own["generators"][self.rank])
            self._parted = True
        else:
            self._part_numbers(get_rng_state())
        return notes

    # -- inside ---------------------------------------------------------------------------------

    def _lines(self, task: str, **fields: Any) -> Any:
        assert self._channel is not None
        return self._channel.lines(task, **fields)

    def _from_first(self, function: Callable[[], Any], task: str) -> Any:
        """Run ``function`` on rank 0; return its result, or raise its error, on all ranks."""
        if self._channel is None:
            return function()
        reply = b""
        if self.rank == 0:
            try:
                reply = pickle.dumps((function(), None))
            except Exception as error:
                reply = _as_bytes(error)
        result, raised = pickle.loads(self._channel.collect(task, reply)[0])
        if raised is not None:
            raise raised
        return result

    def _part_numbers(self, state: dict[str, Any]) -> None:
        """Give this rank its own part of the numbers of the generator in ``state``."""
        if self.rank:
            bits: Any = np.random.PCG64()
            bits.state = state
            state = bits.jumped(self.rank).state
        set_rng_state(state)
        self._parted = True

    def _compare(self, ranks: list[dict[str, int]]) -> None:
        for rank, (name, ours) in itertools.product(range(1, self.size), ranks[0].items()):
            if ranks[rank].get(name) != ours:
                raise TeamError(
                    f"the ranks are not equal at step {self.step}: {name} of rank {rank} differs "
                    "from that of rank 0. Nothing was saved. Every rank must start from the same "
                    "state (share, restore), and average gradients, then clip, before each step"
                )


def _digests(checkpoint: Checkpoint) -> dict[str, int]:
    """A checksum of every array in a checkpoint, and of each part's plain values."""
    digests: dict[str, int] = {}
    for part, stateful in checkpoint.parts.items():
        if part == "rng":
            continue
        document, arrays = encode(stateful.state_dict())
        digests |= {f"{part}.{name}": zlib.crc32(a.tobytes()) for name, a in arrays.items()}
        digests[part] = zlib.crc32(document.encode())
    return digests


def _as_bytes(error: Exception) -> bytes:
    """(None, error) pickled; an error that cannot be pickled becomes a TeamError."""
    try:
        reply = pickle.dumps((None, error))
        pickle.loads(reply)
    except Exception:
        reply = pickle.dumps((None, TeamError(f"rank 0: {type(error).__name__}: {error}")))
    return reply


def _count(count: Any) -> float:
    number = float(count)
    if not 0 <= number < math.inf:
        raise ValueError(f"count is a number of items, at least 0; got {count!r}")
    return number
