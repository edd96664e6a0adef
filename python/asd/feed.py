"""Recordings -> batches of two views, made ahead by threads of their own and written into the caller's memory.

Axes: B clips, V views (2), F mel bands, T frames, N windows of the training set.

What a batch holds is a function of (seed, draw) alone: of no thread, no cache, and nothing that was computed before.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from asd import _dsp, augment, features
from asd.augment import MixBand, MixDomain
from asd.corpus import Corpus, Survey
from asd.errors import DataError, UsageError

MOST_AHEAD = 64
"""Batches that are made ahead, at most: each has memory of its own."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Two views of B clips.

    Attributes:
        views_VBFT: float32, in one of the feed's buffers: valid until the next batch is asked for.
        windows_B: the window of every row, as its place in the survey.
        files_B: the recording of every row, as its place among the corpus' paths.
        position: draw of the first row.
    """

    views_VBFT: NDArray[np.float32]
    windows_B: NDArray[np.int64]
    files_B: NDArray[np.int64]
    position: int


class Feed:
    """An endless iterator of batches of two views. A context manager: leaving it, or dropping it, ends its work.

    It has one consumer: who asks for a batch gives the last one back. It cannot be copied, pickled or taken through a
    fork: make it where it is used.

    Draw p takes a clip from an endless stream of permutations keyed by (seed, epoch), and mixes each of its views with
    the clip of an earlier draw, p - 1 - r for r uniform in [0, min(p, bank_size)), drawn again while that is a window
    of the same recording; where no other recording came before, it is not mixed. See `asd.two_views` for what a view
    is: the feed gives the same bytes, for log-mels pre-normalised by `asd.features.pre_normalise`.

    Args:
        corpus: recordings that were looked at.
        batch_size: B, not above the number of windows.
        seed, position: whole numbers from 0 to 2**64 - 1; the feed begins as after ``seek(position)``.
        labels: a class for every path of the corpus: draws go round the classes. None draws all windows alike.
        shares: how many draws of a round each class gets, such as ``{"00": 3, "02": 1, "04": 1, "06": 1}``; classes
            that are not named are not drawn. None gives each class one. A small class comes round more often.
        rank, world_size: where several feeds share a stream: batch k of this one has the rows from draw
            (k · world_size + rank) · batch_size on.
        prefetch: batches that are made ahead, 1 to 64.
        buffers: where they go instead: float32 arrays (2, B, F, T), or torch tensors on the CPU, pinned for instance.
            There must be at least two: one is the caller's while the next is filled. Nobody else may touch them.
        mean, std: for pre-normalising; None takes the survey's.
        threads: 1 to 1024; None takes all that this process may use.
        alpha, crop, bank_size, mix_domain, mix_band, eps, post_normalise: as of `asd.two_views`. Post-normalising takes
            the rows of this rank together; as many log-mels as `bank_size` stay in memory.

    Raises:
        UsageError: a batch larger than the set, labels or shares that do not fit.
        ValueError: another value out of range, or buffers of another type, shape or layout.
        DataError: while iterating: a recording that can no longer be read. The same batch is tried again by the next
            call.
    """

    def __init__(
        self,
        corpus: Corpus,
        batch_size: int,
        seed: int = 0,
        *,
        position: int = 0,
        labels: Sequence[Hashable] | None = None,
        shares: Mapping[Any, int] | None = None,
        rank: int = 0,
        world_size: int = 1,
        prefetch: int = 2,
        buffers: Sequence[Any] | None = None,
        mean: float | None = None,
        std: float | None = None,
        threads: int | None = None,
        alpha: float = augment.ALPHA,
        crop: bool = True,
        bank_size: int = augment.BANK_SIZE,
        mix_domain: MixDomain = "normalised",
        mix_band: MixBand = "full",
        eps: float = augment.EPS,
        post_normalise: bool = True,
    ) -> None:
        survey, kernel = corpus.survey, corpus.kernel
        if survey is None or kernel is None:
            raise ValueError("corpus: nobody has looked at its recordings yet: run `look` to its end first")
        batch_size, world_size = _whole("batch_size", batch_size), _whole("world_size", world_size)
        rank, prefetch = _whole("rank", rank), _whole("prefetch", prefetch)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank, world_size: expected 0 <= rank < world_size, got {rank} and {world_size}")
        groups, pattern = _groups(corpus, survey, labels, shares)
        _check_batch(batch_size * world_size, sum(map(len, groups)))
        mean, std = survey.mean if mean is None else mean, survey.std if std is None else std
        shape = (batch_size, corpus.spec.n_mels, survey.frames)
        self._survey = survey
        self._buffers = _buffers(buffers, shape, prefetch)
        self._feed = _dsp.Feed(
            kernel,
            augment.kernel(shape, alpha, crop, bank_size, mix_domain, mix_band, mean, std, corpus.spec, eps),
            [survey.files_N, survey.indices_N, survey.counts_N, survey.starts_N],
            groups,
            pattern,
            seed,
            position,
            (rank, world_size),
            (mean, std, post_normalise),
            features.threads_or_all(threads),
            [(views[0], views[1]) for views in self._buffers],
        )
        # Runs when the feed is dropped, and at the latest when the interpreter ends.
        self._finalizer = weakref.finalize(self, self._feed.close)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        """Return the next batch; the one before is no longer valid."""
        try:
            index, position, windows_B = self._feed.take()
        except _dsp.DspError as error:
            reason, hint, path = error.args
            raise DataError(f"{Path(path)}: {reason}", hint) from None
        return Batch(self._buffers[index], windows_B, self._survey.files_N[windows_B], position)

    def seek(self, draw: int) -> None:
        """Go on with the batch that begins at draw `draw`: with several ranks, that of the first of them.

        To take up a stream after k batches: ``seek(k * world_size * batch_size)``. The batch at hand stays valid.
        """
        self._feed.seek(draw)

    def close(self) -> None:
        """End the work, in the middle of a file if need be."""
        self._finalizer()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled."""
        raise TypeError("a feed cannot be copied or pickled: make it where it is used")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def round_of(shares: Mapping[Any, int]) -> list[Any]:
    """Return one round of draws: every key as often as its share, as evenly spread as can be.

    Each time all keys gain their share, and the one that has most is taken and pays the sum of all.
    """
    if len(set(shares.values())) == 1:  # with many classes the rest takes long
        return list(shares) * next(iter(shares.values()))
    total = sum(shares.values())
    credit = dict.fromkeys(shares, 0)
    taken = []
    for _ in range(total):
        for key, share in shares.items():
            credit[key] += share
        best = max(credit, key=credit.__getitem__)  # the first of several
        credit[best] -= total
        taken.append(best)
    return taken


def _whole(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name}: expected a whole number, got {value!r}") from None


def _check_batch(batch_size: int, windows: int) -> None:
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size}: expected 1 or more")
    if batch_size > windows:
        raise UsageError(
            f"batch size {batch_size}: larger than the training set, which has {windows} windows",
            f"Take a smaller one, {windows} at most, or more recordings.",
        )


def _groups(
    corpus: Corpus, survey: Survey, labels: Sequence[Hashable] | None, shares: Mapping[Any, int] | None
) -> tuple[list[NDArray[np.int64]], list[int]]:
    """Return the windows of every class, and one round of draws as places of classes."""
    if labels is None:
        if shares is not None:
            raise UsageError("shares without labels: shares of what?", "Give a label for every recording.")
        return [np.arange(len(survey.files_N))], [0]
    if isinstance(labels, str | Mapping) or len(labels) != len(corpus.paths):
        raise UsageError(f"labels: expected a sequence of {len(corpus.paths)}, one a recording, got {len(labels)}")
    windows: dict[Hashable, list[int]] = {}
    for window, file in enumerate(survey.files_N):
        windows.setdefault(labels[file], []).append(window)
    if any(label != label for label in windows):  # NaN: each would be a class of its own
        raise UsageError("labels: one is not a number (NaN)", "Leave such recordings out, or name their class.")
    shares = dict.fromkeys(windows, 1) if shares is None else shares
    for label, share in shares.items():
        if label not in windows:
            raise UsageError(
                f"shares: no recording has the label {label!r}", f"There are: {', '.join(map(str, windows))}"
            )
        if _whole(f"shares[{label!r}]", share) < 1:
            raise UsageError(f"shares: {label!r} has {share}, expected 1 or more", "Leave it out instead.")
    if not shares:
        raise UsageError("shares: no class is to be drawn", "Name at least one, or leave shares out.")
    # In the order of the recordings, whatever the order of the shares: the stream is to follow from seed and data.
    drawn = {label: operator.index(shares[label]) for label in windows if label in shares}
    places = {label: place for place, label in enumerate(drawn)}
    return [np.array(windows[label]) for label in drawn], [places[label] for label in round_of(drawn)]


def _buffers(buffers: Sequence[Any] | None, shape: tuple[int, int, int], prefetch: int) -> list[NDArray[np.float32]]:
    if buffers is None:
        if not 1 <= prefetch <= MOST_AHEAD:
            raise ValueError(f"prefetch: expected 1 to {MOST_AHEAD}, got {prefetch}")
        return [np.zeros((2, *shape), np.float32) for _ in range(prefetch + 1)]
    arrays = [_memory(i, buffer) for i, buffer in enumerate(buffers)]
    if len(arrays) < 2:
        raise ValueError(f"buffers: expected two or more, got {len(arrays)}")
    for i, array in enumerate(arrays):
        if array.dtype != np.float32 or array.shape != (2, *shape):
            raise ValueError(
                f"buffers[{i}]: expected float32 of shape {(2, *shape)}, got {array.dtype} of {array.shape}"
            )
    return arrays


def _memory(i: int, buffer: Any) -> NDArray[Any]:
    """Return the buffer's own memory as an array: a tensor's, for instance."""
    try:
        array, again = np.asarray(buffer), np.asarray(buffer)
    except Exception as error:  # whatever the buffer's own type says: on a GPU, part of a graph, of a foreign type
        raise ValueError(f"buffers[{i}]: cannot be written to as an array: {error}") from None
    if array.ctypes.data != again.ctypes.data:
        raise ValueError(f"buffers[{i}]: {type(buffer).__name__} gives a copy of its memory, not the memory itself")
    return array
