"""The sources that a profile names: synthetic worlds, hooks in language models, several layers, noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from sanity.data import CircuitSpec, HarderSpec, LayeredSpec, SyntheticSpec, named_sources
from sanity.data.sources import SOURCES
from sanity.data.text import TextSpec
from sanity.errors import BadInputError
from sanity.profiles.entry import Entry, Names, Positive, Size
from sanity.sources import (
    MLP,
    Hook,
    LanguageModelHook,
    Layers,
    MLPHook,
    Noise,
    OneLayer,
    ShuffledLayers,
    Source,
    StreamedHook,
    StreamedMLP,
    SyntheticCircuit,
    World,
)
from sanity.sources.mlp import PLACES
from sanity.subject import assets_of, depth_of, shape_of, weights_of

DOCUMENT_TOKENS = 1024
"""Documents are cut to so many tokens where training text is short, so that it comes from many of them."""
SHORT_TEXT = 5_000_000


class _SourceEntry(Entry):
    """What is asked of every source that a profile names."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The sources that it is made of."""
        return ()

    def made(self, named: Callable[[str], Source]) -> Source:
        """The source."""
        raise NotImplementedError

    def place(self, name: str) -> str:
        """What tables call it."""
        return name


class _PartEntry(_SourceEntry):
    """A source that is made of one other."""

    of: str

    @property
    @override
    def parts(self) -> tuple[str, ...]:
        return (self.of,)


class _WorldEntry(_SourceEntry):
    """A synthetic world, the same for all seeds of its arms or redrawn for each."""

    spec: SyntheticSpec
    held_out: Size
    redrawn: bool = False
    """Whether each seed of an arm has a world of its own, drawn from that seed: features and frequencies."""

    @override
    def made(self, named: Callable[[str], Source]) -> Source:
        return World(self.spec, self.held_out)


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


class LayeredWorldEntry(_SourceEntry):
    """A synthetic world of several layers, whose features are shared by all or belong to one."""

    kind: Literal["layered world"]
    spec: LayeredSpec = LayeredSpec()
    held_out: Size = 8192

    @override
    def made(self, named: Callable[[str], Source]) -> Source:
        return World(self.spec, self.held_out)


class LayersEntry(_SourceEntry):
    """The same tokens at several hooks, named by their sources: what a crosscoder reads."""

    kind: Literal["layers"]
    hooks: Annotated[tuple[str, ...], Field(min_length=2)]
    """One may be named twice: the same model twice."""

    @property
    @override
    def parts(self) -> tuple[str, ...]:
        return self.hooks

    @override
    def made(self, named: Callable[[str], Source]) -> Source:
        hooks = {name: named(name) for name in self.hooks}
        if others := [name for name, one in hooks.items() if not isinstance(one, Hook)]:
            raise BadInputError(f"a crosscoder reads hooks, and {others[0]!r} is none: name other sources")
        return Layers(tuple(one for name in self.hooks if isinstance(one := hooks[name], Hook)))


class ShuffledLayersEntry(_PartEntry):
    """Another source's layers, each with tokens of its own: sharing without a shared cause."""

    kind: Literal["shuffled layers"]

    @override
    def made(self, named: Callable[[str], Source]) -> Source:
        return ShuffledLayers(named(self.of))


class OneLayerEntry(_PartEntry):
    """One layer of another source, for an SAE of its own."""

    kind: Literal["one layer"]
    index: Annotated[int, Field(ge=0)] = 0

    @override
    def made(self, named: Callable[[str], Source]) -> Source:
        return OneLayer(named(self.of), self.index)


class HookEntry(_SourceEntry):
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
    streamed: bool = False
    """Whether activations go from the model to the arms through memory, not over the disk."""
    buffer_tokens: Positive = 65_536
    """Tokens in memory at once, where it is streamed."""

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
        if not self.streamed and "buffer_tokens" in self.model_fields_set:
            raise ValueError("buffer_tokens are for a source that is streamed: say streamed: true, too")
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

    @override
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
        kind = StreamedHook if self.streamed else Hook
        given = {f.name for f in dataclasses.fields(kind)} & self.__class__.model_fields.keys()
        fields: dict[str, Any] = {name: getattr(self, name) for name in given - {"text"}}
        return kind(at=at, text=TextSpec(sources=named_sources(self.text), document_tokens=cut), **fields)

    @override
    def place(self, name: str) -> str:
        """What tables call it: the hook."""
        return self.hook


class MLPEntry(HookEntry):
    """An MLP of a language model, input and output: arms that are trained on it are transcoders."""

    kind: Literal["mlp"]  # type: ignore[assignment]
    hook: Annotated[str, Field(pattern=r"^blocks\.\d+\.mlp\.hook_in$")]
    outputs: Literal["mlp", "shuffled", "random"] = "mlp"

    @override
    def made(self, named: Callable[[str], Source]) -> Source:
        """The source; the weights are looked up, not loaded."""
        after = self.hook.replace("mlp.hook_in", "hook_resid_post")
        given = self.model_dump(exclude={"outputs", *(() if self.streamed else ("buffer_tokens",))})
        plain = HookEntry(**{**given, "kind": "hook", "hook": after}).made(named)
        assert isinstance(plain, Hook)
        at = MLPHook(**{**vars(plain.at), "hook": self.hook})
        kind = StreamedMLP if self.streamed else MLP
        return kind(**{**vars(plain), "at": at, "outputs": self.outputs})

    @override
    def place(self, name: str) -> str:
        """What tables call it: the MLP, and whose outputs are the targets."""
        return PLACES[self.outputs].format(self.hook.removesuffix(".hook_in"))


class CircuitEntry(_SourceEntry):
    """A synthetic circuit: features in, a known map, features out."""

    kind: Literal["circuit"]
    spec: CircuitSpec = CircuitSpec()
    held_out: Size = 8192

    @override
    def made(self, named: Callable[[str], Source]) -> Source:
        return SyntheticCircuit(self.spec, self.held_out)


class NoiseEntry(_SourceEntry):
    """Gaussian noise with the covariance of another source."""

    kind: Literal["noise"]
    like: str
    held_out: Size = 4096

    @override
    def made(self, named: Callable[[str], Source]) -> Source:
        return Noise(named(self.like), self.held_out)


SourceEntry = Annotated[
    WorldEntry
    | HarderWorldEntry
    | LayeredWorldEntry
    | CircuitEntry
    | HookEntry
    | MLPEntry
    | LayersEntry
    | ShuffledLayersEntry
    | OneLayerEntry
    | NoiseEntry,
    Field(discriminator="kind"),
]
