"""The sources that a profile names: synthetic worlds, hooks in language models, noise like either."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from sanity.data import HarderSpec, SyntheticSpec, named_sources
from sanity.data.sources import SOURCES
from sanity.data.text import TextSpec
from sanity.errors import BadInputError
from sanity.profiles.entry import Entry, Names, Positive, Size
from sanity.sources import Hook, LanguageModelHook, Noise, Source, World
from sanity.subject import assets_of, depth_of, shape_of, weights_of

DOCUMENT_TOKENS = 1024
"""Documents are cut to so many tokens where training text is short, so that it comes from many of them."""
SHORT_TEXT = 5_000_000


class _WorldEntry(Entry):
    """A synthetic world, the same for all seeds of its arms or redrawn for each."""

    spec: SyntheticSpec
    held_out: Size
    redrawn: bool = False
    """Whether each seed of an arm has a world of its own, drawn from that seed: features and frequencies."""

    def made(self, named: Callable[[str], Source]) -> Source:
        """The source."""
        return World(self.spec, self.held_out)

    def place(self, name: str) -> str:
        """What tables call it."""
        return name


class WorldEntry(_WorldEntry):
    """A synthetic world of the paper's kind."""

    kind: Literal["world"]
    spec: SyntheticSpec = SyntheticSpec()
    held_out: Size = 16_384


class HarderWorldEntry(_WorldEntry):
    """A synthetic world beyond the paper's limits."""

    kind: Literal["harder world"]
    spec: HarderSpec = HarderSpec()
    held_out: Size = 8192


class HookEntry(Entry):
    """A hook in a language model, and the text that it reads."""

    kind: Literal["hook"]
    subject: str
    hook: Annotated[str, Field(pattern=r"^blocks\.\d+\.hook_resid_(pre|post)$")]
    backend: Literal["transformer_lens", "nnsight"] = "transformer_lens"
    model_dtype: Literal["float32", "bfloat16"] = "float32"
    random_weights: bool = False
    d_model: Size
    """Width of the activations, known before the model is loaded so that costs can be told."""
    text: Names
    train_tokens: Positive
    held_out_tokens: Positive
    context: Size = 128
    shard_tokens: Positive = 8192
    storage_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    drop_first: bool = True

    @field_validator("subject", "text")
    @classmethod
    def _next_to_the_profile(cls, value: str | Names, info: Any) -> str | Names:
        folder = (info.context or {}).get("folder")

        def found(name: str) -> str:
            known = name in ("registry", *SOURCES) or assets_of(name)
            return str(folder / name) if folder and not known and (folder / name).is_dir() else name

        return found(value) if isinstance(value, str) else tuple(map(found, value))

    @model_validator(mode="after")
    def _has_room_for_a_window(self) -> HookEntry:
        for name in ("train_tokens", "held_out_tokens"):
            if getattr(self, name) < self.context:
                raise ValueError(f"{name} {getattr(self, name)} are not one window of {self.context}")
        return self

    def check(self) -> None:
        """Hold hook, width and context against the model's own, where its configuration is here."""
        shape = shape_of(self.subject)
        if shape is None:
            return
        if shape.n_layers is not None:
            depth_of(self.hook, shape.n_layers, self.subject)
        if shape.d_model not in (None, self.d_model):
            raise BadInputError(f"{self.subject} is {shape.d_model} wide: d_model cannot be {self.d_model}")
        if shape.context is not None and self.context > shape.context:
            raise BadInputError(
                f"{self.subject} reads at most {shape.context} tokens: context cannot be {self.context}"
            )

    def made(self, named: Callable[[str], Source]) -> Source:
        """The source; the weights are looked up, not loaded."""
        self.check()
        at = LanguageModelHook(
            self.subject,
            weights_of(self.subject),
            self.hook,
            self.backend,
            self.model_dtype,
            self.random_weights,
        )
        cut = DOCUMENT_TOKENS if self.train_tokens < SHORT_TEXT else None
        given = {f.name for f in dataclasses.fields(Hook)} & self.__class__.model_fields.keys()
        fields: dict[str, Any] = {name: getattr(self, name) for name in given - {"text"}}
        return Hook(at=at, text=TextSpec(sources=named_sources(self.text), document_tokens=cut), **fields)

    def place(self, name: str) -> str:
        """What tables call it: the hook."""
        return self.hook


class NoiseEntry(Entry):
    """Gaussian noise with the covariance of another source."""

    kind: Literal["noise"]
    like: str
    held_out: Size = 4096

    def made(self, named: Callable[[str], Source]) -> Source:
        """The source."""
        return Noise(named(self.like), self.held_out)


SourceEntry = Annotated[WorldEntry | HarderWorldEntry | HookEntry | NoiseEntry, Field(discriminator="kind")]
