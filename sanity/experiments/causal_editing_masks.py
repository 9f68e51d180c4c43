"""What the masks of causal editing are worth: against swapping nothing, and as much at random."""

from __future__ import annotations

import pandas as pd

from sanity.experiments.causal_editing import METRICS, RUN, EditingTables
from sanity.experiments.findings import arm_words

PAIR = [column for column in RUN if column != "seed"]
NOT_CONVERGED = "not converged"


def arm_table(tables: EditingTables) -> pd.DataFrame:
    """Every mask, seed by seed: cause, isolation and their mean; those fitted with the error term apart."""
    masks = tables.edits[tables.edits["what"] == "mask"]
    rows = []
    for part in masks.to_dict("records"):
        named = part["through"] != "arm"
        rows.append(
            {
                "changed": part["target"],
                "kept": part["keep"],
                "through": part["through"] if named else arm_words(part["constraint"], part["init"]),
                "seed": part["seed"],
                "error term": "kept" if part["with_error"] else "dropped",
                "latents swapped": f"{part['size']:.0f} of {part['active']:.0f}",
                **{column: part[column] for column in METRICS.values()},
            }
        )
    return pd.DataFrame(rows).set_index(["changed", "kept", "through", "seed"])


def gains(tables: EditingTables) -> pd.DataFrame:
    """How far every arm's mask is ahead of swapping no latent, and of as many at random.

    One row per pair, arm and error term, means over seeds; columns: those of the pair, constraint, init,
    with_error, l0, mask, minus_no_latent, minus_random, converged (ahead of both). With the error term kept,
    swapping no latent is doing nothing.
    """
    arms = tables.edits[tables.edits["through"] == "arm"]
    rows = []
    for key, part in arms.groupby([*PAIR, "constraint", "init"], sort=False):
        about = dict(zip([*PAIR, "constraint", "init"], key, strict=True))
        ends = tables.ends[(tables.ends[PAIR] == pd.Series(about)[PAIR]).all(axis=1)]
        for with_error, some in part.groupby(part["with_error"].eq(True)):
            of = some.groupby("what")["disentanglement"].mean().to_dict()
            none = ends["nothing_disentanglement"].mean() if with_error else of["no latent"]
            ahead = {"minus_no_latent": of["mask"] - none, "minus_random": of["mask"] - of["random latents"]}
            fixed = {"with_error": bool(with_error), "l0": some["l0"].mean(), "mask": of["mask"]}
            rows.append({**about, **fixed, **ahead, "converged": min(ahead.values()) > 0})
    return pd.DataFrame(rows)


def gain_table(tables: EditingTables) -> pd.DataFrame:
    """`gains` as the chapter shows them, with how many latents are active at the cities that are tested."""
    found = gains(tables)
    if found.empty:
        return found
    places = found[["subject", "world_or_hook"]].drop_duplicates()
    shown = {
        **({"place": found["subject"] + ", " + found["world_or_hook"]} if len(places) > 1 else {}),
        "changed": found["target"],
        "kept": found["keep"],
        "arm": [arm_words(c, i) for c, i in zip(found["constraint"], found["init"], strict=True)],
        "error term": found["with_error"].map({False: "dropped", True: "kept"}),
        "L0 at these cities": found["l0"].map("{:.1f}".format),
        "mask": found["mask"],
        "mask minus no latent": found["minus_no_latent"].map("{:+.3f}".format),
        "mask minus as many at random": found["minus_random"].map("{:+.3f}".format),
        "fit": found["converged"].map({True: "ahead of both", False: NOT_CONVERGED}),
    }
    return pd.DataFrame(shown).set_index(
        [name for name in ("place", "changed", "kept", "arm") if name in shown]
    )


def gain_words(tables: EditingTables) -> str:
    """Which masks are better than swapping nothing and than swapping anything."""
    found = gains(tables)
    if found.empty:
        return "No mask was fitted."
    sentences = []
    for with_error, part in found.groupby("with_error"):
        failed = part[~part["converged"]]
        arms = zip(failed["constraint"], failed["init"], strict=True)
        names = ", ".join(dict.fromkeys(arm_words(*arm) for arm in arms))
        said = (
            f"With the error term {'kept' if with_error else 'dropped'}, {len(part) - len(failed)} of "
            f"{len(part)} masks are ahead of both swapping no latent and swapping as many at random"
        )
        without = (
            f"; {NOT_CONVERGED}, or through latents that no mask can edit by: {names}." if names else "."
        )
        sentences.append(said + without)
    return " ".join(sentences)


def control_words(tables: EditingTables) -> str:
    """What the reconstruction alone does, and what as many random latents do, for the trained arm."""
    edits = tables.edits
    trained = edits[(edits["constraint"] == "trained") & edits["with_error"].eq(False)]
    if trained.empty:
        return "No trained arm was edited."
    means = trained.groupby("what")[list(METRICS.values())].mean().T.to_dict()
    none, every, mask, random = (
        {part: float(value) for part, value in means[what].items()}
        for what in ("no latent", "all latents", "mask", "random latents")
    )
    return (
        "Through the trained arm's reconstruction, without swapping anything, the kept answers survive in "
        f"{none['isolation']:.0%} of the pairs: what is missing there is lost to the "
        "reconstruction, not to the edit. Swapping every latent changes the target in "
        f"{every['cause']:.0%}, the mask in {mask['cause']:.0%}, and as many "
        f"other latents of like frequency in {random['cause']:.0%}, with isolation "
        f"{mask['isolation']:.0%} and {random['isolation']:.0%}."
    )
