"""Labels keep off marks, lines and each other."""

from __future__ import annotations

import numpy as np

from fisherscope.analysis.data.labels import setting_label
from fisherscope.figures.label_placement import place_labels
from fisherscope.figures.style import panels


def test_labels_keep_off_marks_lines_and_each_other() -> None:
    """Five marks in a heap and a line through them: each text has a place of its own."""
    figure, (axes,) = panels(1, 1, (6.0, 4.0))
    axes.set(xlim=(0, 10), ylim=(0, 10))
    places = [(5.0, 5.0), (5.2, 5.1), (5.1, 4.9), (4.9, 5.2), (5.3, 5.3)]
    line = np.array([[0.0, 5.0], [10.0, 5.0]])
    written = place_labels(axes, places, list("12345"), lines=[line], reach=14.0)
    middles = np.array([text.mean(axis=0) for text in written])
    apart = np.linalg.norm(middles[:, None] - middles[None], axis=-1) + 99 * np.eye(5)
    assert apart.min() > 9  # points: the size of the text
    box = 72 * np.array(figure.get_size_inches()) * axes.get_position().size
    assert (np.abs(middles[:, 1] - 0.5 * box[1]) > 4.5).all()
    assert ((middles > 0) & (middles < box)).all()
    left = place_labels(axes, places[:1], ["x"], towards=(0.75 * np.pi, 1.25 * np.pi))
    assert left[0][0, 0] < 0.5 * box[0]


def test_long_names_of_policies_fit() -> None:
    assert setting_label("s8-to-32-MS-lr0.03") == "s8-to-32-MS-lr0.03"
    beacon = "beacon:runs/a-b/beacons.json@8174ef81e858-lr0.03"
    assert setting_label(beacon) == "beacon 8174ef-lr0.03"
    assert setting_label("s8-norm-test+bounds:max=128+linear-lr0.03").split("\n") == [
        "s8-norm-test", "+bounds:max=128", "+linear-lr0.03",
    ]  # fmt: skip
