"""Cells that wait to be computed, and which of them can be computed now."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sanity.engine.cells import Cell


class CellQueue:
    """Cells still to be computed, given out in groups for one call each, inputs before what needs them."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._waiting = list(cells)
        self._unfinished = {cell.key for cell in cells}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self, suits: Callable[[list[Cell]], bool] | None = None) -> list[Cell] | None:
        """The next group that can run, or None; with `suits`, only one that does.

        A group waits until all of its members can run, so that work is shared as widely as it can be; unless
        nothing else could run.
        """
        companies: dict[str, list[Cell]] = {}
        for cell in self._waiting:
            companies.setdefault(cell.company, []).append(cell)
        ready = {name: [c for c in members if self._can_run(c)] for name, members in companies.items()}
        whole = [members for name, members in ready.items() if len(members) == len(companies[name])]
        if not whole and len(self._unfinished) == len(self._waiting):
            whole = [members for members in ready.values() if members][:1]
        group = next((some for some in whole if suits is None or suits(some)), None)
        if group is None:
            return None
        taken = {cell.key for cell in group}
        self._waiting = [cell for cell in self._waiting if cell.key not in taken]
        return group

    def done(self, group: Sequence[Cell]) -> None:
        """`group` is computed: what needs it can run."""
        self._unfinished -= {cell.key for cell in group}

    def _can_run(self, cell: Cell) -> bool:
        return not any(needed.key in self._unfinished for _, needed in cell.inputs)
