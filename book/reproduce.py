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
# # Reproduce this book

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

from sanity import profiles
from sanity.engine import store
from sanity.engine.computing import total_cost
from sanity.experiments import plan
from sanity.publishing import count, open_chapter

page = open_chapter("reproduce", profile)
page.banner()

# %% [markdown]
# Every number in these pages was computed by the run that made them. On a fresh Debian or Ubuntu with Python 3.11
# (on Debian also the package `python3.11-venv`), git and make, two commands are enough:
#
# ```bash
# make test         # sets up what is missing and runs the tests
# make reproduce    # computes every result and builds this book: _build/html/index.html
# ```
#
# `make reproduce PROFILE=demo|smoke|quick|overnight|card|gpu|paper` picks the scale. Any run can be stopped at any moment; the same
# command goes on where it was. Single chapters run by themselves:
#
# ```bash
# papermill book/synthetic_recovery.ipynb out.ipynb -p profile quick
# ```

# %% [markdown]
# ## The profiles
#
# A profile is one file of data: which model, how many tokens, which arms, how many seeds. The table shows what each
# one asks for, and what a run of everything in it is expected to take on the machine it is meant for.


# %%
def row(name: str) -> dict[str, object]:
    one = profiles.load(name)
    real, worlds = one.grids.get("real_activations", ()), one.grids.get("synthetic_recovery", ())
    hooks = [one.sources[source] for block in real for source in block.sources]
    cost = total_cost(plan(one))
    return {
        "profile": name,
        "device": one.device,
        "models and hooks": "; ".join(f"{hook.subject} {hook.hook}" for hook in hooks),
        "unique training tokens": ", ".join(f"{hook.train_tokens:,}" for hook in hooks),
        "tokens seen": f"{real[0].batch_size * real[0].steps:,}" if real else "",
        "latents": ", ".join(f"{block.d_sae[0]:,}" for block in real for _ in block.sources),
        "primary grid": f"{real[0].architectures[0]}, L0 {real[0].l0[0]}, {len(real[0].arms)} arms, {count(len(real[0].seeds), 'seed')}"
        if real
        else "",
        "synthetic worlds": f"d {one.source_named(worlds[0].sources[0]).d_in}, m {worlds[0].d_sae[0]:,}, "
        f"{worlds[0].batch_size * worlds[0].steps:,} samples, {count(len(worlds[0].seeds), 'seed')}"
        if worlds
        else "",
        "expected hours": f"{cost.seconds / 3600:.2g}",
        "disk, GB": f"{cost.disk_bytes / 1e9:.2g}",
    }


# %% tags=["hide-input"]
page.table(
    pd.DataFrame([row(name) for name in profiles.names()])
    .set_index("profile")
    .T.rename_axis(index="what", columns=None),
    caption="Every profile: what it asks for, and what it is expected to take.",
)

# %% [markdown]
# ## What this run computed
#
# Everything computed is a *cell*: a pure function of a configuration and of other cells' results, kept in a folder
# named by the hash of these. A result is found again wherever its key is the same, whatever the commit, the machine
# or the company in which it was computed; those are written down next to it. (Cells that share a stream of batches are
# computed together; their seconds are divided evenly.) Settings, definitions and versions that change leave results
# behind that no key reaches any more: `sanity clean` lists them, and `sanity clean --yes` removes them.

# %%
cells, known = plan(page.profile), store.open_store()
computed = [known.get(cell.key) for cell in cells]
table = pd.DataFrame(
    {
        "label": cell.label,
        "stage": cell.stage.replace("_", " "),
        "expected_s": cell.cost.seconds,
        "took_s": result.seconds if result else float("nan"),
        "megabytes": sum(file["bytes"] for file in result.files.values()) / 1e6 if result else float("nan"),
        "key": cell.key,
    }
    for cell, result in zip(cells, computed, strict=True)
)

# %% tags=["hide-input"]
page.publish(table, "cells")

# %% tags=["hide-input"]
stages = table.groupby("stage", sort=False).agg(
    cells=("key", "count"),
    expected_s=("expected_s", "sum"),
    took_s=("took_s", "sum"),
    megabytes=("megabytes", "sum"),
)
stages.loc["all"] = stages.sum()
page.table(
    stages.rename(columns={"expected_s": "expected, s", "took_s": "took, s"}),
    caption="Results by stage: how many, expected and measured seconds, size.",
    digits=0,
)

# %% tags=["hide-input"]
page.table(
    table[["label", "stage", "took_s", "megabytes", "key"]]
    .rename(columns={"took_s": "took, s"})
    .set_index("label"),
    caption="Every result with its key.",
    folded=True,
    digits=1,
)

# %% [markdown]
# ## The same numbers again
#
# Randomness is passed in as seeds; nothing draws from a global generator. On one machine, at the same number of
# threads, the same command gives the same bits, also after a kill in the middle: training checkpoints hold weights,
# optimiser state and the place in the data, and a stream's batch is a pure function of its seed and its step. Other
# processors or thread counts sum in another order and differ in the last digits, which training then magnifies:
# expect the same findings there, and not the same digits.
#
# ## Use the pieces
#
# ```python
# import sanity
#
# world = sanity.SyntheticWorld.from_spec(sanity.SyntheticSpec(probabilities="variable"))
# subject = sanity.load_subject("smollm2-135m")          # or a folder with any causal language model
# subject.residual(tokens, "blocks.10.hook_resid_post")  # [batch, pos, d_model]
# ```
#
# A new architecture, constraint or init is one small frozen dataclass (see `sanity/models/sparsity.py`,
# `sanity/baselines/constraints.py`, `sanity/baselines/init.py`) and works with all the others at once.

# %% tags=["hide-input"]
# The short answer on top of the page.
there = [result for result in computed if result]
page.answer(
    f"Two commands. This run needed {len(cells):,} results, which took "
    f"{page.number('minutes.computed', sum(result.seconds for result in there) / 60):.0f} minutes of computing "
    f"({sum(cell.cost.seconds for cell in cells) / 60:.0f} were planned), and "
    f"{sum(file['bytes'] for result in there for file in result.files.values()) / 1e9:.2g} GB of disk.",
    sure="the same command gives the same bits on one machine; other processors round differently, and training magnifies that.",
    scale=f"profile {page.profile.name}: {page.profile.about}; {len(there):,} of {len(cells):,} results are there.",
)

# %% tags=["hide-input"]
page.provenance([result for result in computed if result])
