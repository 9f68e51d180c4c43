"""Text and names as an attacker would write them, in a chapter that shows them in every way."""

from __future__ import annotations

HOSTILE = ("corpus", "entity", "file", "profile", "judge", "answer", "hash")
"""What comes from elsewhere and is shown on pages; see `hostile_text`."""
HOSTILE_CELLS = """
from types import SimpleNamespace
from sanity import figures
from sanity.figures.interpretability import examples_html
from sanity.publishing import Markdown, code
from sanity.publishing.display import Html
from sanity.publishing.page import ChapterPage

def hostile(kind):
    owned = f"document.documentElement.dataset.{kind}=1"
    formula = r"$\\href{javascript:alert(1)}{x}$ $\\frac$"
    tags = f"<script>{owned}</script> <img src=x onerror={owned}> </td></table>"
    return f"{kind} `{tags} [x](javascript:{owned}) {formula}"

context = SimpleNamespace(pieces=[hostile("corpus"), "b"], activations=[1.0, 0.0], peak=0, strength=1.0)
table = pd.DataFrame({hostile("file"): [hostile("entity")], "answer": [hostile("answer")]})
table = table.rename_axis(hostile("judge"))
known = pd.DataFrame({"concept": ["code"], "accuracy": [0.9], "shuffled": [0.5]})
about = {"about": hostile("profile"), "left_out": (hostile("profile"),)}
profile_text = page.profile.model_copy(update=about)
gates = figures.judge_gates({hostile("judge"): known}, needed=0.75)
for shown in (
    table,
    page.table(table, caption=hostile("judge")),
    page.table(table, caption=hostile("judge"), folded=True),
    page.figure(gates, alt=hostile("judge"), caption=hostile("answer"), data=(known, "judge_gates")),
    ChapterPage("toy", profile_text, page.root).banner(),
    Html(examples_html([(hostile("judge"), hostile("answer"), [context])], caption=hostile("entity"))),
    Markdown(f"Judge {code(hostile('judge'))} said {hostile('answer')}\\n\\n- `{hostile('entity')}`"),
    page.provenance(hashes={hostile("hash"): hostile("hash")}),
):
    display(shown)
print(hostile("answer"))
"""
