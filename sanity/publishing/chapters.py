"""Running the chapters: one per core at a time, the front page last, re-using what is unchanged."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from sanity.engine.files import disk_errors, read_json, sha256_of, write_atomically
from sanity.engine.machine import cores
from sanity.errors import BadInputError, SanityError

log = logging.getLogger("sanity")

START_SECONDS = 180
"""How long a kernel may take to start: importing much on a busy machine is slow."""


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
    for position, entry in enumerate(_files_of(yaml.safe_load(toc.read_text("utf-8")))):
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
        notebook = executed_path(root, profile, chapter)
        if _unchanged(notebook, fingerprint, root, profile):
            return Execution(chapter, notebook, 0.0, reused=True)
        log.info("chapter %s (%d of %d)%s", chapter.name, number + 1, len(todo), _last_time(notebook))
        seconds = _execute(chapter, notebook, profile=profile, root=root)
        stamp = {"fingerprint": fingerprint, "sha256": sha256_of(notebook), "seconds": seconds}
        write_atomically(notebook.with_suffix(".json"), json.dumps(stamp))
        return Execution(chapter, notebook, seconds, reused=False)

    fronts = sum(chapter.front for chapter in todo)
    with _own_kernel(root):
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


def _name_of(profile: str) -> str:
    from sanity.profiles import name_of  # loads torch, which whoever asks for help does not need

    return name_of(profile)


def executed_path(root: Path, profile: str, chapter: Chapter) -> Path:
    """Where the executed notebook of a chapter lies."""
    return root / "_build" / "executed" / _name_of(profile) / f"{chapter.name}.ipynb"


def tables_path(root: Path, profile: str, name: str) -> Path:
    """Where a chapter notes which result tables it has published."""
    return root / "_build" / "executed" / _name_of(profile) / f"{name}.tables.json"


def results_folder(root: Path, profile: str) -> Path:
    """Where the result tables of a profile lie."""
    return root / "_build" / "results" / _name_of(profile)


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


def _files_of(toc: Any) -> Iterator[str]:
    """Every `root` and `file` entry of a table of contents, in order."""
    if isinstance(toc, list):
        for entry in toc:
            yield from _files_of(entry)
    elif isinstance(toc, Mapping):
        for name in ("root", "file"):
            if name in toc:
                yield str(toc[name]).removesuffix(".ipynb").removesuffix(".md")
        for name in ("parts", "chapters", "sections", "entries"):
            yield from _files_of(toc.get(name, []))


def _unchanged(notebook: Path, fingerprint: str, root: Path, profile: str) -> bool:
    """Whether the executed notebook is whole, of this fingerprint, and its tables are still there."""
    stamp = notebook.with_suffix(".json")
    if not (notebook.exists() and stamp.exists()):
        return False
    try:
        facts = read_json(stamp)
        noted = tables_path(root, profile, notebook.stem)
        tables = list(read_json(noted)) if noted.exists() else []
    except SanityError:
        return False
    folder = results_folder(root, profile)
    return (
        facts.get("fingerprint") == fingerprint
        and facts.get("sha256") == sha256_of(notebook)
        and all((folder / f"{name}.parquet").exists() for name in tables)
    )


def _last_time(notebook: Path) -> str:
    try:
        seconds = read_json(notebook.with_suffix(".json")).get("seconds")
    except (OSError, SanityError):
        return ""
    return f": {seconds:.0f} s last time" if isinstance(seconds, float) else ""


def _execute(chapter: Chapter, notebook: Path, *, profile: str, root: Path) -> float:
    """Run one notebook; the result takes its place only when it is complete."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillException, PapermillExecutionError

    _check_parameters(chapter)
    partial = notebook.with_suffix(".failed.ipynb")
    began = time.perf_counter()
    with disk_errors(notebook.parent):
        notebook.parent.mkdir(parents=True, exist_ok=True)
        tables_path(root, profile, chapter.name).unlink(missing_ok=True)
        try:
            papermill.execute_notebook(
                str(chapter.source),
                str(partial),
                parameters={"profile": profile},
                kernel_name="python3",
                cwd=str(chapter.source.parent),
                progress_bar=False,
                stderr_file=sys.stderr,
                start_timeout=START_SECONDS,
            )
        except PapermillExecutionError as error:
            line = next((s for s in error.source.splitlines() if s.strip() and not s.startswith("#")), "")
            raise SanityError(
                f"chapter {chapter.name} failed in its cell {error.cell_index + 1} ({line.strip()!r}): "
                f"{error.ename}: {error.evalue}; the notebook up to there is {partial}"
            ) from error
        except (PapermillException, DeadKernelError, RuntimeError, TimeoutError) as error:
            raise SanityError(
                f"chapter {chapter.name} could not be run: {type(error).__name__}: {error}; "
                f"what was run so far is {partial}"
            ) from error
        os.replace(partial, notebook)
    return time.perf_counter() - began


def _check_parameters(chapter: Chapter) -> None:
    """Refuse a chapter to which the profile could not be handed."""
    cells = read_json(chapter.source).get("cells")
    tags = [cell.get("metadata", {}).get("tags", []) for cell in cells] if isinstance(cells, list) else []
    if sum("parameters" in t for t in tags) != 1:
        raise BadInputError(
            f"{chapter.source} needs exactly one cell tagged 'parameters' that sets `profile`; "
            f"it has {sum('parameters' in t for t in tags)}"
        )


@contextlib.contextmanager
def _own_kernel(root: Path) -> Iterator[None]:
    """Make `python3` mean this interpreter, whatever kernels the user has installed.

    The kernel starts without the user's IPython start-up files, draws inline, and finds the project.
    """
    base = root / "_build" / "jupyter"
    spec = {
        "argv": [
            sys.executable,
            "-m",
            "ipykernel_launcher",
            "--log-level=CRITICAL",
            "-f",
            "{connection_file}",
        ],
        "display_name": "Python 3",
        "language": "python",
        "env": {
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "IPYTHONDIR": str(base / "ipython"),
            "SANITY_HOME": str(root),
            "OMP_NUM_THREADS": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "PYTHONUTF8": "1",
        },
    }
    write_atomically(base / "kernels" / "python3" / "kernel.json", json.dumps(spec))
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(base), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["JUPYTER_PATH"]
        else:
            os.environ["JUPYTER_PATH"] = before
