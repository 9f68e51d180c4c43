"""What the tables say, in sentences made of their numbers: no figure in the prose is typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sanity.claims import book_folder
from sanity.engine.cells import Cell
from sanity.engine.computing import total_cost
from sanity.engine.store import LocalStore
from sanity.profiles import Profile

LABELS = {
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "jumprelu": "JumpReLU",
    "matryoshka": "Matryoshka",
    "relu": "ReLU",
}


def mean_of(scores: pd.DataFrame, metric: str, **where: object) -> float:
    """The mean over seeds of a metric among the rows that match `where`."""
    rows = scores[scores["metric"] == metric]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return float(rows["value"].mean())


def arm_words(constraint: str, init: str) -> str:
    """The name of an arm in a sentence."""
    name = constraint.replace("_", " ").replace("soft frozen", "soft-frozen")
    return name if init == "iso" else f"{name} ({init})"


def paper_against_ours(scores: pd.DataFrame, folder: Path | None = None) -> pd.DataFrame:
    """The paper's toy numbers beside ours: one row per world and architecture, trained arms."""
    reported = pd.read_csv((folder or book_folder() / "data") / "reported_synthetic.csv", comment="#")
    rows = []
    trained = scores[scores["constraint"] == "trained"]
    for (world, architecture), part in trained.groupby(["world_or_hook", "architecture"], sort=False):
        said = reported[
            (reported["probability_model"] == world) & (reported["architecture"].str.lower() == architecture)
        ]
        rows.append(
            {
                "world": world,
                "architecture": LABELS[str(architecture)],
                "EV, paper": _single(said, "explained_variance"),
                "EV": mean_of(part, "explained_variance"),
                "recovered, paper": _single(said, "recovered_fraction"),
                "recovered": mean_of(part, "recovery"),
                "weighted by frequency": mean_of(part, "frequency_weighted_recovery"),
                "mean max cosine": mean_of(part, "mean_max_cosine"),
                "dead": mean_of(part, "dead_latents"),
                "L0": mean_of(part, "l0"),
            }
        )
    return pd.DataFrame(rows).set_index(["world", "architecture"])


def _single(rows: pd.DataFrame, column: str) -> float:
    values = rows[column].dropna() if column in rows else pd.Series(dtype=float)
    return float(values.iloc[0]) if len(values) else float("nan")


def recovery_words(scores: pd.DataFrame) -> str:
    """What explained variance says about recovery, world by world."""
    sentences = []
    for world, part in scores[scores["constraint"] == "trained"].groupby("world_or_hook", sort=False):
        names = list(dict.fromkeys(part["architecture"]))
        recovered = {a: mean_of(part, "recovery", architecture=a) for a in names}
        best, worst = max(names, key=recovered.__getitem__), min(names, key=recovered.__getitem__)
        ev = {a: mean_of(part, "explained_variance", architecture=a) for a in (best, worst)}
        weighted = mean_of(part, "frequency_weighted_recovery", architecture=worst)
        sentences.append(
            f"With **{world}** probabilities {LABELS[best]} recovers {recovered[best]:.1%} of the features "
            f"at an explained variance of {ev[best]:.3f}, "
            f"{LABELS[worst]} {recovered[worst]:.1%} at {ev[worst]:.3f}: "
            f"a difference of {recovered[best] - recovered[worst]:.1%} in recovery goes with one of "
            f"{ev[best] - ev[worst]:+.3f} in explained variance. "
            f"Weighted by how often features are active, {LABELS[worst]} holds {weighted:.1%}."
        )
    return "\n\n".join(sentences)


def transition_words(curves: pd.DataFrame, *, early: float = 0.05, late: float = 0.5) -> str:
    """How much explained variance moves while recovery goes from `early` to `late` of its final value."""
    sentences = []
    for (world, architecture), part in curves.groupby(["world_or_hook", "architecture"], sort=False):
        line = (
            part.dropna(subset=["recovery"])
            .groupby("samples")[["recovery", "explained_variance_held_out"]]
            .mean()
        )
        final = float(line["recovery"].iloc[-1])
        if final < 0.1:
            continue
        before, after = line[line["recovery"] < early * final], line[line["recovery"] >= late * final]
        if before.empty:
            continue
        ev0 = float(before["explained_variance_held_out"].iloc[-1])
        ev1 = float(after["explained_variance_held_out"].iloc[0])
        sentences.append(
            f"{LABELS[str(architecture)]}, {world}: explained variance goes from {ev0:.2f} to {ev1:.2f} "
            "while "
            f"recovery goes from {before['recovery'].iloc[-1]:.1%} to {after['recovery'].iloc[0]:.1%} "
            f"(of {final:.1%} at the end)."
        )
    return " ".join(sentences) or "No architecture recovers a tenth of the features within this budget."


def baseline_words(scores: pd.DataFrame) -> str:
    """Explained variance and recovery of the baselines, beside the trained arm's."""
    ev0, found0 = (mean_of(scores, m, constraint="trained") for m in ("explained_variance", "recovery"))
    parts = [f"trained reaches EV {ev0:.3f} with {found0:.1%} recovered"]
    for constraint, init in dict.fromkeys(zip(scores["constraint"], scores["init"], strict=True)):
        if constraint != "trained":
            arm = {"constraint": constraint, "init": init}
            ev, found = (mean_of(scores, m, **arm) for m in ("explained_variance", "recovery"))
            parts.append(f"{arm_words(constraint, init)} {ev:.3f} with {found:.1%}")
    return "; ".join(parts) + "."


def lead_words(scores: pd.DataFrame, metric: str, name: str) -> str:
    """The trained arm's lead over each baseline: mean and range of the differences paired by seed."""
    rows = scores[scores["metric"] == metric]
    wide = rows.pivot_table(index="seed", columns=["constraint", "init"], values="value")
    trained = wide[("trained", "iso")]
    parts = []
    for arm in wide.columns.to_list():
        constraint, init = map(str, arm)
        if constraint != "trained":
            gap = trained - wide[(constraint, init)]
            spread = f" ({gap.min():+.3f} to {gap.max():+.3f})" if len(gap) > 1 else ""
            parts.append(f"{arm_words(constraint, init)} by {gap.mean():+.3f}{spread}")
    seeds = f"{len(wide)} seed{'s' if len(wide) > 1 else ''}"
    how = f"mean and range of paired differences, {seeds}"
    return f"In {name}, the trained arm leads ({how}): {'; '.join(parts)}."


def rate_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Explained variance of each arm at every learning rate tried, and at its own best."""
    rows = scores[scores["metric"] == "explained_variance"]
    rows = rows[rows["seed"] == rows["seed"].min()]
    wide = rows.pivot_table(index=["constraint", "init"], columns="learning_rate", values="value")
    tried = wide.dropna()
    table: pd.DataFrame = tried.rename(columns=lambda rate: f"lr {rate:g}")
    return table.assign(best=tried.max(axis=1), at=tried.idxmax(axis=1).map("{:g}".format))


def reported_tables(folder: Path | None = None) -> pd.DataFrame:
    """The paper's Tables 2-4: one row per setting, architecture and variant, one column per metric."""
    reported = pd.read_csv((folder or book_folder() / "data") / "reported_frozen_baselines.csv", comment="#")
    wide = reported.pivot_table(
        index=["model", "layer", "architecture", "variant", "init"],
        columns="metric",
        values="mean",
        sort=False,
    )
    return wide.reset_index()


def shares_beside_paper(scores: pd.DataFrame, folder: Path | None = None) -> pd.DataFrame:
    """Each baseline's explained variance as a share of the trained arm's: the paper's settings, and ours."""
    reported = reported_tables(folder)
    columns = {}
    for (model, layer, architecture), part in reported.groupby(
        ["model", "layer", "architecture"], sort=False
    ):
        ev = part.set_index(["variant", "init"])["explained_variance"]
        columns[f"{model} L{layer} {architecture}"] = ev / ev[("trained", "iso")]
    rows = scores[scores["metric"] == "explained_variance"]
    ours = rows.groupby(["constraint", "init"], sort=False)["value"].mean()
    columns["ours"] = ours / ours[("trained", "iso")]
    return pd.DataFrame(columns).rename_axis(["arm", "init"]).rename(index=lambda n: n.replace("_", " "))


def verdict_words(table: pd.DataFrame, profile: Profile) -> str:
    """How many claims were judged, and how they came out."""
    judged = table[table["verdict"] != "open"]
    if judged.empty:
        return f"None of the {len(table)} claims has a result at the profile `{profile.name}` yet."
    plain = judged["verdict"].str.replace(r" \(.*", "", regex=True)
    counts = ", ".join(f"{n} {verdict}" for verdict, n in plain.value_counts().items())
    return (
        f"Of {len(table)} claims, {len(judged)} are judged at the profile `{profile.name}` ({counts}); "
        f"{len(table) - len(judged)} are open here. Scale: {profile.about}."
    )


def profile_row(profile: Profile) -> dict[str, object]:
    """What a profile asks for, in one row."""
    from sanity.experiments import plan

    cost = total_cost(plan(profile))
    grid, toy = profile.real, profile.toy
    return {
        "profile": profile.name,
        "device": profile.device,
        "models and places": "; ".join(f"{m.subject} {m.hook}" for m in profile.models),
        "unique training tokens": ", ".join(f"{m.train_tokens:,}" for m in profile.models),
        "tokens seen": f"{grid.batch_size * grid.steps:,}",
        "latents": ", ".join(f"{m.d_sae or grid.d_sae:,}" for m in profile.models),
        "primary grid": f"{grid.architecture}, L0 {grid.l0}, {len(grid.arms)} arms, {len(grid.seeds)} seeds",
        "toy": f"d {toy.worlds[0].d_in}, m {toy.d_sae}, {toy.batch_size * toy.steps:,} samples, "
        f"{len(toy.seeds)} seeds",
        "expected hours": f"{cost.seconds / 3600:.2g}",
        "disk, GB": f"{cost.disk_bytes / 1e9:.2g}",
    }


def cell_table(cells: Sequence[Cell], store: LocalStore) -> pd.DataFrame:
    """One row per cell: what it is, what it was expected to take, what it took."""
    rows = []
    for cell in cells:
        result = store.get(cell.key)
        rows.append(
            {
                "label": cell.label,
                "stage": cell.stage,
                "expected_s": cell.cost.seconds,
                "took_s": result.seconds if result else float("nan"),
                "megabytes": sum(f["bytes"] for f in result.files.values()) / 1e6 if result else float("nan"),
                "key": cell.key,
            }
        )
    return pd.DataFrame(rows)
