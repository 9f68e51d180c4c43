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
# # Check your own
#
# *You have trained a sparse autoencoder. Does it beat its random baselines?*

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
import contextlib
import io
import warnings

import torch

import sanity
from sanity.checking import SIZES, source_of
from sanity.publishing import Markdown, ReportPage, open_chapter
from sanity.sources import Pace

page = open_chapter("check_your_own", profile)
page.banner()

# %% [markdown]
# This page trains an SAE with [SAELens](https://github.com/decoderesearch/SAELens), by its own trainer and saved by its own
# code, and then does with the saved folder what you can do with yours:
#
# ```bash
# sanity check my_sae/ --model smollm2-135m --hook blocks.10.hook_resid_post
# ```
#
# | what you have | what is read |
# |---|---|
# | SAELens | `cfg.json`, `sae_weights.safetensors`: standard, gated, JumpReLU, TopK, BatchTopK, Matryoshka |
# | dictionary_learning | `config.json`, `ae.pt` (weights only) or `ae.safetensors` |
# | sparsify | `cfg.json`, `sae.safetensors`; of several hook points, the folder of one |
# | anything else | an object with `encode`, `decode` and `W_dec`: `sanity.check(sae, model, hook)` |
#
# The check trains *nulls* on the same activations, with the architecture, the size and the L0 of the given SAE: what
# stays random in them cannot have been learned. Others need no training: the given SAE with its decoder permuted or
# rotated, and random latents that fire as often as its own do.

# %%
MODEL, HOOK = "smollm2-135m", "blocks.10.hook_resid_post"
D_SAE, K, BATCH = 768, 32, 1024
small = profile in ("demo", "smoke")
size = SIZES[-1] if small else SIZES[0]
STEPS = 60 if small else 150

# %% [markdown]
# ## An SAE by SAELens
#
# The activations are those of the other chapters, raw as the language model gives them. SAELens brings them to the norm
# that it wants, trains, and folds that norm into what it saves.

# %%
source = source_of(MODEL, HOOK, ("registry",), tokens=size.tokens, held_out=size.held_out)
harvests = source.cells("cpu", Pace())
inputs = dict(zip(harvests, page.results(list(harvests.values())), strict=True))
kept = source.open(inputs, batch_size=BATCH, seed=0, device="cpu").kept
rows = torch.cat(list(kept.rows()))  # [tokens, d_in]


def batches():
    """Shuffled batches [BATCH, d_in], without end."""
    draw = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(rows), generator=draw)
        yield from (rows[chosen] for chosen in order[: len(rows) // BATCH * BATCH].split(BATCH))


# %% tags=["remove-cell"]
if "google.colab" in sys.modules:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "sae-lens>=6,<7"], check=True)

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.training.sae_trainer import SAETrainer

torch.manual_seed(0)  # SAELens draws from the global generator only
folder = page.root / "_build" / "check_your_own" / profile / "sae"
lens = TopKTrainingSAE(
    TopKTrainingSAEConfig(
        d_in=source.d_in,
        d_sae=D_SAE,
        k=K,
        normalize_activations="expected_average_only_in",
        metadata=SAEMetadata(model_name="HuggingFaceTB/SmolLM2-135M-Instruct", hook_name=HOOK),
    )
)
settings = SAETrainerConfig(
    total_training_samples=STEPS * BATCH,
    train_batch_size_samples=BATCH,
    lr=1e-3,
    lr_end=1e-4,
    n_batches_for_norm_estimate=10,
    logger=LoggingConfig(log_to_wandb=False),
)
with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
    trained = SAETrainer(settings, lens, batches()).fit()
saved = trained.save_inference_model(folder)

# %% [markdown]
# ## The check
#
# With a path alone: model and hook stand in the folder's `cfg.json`. Seven nulls with two seeds each are trained and
# scored; to keep this page short, by reconstruction and sparse probing only. Without `evals`, cross-entropy, KL divergence
# and interpretability are asked as well. With `out`, the report is a page and a notebook to go on from.

# %%
out = folder.parent / "report"
report = sanity.check(
    folder, evals=["reconstruction", "sparse_probing"], seeds=2, tokens=size.tokens, out=out
)
page.keep(report.found)
Markdown(f"**{report.answer}**")

# %%
shown = ReportPage(out, show=page.figure)
shown.placed()

# %%
shown.verdicts()

# %% [markdown]
# ## Which test
#
# One SAE is one seed. How it compares with a null's *mean* over seeds would need seeds of its recipe (give several folders:
# `sanity check --paths A B C`). What can be asked of one is whether it lies outside the spread of the null's seeds. The
# interval is a prediction interval: by how much the SAE would be ahead of *one more* seed of that null. The rank needs no assumption about
# how scores are spread, but with two seeds it can never be surer than one in three.

# %%
shown.comparisons()

# %% [markdown]
# A verdict of equivalence needs a margin. The check takes a tenth of the metric's range, as the claims of this book do; the
# bars show what another margin would say.

# %%
shown.margins()

# %%
shown.given()

# %% [markdown]
# ## Yours
#
# In Colab the next cell asks for a zip of your folder. Elsewhere, give its path.

# %%
if "google.colab" in sys.modules:
    from google.colab import files

    (mine,) = files.upload()
    # Name the model and the hook as well where the folder does not say them.
    yours = sanity.check(mine, minutes=10, out="/content/report")
    print(yours.answer)

# %% [markdown]
# ## What could be wrong
#
# - The SAE of this page is small and was trained for seconds, so that what is said of it holds for no other.
# - Its nulls saw more tokens than it did. With your own it will be the other way round: what the check trains with is in the
#   report, and a lead of yours may then be a lead in training. `--baselines trained` adds an ordinary SAE with the nulls'
#   budget, and `--tokens` gives all of them more.
# - Two seeds of a null hardly say how much seeds differ. The intervals pool nulls of one kind, which takes for granted
#   that these vary alike.

# %% tags=["hide-input"]
shown.caveats()

# %% tags=["hide-input"]
# The short answer on top of the page.
page.answer(
    report.answer,
    sure="one autoencoder is one seed: what is said holds for it, and not for its recipe. Two seeds of each null hardly say "
    "how much seeds differ.",
    scale=f"{D_SAE} latents, {STEPS * BATCH:,} tokens of training by SAELens, at {HOOK} of {MODEL}; nulls on {size.tokens:,} "
    "tokens.",
)

# %% tags=["hide-input"]
page.provenance()
