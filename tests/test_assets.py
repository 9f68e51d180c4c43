from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sanity import assets
from sanity.assets import HubAsset, Member, Wheel, WheelAsset, hub, registry, wheels
from sanity.assets.packaged import packaged
from sanity.engine.files import disk_errors
from sanity.errors import AssetError, BadInputError, StorageError

MODEL = b"first half, second half"
NOTES = {"a.txt": b"alpha", "deep/b.txt": b"beta"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_wheel(folder: Path, distribution: str, files: dict[str, bytes]) -> Wheel:
    """A wheel that pip accepts, holding `files`."""
    stem = f"{distribution.replace('-', '_')}-1.0"
    info = f"{stem}.dist-info"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    data = path.read_bytes()
    return Wheel(distribution, "1.0", sha256=sha256(data), size=len(data))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only place where pip looks for wheels."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SANITY_CACHE", str(folder))
    return folder


@pytest.fixture
def toy(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> WheelAsset:
    """A registered asset in two wheels: one file in two parts, and one folder."""
    listing = "".join(f"{sha256(data)}  {name}\n" for name, data in sorted(NOTES.items()))
    one = make_wheel(
        index, "toy-one", {"toy/part0": MODEL[:11]} | {f"toy/notes/{n}": d for n, d in NOTES.items()}
    )
    two = make_wheel(
        index, "toy-two", {"toy_two/part1": MODEL[11:], "toy_two/ignored.py": b"raise SystemExit"}
    )
    asset = WheelAsset(
        name="toy",
        description="for this test",
        licence="MIT",
        wheels=(one, two),
        members=(
            Member("model.bin", ("toy/part0", "toy_two/part1"), sha256(MODEL), len(MODEL)),
            Member("notes", ("toy/notes/",), sha256(listing.encode()), sum(map(len, NOTES.values()))),
        ),
        default=False,
    )
    monkeypatch.setitem(assets.ASSETS, "toy", asset)  # type: ignore[arg-type]
    return asset


@pytest.fixture
def copying(toy: WheelAsset, index: Path, monkeypatch: pytest.MonkeyPatch) -> WheelAsset:
    """`toy`, with a copy in pip's place: for tests of what comes after the download."""

    def copy(wheel: Wheel, asset: WheelAsset, folder: Path) -> Iterator[int]:
        shutil.copytree(index, folder, ignore=lambda _, names: [n for n in names if not is_of(n, wheel)])
        yield wheel.size

    monkeypatch.setattr(wheels, "_download", copy)
    return toy


def is_of(filename: str, wheel: Wheel) -> bool:
    return filename.startswith(wheel.distribution.replace("-", "_"))


def register(monkeypatch: pytest.MonkeyPatch, asset: WheelAsset) -> None:
    monkeypatch.setitem(assets.ASSETS, asset.name, asset)  # type: ignore[arg-type]


def no_pip(*arguments: Any, **options: Any) -> Any:
    raise AssertionError("pip was started")


def left_in(cache: Path) -> set[str]:
    return {path.name for path in (cache / "assets").iterdir() if path.suffix != ".lock"}


def test_fetch_joins_parts_takes_folders_and_is_quick_the_second_time(
    toy: WheelAsset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssetError, match="not been fetched"):
        assets.path("toy")
    place = assets.fetch(["toy"])["toy"]
    assert assets.path("toy", "model.bin").read_bytes() == MODEL
    assert {
        path.relative_to(place / "notes").as_posix(): path.read_bytes()
        for path in (place / "notes").rglob("*.txt")
    } == NOTES
    assert left_in(cache) == {place.name}  # no wheels, no temporary files
    assert not list(place.rglob("*.py"))  # only what is pinned was taken out
    monkeypatch.setattr(subprocess, "Popen", no_pip)
    monkeypatch.setattr("sanity.assets.contents.sha256_of", no_pip)
    assert assets.fetch(["toy"]) == {"toy": place}
    assert assets.path("toy") == place


def test_a_wheel_with_the_wrong_hash_is_refused_and_removed(
    toy: WheelAsset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = "0" * 64
    register(monkeypatch, replace(toy, wheels=(replace(toy.wheels[0], sha256=pinned), toy.wheels[1])))
    with pytest.raises(AssetError) as caught:
        assets.fetch(["toy"])
    for said in ("toy_one-1.0-py3-none-any.whl", pinned, toy.wheels[0].sha256, "sanity fetch toy"):
        assert said in str(caught.value)
    assert left_in(cache) == set()


@pytest.mark.parametrize("which", [0, 1])
def test_a_member_with_the_wrong_hash_is_refused_and_removed(
    copying: WheelAsset, cache: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    members = list(copying.members)
    members[which] = replace(members[which], sha256="f" * 64)
    register(monkeypatch, replace(copying, members=tuple(members)))
    with pytest.raises(AssetError, match=f"(?s){members[which].name}.*{'f' * 64}"):
        assets.fetch(["toy"])
    assert left_in(cache) == set()


def test_what_pip_says_is_passed_on(toy: WheelAsset, index: Path) -> None:
    next(index.glob("toy_two*")).unlink()
    with pytest.raises(
        AssetError, match=r"(?s)No matching distribution found for toy-two==1\.0.*sanity fetch toy"
    ):
        assets.fetch(["toy"])


def test_an_index_that_cannot_be_reached_is_said(toy: WheelAsset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "https://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(AssetError, match=r"toy-one==1\.0.*index could not be reached.*PIP_FIND_LINKS"):
        assets.fetch(["toy"])


def test_what_is_no_default_is_asked_for(toy: WheelAsset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", no_pip)
    with pytest.raises(AssetError, match=r"not been fetched.*sanity fetch toy"):
        assets.path("toy")
    with pytest.raises(BadInputError, match=r"no asset 'tow'.*toy"):
        assets.path("tow")


def test_a_missing_default_is_fetched_by_whoever_needs_it_and_its_size_is_said(
    copying: WheelAsset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    register(monkeypatch, replace(copying, default=True))
    monkeypatch.setenv("SANITY_OFFLINE", "1")
    with pytest.raises(AssetError, match=r"toy \(0 MB: .*sanity fetch toy"):
        assets.path("toy")
    monkeypatch.setenv("SANITY_OFFLINE", "0")
    with caplog.at_level(logging.INFO, "sanity"):
        assert assets.path("toy", "model.bin").read_bytes() == MODEL
        assets.path("toy")
    (said,) = (record.getMessage() for record in caplog.records)
    assert "toy (0 MB" in said
    assert "in all" in said


def test_all_that_is_missing_is_said_at_once(
    copying: WheelAsset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    register(monkeypatch, replace(copying, default=True))
    monkeypatch.setattr(wheels, "_download", no_pip)
    with pytest.raises(
        AssetError, match=r"gpt2 \(551 MB: MIT; .*toy \(0 MB: .*fetch openai-community/gpt2 toy"
    ):
        assets.ready(["toy", "openai-community/gpt2"])


def test_what_computing_needs_is_read_from_its_configuration(tmp_path: Path) -> None:
    from sanity.evals import Eval
    from sanity.experiments import plan
    from sanity.experiments.readiness import needed
    from sanity.profiles import load

    default = {name for name, one in assets.ASSETS.items() if one.default}
    smoke = load("smoke")
    assert needed(plan(smoke)) == default
    assert needed(plan(load("smoke", only=["synthetic_recovery"], analyses={}))) == set()
    assert assets.needed(Eval.named("interpretability")) == {"minilm"}
    assert assets.needed(smoke.source_named("smollm2")) == {"smollm2-135m", "sotu", "sae-probes"}
    assert "google/gemma-2-2b" in needed(plan(load("paper")))


def test_an_unknown_member_is_named_with_those_that_exist(copying: WheelAsset) -> None:
    assets.fetch(["toy"])
    with pytest.raises(BadInputError, match=r"no file 'weights'.*model\.bin, notes"):
        assets.path("toy", "weights")


@pytest.mark.parametrize("damage", ["changed", "missing", "extra"])
def test_damage_is_seen_and_repaired(copying: WheelAsset, damage: str) -> None:
    place = assets.fetch(["toy"])["toy"]
    victim = place / "notes" / "a.txt"
    if damage == "changed":
        victim.write_bytes(b"ALPHA")
        os.utime(victim, ns=(1, 1))
    elif damage == "missing":
        victim.unlink()
    else:
        (place / "notes" / "c.txt").write_bytes(b"more")
    with pytest.raises(AssetError, match="notes has SHA-256"):
        assets.path("toy", "notes")
    assert assets.fetch(["toy"]) == {"toy": place}
    assert victim.read_bytes() == b"alpha"
    assert not (place / "notes" / "c.txt").exists()


def test_damage_that_keeps_size_and_time_is_seen_when_verifying(copying: WheelAsset) -> None:
    model = assets.fetch(["toy"])["toy"] / "model.bin"
    times = model.stat().st_mtime_ns
    model.write_bytes(MODEL.upper())
    os.utime(model, ns=(times, times))
    assets.fetch(["toy"])
    assert model.read_bytes() == MODEL.upper()  # the stamp was believed
    assets.fetch(["toy"], verify=True)
    assert model.read_bytes() == MODEL


def test_a_copied_cache_is_hashed_once_and_then_trusted(
    copying: WheelAsset, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = assets.fetch(["toy"])["toy"]
    for file in place.rglob("*"):
        os.utime(file, ns=(10**18, 10**18))
    assert assets.path("toy", "model.bin").read_bytes() == MODEL
    monkeypatch.setattr("sanity.assets.contents.sha256_of", no_pip)
    assert assets.path("toy") == place


def test_two_at_once_download_once(toy: WheelAsset, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    pip = subprocess.Popen

    def counted(command: Any, **options: Any) -> Any:
        started.append(command)
        return pip(command, **options)

    monkeypatch.setattr(subprocess, "Popen", counted)
    places: list[Path] = []
    threads = [threading.Thread(target=lambda: places.append(assets.fetch(["toy"])["toy"])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 2
    assert places[0] == places[1]
    assert len(started) == len(toy.wheels)


def test_watching_pip_bears_that_files_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "wheel").write_bytes(b"12345")
    assert wheels._largest_file(tmp_path) == 5
    walk = os.walk

    def removing(folder: Path) -> Any:
        for entry in walk(folder):
            shutil.rmtree(tmp_path / "deep", ignore_errors=True)
            yield entry

    monkeypatch.setattr(os, "walk", removing)
    assert wheels._largest_file(tmp_path) == 0


def test_what_a_killed_fetch_left_is_cleared(copying: WheelAsset, cache: Path) -> None:
    left = cache / "assets" / ".toy-killed"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    place = assets.fetch(["toy"])["toy"]
    assert left_in(cache) == {place.name}


def test_too_little_room_is_said_before_downloading(toy: WheelAsset, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    monkeypatch.setattr(subprocess, "Popen", no_pip)
    with pytest.raises(StorageError, match=r"fetching toy needs .* GB of room.*SANITY_CACHE"):
        assets.fetch(["toy"])


def test_a_disk_that_fills_up_leaves_nothing_half(
    copying: WheelAsset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"No space left"):
            assets.fetch(["toy"])
    assert left_in(cache) == set()


def test_a_disk_that_fills_up_inside_pip_is_a_storage_error(toy: WheelAsset) -> None:
    with pytest.raises(StorageError), disk_errors(Path("/")):
        wheels._raise_pip_error("toy-one==1.0", toy, "ERROR: [Errno 28] No space left on device\n")


def test_a_cache_that_cannot_be_a_folder_is_named(
    toy: WheelAsset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="SANITY_CACHE"):
        assets.fetch(["toy"])


def test_the_registry_is_complete() -> None:
    default = {name for name, asset in assets.ASSETS.items() if asset.default}
    assert default == {
        "smollm2-135m",
        "sotu",
        "sae-probes",
        "geonames",
        "minilm",
        "lemminflect",
        "django-catalogues",
    }
    assert 200e6 < sum(assets.asset(name).size for name in default) < 300e6
    for asset in assets.ASSETS.values():
        assert asset.licence
        assert asset.size > 0
        if isinstance(asset, HubAsset):
            assert len(bytes.fromhex(asset.revision)) == 20
        else:
            pins = [*(wheel.sha256 for wheel in asset.wheels), *(member.sha256 for member in asset.members)]
            assert all(len(bytes.fromhex(pin)) == 32 for pin in pins)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("from_wheels: []", "from_the_hub: Field required"),
        ("{from_wheels: [], from_the_hub: [{name: a/b, pin: c}]}", r"from_the_hub\.0\.pin: Unexpected"),
        (
            "{from_wheels: [{name: 1}], from_the_hub: []}",
            r"from_wheels\.0\.name: .*string",
        ),
        ("{from_wheels: [", "while parsing"),
    ],
)
def test_pins_that_are_incomplete_or_misspelt_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, said: str
) -> None:
    (tmp_path / "pins.yaml").write_text(content)
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    with pytest.raises(BadInputError, match=rf"(?s)sanity/pins\.yaml cannot be .*{said}"):
        packaged("pins.yaml", registry._Pins)


REVISION = assets.asset("openai-community/gpt2").version


def hub_copy(folder: Path, weights: dict[str, bytes]) -> Path:
    """A model in the hub's cache format, as the hub's own client leaves it."""
    gpt2 = assets.asset("openai-community/gpt2")
    assert isinstance(gpt2, HubAsset)
    root = folder / "models--openai-community--gpt2"
    snapshot = root / "snapshots" / gpt2.revision
    (root / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name, data in {"config.json": b"{}", **weights}.items():
        (root / "blobs" / sha256(data)).write_bytes(data)
        (snapshot / name).symlink_to(Path("../../blobs") / sha256(data))
    return snapshot


def test_a_hub_model_in_the_local_cache_is_found_and_checked(tmp_path: Path) -> None:
    snapshot = hub_copy(tmp_path, {"model.safetensors": b"weights"})
    assert assets.path("openai-community/gpt2", cache=tmp_path) == snapshot
    assert assets.fetch(["openai-community/gpt2"], cache=tmp_path, verify=True) == {
        "openai-community/gpt2": snapshot
    }
    (snapshot / "model.safetensors").resolve().write_bytes(b"WEIGHTS")
    with pytest.raises(AssetError, match=r"model\.safetensors of openai-community/gpt2 is damaged"):
        assets.fetch(["openai-community/gpt2"], cache=tmp_path, verify=True)


def test_an_incomplete_hub_model_is_refused(tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    weights = {"model.safetensors.index.json": index, "model-1.safetensors": b"one"}
    hub_copy(tmp_path, weights)
    with pytest.raises(AssetError, match=r"lacks model-2\.safetensors"):
        assets.path("openai-community/gpt2", cache=tmp_path)
    shutil.rmtree(tmp_path / "models--openai-community--gpt2")
    hub_copy(tmp_path, {"pytorch_model.bin": b"pickled"})
    with pytest.raises(AssetError, match=r"lacks \*\.safetensors.*pickled"):
        assets.path("openai-community/gpt2", cache=tmp_path)


def test_without_the_hub_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"openai-community/gpt2 at 607a30d783df.*HF_HUB_OFFLINE=1"):
        assets.fetch(["openai-community/gpt2"], cache=tmp_path)
    with pytest.raises(AssetError, match="openai-community/gpt2 at"):
        assets.path("openai-community/gpt2", cache=tmp_path)


def test_no_pickle_is_ever_asked_for() -> None:
    from huggingface_hub.utils import filter_repo_objects

    wanted = {"model-00001-of-00002.safetensors", "config.json", "tokenizer.model", "merges.txt"}
    unwanted = {"pytorch_model.bin", "model.pt", "original/consolidated.00.pth", "onnx/config.json", "tf.h5"}
    kept = filter_repo_objects(
        sorted(wanted | unwanted), allow_patterns=hub._WANTED, ignore_patterns=hub._UNWANTED
    )
    assert set(kept) == wanted


@pytest.mark.assets
def test_the_default_assets_are_the_pinned_bytes() -> None:
    places = assets.fetch(verify=True)
    gguf = assets.path("smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert gguf.stat().st_size == 98_362_432
    assert gguf.read_bytes()[:4] == b"GGUF"
    assert len(list((places["sotu"] / "speeches").glob("*.txt"))) == 249
    assert len(list((places["sae-probes"] / "tables").glob("*.csv.zst"))) == 155
    assert len(list((places["django-catalogues"] / "fr").glob("*.mo"))) == 7
    assert json.loads((places["geonames"] / "countries.json").read_text())["JP"]["capital"] == "Tokyo"


CUT_OFF = """
import socket
tried = []
def refuse(*arguments, **options):
    tried.append(arguments)
    raise OSError("this test has no network")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse

from sanity import assets
from sanity.data.text import TextSpec, sequences
from sanity.subject import load_tokenizer
gguf = assets.path("smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf")
assert assets.fetch()["smollm2-135m"] == gguf.parent
tokenizer = load_tokenizer()
for split in ("train", "held_out"):
    found = sequences(TextSpec(), tokenizer, split=split, n_tokens=2048, context=64)
    assert found.tokens.shape == (32, 64), found.tokens.shape
assert not tried, tried
print("read", len(tokenizer))
"""


@pytest.mark.assets
def test_after_fetching_nothing_needs_the_network(tmp_path: Path) -> None:
    assets.fetch()
    script = tmp_path / "cut_off.py"
    script.write_text(textwrap.dedent(CUT_OFF))
    # Without the switches that keep libraries from trying, so that one which tries is found out; and in a
    # network namespace of its own, without even a loopback device, where the system allows that.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    namespace = ["unshare", "--map-root-user", "--net"]
    allowed = (
        shutil.which("unshare") and subprocess.run([*namespace, "true"], capture_output=True).returncode == 0
    )
    command = [*(namespace if allowed else []), sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "read 49152"
