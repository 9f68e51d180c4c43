"""`sanity.check`: an SAE against its random baselines, with a report."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from sanity.checking.check import Check
from sanity.checking.given import GivenSAE, InputScale
from sanity.checking.loading import given_of
from sanity.checking.report import Report
from sanity.checking.request import BASELINES, EVALS, Request
from sanity.engine.store import LocalStore, open_store
from sanity.publishing.executing import own_kernel, run_notebook
from sanity.publishing.single import single_page

NOTEBOOK, PAGE = "check.ipynb", "report.html"


def check(
    sae: Any,
    subject: str | Path | None = None,
    hook: str | None = None,
    *,
    text: Sequence[str] = ("registry",),
    baselines: Sequence[str] = BASELINES,
    evals: Sequence[str] = EVALS,
    seeds: int = 3,
    tokens: int | None = None,
    minutes: float | None = None,
    scale: InputScale | None = None,
    out: str | Path | None = None,
    store: LocalStore | None = None,
) -> Report:
    """Does an SAE beat its random baselines?

    Its nulls are trained here, at its size and L0; then all are scored alike. Killed and called again, it
    goes on where it was.

    Parameters
    ----------
    sae
        A folder of SAELens, dictionary_learning, sparsify or this package; a name on the hub; an object with
        `encode`, `decode` and `W_dec`; or a list of them, as seeds of one recipe.
    subject, hook
        The language model (a name of `sanity fetch --list`, or a folder) and `blocks.K.hook_resid_post` or
        `_pre`. By default what the checkpoint says.
    text
        Names of texts, or folders of .txt files.
    baselines
        Such as "frozen_decoder" or "frozen_decoder/cov"; further ones on request: "trained", "noise"
        (activations without structure) and "random_model".
    tokens, minutes
        How many tokens nulls train on, or about how long all may take.
    scale
        What the SAE takes, where its configuration is wrong or silent: "raw", "expected norm" or "centred".
    out
        A folder for the report: `report.html`, `check.json`, its tables, and the notebook to go on from.

    Raises
    ------
    BadInputError
        What is given is no SAE, or does not go with the model and hook.

    >>> report = check("my_sae/", "smollm2-135m", "blocks.10.hook_resid_post")     # doctest: +SKIP
    >>> report.answer                                                              # doctest: +SKIP
    """
    given = list(sae) if isinstance(sae, list | tuple) else [sae]
    request = Request(tuple(baselines), tuple(evals), seeds, tokens, minutes, tuple(text), scale)
    several = [one if isinstance(one, GivenSAE) else given_of(one) for one in given]
    model = None if subject is None else str(subject)
    report = Check(several, request, model, hook, store or open_store()).run()
    if out is not None:
        write_report(report, Path(out))
    return report


def write_report(report: Report, folder: Path) -> Path:
    """Write a report's tables, run its notebook on them with papermill, and render that to one HTML page."""
    report.save(folder)
    template = resources.files(__package__) / NOTEBOOK
    notebook = folder / NOTEBOOK
    with (
        resources.as_file(template) as source,
        tempfile.TemporaryDirectory() as base,
        own_kernel(Path(base), home=folder),
    ):
        partial = Path(base) / NOTEBOOK
        run_notebook("the report", source, partial, parameters={}, cwd=folder)
        shutil.copyfile(partial, notebook)
    return single_page(notebook, folder / PAGE, title=f"Sanity check of {report.facts['name']}")
