"""What every test runs under: checked shapes, no hub, and a store and caches of its own.

All that is of the session here is so once in every process that xdist runs tests in.
"""

from __future__ import annotations

import functools
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

import sanity.engine

# Set before anything reads them: tests reach no hub, fetch nothing unasked, and figures need no display.
os.environ.update(
    SANITY_OFFLINE="1",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    WANDB_MODE="disabled",
    MPLBACKEND="Agg",
)

# Starting processes takes longer than what tests compute in them; those about processes ask for some.
os.environ.setdefault("SANITY_PROCESSES", "1")

# Nor do they ask a judge that the user has set up, and pays for.
for name in [name for name in os.environ if name.startswith("SANITY_JUDGE_") or name == "OPENAI_API_KEY"]:
    del os.environ[name]

# Installed for the whole session, and before the first import of a module of the package: every annotated
# shape and type in `sanity` is checked at each call. As for static checkers, a whole number is a float, too.
# Not in what spells configurations and what checks types itself: a plan calls these half a million times.
_UNCHECKED = {"sanity.engine", "sanity.engine.config", "sanity.engine.arguments"}
_modules = {
    f"{package.__name__}.{module.name}"
    for package in (sanity, sanity.engine)
    for module in pkgutil.iter_modules(package.__path__)
}
_hook = install_import_hook(
    sorted(_modules - _UNCHECKED), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

# The same examples on every run; `HYPOTHESIS_PROFILE=explore` looks for new ones.
hypothesis.settings.register_profile("repeatable", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=300)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_configure(config: pytest.Config) -> None:
    """One thread for each process, where several run tests next to each other (`make test`).

    Set in the process that starts them: libraries read it when they are loaded, which plugins do before a
    worker reads this file.
    """
    if config.getoption("numprocesses", None):
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = os.environ.get(name) or "1"


def pytest_unconfigure() -> None:
    _hook.uninstall()


def pytest_xdist_auto_num_workers() -> int:
    """`WORKERS=auto`: one process per core of this machine's or its container's, as far as memory goes."""
    from sanity.engine.machine import cores, memory_bytes

    return max(1, min(cores(), memory_bytes() // 10**9))


@pytest.fixture(scope="session", autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store in a temporary folder: no test reads or writes the user's results."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANITY_STORE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def threads() -> int:
    """torch's threads for the session: what `OMP_NUM_THREADS` says, and two otherwise."""
    import torch

    count = int(os.environ.get("OMP_NUM_THREADS") or "2")
    torch.set_num_threads(count)
    return count


@pytest.fixture(scope="session", autouse=True)
def measured_once() -> Iterator[None]:
    """How fast this machine is: commands that tell what something costs measure it once in a process."""
    from sanity.experiments import calibration

    measure = calibration.ratios
    with pytest.MonkeyPatch.context() as patch:
        quickly = functools.cache(lambda device="cpu", repeats=1: measure(device, 1))
        patch.setattr("sanity.experiments.calibration.ratios", quickly)
        yield


@pytest.fixture(scope="session")
def assets() -> dict[str, Path]:
    """The default assets, fetched if `make setup` has not done so: asset name -> folder."""
    from sanity.assets import fetch

    return fetch()


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a language model of three layers, 32 wide, that reads letters, digits and full stops."""
    from letter_model import save_letter_model

    return save_letter_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).parent.parent
