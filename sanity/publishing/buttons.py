"""A Sphinx extension: puts each page's launch and download buttons into the theme's header.

The theme has launch buttons of its own, but its notebook download hands out the built copy, and both
fail on remotes they do not know. Here the staged configuration says per page what to show.
"""

from __future__ import annotations

from typing import Any


def add_buttons(app: Any, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Put what the configuration has for this page before the theme's own buttons."""
    ours = app.config.sanity_buttons.get(pagename, [])
    context["header_buttons"] = [*ours, *context.get("header_buttons", [])]


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry point."""
    app.add_config_value("sanity_buttons", {}, "html")
    # After the theme has made its list (priority 501) and before the page is written.
    app.connect("html-page-context", add_buttons, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
