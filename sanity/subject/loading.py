"""From a name or a folder to a `Subject`: which models there are, and how their weights are read.

Weights come as safetensors or GGUF, never pickled, and no code that a model brings along is run.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sanity import assets
from sanity.engine.config import digest
from sanity.engine.files import disk_errors, sha256_of
from sanity.errors import BadInputError, StorageError, reason_of
from sanity.subject.interface import Subject
from sanity.subject.unpacking import unpacked

BACKENDS = ("transformer_lens", "nnsight")


def known_subjects() -> dict[str, str]:
    """The language models that have names: short name -> asset, the default one first."""
    found: dict[str, str] = {}
    for one in assets.ASSETS.values():
        if isinstance(one, assets.HubAsset):
            found[one.name.split("/")[-1].lower().removeprefix("meta-")] = one.name
        elif any(member.name.endswith(".gguf") for member in one.members):
            found[one.name] = one.name
    return found


def assets_of(name_or_folder: str | Path) -> tuple[str, ...]:
    """The asset that holds a language model; none for a folder."""
    names, given = known_subjects(), str(name_or_folder)
    name = names.get(given, given)
    return (name,) if name in names.values() else ()


def load_subject(
    name_or_folder: str | Path = "smollm2-135m",
    *,
    backend: str = "transformer_lens",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    random_weights: bool = False,
    seed: int = 0,
) -> Subject:
    """The language model called `name_or_folder`, ready to be read and edited.

    A model that comes as GGUF is unpacked into the cache folder on first use: 15 s and 540 MB for the
    default model, which then loads in about a second.

    Parameters
    ----------
    name_or_folder
        A key of `known_subjects()`, a hub name among its values, or a folder with config.json, safetensors
        and a tokenizer, or with one .gguf file.
    backend
        "transformer_lens" (a `TransformerBridge`, at `.bridge`) or "nnsight" (at `.traced`).
    random_weights
        Keep architecture and tokenizer, but draw the weights as transformers initialises them, from `seed`:
        the untrained control. torch's global random state is left as it was.

    Raises
    ------
    BadInputError
        There is no such model or backend, or the folder holds no model that can be loaded.
    AssetError
        The model has not been fetched.

    Examples
    --------
    >>> subject = load_subject()                                           # doctest: +SKIP
    >>> tokens = torch.tensor([subject.tokenizer("The capital of France is")["input_ids"]])
    >>> subject.residual(tokens, "blocks.10.hook_resid_post").shape        # [batch, pos, d_model]
    torch.Size([1, 5, 576])
    """
    if backend not in BACKENDS:
        raise BadInputError(f"there is no backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    name = Path(name_or_folder).name + (f" (random weights, seed {seed})" if random_weights else "")
    module = load_module(name_or_folder, dtype=dtype, seed=seed if random_weights else None).to(device)
    tokenizer = load_tokenizer(name_or_folder)
    if backend == "nnsight":
        from sanity.subject.nnsight import NNsightSubject

        return NNsightSubject(name, module, tokenizer)
    from sanity.subject.transformer_lens import TransformerLensSubject

    return TransformerLensSubject(name, module, tokenizer)


def load_module(
    name_or_folder: str | Path = "smollm2-135m",
    *,
    dtype: torch.dtype = torch.float32,
    seed: int | None = None,
) -> Any:
    """The bare transformers module of what `load_subject` would load, on the CPU, frozen, in eval mode.

    With a `seed`, its weights are drawn from it.
    """
    files = _find(name_or_folder)
    with quiet_transformers():
        module = files.module(dtype) if seed is None else files.random_module(seed)
    return module.to(dtype).eval().requires_grad_(False)


def load_tokenizer(name_or_folder: str | Path = "smollm2-135m") -> Any:
    """The tokenizer alone of what `load_subject` would load: a transformers tokenizer."""
    with quiet_transformers():
        return _find(name_or_folder).tokenizer()


def prepare(name_or_folder: str | Path = "smollm2-135m") -> Path:
    """Do once what the first `load_subject` would: unpack a GGUF file. The folder that is loaded from."""
    return _find(name_or_folder).folder


@functools.cache
def weights_of(name_or_folder: str | Path) -> str:
    """What a model's weights are: the pinned hash or revision of an asset, or a hash of a folder's files.

    Nothing has to be fetched for it; a folder's files are read once a session.
    """
    for asset in map(assets.asset, assets_of(name_or_folder)):
        if isinstance(asset, assets.HubAsset):
            return asset.revision
        return digest([[member.name, member.sha256] for member in asset.members])
    folder = Path(name_or_folder)
    if not folder.is_dir():
        return _find(folder).folder.name  # says which models there are
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".gguf"))
    return digest([[path.name, sha256_of(path)] for path in files])


@dataclass(frozen=True)
class _ModelFiles:
    """A folder in the hub's format, or one with a GGUF file that could not be unpacked."""

    folder: Path
    options: Mapping[str, str]

    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        with self._readable():
            return AutoTokenizer.from_pretrained(self.folder, **self._common())

    def module(self, dtype: torch.dtype) -> Any:
        from transformers import AutoModelForCausalLM
        from transformers.utils.quantization_config import GgufConfig

        gguf = {"quantization_config": GgufConfig(dequantize=True)} if self.options else {}
        with self._readable():
            return AutoModelForCausalLM.from_pretrained(
                self.folder, dtype=dtype, use_safetensors=True, **self._common(), **gguf
            )

    def random_module(self, seed: int) -> Any:
        """The same architecture as transformers initialises it, drawn from `seed` alone, in float32."""
        from transformers import AutoConfig, AutoModelForCausalLM

        with self._readable(), torch.random.fork_rng(devices=[]):
            config = AutoConfig.from_pretrained(self.folder, **self._common())
            # Not torch.manual_seed, which would reseed the accelerators as well.
            torch.default_generator.manual_seed(seed)
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)

    def _common(self) -> dict[str, Any]:
        return {"local_files_only": True, "trust_remote_code": False, **self.options}

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        from safetensors import SafetensorError

        try:
            yield
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise BadInputError(
                f"no causal language model can be loaded from {self.folder} ({reason_of(error)}): it needs "
                "config.json, safetensors and a tokenizer, of a kind that transformers knows, or one "
                ".gguf file"
            ) from error


def _find(name_or_folder: str | Path) -> _ModelFiles:
    """The files of a model, from its name, its hub name or its folder."""
    for name in assets_of(name_or_folder):
        return _files_in(assets.path(name))
    if not Path(name_or_folder).is_dir():
        raise BadInputError(
            f"there is no language model {str(name_or_folder)!r}: choose one of "
            f"{', '.join(known_subjects())}, or give a folder that holds a model"
        )
    return _files_in(Path(name_or_folder))


def _files_in(folder: Path) -> _ModelFiles:
    packed = sorted(folder.glob("*.gguf"))
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        return _ModelFiles(folder, {})
    if len(packed) == 1:
        try:
            return _ModelFiles(unpacked(packed[0], _unpack), {})
        except StorageError:
            # A cache that is full or cannot be written: read it packed, slowly, every time.
            return _ModelFiles(folder, {"gguf_file": packed[0].name})
    pickled = sorted(path.name for path in (*folder.glob("*.bin"), *folder.glob("*.pt*")))
    found = f"{len(packed)} .gguf files" if packed else "no config.json with safetensors"
    raise BadInputError(
        f"{folder} holds {found}: give a folder with config.json, *.safetensors and a "
        "tokenizer, or with exactly one .gguf file"
        + (f" ({', '.join(pickled)} may be pickled, which is never loaded: convert it)" if pickled else "")
    )


def _unpack(gguf: Path, folder: Path) -> None:
    """Write the model in `gguf` to `folder` in the hub's format, in float32."""
    from safetensors import SafetensorError

    files = _ModelFiles(gguf.parent, {"gguf_file": gguf.name})
    with quiet_transformers():
        module, tokenizer = files.module(torch.float32), files.tokenizer()
    with disk_errors(folder):
        try:
            module.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        except SafetensorError as error:
            raise StorageError(f"cannot write {folder}: {error}") from error


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' own progress bars, which would fill a chapter's output."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
