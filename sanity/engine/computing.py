"""Computing the cells that a store lacks: in order, under leases, side by side where that is faster.

On this machine, or on those of a Dask scheduler: the groups of cells, and how one is computed, are the same.

Killed at any moment and started again, it goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from sanity.engine.arguments import usable_device
from sanity.engine.cells import Cell, Cost, Result, in_order, memory_together, seconds_together
from sanity.engine.cluster import Cluster
from sanity.engine.files import disk_errors
from sanity.engine.leases import card_alone
from sanity.engine.memory import memory_kept
from sanity.engine.progress import heartbeat
from sanity.engine.reporting import ProgressReport, describe
from sanity.engine.shortage import give_back_card, shortage_told
from sanity.engine.store import LocalStore, missing, open_store, require
from sanity.engine.waiting import CellQueue
from sanity.engine.workers import Workers, memory_for_results, on_threads, places
from sanity.errors import BadInputError, SanityError, reason_of

log = logging.getLogger("sanity")

CORES = 2
"""What costs are told for."""


def total_cost(cells: Collection[Cell]) -> Cost:
    """What computing `cells` is expected to take on two cores: no less than their longest call."""
    longest = max(map(seconds_together, _calls(cells)), default=0.0)
    cost = _shares(cells)
    return dataclasses.replace(cost, seconds=max(cost.seconds, longest))


def _shares(cells: Iterable[Cell]) -> Cost:
    """What `cells` add to a computation that keeps two cores at work: a sum over their calls."""
    return sum(map(_cost_of_call, _calls(cells)), Cost(0.0, 0, 0))


def _calls(cells: Iterable[Cell]) -> Collection[list[Cell]]:
    calls: dict[str, list[Cell]] = {}
    for cell in cells:
        calls.setdefault(cell.company, []).append(cell)
    return calls.values()


def _cost_of_call(cells: Sequence[Cell]) -> Cost:
    """Of one call: where several fit beside each other, only its share of the time."""
    first = cells[0]
    beside = max(1, CORES // first.threads) if first.threads and not first.wants_card else 1
    cost = sum((cell.cost for cell in cells), Cost(0.0, 0, 0))
    seconds = seconds_together(cells) / beside
    return dataclasses.replace(cost, seconds=seconds, memory_bytes=memory_together(cells))


def _runs_beside(cell: Cell) -> bool:
    # A card is kept busy by one process, and several of them only share it.
    return cell.threads is not None and cell.runs_elsewhere and not cell.wants_card


def _fits_beside(threads: int | None, memory_bytes: int) -> Callable[[list[Cell]], bool]:
    """Whether a group runs beside others on as many threads, and needs no more memory than is free."""
    return lambda some: (
        _runs_beside(some[0]) and some[0].threads == threads and _memory_of(some) <= memory_bytes
    )


def _memory_of(group: Sequence[Cell]) -> int:
    """What computing the group in one call may need."""
    return _shares(group).memory_bytes


def _compute_group(group: Sequence[Cell], store: LocalStore) -> None:
    """Compute the cells of one call under a lease each; others may publish some meanwhile."""
    waited = False
    while todo := [cell for cell in group if not store.sound(cell)]:
        with contextlib.ExitStack() as leases:
            mine = [
                c
                for c in sorted(todo, key=lambda c: c.key)
                if leases.enter_context(store.leases.claim(c.key))
            ]
            mine = [c for c in mine if store.get(c.key) is None]
            if mine and _computed(mine, store):
                continue
        if not waited:
            log.info("another process computes %s; waiting for it", todo[0].label)
            waited = True
        store.leases.outwait(todo[0].key)


def _computed(cells: Sequence[Cell], store: LocalStore) -> bool:
    """Compute and publish cells whose leases are held; False where another process took one over."""
    tasks = [store.start(cell, {n: require(i, store) for n, i in cell.inputs}) for cell in cells]
    unpublished = list(tasks)
    try:
        with disk_errors(store.root), on_threads(cells[0].threads), _on_card(cells[0]), memory_kept():
            began = time.perf_counter()
            with shortage_told(_label(cells)):
                cells[0].function.run(tasks)
        seconds = (time.perf_counter() - began) / len(tasks)
        for task in tasks:
            store.put(task, seconds=seconds, threads=cells[0].threads)
            unpublished.remove(task)
    except Exception as error:
        # What was stopped and woke again finds its files moved, and fails in whatever way that makes it fail.
        superseded = [task for task in unpublished if task.superseded]
        if not superseded:
            raise
        for task in superseded:
            store.abandon(task)
        log.info("%s: it is computed by another process now (%s)", cells[0].label, reason_of(error))
        return False
    return True


def _label(cells: Sequence[Cell]) -> str:
    more = len(cells) - 1
    return f"{cells[0].label}, and {more} more" if more else cells[0].label


@contextlib.contextmanager
def _on_card(cell: Cell) -> Iterator[None]:
    """The graphics card, where the cell wants it, to itself; memory that it leaves there goes to others."""
    if not cell.wants_card:
        yield
        return
    with card_alone(cell.card or "cuda"):
        try:
            yield
        finally:
            give_back_card()


def _compute_elsewhere(group: Sequence[Cell], where: str) -> None:
    """The same in a worker's process."""
    _compute_group(group, open_store(where))


def require_card(cells: Iterable[Cell]) -> None:
    """Refuse cells that want a graphics card where there is none, before anything is fetched or computed."""
    for card, cell in {cell.card: cell for cell in cells if cell.card is not None}.items():
        try:
            usable_device(card)
        except BadInputError as error:
            raise BadInputError(
                f"{cell.label} wants a graphics card: {error}; or take a profile that needs none, or "
                "--scheduler with the address of workers that have one"
            ) from error


def compute(
    cells: Sequence[Cell],
    store: LocalStore | None = None,
    *,
    verify: bool = True,
    scheduler: str | None = None,
) -> LocalStore:
    """Compute what is missing among `cells` and their inputs; killed at any moment, it resumes.

    Groups of cells whose function is content with few threads run beside each other, one per core. With
    `scheduler`, the address of a Dask scheduler, its workers compute them; they see the store where it is.

    Progress goes to the log `sanity`: before each group of cells its label, its expected duration and
    what is left in all, corrected by how long the finished ones really took; then once a minute what is
    under way, in this process and in others, and what is left.
    """
    store = store or open_store()
    absent = missing(cells, store, verify=verify)
    if not absent:
        return store
    if scheduler is None:
        require_card(absent)
    store.sweep()
    log.info(
        "%d of %d results to compute, about %s",
        len(absent),
        len(in_order(cells)),
        describe(total_cost(absent).seconds),
    )
    waiting, report = CellQueue(absent), ProgressReport(absent, _shares)
    with heartbeat(report.beat):
        if scheduler is None:
            _compute_all(waiting, store, report)
        else:
            with Cluster(scheduler) as cluster:
                _compute_on(cluster, waiting, store, report)
    return store


def _compute_on(cluster: Cluster, waiting: CellQueue, store: LocalStore, report: ProgressReport) -> None:
    """Give the workers of a cluster what can run, as much as they have places for, until all is computed."""

    def suits(group: list[Cell]) -> bool:
        return not group[0].runs_elsewhere or cluster.has_place(group[0])

    while waiting or cluster.under_way:
        while (group := waiting.take(suits)) is not None:
            report.begins(group)
            if group[0].runs_elsewhere:
                cluster.start(_compute_group, group, store.where)
                continue
            _compute_group(group, store)
            waiting.done(group)
            report.ended(group)
        for done in cluster.finished():
            waiting.done(done)
            report.ended(done)


def _compute_all(waiting: CellQueue, store: LocalStore, report: ProgressReport) -> None:
    """Compute what is waiting, group by group."""
    while waiting:
        group = waiting.take()
        if group is None:  # cannot be: nothing runs beside this
            raise SanityError("cells that need each other: their inputs form a circle")
        at_once = _at_once(group)
        free = memory_for_results() - _memory_of(group)
        if at_once > 1 and (second := waiting.take(_fits_beside(group[0].threads, free))):
            _compute_beside([group, second], at_once, waiting, store, report)
        else:
            report.begins(group)
            _compute_group(group, store)
            waiting.done(group)
            report.ended(group)


def _at_once(group: Sequence[Cell]) -> int:
    """How many groups like this one are computed at the same time."""
    threads = group[0].threads
    if threads is None or not _runs_beside(group[0]):
        return 1
    return places(threads=threads)


def _compute_beside(
    first: list[list[Cell]], at_once: int, waiting: CellQueue, store: LocalStore, report: ProgressReport
) -> None:
    """Compute the groups `first`, and whatever else of their kind is or becomes ready, side by side.

    What is under way at any time fits into memory together.
    """
    threads = first[0][0].threads or 1
    ready, under_way = list(first), dict[object, list[Cell]]()
    with Workers(at_once, threads=threads) as workers:
        while True:
            while len(under_way) < at_once:
                free = memory_for_results() - sum(map(_memory_of, under_way.values()))
                group = ready.pop(0) if ready else waiting.take(_fits_beside(threads, free))
                if group is None:
                    break
                report.begins(group)
                future = workers.start(_compute_elsewhere, group, store.where, name=group[0].label)
                under_way[future] = group
            if not under_way:
                return
            for future in workers.finished():
                waiting.done(under_way[future])
                report.ended(under_way.pop(future))


def results(cells: Sequence[Cell], store: LocalStore | None = None) -> list[Result]:
    """The results of `cells`, computed first where they are missing."""
    store = compute(cells, store, verify=False)
    return [require(cell, store) for cell in cells]
