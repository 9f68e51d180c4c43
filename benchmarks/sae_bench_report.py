"""`SAE_BENCH.md` from what `benchmarks.compare_sae_bench` measured."""

from __future__ import annotations

import math
from typing import Any

Numbers = dict[str, float]

NAMES = {
    "ce_loss_without_sae": "cross-entropy, model alone",
    "ce_loss_with_sae": "cross-entropy with the SAE",
    "ce_loss_with_ablation": "cross-entropy, ablated",
    "ce_loss_score": "**cross-entropy recovered**",
    "kl_div_with_sae": "KL with the SAE",
    "kl_div_with_ablation": "KL, ablated",
    "kl_div_score": "**KL recovered**",
}
SHORT = "kl_div_score without the last position"
READINGS = {
    "zero": """Zero ablation, every position. That is sae-bench's floor; ours is asked with `centre=0`,
`factor=1` and the SAE with its normalisation folded in.""",
    "mean": """Mean ablation, every position. sae-bench can only ablate to zero, so its losses with mean
ablation are its losses "with SAE" for an SAE that always gives the mean of the training activations.""",
    "ours": """Mean ablation, first position kept and not counted: the book's reading (`leave_first=True`).
sae-bench is given the first token as `ignore_tokens`, with `exclude_special_tokens_from_reconstruction=True`.
The SAE that gives the mean stands in for mean ablation again: sae-bench ablates first positions as well.""",
}
WHERE = {"all": "Every position", "kept first": "Without first positions"}


def with_mean_ablation(sae: dict[str, float], mean: dict[str, float]) -> dict[str, float]:
    """sae-bench's shares with mean ablation, from its own losses with the SAE and with the constant one."""
    entropy, divergence = mean["ce_loss_with_sae"], mean["kl_div_with_sae"]
    return {
        "ce_loss_without_sae": sae["ce_loss_without_sae"],
        "ce_loss_with_sae": sae["ce_loss_with_sae"],
        "ce_loss_with_ablation": entropy,
        "ce_loss_score": (entropy - sae["ce_loss_with_sae"]) / (entropy - sae["ce_loss_without_sae"]),
        "kl_div_with_sae": sae["kl_div_with_sae"],
        "kl_div_with_ablation": divergence,
        "kl_div_score": (divergence - sae["kl_div_with_sae"]) / divergence,
    }


def peer_readings(readings: dict[str, Numbers]) -> dict[str, Numbers]:
    """sae-bench's losses and shares, by our names for the readings."""
    return {
        "zero": readings["all"],
        "mean": with_mean_ablation(readings["all"], readings["all, mean"]),
        "ours": with_mean_ablation(readings["kept first"], readings["kept first, mean"]),
    }


def pairs(raw: dict[str, Any]) -> dict[str, dict[str, tuple[float, float]]]:
    """Ours and the peer's, where the definitions are the same, by reading and name."""
    peer = peer_readings(raw["peer"]["readings"])
    found = {
        reading: {NAMES[name]: (raw["ours"][reading][name], peer[reading][name]) for name in NAMES}
        for reading in READINGS
    }
    for where, variance in raw["variance"].items():
        answer = raw["peer"]["readings"][where]
        # Its "mse" divides each token's squared error by the number of tokens of the batch.
        residual = answer["mse"] * variance["per_batch"]
        formula, legacy = answer["explained_variance"], answer["explained_variance_legacy"]
        found[f"variance, {where}"] = {
            "squared error per token": (variance["residual"], residual),
            "**explained variance**, as sae-lens has it": (
                variance["ours"],
                answer["sae_lens_explained_variance"],
            ),
            "sae-bench's `explained_variance`, its formula on our activations": (
                variance["formula"],
                formula,
            ),
            "sae-bench's `explained_variance_legacy`, likewise": (variance["legacy"], legacy),
        }
    return found


def table(rows: dict[str, tuple[float, float]]) -> str:
    """Ours, the peer's, and the relative difference."""
    lines = ["| | ours | peer | relative difference |", "|---|---:|---:|---:|"]
    lines += [f"| {n} | {a:.7f} | {b:.7f} | {abs(a - b) / abs(b):.0e} |" for n, (a, b) in rows.items()]
    return "\n".join(lines)


def report(raw: dict[str, Any]) -> str:
    """The page."""
    found, answers = pairs(raw), raw["peer"]["readings"]
    seconds = sum(answer["cpu_s"] for answer in answers.values())
    losses = [f"{how}\n\n{table(found[name])}" for name, how in READINGS.items()]
    variances = [f"{title}:\n\n{table(found[f'variance, {name}'])}" for name, title in WHERE.items()]
    parts = [
        "# Our metrics beside sae-bench's core eval",
        *_introduction(raw, found),
        "## Cross-entropy and KL recovered",
        *losses,
        _losses_differ(raw["ours"], answers),
        "## Explained variance",
        *variances,
        _variances_differ(raw["variance"]["kept first"]),
        f"CPU time: ours {raw['cpu_s']:.0f} s, peer {seconds:.0f} s.",
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(raw: dict[str, Any], found: dict[str, dict[str, tuple[float, float]]]) -> list[str]:
    about, answers = raw["about"], raw["peer"]["readings"]
    ours, kept, plain = raw["ours"]["ours"], answers["kept first"], answers["as it comes"]
    shares = [
        found[reading][NAMES[name]] for reading in READINGS for name in ("ce_loss_score", "kl_div_score")
    ]
    largest = _above(max(abs(a - b) for a, b in shares))
    relative = _above(max(abs(a - b) / abs(b) for rows in found.values() for a, b in rows.values()))
    tokens = about["windows"] * about["positions"]
    rows = {
        "explained variance": (raw["variance"]["kept first"]["ours"], kept["explained_variance"]),
        "cross-entropy recovered": (ours["ce_loss_score"], plain["ce_loss_score"]),
        "KL recovered": (ours[SHORT], plain["kl_div_score"]),
    }
    listed = ", ".join(f"{name} {number}" for name, number in raw["peer"]["versions"].items())
    return [
        "Made by `python -m benchmarks.compare_sae_bench`; the numbers are in `sae_bench.json`.",
        f"""SmolLM2-135M at `{about["hook"]}`, SAE `{about["sae"]}`, {about["windows"]} held-out windows of
{about["positions"]} tokens ({tokens:,} in all), float32. Peer: `run_evals` of sae-bench with a
`HookedTransformer`, in an environment of its own ({listed}).
The model and the SAE are run by different code on the two sides (transformers under our hooks and our
kernels; transformer-lens and sae-lens): they share weights, tokens and torch.""",
        f"""**With the definitions set alike, the recovered shares differ by less than {largest}, and no
number in the tables below by more than {relative} of itself.** With the definitions as they come they
do not agree:""",
        "\n".join(
            ["| | ours, as in the book | sae-bench, as it comes |", "|---|---:|---:|"]
            + [f"| {name} | {a:.4f} | {b:.4f} |" for name, (a, b) in rows.items()]
        ),
    ]


def _above(value: float) -> str:
    """To one digit, rounded up."""
    unit = 10.0 ** math.floor(math.log10(value))
    return f"{math.ceil(value / unit) * unit:.0e}"


def _losses_differ(ours: dict[str, Numbers], answers: dict[str, Numbers]) -> str:
    entropy = {name: f"{numbers['ce_loss_score']:.4f}" for name, numbers in (ours | answers).items()}
    divergence = {name: f"{numbers['kl_div_score']:.4f}" for name, numbers in (ours | answers).items()}
    return f"""Where the definitions differ:

- Floor: ours is the mean activation, sae-bench's is zero. With every position counted that is
  {entropy["mean"]} against {entropy["zero"]} for cross-entropy,
  and {divergence["mean"]} against {divergence["zero"]} for KL.
- First position: with `leave_first` ours keeps its activation, also in mean ablation, and does not count its
  prediction. sae-bench does not count the predictions of special tokens either (it knows them by token, ours
  by position), but by default it replaces their activations, and its ablation always does. With its zero
  ablation, keeping them in the splice gives {entropy["kept first"]} for cross-entropy,
  replacing them {entropy["as it comes"]}. With mean ablation, keeping and not counting them
  gives {entropy["ours"]}, treating them as any other {entropy["mean"]}.
- Last position: sae-bench's KL counts it, its cross-entropy cannot; ours leaves it out of both. In the tables
  above ours was given one token more for the KL. Without it the KL recovered of the book's reading is
  {ours["ours"][SHORT]:.4f} instead of {divergence["ours"]}."""


def _variances_differ(variance: Numbers) -> str:
    once, twice = f"{variance['formula']:.4f}", f"{variance['formula_at_twice_the_scale']:.4f}"
    return f"""The squared errors agree, and so do our explained variance and that of sae-lens: one minus the
squared error over the variance about the mean of all tokens. sae-bench's own two numbers are something else:

- `explained_variance` takes for the variance E||x||² less the square of the average of x² over tokens and
  dimensions, where ||E x||² belongs: its `mean_act_per_dimension` holds second moments. That formula on our
  activations gives its number, so nothing else differs. It is no share of the variance: with activations and
  reconstructions multiplied by two it goes from {once} to {twice}.
- `explained_variance_legacy` averages 1 - error / deviation over tokens, about each batch's own mean; ours is
  the ratio of the sums."""
