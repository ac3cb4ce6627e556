"""Minimise a loss: choose λ, then fit squares in one step and Huber's loss by re-weighted squares.

Squares need one pass over the rows; for Huber terms, see `rigidities.loss.reweighting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from rigidities.exceptions import issue
from rigidities.loss.result import LossFit
from rigidities.loss.reweighting import Reweighting
from rigidities.loss.rows import READ_ONCE, Batch, TermRows, check_loss, check_rows, join_rows, loss_of, read_again
from rigidities.loss.rules import (
    BY_EVIDENCE,
    Found,
    Rule,
    check_regularizer,
    energies_alone,
    is_better,
    rows_to_leave_out,
)
from rigidities.loss.sums import loss_sums
from rigidities.loss.terms import Loss, without_thresholds
from rigidities.penalty import Penalty
from rigidities.spectrum.maximum import Choice
from rigidities.validation import Accumulation, as_integer, as_number, check_word

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def fit_loss(
    batches: Iterable[Batch],
    loss: Loss | None = None,
    *,
    regularizer: float | Rule = "auto",
    penalty: ArrayLike | None = None,
    accumulation: Accumulation | Literal["auto"] = "auto",
    tolerance: float = 1e-10,
    max_iterations: int = 100,
    keep_energies: bool = False,
) -> LossFit:
    """Minimise a loss.

    Parameters
    ----------
    batches : iterable of mappings from a term's name to TermRows
        Rows with targets. Huber terms need one pass for every fit, so pass an iterable that can be
        read repeatedly: ``rigidities.interop.featomic.LossRows``, which computes the rows again, or
        ``list(...)`` of it, which keeps the reduced rows (8·n_targets·n_features bytes).
    loss : Loss, optional
        Loss with other weights or thresholds, or fewer terms, than the rows were made for.
    regularizer : float or "auto", "evidence", "gcv", "loo"
        λ, or the rule that chooses it: "auto" as in `Covariance.factorize`, the others as the best
        of a path (`regularizer_path`). "loo" leaves out one structure at a time, with all its
        targets, and takes the λ of the least weighted sum of squared errors: it needs a second pass
        over the rows, and their `blocks`, unless there are only energies. With Huber terms the rule
        is applied again after each fit, until λ is still (20 times at most); a target beyond δ then
        counts as if its residual were δ.
    penalty : array_like of shape (n_features,) or (n_features, n_features), optional
        Λ, as in `Covariance.factorize`.
    accumulation : {"auto", "sums", "qr"}
        As in `Covariance`. "auto" makes sums. If their rounding hides λ at which the evidence may
        be larger, and rows can be read again, it looks for them by "qr". It takes what it finds
        unless structures that are left out speak against it: a smaller λ must predict them as well
        as the one of the sums, which is kept otherwise, with its warning.
    tolerance : float, default 1e-10
        Relative decrease of the loss at which re-weighting stops.
    max_iterations : int, default 100
        Largest number of re-weighted fits.
    keep_energies : bool, default False
        Keep the rows of the energies as `LossFit.energies`, 8·n_energies·n_features bytes. With
        "loo" and energies only they are always kept.

    Returns
    -------
    LossFit

    Raises
    ------
    ValueError
        If rows have no targets or belong to another loss, if rows for a Huber term or for "loo" can
        be read only once, if rows for "loo" have no blocks, or as `Covariance.factorize` and
        `RegularizerPath.best`.
    MemoryError
        As `Covariance.factorize` and, with a rule that needs a path, `regularizer_path`.

    Warns
    -----
    NotConvergedWarning
        If the loss still falls after `max_iterations` fits.
    UnresolvedEvidenceWarning
        As `Covariance.factorize` and `RegularizerPath.best`.

    Examples
    --------
    >>> import numpy as np, rigidities as rg
    >>> F, y = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([1.0, 3.0, 5.0])
    >>> rows = rg.TermRows(F, term=rg.Term(weight=10.0), targets=y)
    >>> fit = rg.fit_loss([{"energy": rows}], regularizer=1e-9)
    >>> fit.coef.round(6)
    array([1., 2.])
    """
    _check_settings(tolerance, max_iterations)
    check_word(accumulation, "accumulation", ("auto", "sums", "qr"))
    if loss is not None:
        check_loss(loss)
    check_regularizer(regularizer)
    rows = _Rows(batches, loss, keep_energies, regularizer == "loo")
    sums = loss_sums(rows, accumulation="qr" if accumulation == "qr" else "sums")
    loss = sums.loss if loss is None else loss
    check_rows(loss, sums.loss)
    squares = without_thresholds(loss)
    covariance = sums.combined(squares)
    del sums  # each term's own C
    kept = join_rows(rows.energies, loss.energy) if rows.energies and loss.energy is not None else None
    checked = Penalty.of(penalty, covariance.n_features)
    rule = regularizer if isinstance(regularizer, str) else None
    source = rows_to_leave_out(kept, loss, rows)
    found = Found.of(covariance, regularizer, checked, squares, source)
    if accumulation == "auto" and found.is_hidden and regularizer in BY_EVIDENCE and not rows.read_once:
        with suppress(MemoryError):
            factor = loss_sums(rows, accumulation="qr").combined(squares)
            finer = Found.of(factor, regularizer, checked, squares, source)
            found = finer if is_better(finer, found, checked, squares, rows) else found
    choice, path, left_out = found.chosen()
    if loss == squares or rule is None:
        issue(found.told)
    covariance = found.covariance
    hessian = covariance.factorize(choice, penalty=checked)
    fit = LossFit(hessian.coef, hessian, loss, 0, float("nan"), True, covariance, path, left_out, kept)
    if loss == squares:
        return fit
    if rows.read_once:
        raise ValueError(READ_ONCE)
    settled = Choice(hessian.regularizer, hessian.jitter, hessian.reason)
    return Reweighting(batches, rows.n_batches, fit, settled, checked, rule).minimise(tolerance, max_iterations)


class _Rows:
    """Batches of rows with targets. The first pass counts them and may keep the energies."""

    def __init__(self, batches: Iterable[Batch], loss: Loss | None, keep_energies: bool, leaves_out: bool) -> None:
        self.batches, self.loss = batches, loss
        self.keep_energies, self.leaves_out = keep_energies, leaves_out
        self.n_batches, self.are_counted = 0, False
        self.energies: list[TermRows] = []

    @property
    def read_once(self) -> bool:
        """Whether there can be no second pass."""
        return iter(self.batches) is self.batches

    def __iter__(self) -> Iterator[Batch]:
        return read_again(self.batches, self.n_batches) if self.are_counted else self._first_pass()

    def _first_pass(self) -> Iterator[Batch]:
        for batch in self.batches:
            made_for = loss_of(batch)
            for name in made_for.terms:
                if batch[name].targets is None:
                    raise ValueError(f"the rows of {name} have no targets: there is nothing to fit")
            if self.n_batches == 0 and self.leaves_out:
                self._prepare_to_leave_out(self.loss or made_for)
            if self.keep_energies and "energy" in batch:
                self.energies.append(batch["energy"])
            self.n_batches += 1
            yield batch
        self.are_counted = True

    def _prepare_to_leave_out(self, loss: Loss) -> None:
        """Keep energies if there is nothing else; other rows must be there to be read again."""
        if energies_alone(loss):
            self.keep_energies = True
        elif self.read_once:
            raise ValueError(READ_ONCE)


def _check_settings(tolerance: float, max_iterations: int) -> None:
    if as_number(tolerance, "tolerance", "a number from 0") < 0:
        raise ValueError(f"tolerance is {tolerance}: expected a number from 0")
    if as_integer(max_iterations, "max_iterations", "a number of fits, at least 1") < 1:
        raise ValueError(f"max_iterations is {max_iterations}: expected at least 1")
