# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Causal editing
#
# *Can one fact about a word be changed through a dictionary's latents while its other facts stay, and does a trained
# dictionary do it better than a random one?*

# %% tags=["remove-cell"]
# In Colab: fetch the repository that this notebook came from, and install its package. Elsewhere: nothing.
import sys

if "google.colab" in sys.modules:
    import os
    import subprocess

    REPOSITORY, REF = "", ""
    checkout = "/content/sae-sanity"
    if not os.path.exists(f"{checkout}/book/claims.yml"):
        if not REPOSITORY:
            raise ValueError(
                "Write the https address of this notebook's repository between the first quotes after "
                "REPOSITORY above (and a branch or commit between the second), and run this cell again."
            )
        subprocess.run(["rm", "-rf", checkout], check=True)
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, checkout], check=True)
    if REF:
        subprocess.run(["git", "-C", checkout, "fetch", "--quiet", "origin", REF], check=True)
        subprocess.run(["git", "-C", checkout, "checkout", "--quiet", "FETCH_HEAD"], check=True)
    # Colab's own torch and numpy stay where they are recent enough.
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", checkout], check=True)
    os.chdir(f"{checkout}/book")

# %% tags=["parameters"]
profile = "demo"

# %% tags=["hide-input"]
import pandas as pd

from sanity import figures
from sanity.claims import paper_tables
from sanity.evals.causal_editing import CEILING, PAIR, PARTS
from sanity.experiments.kept_tables import kept_tables
from sanity.publishing import Markdown, ahead, count, open_chapter, span

page = open_chapter("causal_editing", profile)
figures.house_style()
grid, protocol = page.profile.grid("causal_editing"), page.profile.eval_named("causal_editing")
source = page.profile.source_named(grid.sources[0])
dropped_on = len(grid.seeds if protocol.dropped_seeds is None else {*grid.seeds} & {*protocol.dropped_seeds})
curves_on = len({*grid.seeds} & {*protocol.curve_seeds})
KEPT = "kept" if protocol.kept_seeds is None or protocol.kept_seeds else "dropped"  # the primary reading
page.banner()

# %% [markdown]
# The task is made like RAVEL's {cite}`huang2024ravel`, the method is SAEBench's {cite}`karvonen2025saebench`. A prompt
# asks for one attribute of an entity: the number of a noun (*the teachers that I saw* goes on with *are*), or its first
# letter. The residual stream at the entity's last token is encoded, the latents that a learned binary mask has chosen
# are swapped with those of another entity, and the result is put back into the same place. One mask serves all
# entities.
#
# - **cause**: asked for the attribute that is to change, the model answers with the *other* entity's value;
# - **isolation**: asked for an attribute that is to stay, it still answers with its own;
# - **disentanglement** is their mean.
#
# Doing nothing has cause 0 and isolation 1, swapping everything the opposite: both stand at one half, because every
# pair of entities that is scored differs in every attribute that is asked. That half is the floor. The ceiling is a
# *learned rotation* {cite}`geiger2024das`: a subspace of the residual stream, fitted to the same loss on the same
# entities without any dictionary. Where it is no better than the floor, the pair of attributes cannot be told apart by
# any linear edit that we know of, and no dictionary is judged on it.
#
# What a dictionary does not reconstruct, its *error term*, can be **kept**: then only the swapped latents are judged.
# That is the primary reading here. SAEBench's default, and the paper's, is to **drop** it: then an edit also pays for
# what the reconstruction loses at that token.
#
# The paper reports 0.72 for trained dictionaries and 0.73 for the soft-frozen baseline on Gemma-2-2B (layer 12), the two
# numbers behind "baselines match" {cite}`korznikov2026sanity`.

# %% tags=["hide-input"]
asked = page.read.prepared("causal_editing")[0][1]
choice, templates = asked.json("choice"), asked.table("templates")
page.parameters(
    [
        ("language model and hook", "Gemma-2-2B, layers 12 and 19; Llama-3-8B, layer 16", f"{source.subject}, {source.where}",
         "as in the chapter on real activations"),
        ("facts", "RAVEL", f"{protocol.facts} ({choice['source']})", "RAVEL's own files can be read as well"),
        ("attributes edited", "country, continent, language and others",
         "; ".join(f"{pair.target} (kept: {', '.join(pair.keep)})" for pair in protocol.pairs),
         "each ordered pair is fitted and judged by itself"),
        ("token", "the entity's last", f"the entity's last, of {protocol.entity_tokens} at most", "the same"),
        ("mask", "binary, learned", f"binary, straight-through gradient, {protocol.steps} steps of {protocol.prompts} prompts",
         "SAEBench anneals a sigmoid"),
        ("ceiling", "none", f"rotation of rank {protocol.rotation_rank}, {protocol.rotation_steps} steps", "what the task allows"),
        ("error term", "dropped (SAEBench's default)",
         f"kept; dropped in a second reading (seeds: {dropped_on}), with masks fitted that way",
         "kept, it judges the latents alone"),
        ("scored", "SAEBench divides pairs, not entities: each entity scored may have been fitted on",
         f"{protocol.scored_pairs} pairs of entities not fitted on, per seed; controls on {protocol.control_pairs}",
         "new words, new wording; the same for all arms of a seed"),
        ("seeds", "not stated", len(grid.seeds), "dictionary, fit and scored pairs; shared by all arms"),
    ]
)  # fmt: skip

# %% [markdown]
# ## What the model knows
#
# Only what the model answers correctly, as its single most likely next token, can be edited. A template counts by how
# many entities *for fitting* it is answered for; the best is fitted on and the next best tested on, so that the test
# changes both the entities and the wording. An entity whose answer begins like a more frequent answer's is left out, and
# so are those that a template names as an example. Both forms of a word (*teacher*, *teachers*) are either fitted on or
# tested on.


# %%
def of_references(table: str, of: str = "causal_editing") -> pd.DataFrame:
    """What was kept of an eval's references, which are no arm's: of every hook and seed."""
    tables = [
        result.table(table).assign(
            experiment="causal_editing", subject=one.source.subject, world_or_hook=one.place, seed=one.seed
        )
        for one, result in page.read.references(of)
    ]
    return pd.concat(tables, ignore_index=True)


for what in ("known", "asked"):
    templates[what] = templates[f"{what}_train"] + templates[f"{what}_test"]
best = templates.loc[templates.groupby("attribute", sort=False)["known_train"].idxmax()]
pairs = of_references("pairs")
refused = pairs[pairs["refused"] != ""].drop_duplicates(PAIR)
determines = {tuple(one) for one in choice["determines"]}
edited = pd.DataFrame(
    [
        {"changed": pair.target, "kept": kept,
         "one determines the other": bool({(pair.target, kept), (kept, pair.target)} & determines)}
        for pair in protocol.pairs
        for kept in pair.keep
    ]
)  # fmt: skip

# %% tags=["hide-input"]
notes = {
    "initial": "The first letter (initial) is a fact about a string and not about what it means; a dictionary may "
    "separate it from other facts more easily than those from each other.",
    "hemisphere": "A template that gives the same answer for every city knows the hemisphere of one half of the earth.",
    "Latitude": "Of a latitude the model's answer counts by its first token, which may be its first digit.",
}
Markdown(
    f"Of {choice['entities']} entities the model knows, with the best template, "
    + "; ".join(f"{row.attribute} of {row.known} of {row.asked}" for row in best.itertuples())
    + ". Among these entities "
    + ("; ".join(f"{one} determines {other}" for one, other in sorted(determines)) or "no attribute determines another")
    + ". "
    + " ".join(words for name, words in notes.items() if name in protocol.attributes)
    + "".join(
        f" Too few entities are known for editing {row.target} while {row.keep} stays (refused: {row.remaining:.0f} remain, "
        f"{row.needed:.0f} are needed)."
        for row in refused.itertuples()
    )
)  # fmt: skip

# %% tags=["hide-input"]
page.table(
    edited.set_index(["changed", "kept"]).replace({True: "yes", False: "no"}),
    caption="The pairs that are edited. Where one attribute determines the other among these entities, changing one of them "
    "asks for an entity that cannot exist: such a pair says little about an edit that moves only one of them.",
)

# %% tags=["hide-input"]
uses = {
    (attribute, template): [
        use for use, names in (("fitting", chosen["fit"]), ("testing", chosen["test"])) if template in names
    ]
    for attribute, chosen in choice["templates"].items()
    for template in [*chosen["fit"], *chosen["test"]]
}
page.table(
    pd.DataFrame(
        [
            {
                "attribute": row.attribute,
                "template": row.template,
                "known, fitting": f"{row.known_train} of {row.asked_train}",
                "known, testing": f"{row.known_test} of {row.asked_test}",
                "used for": " and ".join(uses.get((row.attribute, row.template), ["–"])),
            }
            for row in templates.itertuples()
        ]
    ).set_index("attribute"),
    caption="Every template tried, how many entities its answer is right for, and what it is used for. %s is the entity.",
    folded=True,
)  # fmt: skip

# %% [markdown]
# ## Floor and ceiling first
#
# The floor of a pair is the better of both trivial edits. A pair has range where the rotation is ahead of its floor by
# enough; that is decided by the mean over seeds, for all seeds alike, so that which seeds are judged depends on no luck.

# %%
# A row per edit that was measured: through arms, both ends of the scale, and masks over bases that lose nothing.
edits = pd.concat([page.read.table("edits", "causal_editing"), of_references("edits")], ignore_index=True)
some = len(edits) > 0
places = pairs[["subject", "world_or_hook"]].drop_duplicates()
by = [*(places if len(places) > 1 else []), *PAIR]  # what tables tell apart
ends = pairs[pairs["refused"] == ""].copy()
if some:
    ends["gap"] = ends["ceiling_disentanglement"] - ends["floor"]
    ends["separated"] = ends.groupby([*places, *PAIR])["gap"].transform("mean") >= protocol.least_range

# %% tags=["hide-input"]
nothing = Markdown("No pair of attributes is known of enough entities, so nothing was edited.")
scale = pairs.groupby(by, sort=False)


def counted(column: str) -> pd.Series:
    return scale[column].first().map("{:.0f}".format, na_action="ignore")


page.table(
    pd.DataFrame(
        {
            "entities for fitting": counted("train_entities"),
            "entities for testing": counted("test_entities"),
            "questions, fitting and testing": counted("templates_fitted") + ", " + counted("templates_tested"),
            "unseen template": scale["unseen_templates"].first().map({True: "yes", False: "no"}),
            "do nothing": scale["nothing_disentanglement"].mean(),
            "swap everything": scale["everything_disentanglement"].mean(),
            "rotation": scale["ceiling_disentanglement"].mean(),
            "its cause": scale["ceiling_cause"].mean(),
            "its isolation": scale["ceiling_isolation"].mean(),
            "ahead of the floor by": ends.groupby(by, sort=False)["gap"].mean(),
            "range": ends.groupby(by, sort=False)["separated"].all().map({True: "yes", False: "no range"}),
        }
    ).fillna({"range": "refused"}).rename_axis(index={"target": "changed", "keep": "kept"}),
    caption="Disentanglement of both trivial edits and of the learned rotation on entities that were not "
    f"fitted on (means over {count(len(grid.seeds), 'seed')}, {protocol.scored_pairs} pairs each). A pair has range from "
    f"{protocol.least_range:g} on; from others no verdict is drawn.",
) if some else nothing  # fmt: skip

# %% [markdown]
# A mask of its own through a basis that loses nothing shows what masks can do at best. One that comes out above the
# rotation shows that on so few entities and steps the rotation is no upper bound: shares of the way to it are to be read
# with that in mind.

# %%
if some:
    masks = edits[edits["what"] == "mask"].merge(ends, on=[*places, *PAIR, "seed"], suffixes=("", "_of_pair"))
    exact = masks[masks["through"] != "arm"].groupby("through", sort=False)
    exact = exact[["disentanglement", "ceiling_disentanglement"]].mean().set_axis(["mask", CEILING], axis=1)
    exact["stands"] = (exact["mask"] > exact[CEILING]).map({True: "above the rotation", False: "not above"})

# %% tags=["hide-input"]
page.table(
    exact.rename_axis("basis"),
    caption="Disentanglement of a mask over each basis that loses nothing, and of the rotation on the same seeds "
    f"({len({*grid.seeds} & {*protocol.exact_seeds})}): means over pairs.",
) if some else nothing  # fmt: skip

# %% [markdown]
# ## Every arm
#
# An arm's score is the mean over the pairs that have range. The baselines are compared with the trained arm seed by
# seed: all arms of a seed are fitted and scored on the same pairs of entities.

# %%
scores = page.read.scores("causal_editing")
led = len(scores) > 0
if led:
    rows = scores.assign(
        arm=[figures.arm_words(c, i) for c, i in zip(scores["constraint"], scores["init"], strict=True)]
    )
    rows = rows[rows["metric"].str.startswith("ravel_disentanglement")]
    rows["error term"] = rows["metric"].str.endswith("_dropped").map({True: "dropped", False: "kept"})
    same = [*places, "metric", "seed"]
    rows = rows.merge(
        rows.loc[rows["arm"] == "trained", [*same, "value"]], on=same, suffixes=("", "_trained")
    )
    rows["lead"] = (rows["value_trained"] - rows["value"]).where(rows["arm"] != "trained")
    judged = rows.groupby([*by[: -len(PAIR)], "error term", "arm"], sort=False).agg(
        disentanglement=("value", "mean"), floor=("floor", "mean"), ceiling=("ceiling", "mean"),
        lead=("lead", "mean"), least=("lead", "min"), most=("lead", "max"),
    )  # fmt: skip
    judged = judged.sort_index(level="error term", ascending=False, sort_remaining=False, kind="stable")
    above = judged["disentanglement"] > judged["floor"]
    judged.insert(3, "stands", above.map({True: "above the floor", False: "not above the floor"}))

# %% tags=["hide-input"]
lead = "No pair of attributes can be told apart here by any edit, so no arm is judged."
if led:
    primary = judged.reset_index()
    primary = primary[(primary["error term"] == KEPT) & (primary["arm"] != "trained")]
    where = primary["arm"] + (", " + primary["world_or_hook"] if "world_or_hook" in primary else "")
    said = "; ".join(ahead(arm, gap) for arm, gap in zip(where, primary["lead"], strict=True))
    lead = f"With the error term {KEPT}, {said} (mean over {count(len(grid.seeds), 'seed')})."
first = ends.iloc[0] if some else None


def here(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first pair, at the first hook."""
    return table[(table[[*places, *PAIR]] == first[[*places, *PAIR]]).all(axis=1)]


page.figure(
    figures.edits_by_arm(here(edits), here(ends)),
    finding=lead,
    alt=f"Cause, isolation and disentanglement of references, exact dictionaries and arms. {lead}",
    caption=f"Changing {first['target']} while {first['keep']} stays: share of {protocol.scored_pairs} pairs of entities per "
    f"seed (seeds: {len(grid.seeds)}). Filled dots keep the error term; hollow ones drop it, with a mask fitted that way. "
    f"What reconstructs exactly ({', '.join(protocol.exact)}) has a mask of its own.",
    data=(edits, "editing_edits"),
) if some else nothing  # fmt: skip

# %% tags=["hide-input"]
page.table(
    judged.assign(
        **{n: judged[n].map("{:+.3f}".format, na_action="ignore") for n in ("lead", "least", "most")}
    ),
    caption="Disentanglement of every arm, with the error term kept and dropped, between floor and ceiling (means over seeds "
    "and over pairs that have range); the trained arm's lead over each: mean, least and most of the differences paired by "
    "seed. Of two arms that are not above the floor, where the entity is left alone, neither is called better: their "
    "difference says which one does more damage.",
) if led else Markdown(lead)  # fmt: skip

# %% tags=["hide-input"]
page.publish(scores if led else pairs, "editing_scores")

# %% [markdown]
# A mask measures its dictionary only where it is fitted: it must do better than no mask, and than as many other latents
# that are active as often. With the error term kept, swapping no latent is doing nothing.

# %%
if some:
    arms = edits[edits["through"] == "arm"].copy()
    arms["arm"] = [figures.arm_words(c, i) for c, i in zip(arms["constraint"], arms["init"], strict=True)]
    arms["error term"] = arms["with_error"].eq(True).map({False: "dropped", True: "kept"})
    key = [*by, "arm", "error term"]
    means = arms.pivot_table(index=key, columns="what", values="disentanglement", sort=False)
    left_alone = ends.groupby(by)["nothing_disentanglement"].mean()
    none = means["no latent"].fillna(
        left_alone.reindex(means.index.droplevel(["arm", "error term"])).set_axis(means.index)
    )
    gains = pd.DataFrame(
        {
            "L0 at these entities": arms.groupby(key)["l0"].mean().map("{:.1f}".format),
            "mask": means["mask"],
            "mask minus no latent": means["mask"] - none,
            "mask minus as many at random": means["mask"] - means["random latents"],
        }
    ).reindex(means.index)
    converged = (gains[["mask minus no latent", "mask minus as many at random"]] > 0).all(axis=1)
    gains["fit"] = converged.map({True: "ahead of both", False: "not converged"})

# %% tags=["hide-input"]
page.table(
    gains.assign(**{name: gains[name].map("{:+.3f}".format) for name in gains if " minus " in name}),
    caption=f"{converged.sum()} of {len(converged)} masks are ahead of both swapping no latent and swapping as many others at random: "
    "differences in disentanglement, means over seeds. In the others the mask has not converged, or the latents do not "
    f"carry the fact that is edited. Each reading of the error term has masks of its own (dropped on seeds: {dropped_on}). L0: latents active at the "
    "last token of the entities tested.",
) if some else nothing  # fmt: skip

# %% tags=["hide-input"]
page.table(
    pd.DataFrame(
        [
            {
                "changed": row.target,
                "kept": row.keep,
                "through": row.through if row.through != "arm" else figures.arm_words(row.constraint, row.init),
                "seed": row.seed,
                "error term": "kept" if row.with_error else "dropped",
                "latents swapped": f"{row.size:.0f} of {row.active:.0f}",
                **{part: getattr(row, part) for part in PARTS},
            }
            for row in masks.itertuples()
        ]
    ).set_index(["changed", "kept", "through", "seed"]),
    caption="Every mask, seed by seed: how many of the latents that are ever active at an entity it swaps, and what this "
    "does.",
    folded=True,
) if some else nothing  # fmt: skip

# %% [markdown]
# ## How many latents it takes
#
# The mask is fitted to the answers, over every latent that is active at some entity: with enough latents a random
# dictionary is a random-feature model of the residual stream. The curve swaps only the latents with the largest logits;
# at its ends stand no latent and all of them. With the error term kept, no latent is doing nothing; with it dropped, it
# is the reconstruction alone.

# %%
if some:
    of_trained = arms[arms["constraint"] == "trained"].groupby(["error term", "what"])[list(PARTS)].mean()
    controls = of_trained.loc[KEPT] if len(of_trained) else of_trained
    alone = of_trained["isolation"].get(("dropped", "no latent"))

# %% tags=["hide-input"]
control_words = (
    f"Through the trained arm, error term {KEPT}, swapping every latent changes the target in "
    f"{controls.loc['all latents', 'cause']:.0%} of the pairs, the mask in {controls.loc['mask', 'cause']:.0%}, and as many "
    f"other latents of like frequency in {controls.loc['random latents', 'cause']:.0%}, with isolation "
    f"{controls.loc['all latents', 'isolation']:.0%}, {controls.loc['mask', 'isolation']:.0%} and "
    f"{controls.loc['random latents', 'isolation']:.0%}."
    if some and len(controls)
    else "No trained arm was edited."
)
if some and alone is not None:
    control_words += (
        f" With the error term dropped and nothing swapped, the kept answers survive in {alone:.0%}: what is "
    )
    control_words += "missing there is lost to the reconstruction, not to the edit."
page.figure(
    figures.edits_by_size(here(edits)[~here(edits)["with_error"].eq(KEPT == "dropped")], here(ends)),
    finding=f"Changing {first['target']}: the mask does it in {controls.loc['mask', 'cause']:.0%} of the pairs, as many random latents in {controls.loc['random latents', 'cause']:.0%}"
    if some and len(controls)
    else "",
    alt="Cause, isolation and disentanglement against the number of latents swapped, one line per dictionary. "
    + control_words,
    caption=f"Changing {first['target']} while {first['keep']} stays, error term {KEPT}: means over seeds ({curves_on}), "
    f"{protocol.control_pairs} pairs each. Latents that were silent at every entity fitted on are left out, except where all "
    "are swapped.",
) if some else nothing  # fmt: skip

# %% tags=["hide-input"]
Markdown(control_words)

# %% [markdown] tags=["if-shown"]
# ## Pair by pair

# %% tags=["hide-input"]
page.table(
    means["mask"].unstack("arm", sort=False).xs(KEPT, level="error term")
    .rename_axis(index={"target": "changed", "keep": "kept"}, columns=None),
    caption=f"Disentanglement of every arm on every ordered pair that is edited: means over seeds, error term {KEPT}.",
) if some and len(protocol.pairs) > 1 else None  # fmt: skip

# %% [markdown] tags=["if-shown"]
# ## A task in which no dictionary moves: cities
#
# The country of a city is RAVEL's own example. There are few cities that are one token and whose country a small model
# knows, and dictionaries trained on ordinary text rarely saw such names. No claim is judged by it.

# %%
CITIES = "causal_editing_cities"
cities = page.profile.eval_named("city_editing") if page.read.runs(CITIES) else None
if cities is not None:
    known = of_references("pairs", "city_editing")
    masked = page.read.table("edits", CITIES)
    masked = masked[masked["what"] == "mask"] if len(masked) else masked
    found = known[known["refused"] == ""].groupby(PAIR, sort=False)
    columns = ["train_entities", "test_entities", "floor", "ceiling_disentanglement"]
    without = found[columns].mean() if found.ngroups else pd.DataFrame(columns=columns)
    if len(masked) and len(without):
        through = masked.assign(
            arm=[figures.arm_words(c, i) for c, i in zip(masked["constraint"], masked["init"], strict=True)],
            reading=masked["with_error"].map({True: "kept", False: "dropped"}),
        )
        through = through.pivot_table(index=PAIR, columns=["arm", "reading"], values="disentanglement")
        through.columns = [f"{arm}, error term {reading}" for arm, reading in through.columns]
        without = without.join(through)

# %% tags=["hide-input"]
page.table(
    without.rename(columns={"train_entities": "cities for fitting", "test_entities": "cities for testing",
                            "ceiling_disentanglement": CEILING})
    .rename_axis(index={"target": "changed", "keep": "kept"}),
    caption="Disentanglement when a fact about a city is changed: means over seeds "
    f"({known['seed'].nunique()}), {cities.scored_pairs} pairs each.",
) if cities is not None and len(without) else None  # fmt: skip

# %% tags=["hide-input"]
if cities is not None and len(without) and len(masked):
    above = (without["ceiling_disentanglement"] - without["floor"]).iloc[0]
    arms = without.drop(columns=columns).sub(without["floor"], axis=0).iloc[0]
    widest = (ends["gap"].mean(), "in the pair that is judged") if some else (np.nan, "")
    moved = (
        "none of them is above the floor by a margin"
        if arms.max() < 0.1 * above
        else f"the best is {arms.max():.3f} above the floor"
    )
    display(
        Markdown(
            f"On cities that it was not fitted on, the rotation is {above:.3f} above the floor (it is {widest[0]:.3f} {widest[1]}): "
            f"what it learnt of {without['train_entities'].iloc[0]:.0f} cities carries over in part. Masks over latents: {moved}. "
            + (
                "So there is something to find here that these dictionaries do not have, and too few cities to say which arm is nearer to it."
                if arms.max() < 0.1 * above
                else ""
            )
        )
    )

# %% [markdown]
# ## Next to the paper's tables

# %%
printed = paper_tables()
printed = printed[printed["metric"] == "ravel_disentanglement"].pivot_table(
    index=["variant", "init"], columns=["model", "layer", "architecture"], values="mean", sort=False
)
printed.columns = [f"{model} L{layer} {architecture}" for model, layer, architecture in printed.columns]
if led:
    ours = rows.pivot_table(index=["constraint", "init"], columns="error term", values="value", sort=False)
    ours.columns = [f"ours, error term {how}" for how in ours.columns]
    printed = pd.concat([printed, ours], axis=1)

# %% tags=["hide-input"]
page.table(
    printed.rename_axis(["arm", "init"]),
    caption="Disentanglement in the paper's Tables 2 to 4 and here. The paper gives no floor; its lowest scores, 0.485 to "
    "0.49, are near the one half of doing nothing. Models, dictionaries, attributes and fitting differ: compare the "
    "order of the arms, not the values.",
)

# %% [markdown]
# ### On entities that were fitted on
#
# SAEBench divides pairs of entities, not entities, so the paper's scores are read on entities that its masks were fitted
# on. As a second reading, the same masks can be read that way here: fitted on some pairs of the entities for fitting,
# scored on the other pairs of the same entities, with the same templates.

# %%
kept = kept_tables("calibration")
split = pd.DataFrame()
if kept is not None:
    seen = kept.of("scores", "causal_editing_seen")
    seen = seen[seen["metric"].isin([f"ravel_disentanglement{how}_seen" for how in ("", "_error_dropped")])]
    how = seen["metric"].str.contains("dropped").map({True: "dropped", False: "kept"})
    split = seen.assign(**{"error term": how}).pivot_table(
        index=["constraint", "init"], columns="error term", values=["value", "floor", "ceiling"], sort=False
    )
    split = pd.DataFrame(
        {
            **{f"seen entities, error term {h}": split["value", h] for h in ("kept", "dropped")},
            "floor": split["floor", "kept"],
            "ceiling": split["ceiling", "kept"],
        }
    )

# %% tags=["hide-input"]
page.table(
    split.rename_axis(["arm", "init"]),
    caption="Disentanglement on other pairs of the entities that rotation and masks were fitted on, seed 0: imported from "
    f"`results/calibration` ({kept.words if kept else ''}), not run by this page. The table above has new entities.",
) if len(split) else Markdown("No run of this reading is kept with this copy of the book.")  # fmt: skip

# %% [markdown]
# ## What it costs
#
# An edit at one position changes nothing before it. So keys and values of everything before the entity's last token are
# kept, the blocks below the hook are never run again, and above it only the entity's last token and what follows it are.
# The shortcut runs on the module underneath both backends and gives the logits of either within 1e-4; tests hold it to
# that.

# %% tags=["hide-input"]
facts = page.read.facts("causal_editing", "causal_editing")
cost = (
    f"Fitting and scoring the masks of one SAE for one pair took {facts['cpu_seconds'].sum() / facts['pairs'].sum():.0f} s of "
    f"one processor core on average ({facts['pairs'].sum():.0f} times), with rotations and exact dictionaries "
    f"{facts['cpu_seconds'].sum() + pairs['cpu_seconds'].sum():.0f} s in all, without asking the language model."
    if some
    else "Nothing was fitted."
)
Markdown(cost)

# %% [markdown]
# ## Can the metric be trusted?
#
# What its [validity gate](metric_validity.ipynb) says, which takes an exact dictionary, with the learned rotation among
# its latents, corrupts it in steps, and fits a fresh mask at each.

# %% tags=["hide-input"]
page.gates("ravel_disentanglement")

# %% [markdown]
# ## What could be wrong

# %% tags=["hide-input"]
counts = sorted({f"{n:.0f}" for n in ends["train_entities"].agg(["min", "max"])}) if some else ["no"]
Markdown(
    f"- The masks are fitted on {' to '.join(counts)} entities in {protocol.steps} steps of {protocol.prompts} prompts, the "
    f"rotations on the same entities in {protocol.rotation_steps}. A rotation knows its own entities better than new ones: the "
    "ceiling is that of this many entities, and rises with their number."
)

# %% [markdown]
# - The words are frequent, of one token, and either noun or verb: number and tense of other words may lie elsewhere. The
#   degree of adjectives was tried, and left out: SmolLM2-135M tells all comparatives, but the lexicon has 17 adjectives that are
#   one token in both forms and nothing but adjectives, too few to fit a mask on and test it.
# - SAEBench divides pairs of entities, not entities: each entity that is scored may have been fitted on in another pair.
#   What that is worth here stands next to the paper's tables.
# - Where the error term is dropped, an arm pays for everything that its reconstruction loses at one token. That is
#   SAEBench's default and the paper's, and it makes disentanglement partly a second measure of reconstruction: compare
#   the curve's left end.
# - The other entity's activation is taken from the same template, so that both differ in the entity only. RAVEL draws it from
#   any template.
# - Only the last token of an entity's name is edited. Where the name is longer, its earlier tokens stay those of the first
#   entity.
# - Pairs of entities share entities: the number of pairs overstates how much was seen. Verdicts rest on seeds.

# %% tags=["hide-input"]
# The short answer on top of the page.
if led:
    least = primary.sort_values("lead").iloc[0]
    others = primary.drop(least.name)["lead"]
    short = (
        f"Of the baselines the {least['arm']} comes nearest: {ahead(least['arm'], least['lead'])} in disentanglement, and of all others "
        f"by {span(others.min(), others.max())}. The learned rotation, which needs no dictionary, reaches "
        f"{ends['ceiling_disentanglement'].mean():.2f}, and doing nothing 0.50."
    )
page.answer(
    short if led else lead,
    sure=f"{page.verdict('ravel-soft-frozen')}; {page.verdict('ravel-frozen-decoder')}.",
    scale=f"{len(protocol.pairs)} attribute{'' if len(protocol.pairs) == 1 else 's'} of words, {protocol.scored_pairs} pairs of "
    f"entities per seed, {grid.d_sae[0]:,} latents at {source.where} of {source.subject}.",
)

# %% tags=["hide-input"]
page.provenance(seeds=grid.seeds)
