"""Set-up: the lock, the environment file, the make targets, and the conditions that tests run under."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from jaxtyping import TypeCheckError
from packaging.requirements import Requirement
from threadpoolctl import threadpool_info

BIN = Path(sys.executable).parent


@pytest.fixture
def pins(repository: Path) -> dict[str, str]:
    lines = (repository / "requirements.lock").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return dict(pairs)


@pytest.fixture
def bare_copy(repository: Path, tmp_path: Path) -> Path:
    """A folder, with a space in its name, that holds what `make setup` reads before it installs."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(repository / name, folder)
    return folder


def make(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    environment["PATH"] = path or environment["PATH"]
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, env=environment, timeout=60
    )


def test_lock_pins_exactly_and_names_no_build_of_torch(repository: Path, pins: dict[str, str]) -> None:
    text = (repository / "requirements.lock").read_text()
    pinned = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert "+" not in pinned, "a local build (such as +cpu) cannot be installed elsewhere"
    assert "--hash" not in pinned
    assert "torch" in pins
    assert "pip" in pins, "assets are fetched with 'python -m pip download'"
    assert "uv" not in pins, "uv is installed before the lock is read"


def test_lock_satisfies_every_declared_dependency(repository: Path, pins: dict[str, str]) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *(r for e in project["optional-dependencies"].values() for r in e)]
    for requirement in map(Requirement, declared):
        assert requirement.name in pins, f"{requirement.name} is declared but not locked"
        assert requirement.specifier.contains(pins[requirement.name]), str(requirement)


def test_environment_file_installs_the_lock_without_resolving_torch(repository: Path, tmp_path: Path) -> None:
    environment = yaml.safe_load((repository / "environment.yml").read_text())
    section = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert "python=3.11" in environment["dependencies"]
    assert "pip" in environment["dependencies"]
    # Offline and against this environment: whatever uv wanted to find elsewhere would be an error.
    requirements = tmp_path / "pip-section.txt"
    lines = [line.replace("-r ", f"-r {repository}/").replace("-e .", f"-e {repository}") for line in section]
    requirements.write_text("\n".join(lines))
    done = subprocess.run(
        [
            BIN / "uv",
            "pip",
            "install",
            "--dry-run",
            "--offline",
            "--python",
            sys.executable,
            "-r",
            requirements,
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "torch" not in done.stderr
    check = subprocess.run(
        [BIN / "uv", "pip", "check", "--python", sys.executable], capture_output=True, text=True, timeout=60
    )
    assert check.returncode == 0, check.stderr


def test_make_help_is_the_default_and_names_every_target(bare_copy: Path) -> None:
    said = make(bare_copy).stdout
    for target in ("setup", "test", "reproduce", "book", "bench", "lint", "lock", "clean"):
        assert f"make {target} " in said


def test_make_setup_says_what_is_missing(bare_copy: Path) -> None:
    absent = make(bare_copy, "setup", "PYTHON=python3.11-which-is-not-there")
    assert absent.returncode != 0
    assert "python3.11-which-is-not-there was not found" in absent.stderr
    assert "python3.11-venv" in absent.stderr


def test_make_setup_refuses_another_python(bare_copy: Path) -> None:
    other = bare_copy / "python3.8"
    other.write_text('#!/bin/sh\ncase "$2" in *version_info*) exit 1;; esac\n')
    other.chmod(0o755)
    refused = make(bare_copy, "setup", "PYTHON=./python3.8")
    assert refused.returncode != 0
    assert "is not Python 3.11" in refused.stderr


def test_make_setup_names_the_debian_package_of_venv(bare_copy: Path) -> None:
    without_venv = bare_copy / "python"
    without_venv.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n')
    without_venv.chmod(0o755)
    refused = make(bare_copy, "setup", "PYTHON=./python")
    assert refused.returncode != 0
    assert "apt install python3.11-venv" in refused.stderr


def test_setup_runs_again_only_what_changed(bare_copy: Path, pins: dict[str, str]) -> None:
    stamps = bare_copy / ".venv" / "stamps"
    stamps.mkdir(parents=True)
    for name in ("venv", f"torch-{pins['torch']}", "lock", "package"):
        (stamps / name).touch()
    past = time.time() - 100
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        os.utime(bare_copy / name, (past, past))
    assert make(bare_copy, "-n", "setup").stdout.split() == [".venv/bin/sanity", "fetch"]

    later = time.time() + 100
    os.utime(bare_copy / "pyproject.toml", (later, later))
    said = make(bare_copy, "-n", "setup").stdout
    assert "--editable ." in said
    assert "-r requirements.lock" not in said
    os.utime(bare_copy / "requirements.lock", (later, later))
    said = make(bare_copy, "-n", "setup").stdout
    assert "-r requirements.lock" in said
    assert '"torch==' not in said
    lock = (bare_copy / "requirements.lock").read_text()
    (bare_copy / "requirements.lock").write_text(lock.replace(f"torch=={pins['torch']}", "torch==99.0"))
    assert '"torch==99.0"' in make(bare_copy, "-n", "setup").stdout


def test_cpu_wheels_are_one_option_away_and_torch_never_comes_by_uv(bare_copy: Path) -> None:
    index = "https://download.pytorch.org/whl/cpu"
    said = make(bare_copy, "-n", "setup", f"TORCH_INDEX={index}").stdout
    torch_lines = [line for line in said.splitlines() if "torch==" in line]
    assert len(torch_lines) == 1
    assert "-m pip install" in torch_lines[0]
    assert f'--index-url "{index}"' in torch_lines[0]
    assert said.index("torch==") < said.index("uv pip install")
    assert "--no-deps -r requirements.lock" in said


def test_continuous_integration_runs_the_two_commands(repository: Path) -> None:
    script = (repository / ".ci" / "run").read_text()
    assert "set -euo pipefail" in script
    assert script.index("make test") < script.index("make reproduce PROFILE=smoke")
    assert os.access(repository / ".ci" / "run", os.X_OK)


def test_shapes_and_types_are_checked_at_run_time() -> None:
    from sanity.engine.files import sha256_of

    with pytest.raises(TypeCheckError):
        sha256_of("a text, not a path")  # type: ignore[arg-type]


def test_a_warning_raised_by_the_package_is_an_error() -> None:
    code = compile("import warnings; warnings.warn('careful')", "made_up.py", "exec")
    with pytest.raises(UserWarning, match="careful"):
        exec(code, {"__name__": "sanity.made_up"})


def test_tests_have_a_store_of_their_own(own_store: Path) -> None:
    from sanity.engine.store import open_store

    assert open_store().root == own_store.resolve()


def test_processes_that_run_tests_next_to_each_other_have_one_thread_each() -> None:
    import numpy
    import torch  # both bring pools of threads

    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    assert len(pools) >= 2, (numpy.__file__, torch.__file__)
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert pools == dict.fromkeys(pools, int(os.environ["OMP_NUM_THREADS"]))


def test_make_test_takes_the_number_of_processes(bare_copy: Path) -> None:
    assert '-m pytest --numprocesses "3"' in make(bare_copy, "-n", "test", "WORKERS=3").stdout


def test_rooms_import_only_downwards(repository: Path) -> None:
    done = subprocess.run(
        [BIN / "lint-imports", "--no-cache"], cwd=repository, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout


def test_the_order_of_rooms_would_be_noticed(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "sanity", tmp_path / "sanity", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "pyproject.toml", tmp_path)
    with (tmp_path / "sanity" / "engine" / "config.py").open("a") as file:
        file.write("\nfrom sanity.publishing import log as upwards\n")
    done = subprocess.run(
        [BIN / "lint-imports", "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode != 0
    assert "sanity.engine is not allowed to import sanity.publishing" in done.stdout
