"""LAPACK's eigenvalue routines without the interpreter: other threads run on, and Ctrl-C works.

SciPy's wrappers of these routines hold the interpreter until they return: a second at 2,048
features, a minute at 8,192. Here the same routines are called on a separate thread, through the
pointers that SciPy gives to Cython. If SciPy was built with other integers than expected here, its
wrappers are used.
"""

from __future__ import annotations

import ctypes
import functools
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = 256
"""Up to this number of rows LAPACK returns within a hundredth of a second, and no other thread is
needed."""


def eigh(A: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rising eigenvalues (n,) and eigenvectors (n, n) of a symmetric array.

    Parameters
    ----------
    A : ndarray of shape (n, n)
        If it is in Fortran order, the eigenvectors overwrite it.

    Raises
    ------
    numpy.linalg.LinAlgError
        If LAPACK's iterations do not converge.
    """
    A = np.asfortranarray(A)
    dsyevd = _routine("dsyevd")
    if dsyevd is None:
        return _wrapped_eigh(A)
    n, values = len(A), np.empty(len(A))
    query, iquery = np.empty(1), np.empty(1, dtype=np.intc)
    dsyevd(b"V", b"L", n, A, n, values, query, -1, iquery, -1)
    work, iwork = np.empty(int(query[0])), np.empty(int(iquery[0]), dtype=np.intc)
    _wait(n, lambda: dsyevd(b"V", b"L", n, A, n, values, work, len(work), iwork, len(iwork)))
    return values, A


def tridiagonalise(A: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return reflectors of Q, diagonal of T, off-diagonal of T, and τ, for A = QTQᵀ.

    Parameters
    ----------
    A : ndarray of shape (n, n), n > 1
        Symmetric; overwritten by the reflectors if it is in Fortran order (LAPACK's dsytrd, lower
        triangle).
    """
    A = np.asfortranarray(A)
    dsytrd = _routine("dsytrd")
    if dsytrd is None:
        return _wrapped_tridiagonalise(A)
    n = len(A)
    diagonal, beside, tau, query = np.empty(n), np.empty(n - 1), np.empty(n - 1), np.empty(1)
    dsytrd(b"L", n, A, n, diagonal, beside, tau, query, -1)
    work = np.empty(int(query[0]))
    _wait(n, lambda: dsytrd(b"L", n, A, n, diagonal, beside, tau, work, len(work)))
    return A, diagonal, beside, tau


def _wait(n: int, call: Callable[[], None]) -> None:
    """Call on another thread, so that this one handles signals. After Ctrl-C the call runs on."""
    if n <= SMALL:
        call()
        return
    raised: list[BaseException] = []

    def run() -> None:
        """Keep what the call raises, for the thread that waits."""
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="rigidities-lapack", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)  # a signal to another thread does not end a wait
    if raised:
        raise raised[0]


def _pointer(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return argument if isinstance(argument, bytes) else ctypes.byref(ctypes.c_int(argument))


SIGNATURES = {"dsyevd": "void (c, c, i, d, i, d, d, i, i, i, i)", "dsytrd": "void (c, i, d, i, d, d, d, d, i, i)"}
"""Arguments of the routines: pointers to char, double, and int of 32 bits."""


@functools.cache
def _routine(name: str) -> Callable[..., None] | None:
    """Return a function that calls LAPACK's routine without the interpreter.

    It takes all arguments but the last, INFO, and raises if that is not 0. None if SciPy's routine
    has another signature.
    """
    from scipy.linalg import cython_lapack

    capsule = cython_lapack.__pyx_capi__[name]
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    signature = name_of(capsule)
    # Cython calls a double of SciPy's __pyx_t_5scipy_6linalg_13cython_lapack_d
    plain = re.sub(r"\b(?:__pyx_t_\w+_d|double) \*", "d", signature.decode())
    if plain.replace("char *", "c").replace("int *", "i") != SIGNATURES[name]:
        return None
    n_arguments = SIGNATURES[name].count(", ") + 1
    routine = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_arguments)(pointer_of(capsule, signature))

    def call(*arguments: Any) -> None:
        info = ctypes.c_int(0)
        routine(*map(_pointer, arguments), ctypes.byref(info))
        if info.value:
            raise np.linalg.LinAlgError(f"LAPACK's {name} returned {info.value}: the eigenvalues did not converge")

    return call


def _wrapped_eigh(A: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from scipy.linalg import eigh

    values, vectors = eigh(A, driver="evd", overwrite_a=True, check_finite=False)
    return values, vectors


def _wrapped_tridiagonalise(A: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    from scipy.linalg.lapack import dsytrd, dsytrd_lwork

    work = int(dsytrd_lwork(len(A), lower=1)[0])
    return tuple(dsytrd(A, lower=1, lwork=work, overwrite_a=1)[:4])
