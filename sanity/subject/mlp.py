"""A language model read at one of its MLPs: what goes in, what comes out, what drawn weights would put out.

The hook is named `blocks.K.mlp.hook_in`, as a `TransformerBridge` names it. The input is what the module
`mlp` is given, as in sparsify: the residual stream after the block's second norm, its gain included.
(Dunefsky et al. 2406.11944 and SAELens read `ln2.hook_normalized`, the same before the gain, from which a
transcoder's encoder can be had by dividing its rows.) The target is what the module puts out (in Gemma 2
after the norm that follows it), of the same tokens: transformer-lens's `hook_mlp_out`.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sanity.engine.arguments import checked
from sanity.errors import BadInputError, SanityError, reason_of
from sanity.subject.activations import ActivationStore, JointNormalisation, Shard, scale_factor
from sanity.subject.interface import LoadedSubject, Subject, agree, check_finite
from sanity.subject.modules import mlp_pass
from sanity.subject.streaming import ActivationStream

MLP_HOOK = re.compile(r"blocks\.(\d+)\.mlp\.hook_in")
OUTPUTS = {"mlp": 1, "shuffled": 1, "random": 2}
"""Kinds of targets, and which part of a joint harvest each is: the MLP's output; the same of another token;
the output of the same MLP with weights drawn at random."""


_NORMS = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2")
"""What model families call the norm before the MLP; the first that a block has."""


class MLPSubject:
    """A `Subject` whose activations are the inputs of one MLP, and which also knows the targets.

    `joint` gives side by side, for each token, what the MLP is given, what it puts out, and what it would put
    out if each of its parameters were drawn from a Gaussian of that parameter's own mean and standard
    deviation.
    """

    name: str
    backend: str
    d_model: int
    n_layers: int
    context: int
    vocab: int
    tokenizer: Any
    hooks: tuple[str, ...]
    device: torch.device
    dtype: torch.dtype

    def __init__(self, subject: Subject, hook: str, *, seed: int = 0) -> None:
        if not isinstance(subject, LoadedSubject):
            raise BadInputError(f"{subject.name} is no loaded transformer: its MLPs cannot be read")
        self.subject, self.layer = subject, _layer(hook, subject)
        for name in MLPSubject.__annotations__:
            setattr(self, name, getattr(subject, name))
        self.hooks, self.widths = (hook,), (subject.d_model,) * 3
        self._block = subject._plain_blocks[self.layer]
        self.mlp = _mlp_of(self._block, hook, subject.name)
        after = getattr(self._block, "post_feedforward_layernorm", None)  # Gemma 2's, which belongs to it
        self._writes = self.mlp if after is None else after
        self.function = self.mlp if after is None else nn.Sequential(self.mlp, after)
        self._check(subject.reference[0])
        self.drawn = drawn_twin(self.function, seed)

    @property
    def weights_sha256(self) -> str:
        """Of all parameters."""
        return self.subject.weights_sha256

    @property
    def after(self) -> str:
        """The hook after the MLP's block."""
        return f"blocks.{self.layer}.hook_resid_post"

    @torch.no_grad()
    def read(self, tokens: Int[Tensor, "batch pos"]) -> tuple[Tensor, Tensor, Tensor]:
        """The MLP's input, its output, and the residual stream after its block [batch, pos, d_model]."""
        x, out, after = self._pass(self.subject._checked(tokens))
        check_finite(x, self.hooks[0], self.subject.name)
        check_finite(out, self.hooks[0].replace("_in", "_out"), self.subject.name)
        return x, out, after

    @property
    def gain(self) -> tuple[Float[Tensor, " d_model"], Float[Tensor, " d_model"]]:
        """Gain and bias of the norm before the MLP; 1 and 0 where no norm is known."""
        found = (getattr(self._block, name, None) for name in _NORMS)
        norm = next((one for one in found if one is not None), None)
        weight = getattr(norm, "weight", None)
        if weight is None:
            return torch.ones(self.d_model), torch.zeros(self.d_model)
        # Gemma's norms multiply by 1 + weight.
        gain = weight.detach().float().cpu() + ("Gemma" in type(norm).__name__)
        bias = getattr(norm, "bias", None)
        return gain, torch.zeros_like(gain) if bias is None else bias.detach().float().cpu()

    def _pass(self, tokens: Tensor, **more: Any) -> tuple[Tensor, Tensor, Tensor]:
        return mlp_pass(self.subject._plain, self._block, self.mlp, self._writes, tokens, **more)

    def joint(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_joint"]:
        """Input, output, and the drawn twin's output, side by side."""
        x, out, _ = self.read(tokens)
        with torch.no_grad():
            return torch.cat([x, out, self.drawn(x)], dim=-1)

    def pairs(
        self, tokens: Int[Tensor, "batch pos"], *, drawn: bool = False
    ) -> Float[Tensor, "batch pos d_pair"]:
        """Input and output, or the drawn twin's, side by side."""
        x, out, _ = self.read(tokens)
        with torch.no_grad():
            return torch.cat([x, self.drawn(x) if drawn else out], dim=-1)

    def residual(self, tokens: Int[Tensor, "batch pos"], hook: str) -> Float[Tensor, "batch pos d_model"]:
        """The MLP's inputs."""
        return self.read(tokens)[0] if hook in self.hooks else self.subject.residual(tokens, hook)

    def logits(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        """Next-token logits."""
        return self.subject.logits(tokens)

    def logits_from(self, residual: Tensor, hook: str) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the model run on from the residual stream; an MLP's input cannot be run on from."""
        return self.subject.logits_from(residual, hook)

    def logits_with(self, tokens: Tensor, hook: str, edit: Any) -> Float[Tensor, "batch pos vocab"]:
        """Logits with the residual stream edited."""
        return self.subject.logits_with(tokens, hook, edit)

    def editable(self, tokens: Tensor, hook: str, position: int) -> Any:
        """Prompts to be edited at the residual stream."""
        return self.subject.editable(tokens, hook, position)

    def _check(self, tokens: Tensor) -> None:
        """The output is a function of the input alone, and is added to the residual stream as it is."""
        where = f"the MLP in block {self.layer} of {self.subject.name}"
        try:
            x, out, after = self.read(tokens)
            agree(self.function(x), out)
            halved = self._pass(tokens, edit=lambda out: out / 2)
            agree((after - halved[2]).float(), out.float() / 2)
        except SanityError:
            raise
        except Exception as error:
            raise BadInputError(
                f"{where} does more than add a function of its input to the residual stream "
                f"({reason_of(error)}): take another language model"
            ) from error


def _layer(hook: str, subject: Subject) -> int:
    match = MLP_HOOK.fullmatch(hook)
    if match is None or int(match[1]) >= subject.n_layers:
        raise BadInputError(
            f"{subject.name} has no MLP at {hook!r}: it has blocks.K.mlp.hook_in for K from 0 to "
            f"{subject.n_layers - 1}"
        )
    return int(match[1])


def _mlp_of(block: nn.Module, hook: str, name: str) -> nn.Module:
    mlp = getattr(block, "mlp", None)
    if not isinstance(mlp, nn.Module):
        there = ", ".join(child for child, _ in block.named_children())
        raise BadInputError(
            f"{name} has no separate MLP at {hook} (its blocks have {there}): a transcoder needs one module "
            "`mlp` in the block; take another language model"
        )
    return mlp


@torch.no_grad()
def drawn_twin(mlp: nn.Module, seed: int) -> nn.Module:
    """The same module with every parameter drawn from a Gaussian of its own mean and standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    twin = copy.deepcopy(mlp)
    for parameter in twin.parameters():
        drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
        parameter.copy_(parameter.mean() + drawn * parameter.std(correction=0))
    return twin


class MLPStream(ActivationStream):
    """Inputs of an MLP with a target for each, shuffled and in batches: a `PairedStream`.

    With `outputs="shuffled"` each input has the output of another token of its pool, always of the same one.
    """

    @checked
    def __init__(
        self,
        store: ActivationStore,
        *,
        outputs: str = "mlp",
        batch_size: int,
        seed: int,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(store, batch_size=batch_size, seed=seed, device=device)
        if len(store.widths) <= OUTPUTS[outputs]:
            raise BadInputError(
                f"{store.folder} holds no outputs of an MLP: harvest it at blocks.K.mlp.hook_in"
            )
        self._part, self._shuffled = part_of(store, OUTPUTS[outputs]), outputs == "shuffled"
        self.d_out = self._part.stop - self._part.start
        joint = joint_normalisation(store)
        self.target_centre = joint.centre[self._part].to(self.device)
        self.target_factor = float(joint.factors[self._part.start])
        self.key = f"{self.key}-{outputs}"
        self._drawn: tuple[int, Tensor] = (-1, torch.empty(0))

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The inputs of a step."""
        return (self._pairs(step)[:, : self.d_in].float() - self.centre) * self.factor

    def targets(self, step: int) -> Float[Tensor, "batch d_out"]:
        """The targets of a step."""
        return (self._pairs(step)[:, self.d_in :].float() - self.target_centre) * self.target_factor

    def target_covariance(self) -> Float[Tensor, "d_out d_out"]:
        """Covariance of what `targets` gives, over the whole store."""
        covariance = self.store.joint_moments[1][self._part, self._part].float()
        return covariance.to(self.device) * self.target_factor**2

    def _pairs(self, step: int) -> Tensor:
        if self._drawn[0] != step:
            self._drawn = (step, self._raw(step))
        return self._drawn[1]

    @property
    def _width(self) -> int:
        return int(self.d_in + self.d_out)

    def _stored(self, shard: Shard) -> Tensor:
        assert shard.joint is not None
        targets = shard.joint[:, self._part]
        if self._shuffled:
            targets = shuffled(targets)
        return torch.cat([shard.activations, targets], dim=1)


def part_of(store: ActivationStore, index: int) -> slice:
    """Where a part of the rows of a joint harvest lies."""
    return slice(sum(store.widths[:index]), sum(store.widths[: index + 1]))


def shuffled(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The rows in another order, in which none keeps its place: one step around a random circle."""
    circle = torch.randperm(len(rows), generator=torch.Generator().manual_seed(len(rows)))
    out = torch.empty_like(rows)
    out[circle] = rows[circle.roll(1)]
    return out


def joint_normalisation(store: ActivationStore) -> JointNormalisation:
    """Centre and factors of inputs and targets side by side: each part has E||.||^2 of its own width.

    A target without variance is refused.
    """
    mean, covariance = store.joint_moments
    second = covariance + torch.outer(mean, mean)
    factors = []
    for index, width in enumerate(store.widths):
        part = part_of(store, index)
        what = f"the targets ({['input', 'output', 'drawn'][index]}) at {store.hook}"
        factors.append(torch.full((width,), scale_factor(mean[part], second[part, part], what)))
    return JointNormalisation(mean.float(), store.factor, torch.cat(factors))
