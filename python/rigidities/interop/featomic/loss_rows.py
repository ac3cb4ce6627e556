"""Structures with energies, forces and stresses → the rows of a loss, batch by batch, in bounded memory.

What enters: `ase.Atoms`, a `Soap` and a `Loss`. What leaves: `TermRows` for each term, with targets and weights: what
`loss_sums` and `fit_loss` take, and with ``targets=False`` what is scored.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tqdm import tqdm

from rigidities.interop.featomic.gradients import GRADIENTS, Derivatives
from rigidities.interop.featomic.soap import Soap
from rigidities.interop.featomic.systems import check_species, iterable, system_of, types_of
from rigidities.loss.baseline import Baseline
from rigidities.loss.rows import TermRows
from rigidities.loss.terms import Loss, Term
from rigidities.structures.reference import Labels, read_labels
from rigidities.structures.species import atomic_number, symbols

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_SIZE_ENERGIES = 2048
"""Atoms of a batch for energies alone, as ``featomic.BATCH_SIZE``."""

BATCH_BYTES = 8_000_000
"""Rows of a batch with forces or virials: enough of them that sums are at their speed (750 atoms, 448 features)."""


class LossRows:
    """Rows of the terms of a loss, computed by featomic. Can be gone through again and again.

    Each pass yields, for one batch of structures after the other, a dictionary from a term's name to `TermRows`:
    structures in their order; within one, atoms and x, y, z for forces, and xx, yy, zz, yz, xz, xy for virials. All are
    derivatives of the same model, E = Σ_atoms fᵀθ + baseline. A pass holds the rows of a batch, and the gradients of
    two times 64 centres for each thread (80 MB on two threads at 448 features and 5 Å). ``list(rows)`` keeps the
    reduced rows, 8·n_targets·n_features bytes, for passes that cost nothing.

    Parameters
    ----------
    structures : ase.Atoms, or an iterable of them
        With what the terms need (see `Term`) attached. Gone through at the start and again in each pass; a generator
        is made a list.
    soap : Soap
        What the columns mean: for a test set, that of the training rows.
    loss : Loss
        Which rows are wanted, and where their targets and weights are.
    baseline : Baseline, mapping of species to energy, or "fit", optional
        Energies of the composition, taken out of the energies: "fit" settles them by least squares on the energies of
        these structures (for a training set; pass its ``rows.baseline`` for the test set). Species are atomic numbers
        or symbols, energies eV per atom. None: none.
    targets : bool, default True
        Whether targets and weights are read. Without, structures need no labels, and any system featomic takes will do.
    batch_size : int, optional
        Atoms of a batch, or one structure that has more. By default 2048 for energies alone, with forces or virials
        as many as have 8 MB of rows. No effect on the rows.
    progress : bool, default True
        Show a progress bar on stderr in each pass.

    Attributes
    ----------
    baseline : Baseline or None
        What was taken out of the energies.
    n_missing : dict of str to int
        Target rows of each term that are not there and were dropped (``missing="skip"``).
    n_structures : int
        Number of structures.

    Raises
    ------
    TypeError
        If something is not a structure, or a target or weight not a number.
    ValueError
        If there is no structure, a term has no data, a target is NaN without leave or infinite, a weight is negative,
        a species is not among those of the columns or of the baseline, or as `soap_rows`.

    Examples
    --------
    >>> import rigidities as rg
    >>> from rigidities.datasets import load_silicon
    >>> from rigidities.interop.featomic import LossRows, Soap
    >>> loss = rg.Loss(energy=rg.Term(per_atom=True), forces=rg.Term(weight=0.1))
    >>> soap = Soap("Si", cutoff=4.0, max_radial=3, max_angular=2)
    >>> rows = LossRows(load_silicon(groups="crystal")[:4], soap, loss, baseline="fit", progress=False)
    >>> sums = rg.loss_sums(rows)
    >>> {name: covariance.n_rows for name, covariance in sums.covariances.items()}
    {'energy': 4, 'forces': 96}
    >>> hessian = sums.combined().factorize()
    """

    def __init__(
        self,
        structures: Any,
        soap: Soap,
        loss: Loss,
        *,
        baseline: Baseline | Mapping[int | str, float] | Literal["fit"] | None = None,
        targets: bool = True,
        batch_size: int | None = None,
        progress: bool = True,
    ) -> None:
        _check_kinds(soap, loss)
        structures = iterable(structures)
        self.structures = list(structures) if iter(structures) is structures else structures
        self.soap, self.loss, self.progress = soap, loss, progress
        self.batch_size = _checked_batch_size(batch_size, loss, soap)
        self._labels = read_labels(self.structures, loss) if targets else None
        numbers = self._numbers()
        self.n_structures = len(numbers)
        self.baseline = self._chosen_baseline(baseline, numbers)
        self.n_missing = {name: labels.n_missing for name, labels in (self._labels or {}).items()}
        self._take_out_baseline(numbers)

    @property
    def n_features(self) -> int:
        """Length of a row."""
        return self.soap.n_features

    @property
    def feature_space(self) -> str:
        """Name of the columns."""
        return self.soap.feature_space

    def __iter__(self) -> Iterator[dict[str, TermRows]]:
        first = 0
        for sizes, rows in Derivatives(self.soap).rows(self._batches(), self.loss.terms):
            yield {name: self._term_rows(name, rows.pop(name), first, sizes) for name in self.loss.terms}
            first += len(sizes)

    def _numbers(self) -> list[NDArray[np.int64]]:
        """Atomic numbers of each structure, looked at before the hours of work."""
        numbers = []
        for index, structure in enumerate(self.structures):
            numbers.append(types_of(structure, index))
            check_species(numbers[-1], index, self.soap)
        if not numbers:
            raise ValueError("there are no structures: expected at least one")
        return numbers

    def _chosen_baseline(self, baseline: Any, numbers: list[NDArray[np.int64]]) -> Baseline | None:
        if baseline is None or isinstance(baseline, Baseline):
            return baseline
        if isinstance(baseline, Mapping):
            return Baseline({atomic_number(species): energy for species, energy in baseline.items()})
        if not (isinstance(baseline, str) and baseline == "fit"):
            raise TypeError(f"baseline is {baseline!r}: expected a Baseline, a mapping from species, 'fit' or None")
        if self._labels is None or "energy" not in self._labels:
            raise ValueError("baseline is 'fit', but there are no energies to fit it to: pass one, or None")
        energies = np.concatenate(self._labels["energy"].values)
        known = np.flatnonzero(~np.isnan(energies))
        return Baseline.fit([numbers[index] for index in known], energies[known])

    def _take_out_baseline(self, numbers: list[NDArray[np.int64]]) -> None:
        if self.baseline is None or "energy" not in self.loss.terms:
            return
        energies = self._labels["energy"].values if self._labels else [np.zeros(1) for _ in numbers]
        for values, entry in zip(energies, numbers, strict=True):
            if np.isnan(values[0]):  # nothing to take it out of: its species may be without
                continue
            unknown = sorted(set(entry.tolist()).difference(self.baseline.species))
            if unknown:
                known = symbols(self.baseline.species)
                raise ValueError(f"the baseline has no energy for {symbols(unknown)}, only for {known}: add it")
            values -= self.baseline.energy(entry)

    def _batches(self) -> Iterator[list[Any]]:
        batch: list[Any] = []
        n_atoms = 0
        cutoff = self.soap.cutoff
        bar = tqdm(self.structures, "rows", self.n_structures, unit=" structures", disable=not self.progress)
        for index, structure in enumerate(bar):
            system = system_of(structure, index, cutoff)
            if batch and n_atoms + system.size() > self.batch_size:
                yield batch
                batch, n_atoms = [], 0
            batch.append(system)
            n_atoms += system.size()
        yield batch

    def _term_rows(self, name: str, values: NDArray[np.float64], first: int, sizes: NDArray[np.int64]) -> TermRows:
        """Label the rows of a batch whose first structure is `first`, without those that have no target."""
        term: Term = self.loss.terms[name]
        n_components = values.shape[1]
        per_structure = n_components * (sizes if name == "forces" else np.ones_like(sizes))
        blocks = np.repeat(np.arange(first, first + len(sizes)), per_structure)
        values = values.reshape(-1, values.shape[-1])
        divisors = np.repeat(sizes if term.per_atom else np.ones_like(sizes), per_structure)
        if term.per_atom:
            values /= divisors[:, None]
        if self._labels is None:
            return TermRows(values, feature_space=self.feature_space, term=term, blocks=blocks)
        labels: Labels = self._labels[name]
        targets = np.concatenate(labels.values[first : first + len(sizes)]) / divisors
        weights = np.concatenate(labels.weights[first : first + len(sizes)])
        there = ~np.isnan(targets)
        if not there.all():
            values, targets, weights, blocks = values[there], targets[there], weights[there], blocks[there]
        return TermRows(
            values, feature_space=self.feature_space, term=term, weights=weights, targets=targets, blocks=blocks
        )


def _check_kinds(soap: Any, loss: Any) -> None:
    if not isinstance(soap, Soap):
        raise TypeError(f"soap is a {type(soap).__name__}: expected a Soap, e.g. Soap(['Si'])")
    if not isinstance(loss, Loss):
        raise TypeError(f"loss is a {type(loss).__name__}: expected a Loss, e.g. Loss(energy=Term())")


def _checked_batch_size(batch_size: int | None, loss: Loss, soap: Soap) -> int:
    if batch_size is None:
        if not GRADIENTS.keys() & loss.terms:
            return BATCH_SIZE_ENERGIES
        return max(1, BATCH_BYTES // (3 * 8 * soap.n_features))
    if operator.index(batch_size) < 1:
        raise ValueError(f"batch_size is {batch_size}: expected at least 1 atom")
    return batch_size
