"""A step that the card repeats by itself: captured once as a CUDA graph, replayed from then on."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch

from sanity.errors import reason_of

log = logging.getLogger("sanity")

WARM_UP = 3
"""Steps before the capture, which are real ones: kernels are compiled, libraries take their workspaces."""

Work = Callable[[], None]


class RepeatedWork:
    """Calls `work`, and after a few calls replays what a call launched. Each call does the work once.

    `capture` turns the work into its replay without doing it, or raises where that cannot be done: then the
    work goes on being called, and the log says why. None, as on a processor: it is always called.
    """

    def __init__(self, work: Work, capture: Callable[[Work], Work] | None, what: str) -> None:
        self._work, self._capture, self._what = work, capture, what
        self._calls = 0

    def __call__(self) -> None:
        """Do the work once."""
        if self._capture is not None and self._calls == WARM_UP:
            try:
                self._work = self._capture(self._work)
            except Exception as error:
                log.warning(
                    "%s is not captured as a CUDA graph (%s): each step is launched by the host, with the "
                    "same numbers, and slower",
                    self._what,
                    reason_of(error),
                )
        self._calls += 1
        self._work()


_pool = functools.cache(torch.cuda.graph_pool_handle)
"""One for all steps: they follow each other, and nothing that a step allocates is read after it."""


def cuda_graph(work: Work) -> Work:
    """The replay of what `work` launches; its tensors must stay where they are."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    torch.cuda.synchronize()
    try:
        with torch.cuda.graph(graph, pool=_pool()):
            work()
    except Exception:
        # PyTorch ends the capture before it puts the stream back, and a capture that failed does not end.
        torch.cuda.set_stream(stream)
        graph.reset()
        raise
    return graph.replay
