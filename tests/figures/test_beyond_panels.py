"""What lies beyond a panel is shown all the same: as an arrow at its edge, with its value."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sanity import figures
from sanity.figures.style import line_above, marks_outside


def test_a_given_sae_above_its_ceiling_and_a_null_far_below_are_arrows_at_their_own_sides() -> None:
    rows = [("mine", 1.3), ("permuted", -4.0), ("permuted", -6.0), ("frozen", 0.4)]
    scores = pd.DataFrame(rows, columns=["arm", "value"]).assign(metric="ev", floor=0.0, ceiling=1.0)
    figure = figures.between_floor_and_ceiling(scores, given="mine", labels={"ev": "EV"})
    said = {text.get_text(): text.get_ha() for text in figure.axes[0].texts}
    assert said == {"130% →": "right", "← -500%": "left"}
    assert marks_outside(figure) == 0
    plt.close(figure)


def test_points_that_were_never_measured_are_no_arrows() -> None:
    figure, ax = plt.subplots()
    line_above(ax, [1, 2, 3, 4], [0.5, np.nan, -3.0, -9.0], lowest=-1.0, colour="black", marker="o")
    drawn, arrows = ax.get_lines()
    assert drawn.get_markevery() == [0]
    assert list(arrows.get_xdata()) == [3, 4]
    assert [text.get_text() for text in ax.texts] == ["-9"]
    plt.close(figure)
