"""Cells on many machines: a Dask scheduler gives them to the workers that it has.

    dask scheduler
    dask worker ADDRESS --nthreads 1 --nworkers 8          # a process for every core
    CUDA_VISIBLE_DEVICES=0 dask worker ADDRESS --nthreads 1 --resources GPU=1    # one for every card
    sanity results --profile gpu --scheduler ADDRESS

Slurm, Kubernetes and others start workers through Dask's own deployers. A worker that disappears loses what
it was computing, and another takes that over: results never pass through the scheduler.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from sanity.engine.cells import Cell
from sanity.engine.config import digest
from sanity.engine.connecting import ANSWER_SECONDS, PATIENCE_SECONDS, connected, in_time
from sanity.engine.fitness import CARD, Edition, card_seen, other_edition, refuse_shared_cards, unfit
from sanity.engine.progress import LINE_SECONDS
from sanity.engine.store import LocalStore, open_store
from sanity.errors import BadInputError, SanityError, reason_of

log = logging.getLogger("sanity")

Compute = Callable[[Sequence[Cell], LocalStore], None]


class Cluster:
    """A connection to a Dask scheduler; a context manager. What runs when it is left goes on, and is kept.

    Raises
    ------
    BadInputError
        Dask is not installed, no scheduler answers at `address`, or a worker is not as it has to be.
    SanityError
        Dask cannot start in this process, or the scheduler goes away meanwhile.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._client = connected(address)
        self._running: dict[Any, Sequence[Cell]] = {}
        self._spoke = 0.0
        try:
            self._check()
        except BaseException:
            self._close()
            raise

    def _check(self) -> None:
        """Refuse another source of the package, which cells pass through, or several cells in one process."""
        here = Edition.here()
        with self._away():
            answers = in_time(PATIENCE_SECONDS, lambda: self._client.run(unfit, here, on_error="return"))
        still = self._workers()  # without those that went away while they were asked
        found = {f"worker {w}": answer for w, answer in answers.items() if w in still}
        try:
            found[f"scheduler {self.address}"] = in_time(
                PATIENCE_SECONDS, lambda: self._client.run_on_scheduler(other_edition, here)
            )
        except Exception as error:  # whatever importing the package there raises
            found[f"scheduler {self.address}"] = error
        for who, answer in found.items():
            if isinstance(answer, Exception):
                raise BadInputError(
                    f"the {who} cannot run this package ({reason_of(answer)}): install the same there "
                    f"({here.words}), and start it again"
                )
            if answer:
                raise BadInputError(f"the {who} {answer}")
        with self._away():
            cards = in_time(PATIENCE_SECONDS, lambda: self._client.run(card_seen, on_error="ignore"))
        refuse_shared_cards(cards)

    def has_place(self, cell: Cell) -> bool:
        """Whether there are more workers for what is computed as `cell` is than this client keeps busy."""
        card = cell.wants_card
        workers = self._workers().values()
        offered = sum(one["resources"].get(CARD, 0) for one in workers) if card else len(workers)
        if not offered and time.monotonic() - self._spoke > LINE_SECONDS:
            self._spoke = time.monotonic()
            wanted = f" with a graphics card (--resources {CARD}=1)" if card else ""
            log.warning("the scheduler %s has no worker%s: waiting for one", self.address, wanted)
        return bool(sum(group[0].wants_card == card for group in self.under_way) < offered)

    def _workers(self) -> dict[str, Any]:
        """What the scheduler says of its workers, by address."""
        with self._away():
            if self._client.status == "closed":
                raise ConnectionError("it did not answer again")
            told = in_time(PATIENCE_SECONDS, lambda: self._client.scheduler_info(n_workers=-1))
            return dict(told.get("workers", {}))

    def start(self, compute: Compute, group: Sequence[Cell], where: str) -> None:
        """Compute a group of cells into the store at `where`, on whichever worker is free.

        Of two clients that ask for the same, both wait for the one computation.
        """
        edition = Edition.here()
        key = digest([where, edition.source, sorted(cell.key for cell in group)])
        future = self._client.submit(
            _compute_there,
            compute,
            list(group),
            where,
            edition,
            key=f"{group[0].function.name.replace(' ', '_')}-{key}",
            resources={CARD: 1} if group[0].wants_card else None,
            retries=1,  # on whichever worker is free then
            pure=False,
        )
        self._running[future] = group

    @property
    def under_way(self) -> list[Sequence[Cell]]:
        """The groups that were started and are not finished."""
        return list(self._running.values())

    def finished(self, *, within: float = 5.0) -> list[Sequence[Cell]]:
        """The groups that are through, after `within` seconds at most; raises what went wrong with one."""
        from distributed import wait

        if not self._running:
            time.sleep(within)
        else:
            with self._away(), contextlib.suppress(TimeoutError):
                wait(list(self._running), timeout=within, return_when="FIRST_COMPLETED")
        done = [future for future in self._running if future.done()]
        return [self._ended(future) for future in done]

    def _ended(self, future: Any) -> Sequence[Cell]:
        from distributed import KilledWorker

        group = self._running.pop(future)
        try:
            # An error of the cell is none of the connection's.
            with contextlib.nullcontext() if future.status == "error" else self._away():
                refusal = future.result()
        except KilledWorker as error:
            raise SanityError(
                f"several workers in turn computed {group[0].label} and ended without a word; most often "
                "they ran out of memory: give them more and run again, what is finished stays"
            ) from error
        if refusal is not None:
            raise refusal
        return group

    @contextlib.contextmanager
    def _away(self) -> Iterator[None]:
        """A connection that broke, as one error."""
        from distributed import CancelledError
        from distributed.comm import CommClosedError

        try:
            yield
        except (CancelledError, CommClosedError, ConnectionError, TimeoutError) as error:
            raise SanityError(
                f"the scheduler {self.address} went away: start it and its workers again and run the same "
                "command, what is finished stays"
            ) from error

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        try:
            self._client.close(timeout=ANSWER_SECONDS)
        except Exception as error:  # whatever Dask meets on its way out; what is computed is kept
            log.debug("the connection to %s did not close (%s)", self.address, reason_of(error))


def _compute_there(compute: Compute, group: Sequence[Cell], where: str, edition: Edition) -> Exception | None:
    """On a worker: compute a group; gives back a refusal, which no other worker would change."""
    from distributed import get_worker

    worker = get_worker()
    try:
        if wrong := unfit(edition, worker):
            raise BadInputError(f"the worker {worker.address} {wrong}")
        store = open_store(where)
        if store.where != str(store.root):  # nothing there keeps leases
            store.leases = SchedulerLeases()
        compute(group, store)
    except SanityError as error:
        # Its words alone: what the frames hold in which it was raised may be most of a card.
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    return None


@dataclass(frozen=True)
class SchedulerLeases:
    """Leases that the scheduler keeps, for stores that have none; those of lost workers end by themselves."""

    @contextlib.contextmanager
    def claim(self, key: str, *, patience: float = 0.0) -> Iterator[bool]:
        """The right to compute `key` meanwhile; yields False if another still has it after `patience`."""
        lease = self._lease(key)
        ours = bool(lease.acquire(timeout=max(patience, 0.1)))
        try:
            yield ours
        finally:
            if ours:
                lease.release()

    def outwait(self, key: str) -> None:
        """Wait until nobody has it."""
        lease = self._lease(key)
        lease.acquire()
        lease.release()

    def _lease(self, key: str) -> Any:
        from distributed import Semaphore

        return Semaphore(max_leases=1, name=f"sanity-{key}")
