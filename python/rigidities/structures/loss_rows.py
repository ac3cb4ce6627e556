"""The rows of a loss, from structures with reference values and a descriptor, in bounded memory.

Each batch of structures gives `TermRows` for each term, with targets and weights, for `loss_sums`
and `fit_loss`. With ``targets=False`` it gives rows only, for predictions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities.loss.baseline import Baseline
from rigidities.loss.rows import TermRows, check_loss
from rigidities.loss.terms import Loss
from rigidities.structures.batches import batch_lengths, in_batches, iterable, require_batch_size
from rigidities.structures.descriptor import Descriptor, batches_of, checked_rows, row_shape
from rigidities.structures.reference import Reference, read_reference
from rigidities.structures.species import by_atomic_number, check_species, symbols, unknown_species

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BATCH_SIZE_ENERGIES = 2048
"""Atoms in a batch if there are energies only."""

BATCH_BYTES = 8_000_000
"""Bytes of rows in a batch with forces or virials (1,300 atoms at 252 features).

This is enough for sums at full speed."""


class LossRows:
    """Rows of the terms of a loss, computed again in each pass over them.

    Each pass yields one dictionary for each batch of structures, from a term's name to `TermRows`.
    Rows are in the order of the structures; within a structure, in the order of atoms and x, y, z
    for forces, and of xx, yy, zz, yz, xz, xy for virials. All are derivatives of the same model, E
    = Σ_atoms fᵀθ + baseline. A pass needs memory for the rows of a batch, and with a `Soap` for the
    gradients of 2 · 64 centres on each thread (45 MB on two threads at 252 features and 5 Å).
    ``list(rows)`` keeps the reduced rows, 8·n_targets·n_features bytes, so that further passes cost
    nothing.

    Parameters
    ----------
    structures : ase.Atoms, or an iterable of them
        With the data that the terms need attached (see `Term`). They are read at the start and
        again in each pass; a generator is turned into a list.
    soap : Soap, or another Descriptor
        Defines the columns. For a test set, pass that of the training rows.
    loss : Loss
        Its terms define which rows are made, and where their targets and weights are found.
    baseline : Baseline, mapping of species to energy, or "fit", optional
        Energies of the species, subtracted from the reference energies. "fit" fits them to the
        energies of these structures by least squares, or with the threshold of the term (for a
        training set; pass its ``rows.baseline`` for the test set). Species are atomic numbers or
        symbols, energies eV per atom. None: nothing is subtracted.
    targets : bool or dict of str to Reference, default True
        Read targets and weights, or take those that `rigidities.structures.reference` read before.
        If False, structures need no reference values, and can be of any library that the descriptor
        accepts.
    batch_size : int, optional
        Most atoms in a batch; a larger structure is a batch of its own. By default 2048 for
        energies only; with forces or virials as many as have 8 MB of rows. The rows do not depend
        on it.
    progress : bool, default True
        Show a progress bar on stderr in each pass.

    Attributes
    ----------
    baseline : Baseline or None
        Energies that were subtracted.
    subtracted : ndarray of shape (n_structures,)
        Energies of the baseline, in eV, that were subtracted from the energies of the structures.
    n_missing : dict of str to int
        Target rows of each term that are missing and were dropped (``missing="skip"``).
    n_structures : int
        Number of structures.
    sizes : ndarray of shape (n_structures,)
        Their numbers of atoms.

    Raises
    ------
    TypeError
        If an entry is not a structure, or a target or weight is not a number.
    ValueError
        If there is no structure, a term has no data, a target is infinite or (without
        ``missing="skip"``) NaN, a weight is negative, or a species is not among those of the
        columns or of the baseline, or if the descriptor refuses a structure.

    Examples
    --------
    >>> import rigidities as rg
    >>> from rigidities.datasets import load_silicon
    >>> from rigidities.interop.featomic import LossRows, Soap
    >>> loss = rg.Loss(energy=rg.Term(per_atom=True), forces=rg.Term(weight=0.1))
    >>> soap = Soap("Si", cutoff=4.0, max_radial=3, max_angular=2)
    >>> structures = load_silicon(groups="crystal")[:4]
    >>> rows = LossRows(structures, soap, loss, baseline="fit", progress=False)
    >>> sums = rg.loss_sums(rows)
    >>> {name: covariance.n_rows for name, covariance in sums.covariances.items()}
    {'energy': 4, 'forces': 96}
    >>> hessian = sums.combined().factorize()
    """

    def __init__(
        self,
        structures: Any,
        soap: Descriptor,
        loss: Loss,
        *,
        baseline: Baseline | Mapping[int | str, float] | Literal["fit"] | None = None,
        targets: bool | dict[str, Reference] = True,
        batch_size: int | None = None,
        progress: bool = True,
    ) -> None:
        _check_types(soap, loss)
        structures = iterable(structures)
        self.structures = list(structures) if iter(structures) is structures else structures
        self.soap, self.loss, self.progress = soap, loss, progress
        self.batch_size = _batch_size(loss, soap) if batch_size is None else require_batch_size(batch_size)
        self._reference = read_reference(self.structures, loss) if targets is True else targets or None
        numbers = self._numbers()
        self.n_structures = len(numbers)
        self.sizes = np.array([len(entry) for entry in numbers], dtype=np.int64)
        self.baseline = self._chosen_baseline(baseline, numbers)
        self.n_missing = {name: reference.n_missing for name, reference in (self._reference or {}).items()}
        self._subtract_baseline(numbers)

    @property
    def n_features(self) -> int:
        """Length of a row."""
        return self.soap.n_features

    @property
    def feature_space(self) -> str:
        """Name of the columns."""
        return self.soap.feature_space

    @property
    def n_targets(self) -> int:
        """Number of target rows of all terms, with those that lack a target."""
        return sum(math.prod(row_shape(name, self.sizes)) for name in self.loss.terms)

    def __iter__(self) -> Iterator[dict[str, TermRows]]:
        lengths = batch_lengths(self.sizes, self.batch_size)
        batches = in_batches(self.structures, lengths, "rows", self.progress)
        first = 0
        found = batches_of(self.soap.term_rows(batches, self.loss.terms), len(lengths))
        for length, rows in zip(lengths, found, strict=True):
            structures = slice(first, first + length)
            lacking = [name for name in self.loss.terms if name not in rows]
            if lacking:
                raise ValueError(f"the descriptor gave no rows of {', '.join(lacking)}: expected those of each term")
            yield {name: self._term_rows(name, rows.pop(name), structures) for name in self.loss.terms}
            first += length

    def known(self, name: str) -> NDArray[np.bool_]:
        """Return which structures have all targets of a term, (n_structures,)."""
        reference = (self._reference or {})[name]
        return np.array([not np.isnan(values).any() for values in reference.values])

    def part(self, chosen: ArrayLike) -> LossRows:
        """Return the rows of some structures, of these indices, rising, with the same targets.

        The passes over them show no progress bar.
        """
        wanted = np.asarray(chosen, dtype=np.int64).tolist()
        among = set(wanted)
        structures = [structure for index, structure in enumerate(self.structures) if index in among]
        reference = {
            name: Reference([held.values[index] for index in wanted], [held.weights[index] for index in wanted])
            for name, held in (self._reference or {}).items()
        }
        return LossRows(structures, self.soap, self.loss, targets=reference, progress=False)

    def _numbers(self) -> list[NDArray[np.int64]]:
        """Return the atomic numbers of each structure, checked before the long computation."""
        numbers = []
        for index, structure in enumerate(self.structures):
            numbers.append(self.soap.numbers(structure, index))
            check_species(numbers[-1], index, self.soap.species)
        if not numbers:
            raise ValueError("there are no structures: expected at least one")
        return numbers

    def _chosen_baseline(self, baseline: Any, numbers: list[NDArray[np.int64]]) -> Baseline | None:
        if baseline is None or isinstance(baseline, Baseline):
            return baseline
        if isinstance(baseline, Mapping):
            return Baseline(by_atomic_number(baseline.items()))
        if not (isinstance(baseline, str) and baseline == "fit"):
            raise TypeError(f"baseline is {baseline!r}: expected a Baseline, a mapping from species, 'fit' or None")
        if self._reference is None or "energy" not in self._reference:
            raise ValueError("baseline is 'fit', but there are no energies to fit it to: pass one, or None")
        energies = np.concatenate(self._reference["energy"].values)
        known = np.flatnonzero(~np.isnan(energies))
        term = self.loss.terms["energy"]
        known_numbers = [numbers[index] for index in known]
        return Baseline.fit(known_numbers, energies[known], huber=term.huber, per_atom=term.per_atom)

    def _subtract_baseline(self, numbers: list[NDArray[np.int64]]) -> None:
        self.subtracted = np.zeros(len(numbers))
        if self.baseline is None or "energy" not in self.loss.terms:
            return
        energies = self._reference["energy"].values if self._reference else [np.zeros(1) for _ in numbers]
        for index, (values, entry) in enumerate(zip(energies, numbers, strict=True)):
            if np.isnan(values[0]):  # no energy, so the baseline need not have its species
                continue
            unknown = unknown_species(entry, self.baseline.species)
            if unknown:
                known = symbols(self.baseline.species)
                raise ValueError(f"the baseline has no energy for {symbols(unknown)}, only for {known}: add it")
            self.subtracted[index] = self.baseline.energy(entry)
            values -= self.subtracted[index]

    def _term_rows(self, name: str, values: NDArray[np.float64], structures: slice) -> TermRows:
        """Return the rows of a batch with targets and weights, without those that lack a target."""
        term, sizes = self.loss.terms[name], self.sizes[structures]
        values = checked_rows(values, name, (*row_shape(name, sizes), self.n_features))
        per_structure = values.shape[1] * (sizes if name == "forces" else np.ones_like(sizes))
        blocks = np.repeat(np.arange(structures.start, structures.stop), per_structure)
        values = values.reshape(-1, values.shape[-1])
        divisors = np.repeat(sizes if term.per_atom else np.ones_like(sizes), per_structure)
        if term.per_atom:
            values /= divisors[:, None]
        if self._reference is None:
            return TermRows(values, feature_space=self.feature_space, term=term, blocks=blocks)
        reference = self._reference[name]
        targets = np.concatenate(reference.values[structures]) / divisors
        weights = np.concatenate(reference.weights[structures])
        known = ~np.isnan(targets)
        if not known.all():
            values, targets, weights, blocks = values[known], targets[known], weights[known], blocks[known]
        return TermRows(
            values, feature_space=self.feature_space, term=term, weights=weights, targets=targets, blocks=blocks
        )


def _check_types(soap: Any, loss: Any) -> None:
    if not isinstance(soap, Descriptor):
        raise TypeError(f"soap is a {type(soap).__name__}: expected a Soap, e.g. Soap(['Si']), or another Descriptor")
    check_loss(loss)


def _batch_size(loss: Loss, soap: Descriptor) -> int:
    if loss.forces is None and loss.virial is None:
        return BATCH_SIZE_ENERGIES
    return max(1, BATCH_BYTES // (3 * 8 * soap.n_features))
