"""The files of a language model, and what transformers makes of them: whole, or one clear error.

Weights come as safetensors or GGUF, never pickled, and no code that a model brings along is run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sanity import assets
from sanity.engine.files import disk_errors
from sanity.errors import BadInputError, SanityError, StorageError, reason_of
from sanity.subject.unpacking import unpacked


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


@dataclass(frozen=True)
class ModelFiles:
    """A folder in the hub's format, or one with a GGUF file that could not be unpacked."""

    folder: Path
    options: Mapping[str, str]

    def tokenizer(self) -> Any:
        """The tokenizer."""
        from transformers import AutoTokenizer

        with self._readable():
            return AutoTokenizer.from_pretrained(self.folder, **self._common())

    def module(self, dtype: torch.dtype) -> Any:
        """The model, if its weights are all there."""
        from transformers import AutoModelForCausalLM
        from transformers.utils.quantization_config import GgufConfig

        gguf = {"quantization_config": GgufConfig(dequantize=True)} if self.options else {}
        with self._readable():
            module, found = AutoModelForCausalLM.from_pretrained(
                self.folder,
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # and says so, which is refused below
                **self._common(),
                **gguf,
            )
            self._check_complete(found)
        return module

    def random_module(self, seed: int) -> Any:
        """The same architecture as transformers initialises it, drawn from `seed` alone, in float32."""
        from transformers import AutoConfig, AutoModelForCausalLM

        with self._readable(), torch.random.fork_rng(devices=[]):
            config = AutoConfig.from_pretrained(self.folder, **self._common())
            # Not torch.manual_seed, which would reseed the accelerators as well.
            torch.default_generator.manual_seed(seed)
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)

    def _check_complete(self, found: Mapping[str, Any]) -> None:
        """Refuse weights that are not those of the configuration: what lacks would be drawn at random."""
        wrong = {
            "lacks": sorted(found["missing_keys"]),
            "does not know": sorted(found["unexpected_keys"]),
            "has in another shape": sorted(str(entry[0]) for entry in found["mismatched_keys"]),
            "cannot read": [*map(str, found.get("error_msgs") or ())],
        }
        told = [f"it {what} {_some(names)}" for what, names in wrong.items() if names]
        if told:
            raise BadInputError(
                f"the weights in {self.folder} are not those of its configuration, {'; '.join(told)}: the "
                "model is incomplete, or its config.json is of another one; get it again"
            )

    def _common(self) -> dict[str, Any]:
        return {"local_files_only": True, "trust_remote_code": False, **self.options}

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except SanityError:
            raise
        except Exception as error:  # transformers raises whatever reading a bad file comes to
            raise BadInputError(
                f"no causal language model can be loaded from {self.folder} ({reason_of(error)}): it needs "
                "config.json, safetensors and a tokenizer, of a kind that transformers knows, or one "
                ".gguf file"
            ) from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")


def find_files(name_or_folder: str | Path) -> ModelFiles:
    """The files of a model, from its name, its hub name or its folder."""
    for name in assets_of(name_or_folder):
        return _files_in(assets.path(name))
    if not os.path.isdir(name_or_folder):
        raise BadInputError(
            f"there is no language model {str(name_or_folder)!r}: choose one of "
            f"{', '.join(known_subjects())}, or give a folder that holds a model"
        )
    return _files_in(Path(name_or_folder))


def _files_in(folder: Path) -> ModelFiles:
    packed = sorted(folder.glob("*.gguf"))
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        return ModelFiles(folder, {})
    if len(packed) == 1:
        try:
            return ModelFiles(unpacked(packed[0], _unpack), {})
        except StorageError:
            # A cache that is full or cannot be written: read it packed, slowly, every time.
            return ModelFiles(folder, {"gguf_file": packed[0].name})
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

    files = ModelFiles(gguf.parent, {"gguf_file": gguf.name})
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
