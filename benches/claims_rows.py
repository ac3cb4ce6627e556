"""Rows of an element's structures, computed once, and fits to any of the structures.

Fits take how often each structure counts: 0 or 1 for a part of the set, any number for a bootstrap
sample. A structure that was drawn twice has weight 2, so that "loo" leaves out both of its copies.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase.io import read

import rigidities as rg
from rigidities.interop.featomic import LossRows, Soap
from rigidities.model import SparseKernel
from rigidities.structures.read import coordination, kinds_of

NEIGHBOURS = {"Si": 4, "Li": 8}
"""Neighbours of an atom in the crystal, as `rigidities.structures.read.coordination` counts them."""


@dataclass(frozen=True)
class Weights:
    """Weights of energies per atom and of force components in a loss; 0: not in the loss."""

    energy: float
    forces: float

    @property
    def name(self):
        return f"{self.energy:,.0f} : {self.forces:,.0f}" if self.forces else "energies alone"

    @property
    def rule(self):
        """Rule that chooses λ: that of the smallest worst error for energies alone, and the default of `fit`."""
        return "auto" if self.forces else "loo"


@dataclass(frozen=True)
class Fit:
    """A fit of energies less `baseline`, the mean energy per atom of its structures."""

    hessian: rg.Hessian
    baseline: float

    def predict(self, rows):
        """Energies, in eV per atom; of atoms, if these are atoms' rows."""
        return rows @ self.hessian.coef + self.baseline


class Structures:
    """Structures of one element with their kinds, and whether they are in the training set."""

    def __init__(self, folder, element):
        parts = [read(folder / f"{element}-{name}.xyz", ":") for name in ("training", "test")]
        self.element, self.frames = element, [frame for part in parts for frame in part]
        self.n = len(self.frames)
        self.train = np.arange(self.n) < len(parts[0])
        self.kinds = kinds_of(self.frames)
        self.sizes = np.array([len(frame) for frame in self.frames])

    @cached_property
    def exposed(self):
        """Whether each atom has fewer neighbours than an atom of the crystal."""
        return np.concatenate([coordination(frame) for frame in self.frames]) < NEIGHBOURS[self.element]

    @property
    def cold(self):
        """Whether a structure is a crystal at 300 K or strained at rest, with or without a vacancy."""
        texts = [str(frame.info.get("description", "")) for frame in self.frames]
        return np.array(["300 K" in text or kind == "Elastic" for text, kind in zip(texts, self.kinds, strict=True)])


@dataclass(frozen=True)
class Atoms:
    """Rows of atoms, and the structure of each."""

    values: np.ndarray
    structure: np.ndarray

    def of(self, structure):
        """Rows of the atoms of one structure."""
        return self.values[self.structure == structure]


class TrainingRows:
    """Rows of energies per atom and of forces of all structures, for fits to some of them.

    Attributes
    ----------
    energy : TermRows
        One row for each structure, in their order; targets are energies without a baseline.
    forces : TermRows
        `blocks` has the structure of each row.
    """

    def __init__(self, structures, kernel=None):
        self.structures = structures
        self.soap = Soap(structures.element)
        if kernel is not None:
            frames = [frame for frame, train in zip(structures.frames, structures.train, strict=True) if train]
            self.soap = kernel.rows(frames, self.soap, progress=False)
        loss = rg.Loss(energy=rg.Term(per_atom=True), forces=rg.Term())
        batches = list(LossRows(structures.frames, self.soap, loss, progress=False))
        self.energy, self.forces = (_joined([batch[name] for batch in batches]) for name in ("energy", "forces"))

    def atoms(self):
        """Rows of the atoms of all structures."""
        rows = np.concatenate(list(self.soap.atom_rows([frame] for frame in self.structures.frames)))
        return Atoms(rows, np.repeat(np.arange(self.structures.n), self.structures.sizes))

    def batch(self, counts, weights):
        """Rows of the structures that count, with the mean energy per atom subtracted: (batch, mean)."""
        counts = np.asarray(counts, dtype=float)
        baseline = float(np.average(self.energy.targets, weights=counts))
        loss = {"energy": rg.Term(weights.energy, per_atom=True)}
        if weights.forces:
            loss["forces"] = rg.Term(weights.forces)
        return {name: self._part(name, term, counts, baseline) for name, term in loss.items()}, baseline

    def _part(self, name, term, counts, baseline):
        rows = getattr(self, name)
        chosen = counts[rows.blocks] > 0
        blocks = rows.blocks[chosen]
        targets = rows.targets[chosen] - (baseline if name == "energy" else 0.0)
        return rg.TermRows(rows.values[chosen], term=term, weights=counts[blocks], targets=targets, blocks=blocks)

    def fit(self, counts, weights, regularizer=None):
        """Fit the structures that count; λ as `weights` say, unless it is given."""
        batch, baseline = self.batch(counts, weights)
        fitted = rg.fit_loss([batch], regularizer=weights.rule if regularizer is None else regularizer)
        return Fit(fitted.hessian, baseline)

    def errors(self, fit, chosen):
        """Errors of the energies of some structures, eV per atom."""
        return self.energy.targets[chosen] - fit.predict(self.energy.values[chosen])

    def force_errors(self, fit, structure):
        """Errors of the force components of a structure, eV/Å."""
        chosen = self.forces.blocks == structure
        return self.forces.targets[chosen] - self.forces.values[chosen] @ fit.hessian.coef

    def left_out(self, fit, counts, weights):
        """Errors and variances of the energies, each structure left out with its forces; λ and baseline stay."""
        parts, _ = self.batch(counts, weights)
        stacked = {
            "F": np.concatenate([part.values for part in parts.values()]),
            "y": np.concatenate([part.targets for part in parts.values()]),
            "weights": np.concatenate([part.weights_in_loss for part in parts.values()]),
            "blocks": np.concatenate([part.blocks for part in parts.values()]),
        }
        found = rg.leave_one_out(fit.hessian, **stacked)
        n = len(parts["energy"])
        return found.residuals[:n], found.variances[:n]


def _joined(parts):
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "targets", "blocks")}
    return rg.TermRows(term=parts[0].term, **arrays)


LINEAR, KERNEL = None, SparseKernel(zeta=2, n_points=500)
"""The models: linear in the power spectrum, and linear in kernels with 500 atoms of the training set."""
