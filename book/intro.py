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
# # Do sparse autoencoders beat random baselines?
#
# Sparse autoencoders (SAEs) are the standard instrument for taking a language model's activations apart into
# parts that people can read. A recent paper asks whether they pass a sanity check {cite}`korznikov2026sanity`:
# train them on data whose true parts are known, and hold them against *baselines* whose encoder or decoder stays
# random. Its answer is uncomfortable: **9 % of the true features at 71 % explained variance**, and baselines that
# "match" in interpretability (0.87 against 0.90), sparse probing (0.69 against 0.72) and causal editing (0.73
# against 0.72).
#
# This book reproduces the check, runs it on your machine, and asks more of it: what is each score worth between
# a floor and a ceiling, what does each baseline really hold fixed, and how sure can one be.

# %% tags=["remove-cell"]
# In Colab: install the package from the repository this notebook came from. Elsewhere: nothing.
import sys

if "google.colab" in sys.modules:
    import json
    import os
    import re
    import subprocess
    import urllib.parse
    import urllib.request

    REMOTE, COMMIT = "", ""
    if not REMOTE:
        api = "http://{COLAB_JUPYTER_IP}:{KMP_TARGET_PORT}/api/sessions".format_map(os.environ)
        opened = urllib.parse.unquote(json.load(urllib.request.urlopen(api))[0]["path"])
        REMOTE, COMMIT = re.search(r"(https://github\.com/[^/]+/[^/]+)/blob/([^/]+)/", opened).groups()
    subprocess.run(["git", "clone", "--quiet", REMOTE, "/content/sae-sanity"], check=True)
    subprocess.run(["git", "-C", "/content/sae-sanity", "checkout", "--quiet", COMMIT], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "/content/sae-sanity"], check=True)
    os.chdir("/content/sae-sanity/book")

# %% tags=["parameters"]
profile = "quick"

# %% tags=["hide-input"]
from IPython.display import Markdown

from sanity import claims
from sanity.experiments import findings
from sanity.publishing import open_chapter

page = open_chapter("intro", profile)
page.banner()

# %% [markdown]
# ## What was claimed, and what we find
#
# One row per claim: the paper's and our own. A claim that no result speaks to yet is *open*. A verdict needs several
# seeds; with few of them most are *inconclusive*, which is never rounded up to "the baselines match". The rule for
# each claim (its one comparison, its margin, and whether that was set before the results were known) stands in
# `book/claims.yml`.

# %% tags=["hide-input"]
scores = claims.stored_scores(profile)
ledger = claims.read_ledger()
judged = claims.evaluate_all(ledger, scores, primary=claims.primary_grid(page.profile))
table = claims.claims_table(judged)
page.publish(table.astype(str), "claims")

# %% tags=["hide-input"]
Markdown(findings.verdict_words(table, page.profile))

# %% tags=["hide-input"]
page.table(
    table.loc[table["verdict"] != "open", ["claim", "paper", "ours", "verdict", "stands"]],
    caption=f"Claims that a result speaks to, at the profile {profile}.",
)

# %% tags=["hide-input"]
page.table(
    table.loc[table["verdict"] == "open", ["claim", "where", "paper"]],
    caption="Claims that are open at this profile.",
    folded=True,
)

# %% [markdown]
# ## The paper's own tables, read again
#
# The paper's Tables 2 to 4 print raw scores. Raw scores of probing and editing start at chance, so we read them as
# shares of the *trained* arm's margin over chance, (arm − floor) / (trained − floor). Where the trained arm itself is
# barely above chance there is nothing to divide by, and the table says so. The last column of the first table names
# which of five baselines supplied each "match" of the abstract: it is not the same one.

# %% tags=["hide-input"]
page.table(claims.headline_pairs(), caption="The abstract's pairs, and where each comes from.")

# %% tags=["hide-input"]
reread = claims.reread_tables()
page.publish(reread, "paper_tables_reread")

# %% tags=["hide-input"]
page.table(reread, caption="Tables 2 to 4, cell by cell.", folded=True)

# %% [markdown]
# ## Where to go
#
# - [](synthetic_recovery): the world whose features are known, with curves, floors and ceilings.
# - [](real_activations): the baselines on a real language model, and their gap against training.
# - [](reproduce): two commands, what they cost, and every computed cell.

# %% tags=["hide-input"]
page.provenance()
