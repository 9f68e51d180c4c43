"""From a name or a folder to a `Subject`: loaded whole, wrapped by a backend, tried on a dozen tokens."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from sanity import assets
from sanity.engine.arguments import Seed, checked, usable_device
from sanity.engine.config import digest
from sanity.engine.files import sha256_of
from sanity.errors import BadInputError, SanityError, reason_of
from sanity.subject.files import assets_of, find_files, quiet_transformers
from sanity.subject.interface import LoadedSubject, Subject
from sanity.subject.linear import with_fast_products
from sanity.subject.selftest import self_test

BACKENDS = ("transformer_lens", "nnsight")


@checked
def load_subject(
    name_or_folder: str | Path = "smollm2-135m",
    *,
    backend: str = "transformer_lens",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    random_weights: bool = False,
    seed: Seed = 0,
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
    place = usable_device(device)
    if not dtype.is_floating_point:
        raise BadInputError(
            f"a language model cannot be of {dtype}: choose a floating type, as torch.float32"
        )
    name = Path(name_or_folder).name + (f" (random weights, seed {seed})" if random_weights else "")
    tokenizer = load_tokenizer(name_or_folder)

    def wrapped(by: str) -> Subject:
        module = load_module(name_or_folder, dtype=dtype, seed=seed if random_weights else None)
        return _wrapped(by, name, module, tokenizer, place)

    try:
        return wrapped(backend)
    except _UnfitError as error:
        (other,) = {*BACKENDS} - {backend}
        try:
            wrapped(other)
        except _UnfitError:
            way_out = f"{other} cannot run it either; take a language model of another family"
        else:
            way_out = f'backend="{other}" can run it'
        raise BadInputError(f"{error}: {way_out}") from error


class _UnfitError(BadInputError):
    """A backend does not know this family of models."""


def _wrapped(backend: str, name: str, module: Any, tokenizer: Any, device: torch.device) -> Subject:
    """The subject, after its self-test."""
    try:
        subject = _kind(backend)(name, module.to(device), tokenizer)
        self_test(subject)
    except SanityError as error:
        raise _UnfitError(str(error)) from error
    except Exception as error:
        raise _UnfitError(
            f"{backend} cannot wrap {name} ({type(module).__name__}; {reason_of(error)})"
        ) from error
    return subject


def _kind(backend: str) -> type[LoadedSubject]:
    if backend == "nnsight":
        from sanity.subject.nnsight import NNsightSubject

        return NNsightSubject
    from sanity.subject.transformer_lens import TransformerLensSubject

    return TransformerLensSubject


@checked
def load_module(
    name_or_folder: str | Path = "smollm2-135m",
    *,
    dtype: torch.dtype = torch.float32,
    seed: Seed | None = None,
) -> Any:
    """The bare transformers module of what `load_subject` would load, on the CPU, frozen, in eval mode.

    With a `seed`, its weights are drawn from it.
    """
    files = find_files(name_or_folder)
    with quiet_transformers():
        module = files.module(dtype) if seed is None else files.random_module(seed)
    return with_fast_products(module.to(dtype).eval().requires_grad_(False))


@checked
def load_tokenizer(name_or_folder: str | Path = "smollm2-135m") -> Any:
    """The tokenizer alone of what `load_subject` would load: a transformers tokenizer."""
    with quiet_transformers():
        return find_files(name_or_folder).tokenizer()


def prepare(name_or_folder: str | Path = "smollm2-135m") -> Path:
    """Do once what the first `load_subject` would: unpack a GGUF file. The folder that is loaded from."""
    return find_files(name_or_folder).folder


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
        return find_files(folder).folder.name  # says which models there are
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".gguf"))
    return digest([[path.name, sha256_of(path)] for path in files])
