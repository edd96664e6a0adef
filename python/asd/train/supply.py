"""Batches of a feed on the device that trains: copied ahead, so that the GPU never waits for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd.corpus import Corpus
from asd.feed import Batch, Feed
from asd.train.draws import sent

AHEAD = 3
"""Batches in pinned memory: one that is being copied, and two that are made meanwhile."""


@dataclass(frozen=True, slots=True)
class Views:
    """A batch on the device.

    Attributes:
        views_VBFT: two views of every row, or the first of them; on a CPU valid until the next batch is asked for.
        files_B: the recording of every row.
        hosted_B: the same, on the host: to look at it there waits for no GPU.
        windows_B: the window of every row; on the host.
        position: draw of the first row of this process.
    """

    views_VBFT: Tensor
    files_B: Tensor
    hosted_B: NDArray[np.int64]
    windows_B: NDArray[np.int64]
    position: int


class Supply:
    """An endless iterator of `Views`, and a context manager.

    On a GPU the next batch is copied on a stream of its own while the one before is worked on.

    Args:
        corpus, batch_size, settings: of `asd.Feed`; the batch is that of this process.
        device: where the batches are wanted.
        views: how many of the two are wanted there.
    """

    def __init__(
        self, corpus: Corpus, batch_size: int, device: torch.device, settings: Mapping[str, Any], views: int = 2
    ) -> None:
        assert corpus.survey is not None
        self._device, self._views = device, views
        buffers = None
        if device.type == "cuda":
            shape = (2, batch_size, corpus.spec.n_mels, corpus.survey.frames)
            buffers = [torch.empty(shape, pin_memory=True) for _ in range(AHEAD)]
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._feed = Feed(corpus, batch_size, buffers=buffers, **settings)

    def __enter__(self) -> Supply:
        return self

    def __exit__(self, *_: object) -> None:
        self._feed.close()

    def __iter__(self) -> Iterator[Views]:
        return self._copied() if self._device.type == "cuda" else self._as_they_lie()

    def _as_they_lie(self) -> Iterator[Views]:
        for batch in self._feed:
            views_VBFT = torch.from_numpy(batch.views_VBFT[: self._views])
            files_B = torch.from_numpy(batch.files_B)
            yield Views(views_VBFT, files_B, batch.files_B, batch.windows_B, batch.position)

    def _copied(self) -> Iterator[Views]:
        following, copied = self._copy(next(self._feed))
        while True:
            current, done = following, copied
            torch.cuda.current_stream(self._device).wait_event(done)
            for tensor in (current.views_VBFT, current.files_B):
                tensor.record_stream(torch.cuda.current_stream(self._device))
            # Asking for a batch gives the last one's memory back, so its copy must have ended; by now it has.
            done.synchronize()
            following, copied = self._copy(next(self._feed))
            yield current

    def _copy(self, batch: Batch) -> tuple[Views, torch.cuda.Event]:
        with torch.cuda.stream(self._stream):
            views_VBFT = torch.from_numpy(batch.views_VBFT[: self._views]).to(self._device, non_blocking=True)
            files_B = sent(batch.files_B, self._device)
            # Who waits for it sleeps: the processor is the feed's.
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record(self._stream)
        return Views(views_VBFT, files_B, batch.files_B, batch.windows_B, batch.position), done
