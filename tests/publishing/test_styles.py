"""The book's own colours: links can be read on every ground that pages have."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

AA = 4.5
"""The least contrast of small text (WCAG 2, level AA)."""


def _luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` or `#rgb`, by the definition of WCAG 2."""
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _values(css: str, mode: str, name: str) -> list[str]:
    """What a style sheet sets a colour to in a mode, in the order of its rules."""
    rules = re.findall(rf'html\[data-theme="?{mode}"?\][^{{}}]*{{([^{{}}]*)}}', css)
    return [found for rule in rules for found in re.findall(rf"{name}:\s*(#[0-9a-fA-F]{{3,6}})", rule)]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_links_are_read_on_every_ground(repository: Path, mode: str) -> None:
    theme = resources.files("pydata_sphinx_theme") / "theme/pydata_sphinx_theme/static/styles"
    css = (theme / "pydata-sphinx-theme.css").read_text(encoding="utf-8")
    own = (repository / "book" / "_static" / "custom.css").read_text(encoding="utf-8")
    link = _values(own, mode, "--pst-color-link")[-1]
    for ground in ("background", "surface"):
        (*_, colour) = _values(css, mode, f"--pst-color-{ground}")
        assert _contrast(link, colour) >= AA, (link, ground, colour)
