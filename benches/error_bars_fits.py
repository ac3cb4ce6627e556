"""Fits to a budget of structures, and targets that they have not seen."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

import rigidities as rg


@dataclass(frozen=True)
class Targets:
    """Targets of a term that a fit has not seen.

    Attributes
    ----------
    rows : ndarray of shape (n, p)
    errors, variances : ndarray of shape (n,)
        Target less prediction, in eV per atom or eV/Å, and v.
    kinds, structures : ndarray of shape (n,)
    norms : ndarray of shape (n,), or None
        Norm of the predicted force on the atom of each component; None for energies.
    """

    rows: np.ndarray
    errors: np.ndarray
    variances: np.ndarray
    kinds: np.ndarray
    structures: np.ndarray
    norms: np.ndarray | None

    def at(self, own):
        """Some of the targets."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return Targets(**{name: None if column is None else column[own] for name, column in columns.items()})


class Fitted:
    """A fit to some of the structures, and targets that it has not seen.

    Parameters
    ----------
    rows : claims_rows.TrainingRows
    weights : claims_rows.Weights
    chosen : ndarray of bool of shape (n_structures,)
        The structures to fit.
    """

    def __init__(self, rows, weights, chosen):
        self.rows, self.chosen, self.kinds = rows, chosen, rows.structures.kinds
        self.fit = rows.fit(chosen, weights)
        self.parts, self.baseline = rows.batch(chosen, weights)

    @cached_property
    def _left_out(self):
        """Rows and targets of the fit, and what they are without their structure."""
        columns = (("F", "values"), ("y", "targets"), ("weights", "weights_in_loss"), ("blocks", "blocks"))
        stacked = {
            name: np.concatenate([getattr(part, field) for part in self.parts.values()]) for name, field in columns
        }
        found = rg.leave_one_out(self.fit.hessian, **stacked)
        return stacked["F"], stacked["y"], found.residuals, found.variances, stacked["blocks"]

    def left_out(self, term):
        """Targets of the structures of the fit, each structure left out with all its targets."""
        n = len(self.parts["energy"])
        own = slice(0, n) if term == "energy" else slice(n, None)
        return self._targets(term, *(column[own] for column in self._left_out))

    def of(self, term, chosen):
        """Targets of other structures."""
        own = getattr(self.rows, term)
        used = chosen[own.blocks]
        X, y = own.values[used], own.targets[used] - (self.baseline if term == "energy" else 0.0)
        errors = y - X @ self.fit.hessian.coef
        return self._targets(term, X, y, errors, self.fit.hessian.variance(X), own.blocks[used])

    def _targets(self, term, X, y, errors, variances, structures):
        norms = None
        if term == "forces":  # rows are atom by atom: x, y, z
            norms = np.repeat(np.linalg.norm((y - errors).reshape(-1, 3), axis=1), 3)
        return Targets(X, errors, variances, self.kinds[structures], structures, norms)

    def batches(self, terms=None):
        """Rows, targets and weights of the fit, for spreads of the weights θ."""
        return [
            (part.values, part.targets, part.weights_in_loss)
            for name, part in self.parts.items()
            if terms is None or name in terms
        ]


class Pair:
    """Fits to a budget of structures and to two thirds of it, with targets that they have not seen.

    Attributes
    ----------
    whole, part : Fitted
    targets : dict of (Targets, Targets)
        By where σ is calibrated: the targets that it is calibrated on, and the judged ones.
    """

    def __init__(self, rows, weights, budget, judged, rng):
        self.whole = Fitted(rows, weights, budget)
        *fitted, self.held = thirds(budget, rng)
        self.part, self.judged = Fitted(rows, weights, fitted[0] | fitted[1]), judged

    def look_at(self, term):
        """Set `targets` to those of a term."""
        new, other = self.whole.of(term, self.judged), self.part.of(term, self.judged)
        self.targets = {
            "left out": (self.whole.left_out(term), new),
            "held out": (self.part.of(term, self.held), other),
        }


def thirds(chosen, rng):
    """Three masks, of like size, of the chosen structures."""
    order = rng.permutation(np.flatnonzero(chosen))
    masks = [np.zeros(len(chosen), dtype=bool) for _ in range(3)]
    for mask, own in zip(masks, np.array_split(order, 3), strict=True):
        mask[own] = True
    return masks
