"""SAELens folders: `cfg.json` and `sae_weights.safetensors`, of every version since 3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sanity.checking.given import GivenSAE, InputScale, SAEParts, given, no_crosscoder, required
from sanity.errors import BadInputError
from sanity.models import Architecture, BatchTopK, JumpReLU, Matryoshka, ReLU, TopK

ARCHITECTURES = ("standard", "gated", "jumprelu", "topk", "batchtopk", "matryoshka_batchtopk")
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
_NEW_NAMES = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index",
              "activation_fn_str": "activation_fn"}  # fmt: skip


def read(config: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> GivenSAE:
    """The SAE of a configuration and its weights."""
    config = {_NEW_NAMES.get(key, key): value for key, value in config.items()}
    about = {**config, **(config.get("metadata") or {})}
    kind = _architecture(config, about, name)
    notes, scales = _normalisation(config, name)
    hook = about.get("hook_name")
    if kind in TRANSCODERS:
        hook, scales = mlp_hook(hook, about.get("hook_name_out"), name)
    if (head := about.get("hook_head_index")) is not None:
        notes.append(f"reads head {head} of its hook alone")
    if config.get("reshape_activations", "none") != "none":
        notes.append(f"reads the heads of {about.get('hook_name')} joined ({config['reshape_activations']})")
    return given(
        _parts(kind, config, tensors, name, notes),
        _recipe(kind, about),
        name=name,
        library="SAELens",
        notes=notes,
        model=about.get("model_name"),
        hook=hook,
        scales=scales,
        config=config,
    )


def _architecture(config: Mapping[str, Any], about: Mapping[str, Any], name: str) -> str:
    kind = str(config.get("architecture", "standard"))
    chosen = config.get("activation_fn", "relu")
    if chosen == "topk":
        kind = "topk"
    elif chosen != "relu":
        raise BadInputError(f"{name} has the activation function {chosen!r}: relu and topk are supported")
    out = about.get("hook_name_out")
    if kind in TRANSCODERS:
        return kind
    if "crosscoder" in kind:
        raise no_crosscoder(name, kind)
    if out and out != about.get("hook_name"):
        raise BadInputError(
            f"{name} is a {kind} from {about.get('hook_name')} to {out}: the check is for autoencoders, "
            f"and of transcoders for {', '.join(TRANSCODERS)}"
        )
    if kind not in ARCHITECTURES:
        raise BadInputError(
            f"{name} has the architecture {kind!r}; supported are {', '.join(ARCHITECTURES)}. Anything else "
            "with encode, decode and W_dec can be given as an object: sanity.check(sae, ...)"
        )
    return kind


def mlp_hook(hook: Any, out: Any, name: str) -> tuple[str | None, tuple[InputScale, ...]]:
    """The MLP that a transcoder reads and writes, and in which scale it may read it.

    Refused where input and output are not those of one MLP: their latents would compute something else.
    """
    if hook is None and out is None:
        return None, ("raw", "before the gain")
    read = re.fullmatch(r"blocks\.(\d+)\.(mlp\.hook_in|ln2\.hook_normalized|hook_mlp_in)", str(hook))
    said = out or (f"blocks.{read[1]}.hook_mlp_out" if read else None)
    wrote = re.fullmatch(r"blocks\.(\d+)\.(mlp\.hook_out|hook_mlp_out)", str(said))
    if read is None or wrote is None or read[1] != wrote[1]:
        raise BadInputError(
            f"{name} reads {hook} and writes {out}: the check is for transcoders of one MLP, from "
            "blocks.K.ln2.hook_normalized or blocks.K.mlp.hook_in to blocks.K.hook_mlp_out"
        )
    if read[2] == "hook_mlp_in":
        raise BadInputError(f"{name} reads {hook}, which is before the norm: the check reads after it")
    return f"blocks.{read[1]}.mlp.hook_in", ("before the gain", "raw") if "ln2" in read[2] else ("raw",)


def _normalisation(config: Mapping[str, Any], name: str) -> tuple[list[str], tuple[InputScale, ...]]:
    """What the configuration says of the input's scale, in words, and in which it may be."""
    said = config.get("normalize_activations") or "none"
    if said in ("layer_norm", "constant_norm_rescale"):
        raise BadInputError(
            f"{name} divides every activation by its own norm (normalize_activations {said!r}), so that its "
            "decoder is not linear in the activations: give it as an object on activations normalised in the "
            "same way"
        )
    if said in (True, "expected_average_only_in"):
        words = "normalize_activations expected_average_only_in: whether the norm was folded in is measured"
        return [words], ("raw", "expected norm")
    if said == "covariance_whitening":
        return ["normalize_activations covariance_whitening: folded in, as SAELens loads it"], ("raw",)
    return [], ("raw",)


def _parts(
    kind: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str, notes: list[str]
) -> SAEParts:
    W_enc, W_dec, b_dec = (required(tensors, name, key) for key in ("W_enc", "W_dec", "b_dec"))
    factor = tensors.get("scaling_factor", tensors.get("finetuning_scaling_factor"))
    if factor is not None and not bool((factor == 1).all()):
        W_dec = W_dec * factor[:, None]
        notes.append("latents are scaled after training (finetuning_scaling_factor): folded into the decoder")
    subtracts = bool(config.get("apply_b_dec_to_input", True))
    by_length = bool(config.get("rescale_acts_by_decoder_norm", False))
    common: dict[str, Any] = {"W_enc": W_enc, "W_dec": W_dec, "b_dec": b_dec, "subtracts": subtracts}
    if kind == "gated":
        return gated(
            **common,
            b_gate=required(tensors, name, "b_gate"),
            b_mag=required(tensors, name, "b_mag"),
            r_mag=required(tensors, name, "r_mag"),
        )
    common["b_enc"] = required(tensors, name, "b_enc")
    if kind in TRANSCODERS:
        skip = required(tensors, name, "W_skip").T if "skip" in kind else None
        threshold = required(tensors, name, "threshold") if "jumprelu" in kind else None
        return SAEParts(**common, threshold=threshold, transcoder=True, W_skip=skip)
    if kind == "standard":
        return SAEParts(**common)
    if kind == "topk":
        return SAEParts(**common, k=top_k(config.get("k", _old_k(config)), name), by_length=by_length)
    if kind == "jumprelu":
        threshold = tensors["log_threshold"].exp() if "log_threshold" in tensors else None
        return SAEParts(
            **common, threshold=required(tensors, name, "threshold") if threshold is None else threshold
        )
    # Kept as it trains: SAELens makes a JumpReLU of it for inference, with one threshold for all latents.
    threshold = required(tensors, name, "topk_threshold", "threshold").to(common["b_enc"])
    notes.append(f"a training checkpoint of a {kind} SAE: read as the JumpReLU that it is at inference")
    return SAEParts(**common, threshold=threshold.expand_as(common["b_enc"]), by_length=by_length)


def gated(
    *,
    W_enc: Tensor,
    W_dec: Tensor,
    b_dec: Tensor,
    b_gate: Tensor,
    b_mag: Tensor,
    r_mag: Tensor,
    subtracts: bool = True,
) -> SAEParts:
    """A gated SAE as a JumpReLU, exactly.

    Gate and magnitude read one product p = x W_enc: z = e^r p + b_mag where that is positive and p > -b_gate.
    In terms of the magnitude the gate is open above b_mag - e^r b_gate.
    """
    factor = r_mag.double().exp()
    return SAEParts(
        W_enc=W_enc.double() * factor,
        W_dec=W_dec,
        b_enc=b_mag,
        b_dec=b_dec,
        threshold=b_mag.double() - factor * b_gate.double(),
        subtracts=subtracts,
    )


def top_k(k: Any, name: str) -> int:
    """A configuration's k; refused where it is none."""
    if isinstance(k, Tensor):
        k = k.item()
    if not isinstance(k, int) or k < 1:
        raise BadInputError(f"{name} selects the k largest latents, but its configuration has k = {k!r}")
    return k


def _old_k(config: Mapping[str, Any]) -> Any:
    return (config.get("activation_fn_kwargs") or {}).get("k")


def _recipe(kind: str, about: Mapping[str, Any]) -> Architecture | None:
    """What it was trained as: more than its inference architecture says, where the metadata have it."""
    trained = str(about.get("training_architecture") or kind)
    details = {**about, **(about.get("training_architecture_details") or {})}
    widths = details.get("matryoshka_widths")
    if trained == "matryoshka_batchtopk" and widths and about.get("d_sae"):
        ends = sorted({*widths, about["d_sae"]})
        shares = [(high - low) / about["d_sae"] for low, high in zip([0, *ends], ends, strict=False)]
        return Matryoshka(1, fractions=tuple(shares))
    known: dict[str, Architecture] = {
        "standard": ReLU(1.0), "gated": JumpReLU(1.0), "jumprelu": JumpReLU(1.0), "topk": TopK(1),
        "batchtopk": BatchTopK(1), "matryoshka_batchtopk": Matryoshka(1),
        **{one: JumpReLU(1.0) if "jumprelu" in one else ReLU(1.0) for one in TRANSCODERS},
    }  # fmt: skip
    return known.get(trained)


def read_object(sae: Any) -> GivenSAE:
    """An SAE object of SAELens itself."""
    tensors = {name: value.detach() for name, value in sae.state_dict().items()}
    return read(sae.cfg.to_dict(), tensors, type(sae).__name__)
