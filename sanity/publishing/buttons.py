"""A Sphinx extension: puts each page's launch and download buttons into the theme's header.

It also keeps what a plain `jupyter-book build .` makes of chapters that were not run away from the pages.

The theme has launch buttons of its own, but its notebook download hands out the built copy, and both
fail on remotes they do not know. Here the staged configuration says per page what to show.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

log = logging.getLogger("sanity")


def add_buttons(app: Any, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Put what the configuration has for this page before the theme's own buttons."""
    ours = app.config.sanity_buttons.get(pagename, [])
    context["header_buttons"] = [*ours, *context.get("header_buttons", [])]


def keep_apart(app: Any, config: Any) -> None:
    """Send pages of notebooks as they are kept, without results, to a folder of their own."""
    if not config.sanity_buttons:  # which only what `sanity book` has staged has
        app.outdir = type(app.outdir)(Path(app.outdir).with_name("unrun"))
        Path(app.outdir).mkdir(parents=True, exist_ok=True)
        log.warning(
            "these are the notebooks without results: their pages go to %s, and the book's own come from "
            "`make reproduce` or `make book`",
            app.outdir,
        )


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry point."""
    app.add_config_value("sanity_buttons", {}, "html")
    app.connect("config-inited", keep_apart)
    # After the theme has made its list (priority 501) and before the page is written.
    app.connect("html-page-context", add_buttons, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
