# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Sparse probing
#
# *Can a handful of latents tell what a text is about, and can they do it better than directions that were never trained?*

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
import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from sanity import figures
from sanity.claims import paper_tables
from sanity.data.probing import GROUPS, WIDER
from sanity.evals import sparse_probing as probing
from sanity.experiments.verdicts import book_ledger, range_in_use
from sanity.publishing import Markdown, ahead, count, open_chapter

page = open_chapter("sparse_probing", profile)
figures.house_style()
grid = page.profile.grid("sparse_probing")
protocol = page.profile.eval_named("sparse_probing")
page.banner()

# %% [markdown]
# A logistic probe answers a yes-or-no question about a text (*is it in French? is it about an athlete?*) from the
# k latents whose means differ most between yes and no. The paper reports 0.72 for its trained SAE and 0.69 for the
# best frozen baseline at k = 1 {cite}`korznikov2026sanity`, by the protocol of SAEBench
# {cite}`karvonen2025saebench`. A probe reads latent *activations* only: the decoder is never used.
#
# Two things decide what such a number is worth. Its **floor** is the whole procedure on permuted labels, the choice of
# latents included. Its **ceiling** is a probe on all dimensions of the residual stream. Next to the arms stand
# three references without training, in the same protocol: random directions, single dimensions of the residual stream (raw
# neurons), and principal components.

# %% tags=["hide-input"]
# What was read, and the floor, ceiling and references without training of every seed; the first hook's, where there are several.
place = page.profile.place_of(grid.sources[0])
((_, texts), *_) = [found for found in page.read.prepared("sparse_probing") if found[0].place == place]
seeds = [result for shared, result in page.read.references("sparse_probing") if shared.place == place]
references, floor, sizes, other_ranking = (
    pd.concat([result.table(name) for result in seeds], ignore_index=True)
    for name in ("tasks", "floor", "sizes", "other_ranking")
)
counted = probing.counted(sizes)
n_tasks = counted["task"].nunique()
over = f"mean over {counted['group'].nunique()} groups of the mean over their tasks ({n_tasks} tasks in all)"
page.parameters(
    [
        ("concept groups", "five", counted["group"].nunique(),
         "profession, product and sentiment, language, programming language, news topic"),
        ("yes-or-no tasks", "not stated", n_tasks, "one class against the others, in equal numbers"),
        ("texts per class", "thousands (SAEBench)", f"up to {protocol.per_class}", f"budget of the profile {profile}"),
        ("tokens read of a text", "128 (SAEBench)", protocol.window, f"budget of the profile {profile}"),
        ("division", "train, test", "50 % train, 20 % validation, 30 % test",
         "latents ranked and probes fitted on the first, strength chosen on the second, scored on the third"),
        ("latents of a text", "mean over tokens", "mean over tokens",
         "as in SAEBench; the first position is left out, as in training"),
        ("k", "1 and 5", ", ".join(map(str, protocol.ks)), "how the score grows with k"),
        ("regularisation", "not stated", "C = 0.001 to 10", "features in standard deviations"),
        ("floor", "0.5", f"{protocol.permutations} permutations", "measured, selection included"),
        ("ceiling", "none", "dense probe", "on all dimensions of the residual stream"),
        ("seeds", "not stated", len(grid.seeds),
         "each seed has its own SAEs, and its own division of the texts, shared by all arms"),
    ]
)  # fmt: skip

# %% [markdown]
# ## The texts
#
# They come from the labelled tables of the `sae-probes` package {cite}`kantamneni2025useful`, only from the half of their rows that no autoencoder
# here is trained on, and from software catalogues that hold the same messages in five languages (the same message
# never stands in two parts of a division, in whatever language). Three of the package's tables set news
# against source code and are not used; a fourth names three of its four news topics wrongly, and is used under the right
# names.

# %% tags=["hide-input"]
numbers = ["rows", "of_other_half", "contradicting", "repeated", "looked_at", "overlapping", "used", "cut"]
pools = texts.table("counts").groupby(["group", "pool"], sort=False)[numbers].sum()
tokens = texts.table("texts").groupby("pool")["tokens"].sum()
page.table(
    pools.assign(tokens=tokens.reindex(pools.index.get_level_values("pool")).to_numpy()),
    caption="Rows of every pool of texts: kept for the autoencoders' own text, under two labels, repeated, looked at, "
    "sharing 13 tokens with a text taken before; texts used, those of them cut at the window, and tokens read.",
)

# %% tags=["hide-input"]
n = pools.sum()
Markdown(
    f"Before anything was divided, {n['repeated']:,} texts that open like another one of their class were removed, and "
    f"{n['contradicting']:,} that stand under two labels; of the {n['looked_at']:,} candidates that were then looked at, "
    f"{n['overlapping']:,} shared a run of tokens with a text taken before. {n['used']:,} texts are used; "
    f"{n['cut'] / n['used']:.0%} of them are longer than the window and cut."
)

# %% tags=["hide-input"]
dense = references[references["features"] == probing.DENSE].groupby("task")["accuracy"].mean()
table = sizes[sizes["seed"] == sizes["seed"].min()].drop(columns="seed").set_index(["group", "task"])
page.table(
    table.assign(ceiling=dense.reindex(table.index.get_level_values("task")).to_numpy()),
    caption="Every task: texts in each part on the first seed, and the accuracy of the dense probe (mean over seeds).",
    folded=True,
)

# %% [markdown]
# ## Between floor and ceiling
#
# Every row of `tasks` is one probe: an arm, a seed, a task and a number k of latents. A score is the mean over concept
# groups of the mean over their tasks (`over_groups`), for arms and for the references without training alike.

# %%
tasks = page.read.table("tasks", "sparse_probing")
page.publish(tasks.drop(columns=["latent"]), "sparse_probing_tasks")
arms = tasks[tasks["world_or_hook"] == place]
arms = arms.assign(
    name=[figures.arm_words(c, i) for c, i in zip(arms["constraint"], arms["init"], strict=True)]
)
rows = pd.concat([arms, references.assign(name=references["features"], constraint=None, init=None)])
by = ["name", "constraint", "init", "features", "seed", "k"]
summary = pd.DataFrame(
    [
        {
            **dict(zip(by, key, strict=True)),
            **{m: probing.over_groups(part, m) for m in ("accuracy", "auroc")},
        }
        for key, part in rows.groupby(by, sort=False, dropna=False)
    ]
)
probed = summary[summary["features"].isin([probing.LATENTS, *probing.REFERENCES])]
ends = pd.DataFrame(
    [
        {
            "seed": seed,
            "k": k,
            "floor": low,
            "ceiling": probing.ceiling(references[references["seed"] == seed]),
        }
        for seed, part in floor.groupby("seed")
        for k, low in probing.floors(part).items()
    ]
)

# %%
means = probed.pivot_table(index="name", columns="k", values="accuracy", sort=False)
means.loc["floor"], means.loc["ceiling"] = ends.groupby("k")["floor"].mean(), ends["ceiling"].mean()
trained_share = (means.loc["trained"] - means.loc["floor"]) / (means.loc["ceiling"] - means.loc["floor"])
best = means.drop(["trained", "floor", "ceiling", *probing.REFERENCES]).agg(["idxmax", "max"]).T

# %% tags=["hide-input"]
said = {
    k: f"With {k} feature{'s' if k > 1 else ''}, the trained SAE reaches {means.loc['trained', k]:.3f}, "
    f"{trained_share[k]:.0%} of the way from permuted labels ({means.loc['floor', k]:.3f}) to the dense probe "
    f"({means.loc['ceiling', k]:.3f}); the best baseline is {best.loc[k, 'idxmax']} with {best.loc[k, 'max']:.3f}, the "
    f"untrained SAE has {means.loc['untrained', k]:.3f}, and "
    + ", ".join(f"{name} {means.loc[name, k]:.3f}" for name in probing.REFERENCES)
    + "."
    for k in (1, 5)
}
page.figure(
    figures.probing_by_arm(probed, ends, ks=[1, 5]),
    finding=f"With one latent: trained {means.loc['trained', 1]:.2f}, random directions {means.loc[probing.DIRECTIONS, 1]:.2f}, best baseline {best.loc[1, 'max']:.2f}",
    alt=f"Accuracy of every arm and of references without training with one and with five features. {said[1]}",
    caption=f"Test accuracy, {over}. {figures.ARCHITECTURE_NAMES[grid.architectures[0]]}, L0 = {grid.l0[0]}, "
    f"{count(len(grid.seeds), 'seed')}. Squares: references without training. Dotted: permuted labels, selection included; dashed: dense probe.",
    data=(summary, "sparse_probing_summary"),
)

# %% tags=["hide-input"]
Markdown("\n\n".join(said.values()))

# %% [markdown]
# Random directions are dense projections of the residual stream, as many as there are latents, without any
# threshold: the probe picks the one among them that happens to point along the difference of the classes. The
# *untrained* arm has random directions too, but keeps only the few largest projections of each token.
#
# ## How sure is a lead?
#
# Verdicts rest on seeds ([](verdicts)). Within a seed there is a second source of noise: other tasks of the same
# kinds might have favoured other arms. So within each seed tasks are drawn again, with replacement inside their group.


# %%
def interval_over_tasks(differences: pd.Series, draws: int = 2_000) -> tuple[float, float]:
    """A 95 % percentile interval of the mean over groups; NaN where a group has a single task."""
    groups = [part.to_numpy(float) for _, part in differences.groupby("group")]
    if min(map(len, groups)) < 2:
        return np.nan, np.nan
    if all(np.ptp(part) == 0 for part in groups):
        return (float(np.mean([part.mean() for part in groups])),) * 2
    found = bootstrap(
        groups, lambda *samples, axis=-1: np.mean([s.mean(axis=axis) for s in samples], axis=0),
        method="percentile", n_resamples=draws, vectorized=True, rng=0,
    )  # fmt: skip
    return tuple(map(float, found.confidence_interval))


one = rows[
    (rows["k"] == 1)
    & rows["features"].isin([probing.LATENTS, *probing.REFERENCES])
    & (rows["group"] != WIDER)
]
by_task = one.pivot_table(index=["seed", "group", "task"], columns="name", values="accuracy", sort=False)
lead_by_task = by_task.rsub(by_task["trained"], axis=0).drop(columns="trained")
looks = probed.drop_duplicates("name").set_index("name")[["constraint", "init"]]
leads = pd.DataFrame(
    [
        {"name": name, **looks.loc[name], "seed": seed, "lead": part.groupby("group").mean().mean(),
         **dict(zip(("low", "high"), interval_over_tasks(part.droplevel("seed")), strict=True))}
        for name in lead_by_task
        for seed, part in lead_by_task[name].groupby("seed")
    ]
)  # fmt: skip

# %% tags=["hide-input"]
fraction = book_ledger().claim("probing-frozen-decoder").margin.fraction
judged = page.read.scores("sparse_probing")
full, measured_in = range_in_use(page.profile, judged, "sparse_probing", "sparse_probing_top1")
against = leads[leads["name"].isin(probing.REFERENCES)].groupby("name", sort=False)["lead"]
reference_words = "With one latent, " + "; ".join(
    f"{ahead(name, part.mean(), of='the trained SAE')} on average (trained minus reference {part.min():+.3f} to "
    f"{part.max():+.3f}; trained is ahead on {(part > 0).sum()} of {count(len(part), 'seed')})"
    for name, part in against
) + "."  # fmt: skip
page.figure(
    figures.probing_leads(leads, margin=fraction * full),
    finding="With one latent, "
    + "; ".join(ahead(name, part.mean(), of="the trained SAE") for name, part in against),
    alt="The trained arm's lead in accuracy with one latent over every baseline and over references without training. "
    + reference_words,
    caption="k = 1. One dot per seed: difference of the means over groups, paired by task; bar: 95 % percentile interval, "
    f"tasks drawn again inside each group (2,000 draws). Grey: the ledger's margin, {fraction:.0%} of the range {full:.3g}"
    + (f" (measured in {measured_in})." if measured_in else "."),
    data=(leads, "sparse_probing_leads"),
)

# %% tags=["hide-input"]
per_test = counted[counted["seed"] == counted["seed"].min()]["test"].median()
permuted = summary[summary["features"] == probing.PERMUTED].groupby("name")["accuracy"].mean()
Markdown(
    f"{reference_words}\n\nA task has about {per_test:.0f} test texts, so a single accuracy near 0.7 has a standard error of "
    f"about {np.sqrt(0.21 / per_test):.2f}. Over the {n_tasks} tasks of one seed, a lead with k = 1 is known to about "
    f"±{((leads['high'] - leads['low']) / 2).median():.3f} (half a 95 % interval). The floor is measured on raw neurons and "
    f"used for all. On each arm's own latents permuted labels give {permuted.min():.3f} to {permuted.max():.3f}, mean "
    f"{permuted.mean():.3f}."
)

# %% [markdown]
# ## Group by group

# %%
shown = rows["features"].isin([probing.LATENTS, *probing.REFERENCES]) & (rows["k"] == 1)
by_group = (
    rows[shown | (rows["features"] == probing.DENSE)]
    .groupby(["name", "constraint", "init", "group"], sort=False, dropna=False)["accuracy"].mean().reset_index()
)  # fmt: skip
groups = [group for group in GROUPS if group in set(by_group["group"])]
wide = by_group.pivot_table(index="group", columns="name", values="accuracy", sort=False).reindex(groups)
untrained = wide[list(probing.REFERENCES)]

# %% tags=["hide-input"]
group_words = (
    "With one feature, the trained SAE is ahead of the best references without training in "
    f"{(wide['trained'] > untrained.max(axis=1)).sum()} of {len(wide)} groups ("
    + "; ".join(
        f"{group}: trained {row['trained']:.2f}, {untrained.loc[group].idxmax()} {untrained.loc[group].max():.2f}, "
        f"untrained {row['untrained']:.2f}, dense probe {row[probing.DENSE]:.2f}"
        for group, row in wide.iterrows()
    )
    + ")."
)
page.figure(
    figures.probing_by_group(by_group, groups=groups, ceiling=probing.DENSE),
    finding=f"The trained SAE is ahead of the best reference without training in {(wide['trained'] > untrained.max(axis=1)).sum()} of {len(wide)} groups",
    alt="Accuracy with one feature in each concept group, for every arm and for references without training. "
    + group_words,
    caption="k = 1, mean over the tasks of a group and over seeds. Dotted: 0.5; dashed: the dense probe of the group.",
    data=(by_group, "sparse_probing_groups"),
)

# %% tags=["hide-input"]
Markdown(group_words)

# %% [markdown]
# ## Against the number of latents

# %% tags=["hide-input"]
growth = means.drop(["floor", "ceiling"])
first, last = min(growth), max(growth)
growth_words = (
    f"From k = {first} to k = {last} the trained SAE goes from {growth.loc['trained', first]:.3f} to "
    f"{growth.loc['trained', last]:.3f}; the distance from the worst to the best row goes from {np.ptp(growth[first]):.3f} to "
    f"{np.ptp(growth[last]):.3f}. The best row is "
    + ", ".join(f"{growth[k].idxmax()} at k = {k}" for k in growth)
    + "."
)
page.figure(
    figures.probing_by_k(probed, ends),
    finding=f"The distance from the worst to the best row goes from {np.ptp(growth[first]):.2f} with {first} to {np.ptp(growth[last]):.2f} with {last}",
    alt="Accuracy and AUROC against the number of features, one line per arm. " + growth_words,
    caption=f"Mean over groups, line: mean over {count(len(grid.seeds), 'seed')}, band: their range. Dotted lines with squares: "
    "references without training. Grey dotted: chance, grey dashed: dense probe.",
)

# %% tags=["hide-input"]
Markdown(growth_words)

# %% [markdown]
# ## Variants of the protocol
#
# SAEBench ranks latents by the plain difference of class means, which favours latents with large activations. Ranked in
# standard deviations instead, latents that fire rarely count as much. The last column is a probe on all features at
# once: all latents of an arm, or all dimensions of the residual stream.

# %%
again = [
    {"name": name, "features": probing.OTHER_RANKING, "k": k, "accuracy": probing.over_groups(part)}
    for (name, _, k), part in other_ranking.groupby(["features", "seed", "k"], sort=False)
]
every = pd.concat([summary[summary["features"] != probing.PERMUTED], pd.DataFrame(again)])
variant = every["features"].replace(dict.fromkeys([probing.LATENTS, *probing.REFERENCES], "by difference"))
variant = variant.replace({probing.OTHER_RANKING: "in standard deviations"}) + every["k"].map(
    ", k = {}".format
)
variant = variant.mask(every["features"].isin([probing.ALL_LATENTS, probing.DENSE]), "all features")
kept = every["k"].isin([1, 5]) | (variant == "all features")
variants = every[kept].pivot_table(index="name", columns=variant[kept], values="accuracy", sort=False)
facts = page.read.facts("sparse_probing", "sparse_probing")
facts = facts[facts["world_or_hook"] == place]
names = [figures.arm_words(c, i) for c, i in zip(facts["constraint"], facts["init"], strict=True)]
variants.insert(0, "L0 on these texts", facts.groupby(names)["l0"].mean())

# %% tags=["hide-input"]
page.table(
    variants,
    caption=f"Active latents per token of these texts, where {grid.l0[0]} was meant; accuracy under variants of the protocol, "
    "mean over groups and seeds: ranked by the difference of class means (as everywhere else on this page), ranked in "
    "standard deviations, and all features at once.",
)

# %% tags=["hide-input"]
Markdown(
    "Ranked in standard deviations, "
    + "; ".join(
        f"with k = {k}, "
        + " and ".join(
            f"{name} goes from {variants.loc[name, f'by difference, k = {k}']:.3f} to "
            f"{variants.loc[name, f'in standard deviations, k = {k}']:.3f}"
            for name in ("trained", probing.DIRECTIONS)
        )
        for k in (1, 5)
    )
    + "."
)

# %% [markdown]
# ## Next to the paper's table
#
# The paper's Gemma-2-2B layer 12 (BatchTopK, 73,728 latents, L0 = 160). Accuracies depend on the tasks; the columns to
# compare are the shares of the trained arm's lead over chance: 0.5 for the paper, the measured floor for ours.

# %%
printed = paper_tables()
printed = printed[(printed["layer"] == 12) & (printed["architecture"] == "BatchTopK")]
printed = printed.pivot_table(index=["variant", "init"], columns="metric", values="mean", sort=False)
mine = summary[summary["features"] == probing.LATENTS]
mine = mine.pivot_table(index=["constraint", "init"], columns="k", values="accuracy", sort=False)
columns = {}
for k in (1, 5):
    pairs = {"paper": (printed[f"sparse_probing_top{k}"], 0.5), "ours": (mine[k], means.loc["floor", k])}
    columns |= {f"top {k}, {who}": values for who, (values, _) in pairs.items()}
    for who, (values, low) in pairs.items():
        columns[f"share, top {k}, {who}"] = (values - low) / (values["trained", "iso"] - low)

# %% tags=["hide-input"]
page.table(
    pd.DataFrame(columns).rename_axis(["arm", "init"]),
    caption="Accuracy, and share of the trained arm's lead over chance, in the paper's Table 2 and here.",
    digits=2,
)

# %% [markdown] tags=["if-shown"]
# ## Other hooks, other texts

# %% tags=["hide-input"]
others = tasks[(tasks["world_or_hook"] != place) & (tasks["k"] == 1) & (tasks["features"] == probing.LATENTS)]
wider = rows[shown & (rows["group"] == WIDER)].groupby("name", sort=False)["accuracy"].mean()
parts = [
    f"**{subject}, {hook}, k = 1.** "
    + ", ".join(
        f"{figures.arm_words(*arm)} {probing.over_groups(part):.3f}"
        for arm, part in found.groupby(["constraint", "init"], sort=False)
    )
    for (subject, hook), found in others.groupby(["subject", "world_or_hook"], sort=False)
]
if len(wider):
    n_wider = sizes[sizes["group"] == WIDER]["task"].nunique()
    parts.append(
        f"**{n_wider} tasks of the wider set, k = 1.** " + ", ".join(f"{n} {v:.3f}" for n, v in wider.items())
    )
Markdown("\n\n".join(parts)) if parts else None

# %% [markdown]
# ## What it costs

# %% tags=["hide-input"]
read = texts.table("texts")
Markdown(
    f"Reading {read['tokens'].sum():,} tokens of {len(read):,} texts took {texts.seconds:.0f} s once for all arms; after that "
    f"an SAE took {facts['seconds'].mean():.1f} s on one thread: {tasks['task'].nunique()} tasks, {len(protocol.ks)} numbers "
    "of latents, two rankings, dense probes, and permuted labels."
)

# %% [markdown]
# ## Can the metrics be trusted?
#
# What their [validity gates](metric_validity.ipynb) say, which corrupt each metric's own reference in steps.

# %% tags=["hide-input"]
page.gates("sparse_probing_top1", "sparse_probing_top5")

# %% [markdown]
# ## What could be wrong
#
# - A task with few and short texts is noisy (how noisy is said above); the tasks of a group share texts, so they are not
#   independent either, and the interval over tasks is if anything too narrow.
# - Language identification rests on software messages: short, and the same in every language.
# - Programming languages are told from the last lines of a file, professions from the end of a passage about a person,
#   because texts are cut to the window.
# - A mean over tokens washes out latents that fire once in a text, and favours dense features; that is SAEBench's choice,
#   shared by all arms.
# - The dense probe is fitted on as few texts as the sparse ones. With more texts the ceiling would rise.
# - Every seed divides the labelled texts in its own way, but the texts themselves are one set for all seeds and arms.
# - Arms are brought to one L0 on other text. What they reach on these texts stands in the table of variants.
# - Nothing here says how another model's latents would compare. A small model's knowledge of languages other than
#   English, for one, is shallow.
# - A high score says that a concept is *linearly there* along some latent. It does not say that the latent stands for it.

# %% tags=["hide-input"]
# The short answer on top of the page.
directions = probing.DIRECTIONS
page.answer(
    f"The best of {grid.d_sae[0]:,} random directions tells as much as the best latent: with one of them a probe reaches "
    f"{means.loc[directions, 1]:.3f}, with one latent of the trained SAE {means.loc['trained', 1]:.3f}, of the best baseline "
    f"({best.loc[1, 'idxmax']}) {best.loc[1, 'max']:.3f}. Permuted labels give {means.loc['floor', 1]:.3f}, a probe on everything "
    f"{means.loc['ceiling', 1]:.3f}."
    if means.loc[directions, 1] >= means.loc["trained", 1]
    else f"With one latent the trained SAE reaches {means.loc['trained', 1]:.3f}, the best of {grid.d_sae[0]:,} random directions "
    f"{means.loc[directions, 1]:.3f}, and the best baseline ({best.loc[1, 'idxmax']}) {best.loc[1, 'max']:.3f}.",
    sure=f"best of five frozen variants: {page.verdict('probing-best-frozen')}; one named in advance: "
    f"{page.verdict('probing-frozen-decoder')}.",
    scale=f"{n_tasks} tasks in {counted['group'].nunique()} groups, {grid.d_sae[0]:,} latents, L0 = {grid.l0[0]}, at {place} of "
    f"{page.profile.source_named(grid.sources[0]).subject}.",
)

# %% tags=["hide-input"]
page.provenance(seeds=grid.seeds)
