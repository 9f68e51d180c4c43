"""Executing one notebook: in a kernel of this very Python, to its end or to an error that names the cell."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sanity.engine.files import disk_errors, read_json, remove, take_place, write_atomically
from sanity.errors import BadInputError, SanityError
from sanity.publishing.stamps import FAILED

START_SECONDS = 180
"""How long a kernel may take to start: importing much on a busy machine is slow."""


def execute(name: str, source: Path, notebook: Path, noted: Path, *, profile: str) -> float:
    """Run the notebook of the chapter `name`; it takes its place only when it is complete. Gives the seconds.

    `noted` is where the chapter notes what it publishes.
    """
    _check_parameters(source)
    partial = notebook.with_suffix(FAILED)
    began = time.perf_counter()
    with disk_errors(notebook.parent):
        notebook.parent.mkdir(parents=True, exist_ok=True)
        remove(noted)
        run_notebook(f"chapter {name}", source, partial, parameters={"profile": profile}, cwd=source.parent)
        take_place(partial, notebook)
    return time.perf_counter() - began


def run_notebook(what: str, source: Path, target: Path, *, parameters: Mapping[str, Any], cwd: Path) -> None:
    """Run a notebook with papermill, in the kernel of `own_kernel`; an error names the cell."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillException, PapermillExecutionError

    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters=dict(parameters),
            kernel_name="python3",
            cwd=str(cwd),
            progress_bar=False,
            stderr_file=sys.stderr,
            start_timeout=START_SECONDS,
        )
    except PapermillExecutionError as error:
        line = next((s for s in error.source.splitlines() if s.strip() and not s.startswith("#")), "")
        raise SanityError(
            f"{what} failed in its cell {error.cell_index + 1} ({line.strip()!r}): "
            f"{error.ename}: {error.evalue}; the notebook up to there is {target}"
        ) from error
    except (PapermillException, DeadKernelError, RuntimeError, TimeoutError) as error:
        raise SanityError(
            f"{what} could not be run: {type(error).__name__}: {error}; what was run so far is {target}"
        ) from error


def _check_parameters(source: Path) -> None:
    """Refuse a chapter to which the profile could not be handed."""
    cells = read_json(source).get("cells")
    tags = [cell.get("metadata", {}).get("tags", []) for cell in cells] if isinstance(cells, list) else []
    if sum("parameters" in t for t in tags) != 1:
        raise BadInputError(
            f"{source} needs exactly one cell tagged 'parameters' that sets `profile`; "
            f"it has {sum('parameters' in t for t in tags)}"
        )


@contextlib.contextmanager
def own_kernel(base: Path, *, home: Path) -> Iterator[None]:
    """Make `python3` mean this interpreter, whatever kernels the user has installed.

    The kernel starts without the user's IPython start-up files, draws inline, and finds the project at
    `home`. What Jupyter writes for it lies in `base`, where what a killed run left is removed.
    """
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
            "SANITY_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "PYTHONUTF8": "1",
        },
    }
    write_atomically(base / "kernels" / "python3" / "kernel.json", json.dumps(spec))
    runtime = base / "runtime"
    remove(runtime)
    before = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR")}
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(base), before["JUPYTER_PATH"])))
    os.environ["JUPYTER_RUNTIME_DIR"] = str(runtime)
    try:
        yield
    finally:
        remove(runtime)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
