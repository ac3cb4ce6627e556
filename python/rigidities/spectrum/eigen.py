"""Eigenvalues and eigenvectors of symmetric arrays, and singular values, by the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rigidities import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray


def eigh(A: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rising eigenvalues (n,) and eigenvectors (n, n) of a symmetric array.

    Parameters
    ----------
    A : ndarray of shape (n, n)
        If it is in Fortran order, the eigenvectors overwrite it. Its lower triangle is read.

    Raises
    ------
    ValueError
        If a number is not finite.
    numpy.linalg.LinAlgError
        If the iterations do not converge.
    """
    A = np.asfortranarray(A)
    return _core.eigenvectors(A), A


def tridiagonalise(A: NDArray[np.float64], B: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the diagonal of T, its off-diagonal, and QᵀB, for A = QTQᵀ.

    Parameters
    ----------
    A : ndarray of shape (n, n)
        Symmetric. If it is in Fortran order, it is overwritten. Its lower triangle is read.
    B : ndarray of shape (n, k)

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    projected = np.array(B, order="F")
    diagonal, beside = _core.tridiagonalise(np.asfortranarray(A), projected)
    return diagonal, beside, projected


def svd(A: NDArray[np.float64], B: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return falling singular values, V and UᵀB, for a square A = U diag(σ) Vᵀ.

    Parameters
    ----------
    A : ndarray of shape (n, n)
        If it is in Fortran order, V overwrites it.
    B : ndarray of shape (n, k)

    Raises
    ------
    ValueError
        If a number is not finite.
    numpy.linalg.LinAlgError
        If the iterations do not converge.
    """
    A, projected = np.asfortranarray(A), np.array(B, order="F")
    return _core.singular_vectors(A, projected), A, projected
