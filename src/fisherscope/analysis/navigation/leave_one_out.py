"""How often navigating would have been right: references left out of recorded sweeps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fisherscope.analysis.data.settings import FloatArray
from fisherscope.analysis.navigation.slopes import FEWEST, Map, suggested_move

REFERENCES = 5
"""The best settings, which are taken as references in turn."""


@dataclass(frozen=True)
class NavigationBacktest:
    """How often the advice led to a setting as good as the reference; shares in [0, 1].

    Args:
        pairs: Runs and references that were tried.
        navigated: Share in which the setting nearest to the advice ended within the margin of the reference.
        copied: The same for the setting nearest to the reference's own batch size and learning rate.
        random: The same for a setting drawn at random.
        nearer: Share in which the advice's setting lay nearer to the reference than the run.
    """

    pairs: int
    navigated: float
    copied: float
    random: float
    nearer: float

    @property
    def copying_is_better(self) -> bool:
        """Whether copying batch size and learning rate was right at least as often."""
        return self.copied >= self.navigated

    def __str__(self) -> str:
        shares = [f"{100 * share:.0f} %" for share in (self.navigated, self.copied, self.random, self.nearer)]
        return (
            f"Back-test here ({self.pairs} pairs; each of the {REFERENCES} best settings left out, "
            f"as the reference): the advice ended within its margin in {shares[0]}, copying its batch size "
            f"and learning rate to the nearest other setting in {shares[1]}, a random one in {shares[2]}; "
            f"the advice lay nearer to it than the run in {shares[3]}."
        )


def navigation_backtest(settings: Map, scores: FloatArray, margin: float) -> NavigationBacktest | None:
    """Navigate from every setting to each of the best ones, which are left out.

    Args:
        settings: Positions over coordinates.
        scores: Final metric, smaller is better, shape (n,).
        margin: How much worse than the reference still counts as good.

    Returns:
        The shares; None with too few settings.
    """
    count = len(scores)
    if count < FEWEST + 2:
        return None
    results = []
    for reference in np.argsort(scores, kind="stable")[:REFERENCES]:
        others = settings.without(int(reference))
        good = np.delete(scores, reference) <= scores[reference] + margin
        copied = good[_nearest(others, settings.coordinates[reference])].mean()
        for start in range(len(others.coordinates)):
            gap = settings.positions[reference] - others.positions[start]
            target = suggested_move(others, others.coordinates[start], gap)
            chosen = _nearest(others, target)
            away = (settings.positions[reference] - others.positions) / settings.spread
            distance = np.sqrt((away**2).sum(axis=1))
            nearer = distance[chosen].mean() < distance[start]
            results.append((good[chosen].mean(), copied, good.mean(), float(nearer)))
    shares = np.mean(results, axis=0)
    return NavigationBacktest(len(results), *(float(share) for share in shares))


def _nearest(settings: Map, target: FloatArray) -> NDArray[np.intp]:
    """Return the settings nearest to coordinates; all that are equally near."""
    square = (((settings.coordinates - target) / settings.reach) ** 2).sum(axis=1)
    rows: NDArray[np.intp] = np.flatnonzero(square <= square.min() + 1e-9)
    return rows
