"""Drop-in replacements for scikit-matter's prediction rigidities: only the import changes.

scikit-matter (0.4.1) divides all features by s, with s² the mean squared norm of the training
atoms' rows, reduces each structure to the mean of its atoms and takes H = C/s² + alpha·I. That is
the rigidity of this package at regularizer λ = alpha·s². Here atoms are processed in batches
instead of one by one, and a Cholesky factor takes the place of the pseudo-inverse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.components import component_indices
from rigidities.covariance import Covariance
from rigidities.exceptions import Advice, IllConditionedWarning, NotPositiveDefiniteError, held, warn
from rigidities.factor import Factor
from rigidities.validation import as_array, as_columns, as_number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Rows that are stacked into one batch: 32 MB at 1024 features, large enough for the kernels' full
#: speed.
_BATCH_ROWS = 4096

#: numpy.linalg.pinv, which scikit-matter calls, drops singular values below this part of the
#: largest.
_PINV_CUTOFF = 1e-15

_Arrays = Sequence["NDArray[Any]"]


def local_prediction_rigidity(X_train: _Arrays, X_test: _Arrays, alpha: float) -> tuple[list[NDArray[np.float64]], int]:
    """LPR of every atom, with scikit-matter's signature, scaling and return values.

    Parameters
    ----------
    X_train, X_test : list of ndarray of shape (n_atoms, n_features)
        One array per structure.
    alpha : float
        Regulariser in scikit-matter's scaling: λ = alpha·s², s² the mean squared norm of the rows
        of `X_train`.

    Returns
    -------
    LPR : list of ndarray of shape (n_atoms,)
        One array per structure of `X_test`.
    rank_diff : int
        Number of features less the numerical rank of H.

    Raises
    ------
    ValueError
        If there is no structure, columns differ, a feature is not finite or `alpha` is negative.

    Warns
    -----
    IllConditionedWarning
        If H is rank deficient. As in scikit-matter, the pseudo-inverse is used then, in which
        directions that the training set does not cover count as rigid.
    """
    hessian, rank_diff = _hessian(X_train, alpha)
    rigidities = [hessian.rigidity(rows) for rows, _ in _batches(X_test, "X_test")]
    return _split(np.concatenate(rigidities), X_test), rank_diff


def componentwise_prediction_rigidity(
    X_train: _Arrays, X_test: _Arrays, alpha: float, comp_dims: ArrayLike
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]], int]:
    """CPR of structures and LCPR of atoms, with scikit-matter's signature and return values.

    Parameters
    ----------
    X_train, X_test : list of ndarray of shape (n_atoms, n_features)
        One array per structure.
    alpha : float
        Regulariser in scikit-matter's scaling, see `local_prediction_rigidity`.
    comp_dims : array_like of int of shape (n_components,)
        Numbers of features of the components, which follow one another.

    Returns
    -------
    CPR : ndarray of shape (n_structures, n_components)
    LCPR : list of ndarray of shape (n_atoms, n_components)
        One array per structure of `X_test`.
    rank_diff : int
        Number of features less the numerical rank of H.

    Raises
    ------
    ValueError
        As `local_prediction_rigidity`, or if the sizes do not sum to the number of features.

    Warns
    -----
    IllConditionedWarning
        As `local_prediction_rigidity`.
    SetByPriorWarning
        If the rigidities of a component are set by alpha, not by the data.
    """
    hessian, rank_diff = _hessian(X_train, alpha)
    components = component_indices(np.asarray(comp_dims), hessian.n_features)
    structures, atoms = [], []
    for rows, groups in _batches(X_test, "X_test"):
        structures.append(hessian.component_rigidity(rows, components, groups=groups))
        atoms.append(hessian.component_rigidity(rows, components))
    return np.concatenate(structures), _split(np.concatenate(atoms), X_test), rank_diff


def _batches(structures: _Arrays, name: str) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Stack structures into batches of rows with the number of the structure of each.

    All batches share one buffer, because writing to new memory takes as long as reading the rows:
    use a batch before the next is computed.
    """
    if len(structures) == 0:
        raise ValueError(f"{name} holds no structure: pass a list with one array (n_atoms, n_features) per structure")
    waiting: list[NDArray[Any]] = []
    n_rows = 0
    buffer: NDArray[Any] | None = None
    width: int | None = None
    for i, rows in enumerate(structures):
        rows = as_array(rows, f"{name}[{i}]")
        if rows.ndim != 2 or len(rows) == 0:
            raise ValueError(
                f"{name}[{i}] has shape {rows.shape}: expected (n_atoms, n_features) with at least one atom"
            )
        width = rows.shape[1] if width is None else width
        if rows.shape[1] != width:
            raise ValueError(f"{name}[{i}] has {rows.shape[1]} columns, but {name}[0] has {width}: expected as many")
        waiting.append(rows)
        n_rows += len(rows)
        if n_rows >= _BATCH_ROWS or i + 1 == len(structures):
            buffer = _stack(waiting, n_rows, buffer)
            yield buffer[:n_rows], np.repeat(np.arange(len(waiting)), [len(rows) for rows in waiting])
            waiting, n_rows = [], 0


def _stack(parts: list[NDArray[Any]], n_rows: int, buffer: NDArray[Any] | None) -> NDArray[Any]:
    """Stack arrays, in the first rows of `buffer` if there is room."""
    dtype = np.result_type(*parts)
    if buffer is None or buffer.dtype != dtype or len(buffer) < n_rows:
        return np.concatenate(parts)
    np.concatenate(parts, out=buffer[:n_rows])
    return buffer


def _split(values: NDArray[np.float64], structures: _Arrays) -> list[NDArray[np.float64]]:
    return np.split(values, np.cumsum([len(rows) for rows in structures])[:-1])


def _hessian(X_train: _Arrays, alpha: float) -> tuple[Factor, int]:
    """Return H of the mean rows at λ = alpha·s², and p less its rank."""
    alpha = as_number(alpha, "alpha", "a number from 0")
    if alpha < 0:
        raise ValueError(f"alpha is {alpha:g}: expected a number from 0")
    batches = _batches(X_train, "X_train")
    first = next(batches)
    covariance, total, n_atoms = Covariance(first[0].shape[1]), 0.0, 0
    for rows, groups in chain([first], batches):
        covariance.update(rows, groups=groups)
        total += float(np.einsum("ij,ij->", rows, rows, dtype=np.float64))
        n_atoms += len(rows)
    regularizer = alpha * total / n_atoms
    floor = _rank_tolerance(covariance) * (covariance.trace + regularizer)
    if regularizer > floor:  # λ_min(H) ≥ λ, λ_max(H) ≤ trace(C) + λ: of full rank, whatever C is
        return covariance.factorize(regularizer), 0
    return _doubtful(covariance, regularizer)


def _rank_tolerance(covariance: Covariance) -> float:
    """Return p·eps, numpy.linalg.matrix_rank's tolerance relative to the largest value."""
    return covariance.n_features * float(np.finfo(np.float64).eps)


def _doubtful(covariance: Covariance, regularizer: float) -> tuple[Factor, int]:
    """Return H where λ alone does not give it full rank: its factor, or its pseudo-inverse."""
    with held(IllConditionedWarning):
        try:
            hessian = covariance.factorize(regularizer)
        except NotPositiveDefiniteError:
            hessian = None
    resolved = 100 * _rank_tolerance(covariance)  # 100: rcond is an estimate, good to a small factor
    if hessian is not None and hessian.rcond > resolved:
        return hessian, 0
    H = covariance.matrix() + regularizer * np.eye(covariance.n_features)
    pseudo = PseudoInverse(H, _PINV_CUTOFF, regularizer)
    values = pseudo.eigenvalues
    rank_diff = int(np.sum(values <= _rank_tolerance(covariance) * values.max()))
    if rank_diff == 0 and hessian is not None:
        return hessian, 0
    warn(
        IllConditionedWarning,
        f"H lacks {rank_diff} of {len(values)} directions at this alpha; as in scikit-matter, the pseudo-inverse is "
        "used, in which directions without data count as rigid",
        Advice.RAISE_PEER_REGULARIZER,
    )
    return pseudo, rank_diff


class PseudoInverse(Factor):
    """Pseudo-inverse H⁺ = W Wᵀ: eigenvectors of H above a cutoff, over √eigenvalue.

    Directions below the cutoff count as rigid: their variance is 0.

    Parameters
    ----------
    H : ndarray of shape (n_features, n_features)
    cutoff : float
        Eigenvalues up to this share of the largest are dropped.
    regularizer : float
        λ in H = C + λ.
    """

    def __init__(self, H: NDArray[np.float64], cutoff: float, regularizer: float) -> None:
        values, vectors = np.linalg.eigh(H)
        kept = values > cutoff * values.max()
        self.eigenvalues, self._regularizer = values, regularizer
        self._kept = values[kept]
        self._root = vectors[:, kept] / np.sqrt(self._kept)

    @property
    def n_features(self) -> int:
        """Length of a feature row."""
        return len(self._root)

    @property
    def log_determinant(self) -> float:
        """Natural logarithm of the product of the eigenvalues that were kept."""
        return float(np.log(self._kept).sum())

    @property
    def effective_dimension(self) -> float:
        """tr(C H⁺) = Σ (1 − λ/d) over the eigenvalues d that were kept."""
        return float((1 - self._regularizer / self._kept).sum())

    @property
    def rcond(self) -> float:
        """Smallest over largest of the eigenvalues that were kept; 0 without any."""
        return 0.0 if not self._kept.size else float(self._kept.min() / self._kept.max())

    def solve(self, B: ArrayLike) -> NDArray[np.float64]:
        """H⁺B."""
        columns = as_columns(B, self.n_features)
        if not np.isfinite(columns).all():
            row, column = np.argwhere(~np.isfinite(columns))[0]
            value = str(columns[row, column]).replace("nan", "NaN")
            raise ValueError(f"B[{row}, {column}] is {value}: only finite numbers are taken")
        solved = self._root @ (self._root.T @ columns)
        return np.asarray(solved[:, 0] if np.ndim(B) == 1 else solved)

    def _whitened(self, F: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(F @ self._root)

    def _coloured(self, Z: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self._root @ Z)

    @property
    def _rank(self) -> int:
        return len(self._kept)

    def _prior_variance(self, F: NDArray[np.float64]) -> NDArray[np.float64]:
        X = self.solve(F.T)
        return np.asarray(self._regularizer * np.einsum("ij,ij->j", X, X))
