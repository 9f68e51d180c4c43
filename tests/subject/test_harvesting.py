"""A harvest is the model's activations, whole or continued after any kill, and refuses what is no data."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from embedding_subject import HOOK as EMBEDDING
from embedding_subject import EmbeddingSubject
from torch import Tensor
from torture.damaging import DAMAGES

from sanity.errors import BadInputError, CorruptFileError, StorageError
from sanity.subject import ActivationStore, Subject, harvest, load_subject

HOOK = "blocks.1.hook_resid_post"


def text(n: int, context: int = 8, *, seed: int = 0) -> Tensor:
    return torch.randint(0, 61, (n, context), generator=torch.Generator().manual_seed(seed))


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("drop_first", [True, False])
def test_a_harvest_is_what_the_model_computes(llama: Subject, tmp_path: Path, drop_first: bool) -> None:
    tokens = text(22)
    documents = torch.arange(22)
    store = harvest(
        llama,
        tokens,
        hook=HOOK,
        folder=tmp_path,
        shard_tokens=40,
        batch_tokens=16,
        drop_first=drop_first,
        document_ids=documents,
    )
    x = llama.residual(tokens, HOOK)[:, int(drop_first) :].flatten(0, 1)
    found = torch.cat(list(store.rows()))
    torch.testing.assert_close(found, x)
    assert (store.n_tokens, store.n_sequences, store.context, store.d_in) == (len(x), 22, 8, 32)
    assert store.shard_sizes == [5 * (8 - drop_first)] * 4 + [2 * (8 - drop_first)]
    torch.testing.assert_close(store.mean, found.double().mean(0).float())
    torch.testing.assert_close(store.covariance, found.double().T.cov(correction=0).float())
    given = store.normalisation.apply(found)
    assert float(given.double().pow(2).sum(1).mean()) == pytest.approx(32, rel=1e-5)
    assert torch.equal(torch.cat([shard.tokens for shard in store.shards()]), tokens.int())
    assert torch.equal(
        torch.cat([s.documents for s in store.shards() if s.documents is not None]), documents.int()
    )


@pytest.mark.parametrize("backend", ["transformer_lens", "nnsight"])
def test_several_hooks_of_one_pass_are_the_bytes_of_each_by_itself(
    tiny_model: Callable[[str], Path], tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = load_subject(tiny_model("llama"), backend=backend)
    hooks = ("blocks.0.hook_resid_pre", HOOK, "blocks.0.hook_resid_post")
    folders = {hook: tmp_path / f"with others {i}" for i, hook in enumerate(hooks)}
    given: dict[str, Any] = {"shard_tokens": 40, "batch_tokens": 16}
    passes: list[int] = []
    residuals = type(subject)._residuals  # type: ignore[attr-defined]
    monkeypatch.setattr(
        type(subject), "_residuals", lambda *some: [passes.append(len(some[2])), *residuals(*some)][1:]
    )
    others = {hook: folders[hook] for hook in hooks[1:]}
    harvest(subject, text(22), hook=hooks[0], folder=folders[hooks[0]], also=others, **given)
    assert passes == [3] * 13  # every batch once
    for hook in hooks:
        harvest(subject, text(22), hook=hook, folder=tmp_path / hook, **given)
        assert files_in(folders[hook]) == files_in(tmp_path / hook)
    # One hook's shard was lost: only that is computed again, of that hook.
    del passes[:]
    (folders[HOOK] / "shard-00001.safetensors").unlink()
    harvest(subject, text(22), hook=hooks[0], folder=folders[hooks[0]], also=others, **given)
    assert passes == [1] * 3
    assert files_in(folders[HOOK]) == files_in(tmp_path / HOOK)
    with pytest.raises(BadInputError, match="give each its own"):
        harvest(subject, text(3), hook=HOOK, folder=tmp_path / "new", also={hooks[0]: tmp_path / "new"})


def test_rows_come_in_order_and_in_chunks_of_the_asked_size(llama: Subject, tmp_path: Path) -> None:
    store = harvest(llama, text(22), hook=HOOK, folder=tmp_path, shard_tokens=40)
    every = torch.cat([shard.activations for shard in store.shards()])
    for chunk, n in ((1, None), (50, None), (8192, None), (35, 70), (35, 71), (7, 1), (10, 0), (10, 10_000)):
        chunks = list(store.rows(chunk, n=n))
        wanted = every[:n]
        assert [len(part) for part in chunks[:-1]] == [chunk] * (len(chunks) - 1)
        assert torch.equal(torch.cat(chunks) if chunks else every[:0], wanted)
    given = torch.cat(list(store.rows(33, normalisation=store.normalisation)))
    assert torch.equal(given, (every - store.mean) * store.factor)


def test_pieces_give_the_same_bytes_as_the_whole(llama: Subject, tmp_path: Path) -> None:
    tokens = text(22)
    per_token = torch.arange(22 * 8).view(22, 8)
    harvest(llama, tokens, hook=HOOK, folder=tmp_path / "a", shard_tokens=40, document_ids=per_token)
    sizes = [3, 0, 11, 1, 7]
    harvest(
        llama,
        iter(tokens.split(sizes)),
        hook=HOOK,
        folder=tmp_path / "b",
        shard_tokens=40,
        document_ids=iter(per_token.split(sizes)),
    )
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_moments_are_those_of_what_is_stored(llama: Subject, tmp_path: Path, dtype: torch.dtype) -> None:
    store = harvest(llama, text(22), hook=HOOK, folder=tmp_path, dtype=dtype)
    found = torch.cat(list(store.rows()))
    assert found.dtype == store.dtype == dtype
    torch.testing.assert_close(store.mean, found.double().mean(0).float())
    torch.testing.assert_close(store.covariance, found.double().T.cov(correction=0).float())


class _Killed(BaseException):
    """Not an Exception: nothing may catch it."""


def test_interrupted_at_every_write_it_ends_with_the_same_bytes(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = text(12)

    def run(folder: Path) -> ActivationStore:
        return harvest(llama, tokens, hook=HOOK, folder=folder, shard_tokens=40)

    run(tmp_path / "whole")
    wanted, replace, renames = files_in(tmp_path / "whole"), os.replace, 0

    def counting(source: Path, target: Path) -> None:
        nonlocal renames
        renames += 1
        if renames == stop_at:
            raise _Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", counting)
    stop_at = 0
    run(tmp_path / "counted")
    total = renames
    assert total == 9  # what it is for, three shards and their records, statistics, manifest
    for stop_at in range(1, total + 1):
        folder, renames = tmp_path / f"killed {stop_at}", 0
        with pytest.raises(_Killed):
            run(folder)
        with pytest.raises(BadInputError, match="no finished harvest"):
            ActivationStore(folder)
        renames = -1000
        run(folder)
        assert files_in(folder) == wanted
        assert stop_at <= 2 or renames < -1000 + total  # what was finished is kept


CHILD = """
import sys, time
import torch
from pathlib import Path
from sanity.subject import harvest, load_subject

torch.set_num_threads(int(sys.argv[3]))
tokens = torch.randint(0, 61, (80, 8), generator=torch.Generator().manual_seed(0))

def slowly():
    for piece in tokens.split(1):
        time.sleep(0.02)
        yield piece

subject = load_subject(sys.argv[1], backend="nnsight")
harvest(subject, slowly(), hook="blocks.1.hook_resid_post", folder=sys.argv[2], shard_tokens=64)
"""


def test_a_killed_process_is_continued_with_the_same_bytes(
    tiny_model: Callable[[str], Path], tiny: Callable[[str, str], Subject], tmp_path: Path, threads: int
) -> None:
    killed = tmp_path / "killed"
    command = [sys.executable, "-c", CHILD, str(tiny_model("llama")), str(killed), str(threads)]
    with subprocess.Popen(command) as child:
        deadline = time.monotonic() + 300
        while not (killed / "shard-00002.safetensors").exists():
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not (killed / "manifest.json").exists()
    (killed / ".shard-00009.safetensors.1.part").write_bytes(b"as a kill within a write leaves it")
    before = {path.name: path.stat().st_mtime_ns for path in killed.glob("shard-0000[01].*")}
    subject = tiny("llama", "nnsight")
    for folder in (killed, tmp_path / "whole"):
        harvest(subject, text(80), hook=HOOK, folder=folder, shard_tokens=64)
    assert files_in(killed) == files_in(tmp_path / "whole")
    assert before == {name: (killed / name).stat().st_mtime_ns for name in before}  # not computed again


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "record"])
def test_damage_is_named_refused_on_reading_and_rebuilt_by_harvest(
    llama: Subject, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = text(12)
    harvest(llama, tokens, hook=HOOK, folder=tmp_path, shard_tokens=40)
    wanted = files_in(tmp_path)
    path = tmp_path / "shard-00001.safetensors"
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "flip":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "gone":
        path.unlink()
    else:
        path.with_suffix(".json").write_text("{")
    if damage == "flip":
        store = ActivationStore(tmp_path)  # sizes fit
        assert len(store.shard(0).activations) == 35
        with pytest.raises(CorruptFileError, match=r"shard-00001\.safetensors is damaged"):
            list(store.rows())
    elif damage != "record":
        with pytest.raises(CorruptFileError, match=r"shard-00001\.safetensors (has|is missing)"):
            ActivationStore(tmp_path)
    store = harvest(llama, tokens, hook=HOOK, folder=tmp_path, shard_tokens=40)
    assert "shard-00001" in caplog.text
    assert files_in(tmp_path) == wanted
    assert sum(map(len, store.rows())) == store.n_tokens


def test_damaged_statistics_and_manifests(llama: Subject, tmp_path: Path) -> None:
    harvest(llama, text(12), hook=HOOK, folder=tmp_path, shard_tokens=40)
    wanted = files_in(tmp_path)
    statistics, manifest = tmp_path / "statistics.safetensors", tmp_path / "manifest.json"
    statistics.write_bytes(statistics.read_bytes()[:-1] + b"\x01")
    store = ActivationStore(tmp_path)
    with pytest.raises(CorruptFileError, match=r"statistics\.safetensors is damaged"):
        store.mean  # noqa: B018
    harvest(llama, text(12), hook=HOOK, folder=tmp_path, shard_tokens=40)
    assert files_in(tmp_path) == wanted
    for content in ("{", "{}", json.dumps({**json.loads(manifest.read_text()), "of": None})):
        manifest.write_text(content)
        with pytest.raises(CorruptFileError, match=r"manifest\.json"):
            ActivationStore(tmp_path)
    harvest(llama, text(12), hook=HOOK, folder=tmp_path, shard_tokens=40)
    assert files_in(tmp_path) == wanted


def test_a_finished_harvest_is_not_computed_again_but_can_grow(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = text(15)
    first = harvest(llama, tokens[:10], hook=HOOK, folder=tmp_path, shard_tokens=40)
    seen = []
    residual = llama.residual
    monkeypatch.setattr(
        llama, "residual", lambda given, hook: seen.append(len(given)) or residual(given, hook)
    )
    again = harvest(llama, tokens[:10], hook=HOOK, folder=tmp_path, shard_tokens=40)
    assert not seen
    assert again.key == first.key
    grown = harvest(llama, tokens, hook=HOOK, folder=tmp_path, shard_tokens=40)
    assert sum(seen) == 5
    assert grown.n_sequences == 15
    assert grown.key != first.key
    torch.testing.assert_close(grown.mean, torch.cat(list(grown.rows())).mean(0))


def test_two_harvests_never_mix_in_a_folder(
    llama: Subject, tiny: Callable[[str, str], Subject], tmp_path: Path
) -> None:
    tokens = text(12)
    settings: dict[str, Any] = {"folder": tmp_path, "shard_tokens": 40}
    harvest(llama, tokens, hook=HOOK, **settings)
    wanted = files_in(tmp_path)
    other = "blocks.0.hook_resid_post"
    with pytest.raises(BadInputError, match=f"something else.*hook '{HOOK}' instead of '{other}'"):
        harvest(llama, tokens, hook=other, **settings)
    with pytest.raises(BadInputError, match="weights_sha256"):
        harvest(tiny("gpt2", "nnsight"), tokens, hook=HOOK, **settings)
    with pytest.raises(BadInputError, match="drop_first True instead of False"):
        harvest(llama, tokens, hook=HOOK, drop_first=False, **settings)
    with pytest.raises(BadInputError, match=r"shard-00000\.safetensors holds activations of another text"):
        harvest(llama, text(12, seed=1), hook=HOOK, **settings)
    with pytest.raises(BadInputError, match=r"shard-00002\.safetensors holds activations of another text"):
        harvest(llama, tokens[:10], hook=HOOK, **settings)
    with pytest.raises(BadInputError, match=r"shard-00000\.safetensors holds activations of another text"):
        harvest(llama, tokens, hook=HOOK, document_ids=torch.arange(12), **settings)
    assert files_in(tmp_path) == wanted
    # The other backend reads the same, and may go on with it.
    harvest(tiny("llama", "nnsight"), tokens, hook=HOOK, **settings)
    assert files_in(tmp_path) == wanted


def test_no_data_is_refused(llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = iter(tmp_path / str(i) for i in range(100))
    with pytest.raises(BadInputError, match="zero variance"):
        harvest(llama, torch.full((6, 8), 5), hook="blocks.0.hook_resid_pre", folder=next(folder))
    with pytest.raises(BadInputError, match="no sequences"):
        harvest(llama, text(0), hook=HOOK, folder=next(folder))
    with pytest.raises(BadInputError, match="no sequences"):
        harvest(llama, iter(()), hook=HOOK, folder=next(folder))
    with pytest.raises(BadInputError, match="one token"):
        harvest(llama, text(3, 1), hook=HOOK, folder=next(folder))
    with pytest.raises(BadInputError, match="no hook"):
        harvest(llama, text(3), hook="blocks.9.hook_resid_post", folder=next(folder))
    with pytest.raises(BadInputError, match="40 tokens are longer than the context"):
        harvest(llama, text(3, 40), hook=HOOK, folder=next(folder))
    with pytest.raises(BadInputError, match="of 8 and of 9 tokens in one harvest"):
        harvest(llama, iter([text(3, 8), text(3, 9)]), hook=HOOK, folder=next(folder))
    with pytest.raises(BadInputError, match=r"document_ids have shape \[4\]"):
        harvest(llama, text(3), hook=HOOK, folder=next(folder), document_ids=torch.arange(4))
    with pytest.raises(BadInputError, match=r"cannot be stored as torch\.float64"):
        harvest(llama, text(3), hook=HOOK, folder=next(folder), dtype=torch.float64)
    residuals = type(llama)._residuals  # type: ignore[attr-defined]
    monkeypatch.setattr(type(llama), "_residuals", lambda *given: [one * 1e6 for one in residuals(*given)])
    with pytest.raises(BadInputError, match=r"sequences 0 to 2 of the text.*does not fit torch\.float16"):
        harvest(llama, text(3), hook=HOOK, folder=next(folder), dtype=torch.float16)


def test_activations_that_are_not_finite_are_located(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = text(30)
    tokens[tokens == 60] = 0
    tokens[17, 3] = 60
    residuals = type(llama)._residuals  # type: ignore[attr-defined]

    def spoiled(self: Subject, given: Tensor, depths: tuple[int, ...]) -> list[Tensor]:
        (found,) = (one.clone() for one in residuals(self, given, depths))
        found[given == 60, 5] = torch.nan
        return [found]

    with monkeypatch.context() as patch:
        patch.setattr(type(llama), "_residuals", spoiled)
        where = (
            r"in sequences 15 to 17 of the text: .* is nan for sequence 2 of the batch, position 3, unit 5"
        )
        with pytest.raises(BadInputError, match=where):
            harvest(llama, tokens, hook=HOOK, folder=tmp_path, shard_tokens=40, batch_tokens=24)
    # The shards before it are kept, and the harvest goes on once the model is in order.
    assert len(list(tmp_path.glob("shard-*.safetensors"))) == 3
    assert harvest(llama, tokens, hook=HOOK, folder=tmp_path, shard_tokens=40).n_sequences == 30


FULL_DISK = """
import resource, signal, sys
import torch
sys.path.insert(0, sys.argv[1])
from embedding_subject import HOOK, EmbeddingSubject
from sanity.errors import StorageError
from sanity.subject import harvest

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
tokens = torch.randint(0, 61, (80, 8), generator=torch.Generator().manual_seed(0))

def pieces():
    for i, piece in enumerate(tokens.split(8)):
        if i == 4:  # four shards have been written
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        yield piece

try:
    harvest(EmbeddingSubject(), pieces(), hook=HOOK, folder=sys.argv[2], shard_tokens=64)
except StorageError as error:
    print(error)
"""


def test_a_file_that_cannot_grow_is_a_storage_error_and_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(Path(__file__).parent), str(tmp_path / "full")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    assert "GB are free" in done.stdout
    assert [path.name for path in (tmp_path / "full").glob("*.part")] == []
    assert len(list((tmp_path / "full").glob("shard-*.json"))) == 4
    for name in ("full", "whole"):
        harvest(EmbeddingSubject(), text(80), hook=EMBEDDING, folder=tmp_path / name, shard_tokens=64)
    assert files_in(tmp_path / "full") == files_in(tmp_path / "whole")


def test_a_full_disk_is_a_storage_error(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            harvest(llama, text(12), hook=HOOK, folder=tmp_path)
    assert not list(tmp_path.iterdir())


MEMORY = """
import resource, sys
import torch
sys.path.insert(0, sys.argv[1])
from embedding_subject import HOOK, EmbeddingSubject
from sanity.subject import ActivationStream, harvest

torch.set_num_threads(1)

def pieces(n):
    generator = torch.Generator().manual_seed(0)
    for _ in range(n):
        yield torch.randint(0, 61, (512, 32), generator=generator)

for n in (4, 64):
    store = harvest(EmbeddingSubject(), pieces(n), hook=HOOK, folder=f"{sys.argv[2]}/{n}",
                    shard_tokens=32 * 512, drop_first=False)
    stream = ActivationStream(store, batch_size=1024, seed=0, pool_shards=3)
    for step in range(store.n_tokens // 1024):
        stream.batch(step)
    sum(len(rows) for rows in store.rows())
    print(store.n_tokens * store.d_in * 4 / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (small, peak_small), (large, peak_large) = (map(float, line.split()) for line in done.stdout.splitlines())
    assert (small, large) == (8, 128)  # MiB of activations: 2 MiB a shard
    assert peak_large - peak_small < 16


def test_the_folder_may_be_moved(llama: Subject, tmp_path: Path) -> None:
    store = harvest(llama, text(12), hook=HOOK, folder=tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = ActivationStore(tmp_path / "there")
    assert moved.key == store.key
    assert sum(map(len, moved.rows())) == store.n_tokens


@pytest.mark.parametrize(
    "name", ["manifest.json", "shard-00001.json", "harvest.json", "statistics.safetensors"]
)
@pytest.mark.parametrize("how", sorted(DAMAGES))
def test_a_harvest_that_was_damaged_is_refused_and_mends_itself(
    tmp_path: Path, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    def run() -> ActivationStore:
        return harvest(EmbeddingSubject(), text(12), hook=EMBEDDING, folder=tmp_path, shard_tokens=40)

    run()
    wanted = files_in(tmp_path)
    DAMAGES[how](tmp_path / name, random.Random(1))
    if name == "manifest.json":
        with pytest.raises((CorruptFileError, BadInputError), match=r"manifest\.json|no finished harvest"):
            ActivationStore(tmp_path)
    run()
    assert files_in(tmp_path) == wanted


@pytest.mark.parametrize("change", [{"factor": 1.0}, {"shards": []}, {"n_tokens": 7}, {"unknown": 0}])
def test_a_manifest_that_somebody_edited_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    harvest(EmbeddingSubject(), text(12), hook=EMBEDDING, folder=tmp_path, shard_tokens=40)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CorruptFileError, match=r"manifest\.json.*run"):
        ActivationStore(tmp_path)
