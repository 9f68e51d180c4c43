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

from sanity.assets.indexes import for_installing, without_habits

BIN = Path(sys.executable).parent


@pytest.fixture
def pins(repository: Path) -> dict[str, str]:
    lines = (repository / "requirements.lock").read_text().splitlines()
    pairs = [line.partition(" ;")[0].split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return dict(pairs)


@pytest.fixture
def bare_copy(repository: Path, tmp_path: Path) -> Path:
    """A folder, with a space in its name, that holds what `make setup` reads before it installs."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml", ".ci/venv", "sanity/assets/indexes.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / name, folder / name)
    return folder


def a_python(folder: Path, name: str, *, fits: bool = True, has_venv: bool = True) -> Path:
    """A stand-in that answers the questions of set-up, and says how it was asked to make an environment."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '#!/bin/sh\ncase "$2" in\n'
        f"*version_info*3*13*) exit {int(not fits)};;\n"
        f"*ensurepip*) exit {int(not has_venv)};;\n"
        "*python3.%d-venv*) echo python3.12-venv;;\nesac\n"
        f'if [ "$2" = venv ]; then echo "{name} made $3"; exit 1; fi\n',
        encoding="ascii",
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def few_programs(tmp_path: Path) -> Path:
    """A folder with what set-up needs, and no Python, to be all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "sh", "make", "git", "sed", "mkdir", "touch", "mktemp", "rm"):
        (folder / name).symlink_to(str(shutil.which(name)))
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
    extras = project["optional-dependencies"]
    # What speaks to object stores comes with the extra `cluster` only: neither the book nor a test needs it.
    declared = [*project["dependencies"], *(r for e in extras if e != "cluster" for r in extras[e])]
    for requirement in map(Requirement, declared):
        assert requirement.name in pins, f"{requirement.name} is declared but not locked"
        assert requirement.specifier.contains(pins[requirement.name]), str(requirement)


def test_environment_file_installs_the_lock_without_resolving_torch(repository: Path, tmp_path: Path) -> None:
    if not (BIN / "uv").exists():
        pytest.skip("this environment was not made from the lock")
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
    for target in (
        "setup",
        "test",
        "test-newest",
        "reproduce",
        "book",
        "measure",
        "serve",
        "address",
        "bench",
        "lint",
        "lock",
        "clean",
    ):
        assert f"make {target} " in said


@pytest.mark.parametrize("version", ["python3.11", "python3.12", "python3.13", "python3"])
def test_set_up_takes_whichever_python_there_is(bare_copy: Path, few_programs: Path, version: str) -> None:
    a_python(few_programs, version)
    assert f"{version} made .venv" in make(bare_copy, "setup", path=str(few_programs)).stdout


def test_where_there_is_no_python_uv_brings_one(bare_copy: Path, few_programs: Path) -> None:
    a_python(few_programs, "python3", fits=False, has_venv=False)
    said = make(bare_copy, "setup", path=str(few_programs)).stderr
    assert "no Python 3.11, 3.12 or 3.13" in said
    assert "uv (https" in said
    (few_programs / "uv").write_text('#!/bin/sh\necho "uv: $*"; exit 1\n', encoding="ascii")
    (few_programs / "uv").chmod(0o755)
    assert (
        "uv: venv --seed --python >=3.11,<3.14 .venv"
        in make(bare_copy, "setup", path=str(few_programs)).stdout
    )


@pytest.mark.parametrize(
    ("fits", "has_venv", "said"),
    [(False, True, "is not Python 3.11, 3.12 or 3.13"), (True, False, "apt install python3.12-venv")],
)
def test_a_named_python_that_cannot_be_used_is_named(
    bare_copy: Path, fits: bool, has_venv: bool, said: str
) -> None:
    named = a_python(bare_copy, "some python", fits=fits, has_venv=has_venv)
    refused = make(bare_copy, "setup", f"PYTHON={named}")
    assert refused.returncode != 0
    assert f"{named} " in refused.stderr
    assert said in refused.stderr
    assert "not-there was not found" in make(bare_copy, "setup", "PYTHON=./not-there").stderr


LISTING = """global.cert='/etc/ca.pem'
global.extra-index-url='http://one/simple\\nfile:///two/simple'
global.index-url='https://global/simple'
global.target='/somewhere'
global.user='true'
install.index-url='https://mirror/simple'
download.index-url='https://other/simple'
:env:.find-links='/wheels /more'
:env:.trusted-host='mirror'
:env:.constraint='/some.txt'
"""


def test_pips_mirror_and_certificate_are_uvs_too_and_its_habits_nobodys() -> None:
    inherited = {
        "PIP_USER": "1",
        "PIP_TARGET": "/x",
        "PIP_INDEX_URL": "?",
        "UV_INDEX_STRATEGY": "mine",
        "HOME": "/h",
    }
    assert for_installing(inherited, LISTING) == {
        "HOME": "/h",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_USER": "0",
        "PIP_CERT": "/etc/ca.pem",
        "PIP_EXTRA_INDEX_URL": "http://one/simple file:///two/simple",
        "PIP_FIND_LINKS": "/wheels /more",
        "PIP_INDEX_URL": "https://mirror/simple",
        "PIP_TRUSTED_HOST": "mirror",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_DEFAULT_INDEX": "https://mirror/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX": "http://one/simple file:///two/simple",
        "UV_INDEX_STRATEGY": "mine",
        "UV_INSECURE_HOST": "mirror",
        "UV_SYSTEM_CERTS": "true",
    }


def test_every_step_that_installs_takes_packages_from_where_pip_does(bare_copy: Path) -> None:
    for target in ("setup", "test-newest", "bench"):
        for line in make(bare_copy, "-n", target).stdout.splitlines():
            if "pip install" in line or "pip compile" in line:
                assert line.startswith(".venv/bin/python sanity/assets/indexes.py "), line


def test_assets_are_fetched_without_pips_habits() -> None:
    kept = {"PIP_INDEX_URL": "https://mirror/simple", "PIP_CERT": "/etc/ca.pem", "HOME": "/h"}
    assert without_habits({**kept, "PIP_REQUIRE_HASHES": "1", "PIP_CONSTRAINT": "/c.txt"}) == kept


def test_every_declared_range_has_an_upper_end_that_is_tested(repository: Path, pins: dict[str, str]) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    # What speaks to object stores comes with the extra `cluster` only: neither the book nor a test needs it.
    declared = [*project["dependencies"], *(r for e in extras if e != "cluster" for r in extras[e])]
    for requirement in map(Requirement, declared):
        ends = {specifier.operator for specifier in requirement.specifier}
        assert ends & {"<", "=="} or requirement.name.startswith("types-"), str(requirement)


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


@pytest.mark.parametrize("where", ["command line", "environment"])
@pytest.mark.parametrize(
    "profile",
    [
        '"; touch owned; "',
        "$(touch owned)",
        "`touch owned`",
        "$(shell touch owned)",
        "$$(touch owned)",
        "a b",
    ],
)
def test_a_profiles_name_is_handed_on_as_it_was_written(
    bare_copy: Path, monkeypatch: pytest.MonkeyPatch, profile: str, where: str
) -> None:
    sanity = bare_copy / "bin" / "sanity"
    sanity.parent.mkdir()
    sanity.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > said\n')
    sanity.chmod(0o755)
    given = []
    if where == "environment":
        monkeypatch.setenv("PROFILE", profile)
    else:
        given = [f"PROFILE={profile}"]
    for target in ("help", "book", "reproduce"):
        done = make(bare_copy, target, "BIN=bin", *given, *SET_UP)
        assert done.returncode == 0, done.stderr
        if target != "help":
            assert (bare_copy / "said").read_text() == f"{target}\n--profile\n{profile}\n"
    assert profile in make(bare_copy, "help", *given).stdout
    assert not (bare_copy / "owned").exists()


SET_UP = ("--old-file=setup", "--old-file=.venv/stamps/package")
"""Taken as done."""
