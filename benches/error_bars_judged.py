"""How many errors half-widths hold, with limits, and at what width.

Limits at 95 %: those of Clopper and Pearson where each structure has one target, an energy. Force
components of one structure are not independent, so whole structures are drawn again (bootstrap,
bias-corrected and accelerated).
"""

import numpy as np

from rigidities.calibration.bootstrap import Bootstrap
from rigidities.calibration.coverage import clopper_pearson

FEWEST = 5
"""Structures that a kind needs for its coverage to be shown as the worst."""

BINS = 10

FEWEST_IN_BIN = 10
"""Targets that each of the bins of σ needs."""


class Judge:
    """Errors that half-widths are judged on.

    Parameters
    ----------
    targets : error_bars_methods.Targets
        Without those at rounding.
    std : ndarray of shape (n,)
        σ by which targets are put into ten bins of equal numbers.
    """

    def __init__(self, targets, std):
        self.size, self.kinds = np.abs(targets.errors), targets.kinds
        self.n = len(self.size)
        self.structures = np.unique(targets.structures, return_inverse=True)[1].ravel()
        self.n_structures = int(self.structures.max()) + 1
        self.bins = np.array_split(np.argsort(std, kind="stable"), BINS) if self.n >= BINS * FEWEST_IN_BIN else []
        self._bootstrap = Bootstrap(self.structures, self.n_structures, np.random.default_rng(0))

    @property
    def of_kinds(self):
        """Number of structures and of targets of each kind."""
        own = {str(kind): self.structures[self.kinds == kind] for kind in np.unique(self.kinds)}
        return {kind: [len(np.unique(structures)), len(structures)] for kind, structures in own.items()}

    @property
    def rmse(self):
        return float(np.sqrt(np.mean(self.size**2)))

    def record(self, half, coverage):
        """Share held with limits; share of whole structures; width and interval score; coverage of kinds and bins."""
        inside, bounded = self.size <= half, np.isfinite(half)
        share = self._share(inside)
        score = 2 * half + 2 / (1 - coverage) * np.maximum(self.size - half, 0.0)
        return {
            "held": share.value,
            "low": share.low,
            "high": share.high,
            "whole": self._whole(inside),
            "width": float(half[bounded].mean()),
            "unbounded": int((~bounded).sum()),
            "score": float(score.mean()) if bounded.all() else None,
            "kinds": {str(kind): float(inside[self.kinds == kind].mean()) for kind in np.unique(self.kinds)},
            "bins": [float(inside[own].mean()) for own in self.bins],
        }

    def _share(self, inside):
        """Share of targets, with its limits."""
        k = int(inside.sum())
        if self.n == self.n_structures:
            return clopper_pearson(k, self.n)
        if k in (0, self.n):  # drawing structures shows no spread
            return clopper_pearson(self.n_structures * k / self.n, self.n_structures)
        columns = np.column_stack([inside, np.ones(self.n)]).astype(float)
        return self._bootstrap.intervals(columns, lambda sums: sums[..., :1] / sums[..., 1:])[0]

    def _whole(self, inside):
        """Share of structures all of whose targets are held."""
        return float(np.mean(np.bincount(self.structures, ~inside, self.n_structures) == 0))


def worst_kind(record, sizes, coverage):
    """Kind of at least `FEWEST` structures whose coverage is farthest from what was asked for, with it.

    `sizes` has the number of structures and of targets of each kind.
    """
    known = {kind: record["kinds"][kind] for kind, (structures, _) in sizes.items() if structures >= FEWEST}
    kind = max(known, key=lambda kind: abs(known[kind] - coverage))
    return kind, known[kind]


def worst_bin(record, coverage):
    """Coverage of the bin of σ that is farthest from what was asked for; None without bins."""
    return max(record["bins"], key=lambda held: abs(held - coverage), default=None)
