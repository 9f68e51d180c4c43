"""Running the chapters: one per core at a time, the front page last, re-using what is unchanged."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel

from sanity.engine.files import read_sealed, sha256_of
from sanity.engine.machine import cores
from sanity.engine.yamlfile import read_yaml, validated
from sanity.errors import BadInputError, SanityError
from sanity.publishing.executing import execute, own_kernel
from sanity.publishing.stamps import notebook_path, stamp, stamp_path, stamped, sweep, tables_path

log = logging.getLogger("sanity")


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A page of the book: `name` is its place below `book/` without suffix, `source` its file."""

    name: str
    source: Path
    front: bool = False

    @property
    def runs(self) -> bool:
        """Whether this is a notebook that is executed, rather than plain text."""
        return self.source.suffix == ".ipynb"


@dataclasses.dataclass(frozen=True)
class Execution:
    """A chapter that has been run: the executed notebook, and the seconds it took (0 if re-used)."""

    chapter: Chapter
    notebook: Path
    seconds: float
    reused: bool


def read_chapters(root: Path) -> list[Chapter]:
    """The pages that `_toc.yml` names, in reading order; the first is the front page."""
    toc = root / "_toc.yml"
    if not toc.exists():
        raise BadInputError(f"{root} has no _toc.yml: run this in the project's folder, or set SANITY_HOME")
    found = []
    for position, entry in enumerate(_files_of(validated(_Contents, read_yaml(toc), str(toc)))):
        sources = [root / f"{entry}{suffix}" for suffix in (".ipynb", ".md")]
        source = next((s for s in sources if s.exists()), None)
        if source is None:
            raise BadInputError(f"_toc.yml names {entry}, but there is neither {entry}.ipynb nor {entry}.md")
        found.append(Chapter(entry.removeprefix("book/"), source, front=position == 0))
    return found


def run_order(chapters: Sequence[Chapter]) -> list[Chapter]:
    """The chapters to execute, the front page last since it sums up the others."""
    return sorted((c for c in chapters if c.runs), key=lambda chapter: chapter.front)


def run_chapters(
    chapters: Sequence[Chapter], *, profile: str, root: Path, result_keys: Sequence[str] = ()
) -> list[Execution]:
    """Execute the chapters that changed, in a kernel of this very Python each, and re-use the others.

    Chapters only read results and draw, on one thread, so that they run side by side.

    Parameters
    ----------
    chapters : sequence of Chapter
        All pages; those that are plain text are skipped.
    profile : str
        Handed to each notebook as its parameter `profile`: a name, or the absolute path of a file.
    root : Path
        The project's folder; executed notebooks lie below `_build/executed/PROFILE`.
    result_keys : sequence of str
        Keys of the results that the chapters read; a change runs them again.

    Raises
    ------
    SanityError
        A chapter failed; it names the chapter, the cell and the exception.
    """
    shared = shared_digest(root, profile, result_keys)
    fingerprints: list[str] = []
    todo = run_order(chapters)
    for chapter in todo:
        own = [shared, chapter.name, sha256_of(chapter.source), *(fingerprints if chapter.front else ())]
        fingerprints.append(hashlib.sha256("\n".join(own).encode()).hexdigest())

    def run(number: int) -> Execution:
        chapter, fingerprint = todo[number], fingerprints[number]
        notebook = notebook_path(root, profile, chapter.name)
        if _unchanged(root, profile, chapter, fingerprint):
            return Execution(chapter, notebook, 0.0, reused=True)
        last_time = _last_time(root, profile, chapter)
        log.info("chapter %s (%d of %d)%s", chapter.name, number + 1, len(todo), last_time)
        seconds = execute(
            chapter.name, chapter.source, notebook, tables_path(root, profile, chapter.name), profile=profile
        )
        stamp(root, profile, chapter.name, fingerprint=fingerprint, seconds=seconds)
        return Execution(chapter, notebook, seconds, reused=False)

    fronts = sum(chapter.front for chapter in todo)
    sweep(root, profile)
    with own_kernel(root / "_build" / "jupyter", home=root):
        done = _side_by_side(run, len(todo) - fronts)
        return [*done, *map(run, range(len(done), len(todo)))]


def _side_by_side(run: Callable[[int], Execution], count: int) -> list[Execution]:
    """`run` of 0 to `count` - 1, one per core at a time; after a failure none is begun."""
    failed = threading.Event()

    def run_unless_failed(number: int) -> Execution:
        if failed.is_set():
            raise CancelledError
        try:
            return run(number)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max_workers=cores()) as pool:
        futures = [pool.submit(run_unless_failed, number) for number in range(count)]
    errors = [error for future in futures if (error := future.exception())]
    for error in errors:
        if not isinstance(error, CancelledError):
            raise error
    return [future.result() for future in futures]


def shared_digest(root: Path, profile: str, result_keys: Sequence[str]) -> str:
    """A hash of everything that all chapters depend on: package, lock, the book's data, results, profile."""
    package = Path(__file__).resolve().parent.parent
    state = hashlib.sha256()
    sources = [p for p in package.rglob("*") if p.suffix in (".py", ".yaml")]
    data = [p for p in (root / "book").rglob("*") if p.suffix in (".yml", ".yaml", ".csv", ".json")]
    groups = [(package, sources), (root, [*data, root / "requirements.lock"])]
    for base, files in (*groups, (Path(profile).parent, [Path(profile)])):  # a file of the reader's, perhaps
        for path in sorted(files):
            if path.is_file() and ".ipynb_checkpoints" not in path.parts:
                state.update(f"{path.relative_to(base)}\0{sha256_of(path)}\n".encode())
    state.update("\n".join((profile, *sorted(result_keys))).encode())
    return state.hexdigest()


class _TocEntry(BaseModel):
    """A page of the table of contents, and those below it; what else the builder knows is its business."""

    file: str | None = None
    sections: tuple[_TocEntry, ...] = ()


class _Part(BaseModel):
    chapters: tuple[_TocEntry, ...] = ()


class _Contents(_Part):
    root: str
    parts: tuple[_Part, ...] = ()
    sections: tuple[_TocEntry, ...] = ()


def _files_of(toc: _Contents) -> Iterator[str]:
    """Every file of a table of contents, in order, without suffix."""

    def below(entries: Sequence[_TocEntry]) -> Iterator[str]:
        for entry in entries:
            yield from filter(None, [entry.file])
            yield from below(entry.sections)

    parts = [part.chapters for part in (*toc.parts, toc)]
    for name in itertools.chain([toc.root], *map(below, [*parts, toc.sections])):
        yield name.removesuffix(".ipynb").removesuffix(".md")


def _unchanged(root: Path, profile: str, chapter: Chapter, fingerprint: str) -> bool:
    """Whether the executed chapter is whole, with all that it published, and of this fingerprint."""
    with contextlib.suppress(SanityError):
        return bool(stamped(root, profile, chapter.name)["fingerprint"] == fingerprint)
    return False


def _last_time(root: Path, profile: str, chapter: Chapter) -> str:
    with contextlib.suppress(SanityError):
        return f": {read_sealed(stamp_path(root, profile, chapter.name))['seconds']:.0f} s last time"
    return ""
