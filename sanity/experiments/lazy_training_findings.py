"""What the tables of the chapter `lazy_training` say, in tables to read and sentences made of numbers."""

from __future__ import annotations

import pandas as pd

from sanity.evals import expected_max_cosine
from sanity.experiments.findings import arm_words
from sanity.experiments.lazy_training_geometry import BAR, PAPERS_SIZES, PAPERS_TAU
from sanity.profiles import Profile

MARKS = {"5 %": 20, "10 %": 10, "50 %": 2, "end": 1}
PAPERS_COURSE = {"5 %": ("near 1", "0.80"), "10 %": ("near 0.8", "0.82"), "end": ("not shown", "0.86")}


def settings_table(profile: Profile) -> pd.DataFrame:
    """The chapter's parameters: the paper's, ours, and why they differ."""
    lazy, toy, real, model = profile.lazy, profile.toy, profile.real, profile.models[0]
    rows: list[tuple[str, str, object, str]] = [
        (
            "language model",
            "Gemma-2-2B layer 12",
            f"{model.subject}, {model.hook}",
            "the profile's first place",
        ),
        (
            "architecture",
            "JumpReLU",
            f"{real.architecture}; {toy.architectures[0]} in the worlds",
            "the primary grids",
        ),
        ("L0", "160", f"{real.l0}; {toy.l0} in the worlds", "the primary grids"),
        ("latents", "73,728", f"{model.d_sae or real.d_sae:,}; {toy.d_sae:,} in the worlds", "budget"),
        ("tokens seen", "500 M", f"{real.steps * real.batch_size:,}", "budget"),
        (
            "learning rate",
            "2e-4",
            f"{real.learning_rate:g}; {toy.learning_rate:g} in the worlds",
            "fewer steps",
        ),
        ("shown of the training", "the first 10 %", "all of it", "a course has an end"),
        ("seeds followed", "not stated", len(lazy.course_seeds), "the other seeds are read at 10 % only"),
        ("tau", "0.8", ", ".join(f"{tau:g}" for tau in lazy.taus), "a dose-response curve"),
        ("steps of the sweep", "all", f"{lazy.real_steps:,}; {toy.steps:,} in the worlds", "budget"),
        ("seeds of the sweep", "not stated", len(lazy.cone_seeds), "budget"),
    ]
    return pd.DataFrame(rows, columns=["", "paper", "here", "why"]).set_index("").astype(str)


def course_table(cosines: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Cosines and explained variance at 5, 10, 50 and 100 % of the steps, beside what the paper says."""
    rows = []
    for mark, divisor in MARKS.items():
        said = PAPERS_COURSE.get(mark, ("", ""))
        row: dict[str, object] = {"steps": mark, "paper: cosine": said[0], "paper: EV": said[1]}
        for place, part in cosines.groupby("world_or_hook", sort=False):
            row |= {
                f"{place}: decoder": _at(part, "decoder", divisor),
                f"{place}: encoder": _at(part, "encoder", divisor),
                f"{place}: EV": _ev_at(curves, str(place), divisor),
            }
        rows.append(row)
    return pd.DataFrame(rows).set_index("steps")


def _at(cosines: pd.DataFrame, side: str, divisor: int, group: str = "all", column: str = "q50") -> float:
    """Median over latents (mean over seeds) at a share of the steps."""
    part = cosines[(cosines["side"] == side) & (cosines["group"] == group)]
    here = part[part["step"] == int(part["step"].max()) // divisor]
    return float(here[column].mean())


def _ev_at(curves: pd.DataFrame, place: str, divisor: int) -> float:
    part = curves[curves["world_or_hook"] == place]
    return float(part[part["step"] == int(part["step"].max()) // divisor]["ev_batch"].mean())


def course_words(cosines: pd.DataFrame, curves: pd.DataFrame, place: str) -> str:
    """How far the median latent has turned, and how much of the explained variance is there, at a tenth."""
    part = cosines[cosines["world_or_hook"] == place]
    tenth, end = (_at(part, "decoder", divisor) for divisor in (10, 1))
    encoder = _at(part, "encoder", 1)
    ev_tenth, ev_end = (_ev_at(curves, place, divisor) for divisor in (10, 1))
    spread = _at(part, "decoder", 1, column="q95") - _at(part, "decoder", 1, column="q05")
    return (
        f"On {place_words(place)} the median decoder direction has a cosine of {tenth:.2f} to its start "
        f"after a tenth of the steps and {end:.2f} at the end (encoder {encoder:.2f}); from the 5 % to the "
        f"95 % quantile latents differ by {spread:.2f}. Explained variance is {ev_tenth:.2f} at a tenth "
        f"and {ev_end:.2f} at the end."
    )


def frequency_words(cosines: pd.DataFrame, place: str) -> str:
    """What becomes of latents that are active rarely and often."""
    part = cosines[cosines["world_or_hook"] == place]
    groups = [g for g in dict.fromkeys(part["group"]) if g != "all"]
    ends = "; ".join(
        f"{group} {_at(part, 'decoder', 1, group):.2f} (encoder {_at(part, 'encoder', 1, group):.2f})"
        for group in groups
    )
    return f"On {place_words(place)}, median cosine to init at the end: {ends}."


def place_words(place: str) -> str:
    """A place in a sentence."""
    return f"the world with {place} probabilities" if place in ("constant", "variable") else f"`{place}`"


def _sweep_value(sweep: pd.DataFrame, metric: str, tau: float, *, gaussian: bool = False) -> float:
    rows = sweep[(sweep["metric"] == metric) & (sweep["gaussian"] == gaussian) & (sweep["tau"] == tau)]
    return float(rows["value"].mean()) if len(rows) else float("nan")


def tau_words(sweep: pd.DataFrame, place: str, tau: float = PAPERS_TAU) -> str:
    """What the paper's tau costs and leaves, on samples and on noise of the same covariance."""
    part = sweep[sweep["world_or_hook"] == place]
    ev = {t: _sweep_value(part, "explained_variance", t) for t in (1.0, tau, -1.0)}
    span = ev[-1.0] - ev[1.0]
    edge, noise = (_sweep_value(part, "share_on_edge", tau, gaussian=g) for g in (False, True))
    free, drift = (_sweep_value(part, "cosine_to_init", -1.0, gaussian=g) for g in (False, True))
    words = (
        f"On {place_words(place)}, tau = {tau:g} gives an explained variance of {ev[tau]:.3f}, between "
        f"{ev[1.0]:.3f} (frozen) and {ev[-1.0]:.3f} (trained): {(ev[tau] - ev[1.0]) / span:.0%} of the "
        f"way. {edge:.0%} of its latents end on the edge of their cone, and {noise:.0%} on Gaussian noise "
        f"of the same covariance; the trained arm's mean cosine to init is {free:.2f}, and {drift:.2f} on "
        "the noise."
    )
    found = _sweep_value(part, "recovery", tau)
    if found == found:
        reachable, trained = (
            _sweep_value(part, "reachable_recovery", tau),
            _sweep_value(part, "recovery", -1.0),
        )
        words += (
            f" It recovers {found:.1%} of the features where {reachable:.1%} lie within reach of some cone, "
            f"and the trained arm {trained:.1%}."
        )
    return words


def primary_words(primary: pd.DataFrame, steps: int) -> str:
    """The same at the full budget, over seeds, from the primary grid and from noise at that budget."""
    ev = {tau: _primary(primary, "explained_variance", tau) for tau in (1.0, PAPERS_TAU, -1.0)}
    share = (ev[PAPERS_TAU] - ev[1.0]) / (ev[-1.0] - ev[1.0])
    free = _primary(primary, "cosine_to_init", -1.0)
    edge, noise = (_primary(primary, "share_on_edge", PAPERS_TAU, gaussian=g) for g in (False, True))
    near, drift = (_primary(primary, "cosine_to_init", PAPERS_TAU, gaussian=g) for g in (False, True))
    return (
        f"At the {steps:,} steps of the primary grid (mean over its seeds) tau = {PAPERS_TAU:g} is "
        f"{share:.0%} of the way from the frozen to the trained arm, and the trained arm's mean cosine to "
        f"init is {free:.2f}. {edge:.0%} of the latents at tau = {PAPERS_TAU:g} are on the edge, and "
        f"{noise:.0%} on Gaussian noise of the same covariance, at as many steps and on the same seeds; "
        f"their mean cosines to init are {near:.3f} and {drift:.3f}."
    )


def _primary(primary: pd.DataFrame, metric: str, tau: float, *, gaussian: bool = False) -> float:
    return _sweep_value(primary, metric, tau, gaussian=gaussian)


def cone_table(exact: pd.DataFrame, tau: float = PAPERS_TAU) -> pd.DataFrame:
    """At one tau, for every size: bound, exact probability, chance and reach."""
    at = exact[exact["tau"] == tau]
    table = pd.DataFrame(
        {
            "size": at["size"],
            "d": at["d_in"],
            "m": at["d_sae"],
            "bound, one vector (log10)": at["log10_one_bound"],
            "bound, all m (log10)": at["log10_cone_bound"],
            "exact, one vector (log10)": at["log10_one_cap"],
            "exact, all m (log10)": at["log10_any_cap"],
            "expected nearest anchor": [
                expected_max_cosine(int(d), int(m)) for d, m in zip(at["d_in"], at["d_sae"], strict=True)
            ],
            "best cosine in reach": at["cone_reach"],
            "directions reached at 0.8": at["reachable_share"],
        }
    )
    return table.set_index("size")


def reach_words(exact: pd.DataFrame, tau: float = PAPERS_TAU) -> str:
    """Containing a direction and reaching it, at the paper's sizes."""
    at = exact[exact["tau"] == tau].set_index("size")
    best = at["cone_reach"].to_dict()
    share = float(at["reachable_share"]["toy"])
    reached = "; ".join(
        f"{size.name} {best[size.name]:.2f} (unturned {expected_max_cosine(size.d_in, size.d_sae):.2f})"
        for size in PAPERS_SIZES
    )
    gemma = at.loc["gemma-2-2b"]
    return (
        f"The paper's bound for Gemma-2-2B is 10^{gemma['log10_cone_bound']:.1f}, the exact probability "
        f"10^{gemma['log10_any_cap']:.1f}. What the best cone can reach of an arbitrary direction: "
        f"{reached}. In the paper's toy {share:.1%} of all directions lie "
        f"within the reach of some cone at the bar of {BAR:g}."
    )


def laziness_words(curves: pd.DataFrame, place: str) -> str:
    """Supports, first-order model and kernel at a tenth and at the end of a followed training."""
    part = curves[(curves["world_or_hook"] == place) & (curves["seed"] == curves["seed"].min())]
    asked = part.dropna(subset=["jaccard"]).sort_values("step")
    tenth, end = asked[asked["step"] == part["step"].max() // 10], asked.iloc[-1]
    early = (
        " At a tenth of the steps, where decoder rows still have a mean cosine of "
        f"{tenth['cosine_decoder'].iloc[0]:.2f} to their start, supports overlap by "
        f"{tenth['jaccard'].iloc[0]:.0%} and the kernel has changed by "
        f"{tenth['kernel_change'].iloc[0]:.2f} of its norm."
        if len(tenth)
        else ""
    )
    return (
        f"On {place_words(place)}, at the end, a sample's support shares {end['jaccard']:.0%} (Jaccard) "
        f"with that at init, where chance gives {end['jaccard_chance']:.0%}; the trained weights explain "
        f"{end['ev']:.2f} of the variance on their own supports and {end['held_start']:.2f} on those of "
        f"init; the first-order model explains {end['first_order_start']:.2f} with the supports of init "
        f"and {end['first_order_end']:.2f} with the final ones; the tangent kernel has changed by "
        f"{end['kernel_change']:.2f} of its norm (cosine {end['kernel_alignment']:.2f}).{early}"
    )


def scale_words(scaled: pd.DataFrame, ordinary: pd.Series) -> str:
    """Whether a larger output scale makes training lazy, with supports held and with supports that switch."""
    sentences = []
    for held, name in ((True, "held as at init"), (False, "that switch")):
        table = scaled[scaled["held"] == held].sort_values("alpha")
        low, high = table.iloc[0], table.iloc[-1]
        sentences.append(
            f"With supports {name}, from alpha = {low['alpha']:g} to {high['alpha']:g} the overlap with "
            f"the supports of init goes from {low['jaccard']:.2f} to {high['jaccard']:.2f}, the kernel's "
            f"relative change from {low['kernel_change']:.2f} to {high['kernel_change']:.2f}, the share of "
            f"the output's change that the first-order model predicts from {low['predicted']:.3f} to "
            f"{high['predicted']:.3f}, and explained variance from {low['explained_variance']:.2f} to "
            f"{high['explained_variance']:.2f}."
        )
    kernel = float(ordinary["kernel_change"])
    less = int((scaled["kernel_change"] < kernel).sum())
    return " ".join(sentences) + (
        f" The ordinary training has an overlap of {float(ordinary['jaccard']):.2f} and a kernel change of "
        f"{kernel:.2f}: {less} of the {len(scaled)} scaled runs change their kernel less."
    )


def seed_words(seeds: pd.DataFrame, place: str) -> str:
    """Nearest latents of another seed, against chance."""
    part = seeds[seeds["world_or_hook"] == place]
    d, m = int(part["d_in"].iloc[0]), int(part["d_sae"].iloc[0])
    found = "; ".join(
        f"{arm_words(str(arm), 'iso')} {rows['nearest'].median():.2f} (one to one "
        f"{rows['matched'].median():.2f}; null of equal second moments "
        f"{rows['null_dictionary'].median():.2f})"
        for arm, rows in part.groupby("constraint", sort=False)
    )
    return (
        f"On {place_words(place)}, median cosine of a latent to the nearest of another seed, where "
        f"isotropic chance gives {expected_max_cosine(d, m):.2f}: {found}."
    )


def tied_words(seeds: pd.DataFrame) -> str:
    """Median cosine of encoder and decoder rows, arm by arm and place by place."""
    parts = [
        f"{place_words(str(place))}: "
        + ", ".join(
            f"{arm_words(str(arm), 'iso')} {rows['encoder_decoder_cosine'].median():.2f}"
            for arm, rows in part.groupby("constraint", sort=False)
        )
        for place, part in seeds.groupby("world_or_hook", sort=False)
    ]
    return "Medians on " + "; ".join(parts) + "."
