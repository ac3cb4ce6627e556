"""Pairs of what a loss with forces adds: gathering, sums beside featomic, every λ from one decomposition."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.linalg
from featomic import SoapPowerSpectrum
from pairs import Pair

import rigidities as rg
from rigidities.datasets import load_silicon
from rigidities.interop.featomic import LossRows, Soap
from rigidities.loss.rules import EVERY
from rigidities.loss.structures import structures_of
from rigidities.model import LinearModel, SparseKernel


def gathering(n_atoms, p):
    """Gradient rows of atoms with 28 neighbours each, in structures of 64, summed into force rows; read alone."""
    rng = np.random.default_rng(8)
    rows = rng.normal(size=(29 * n_atoms, 3 * p))
    centres = np.repeat(np.arange(n_atoms), 29)
    neighbours = np.concatenate([np.sort(rng.permutation(64)[:29]) for _ in range(n_atoms)])
    labels = centres // 64 * 64 + neighbours
    flat, count = rows.ravel(), rg.get_num_threads()
    with ThreadPoolExecutor(count) as pool:
        yield Pair(
            "gathering force rows", p, f"reading as much, {count} threads", 0.6,
            lambda: rg.reduce_rows(rows, labels, "sum"),
            lambda: list(pool.map(np.sum, np.array_split(flat, count))), read_bytes=rows.nbytes,
        )  # fmt: skip


def force_rows(structures, soap):
    """Sums of energies and forces, and leaving out each structure, against featomic's gradients alone.

    featomic is called in the same portions as for the sums. Rows of the structures are kept for leaving out.
    """
    loss = rg.Loss(energy=rg.Term(per_atom=True), forces=rg.Term(weight=0.1))
    at_once = 64 * rg.get_num_threads()
    portions, n_atoms = [[]], 0
    for atoms in structures:
        if n_atoms + len(atoms) > at_once:
            portions, n_atoms = [*portions, []], 0
        portions[-1].append(atoms)
        n_atoms += len(atoms)

    def gradients():
        calculator = SoapPowerSpectrum(**soap.hyperparameters)
        for portion in portions:
            calculator.compute(portion, gradients=["positions"])

    yield Pair(
        "sums of energies and forces, featomic included", soap.n_features, "featomic's gradients alone", 1 / 1.05,
        lambda: rg.loss_sums(LossRows(structures, soap, loss, progress=False)), gradients,
    )  # fmt: skip
    rows = list(LossRows(structures, soap, loss, progress=False))
    path = rg.regularizer_path(rg.loss_sums(rows).combined())
    path = path.at(path.regularizers[::EVERY])
    yield Pair(
        "leaving out each structure, 50 λ", soap.n_features, "featomic's gradients alone", 1.0,
        lambda: path.leave_out(structures_of(rows, loss)), gradients,
    )  # fmt: skip


def kernel_fit(structures, soap, n_points):
    """A fit of a sparse kernel model, beside the linear fit of the same descriptor."""
    loss = rg.Loss(energy=rg.Term(3000.0, per_atom=True), forces=rg.Term())

    def fit(kernel=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return LinearModel.fit(structures, soap, loss=loss, kernel=kernel, progress=False)

    yield Pair(
        f"fit of a sparse kernel, {n_points} points", n_points, "the linear fit", 1 / 3,
        lambda: fit(SparseKernel(2, n_points)), fit, rounds=2,
    )  # fmt: skip


def every_regularizer(p, n):
    """Leave-one-out of n rows at 200 λ, against 30 Cholesky factorisations and a projection of the rows."""
    rng = np.random.default_rng(9)
    X, y = rng.normal(size=(n, p)), rng.normal(size=n)
    covariance = rg.Covariance(p)
    covariance.update(X, targets=y)
    H = covariance.matrix() + np.eye(p)

    def ours():
        path = rg.regularizer_path(covariance)
        return path.best(), path.score(X, y, "loo")

    def factorisations():
        for _ in range(30):
            scipy.linalg.cholesky(H, lower=True)
        return X @ H

    yield Pair("`regularizer_path`, 200 λ, leave-one-out", p, "30 `cholesky`, a projection", 1.0, ours, factorisations)


def pairs_of_regularizer_and_scale(p, n, size):
    """The likelihood of size² pairs of λ and scale, decomposition included, against an inverse for each pair."""
    rng = np.random.default_rng(10)
    F = rng.normal(size=(2 * n, p)) * np.logspace(0, -4, p)
    y = F @ rng.normal(size=p) + 0.01 * rng.normal(size=2 * n)
    X, z, grid = F[n:], y[n:], np.logspace(-10, 2, size)
    covariance = rg.Covariance(p)
    covariance.update(F[:n], targets=y[:n])
    C, b = covariance.matrix(), F[:n].T @ y[:n]

    def one_pair():
        inverse = np.linalg.inv(C + 1e-3 * np.eye(p))
        v = np.einsum("ij,ij->i", X @ inverse, X) + 1.0
        return (np.log(v) + (z - X @ (inverse @ b)) ** 2 / v).mean()

    yield Pair(
        f"`likelihood_map`, {size} × {size} pairs of λ and scale", p, "an inverse and a score for each pair", 2000.0,
        lambda: rg.likelihood_map(rg.regularizer_path(covariance, grid), X, z, noise=1.0), one_pair,
        compared=lambda ours, theirs: (ours, theirs * size**2),
    )  # fmt: skip


def report_of_calibration(n):
    """A calibration report of n residuals in structures of fifty, against two seconds."""
    rng = np.random.default_rng(11)
    std = 10 ** rng.uniform(-2, 0, n)
    residuals, blocks = std * rng.normal(size=n), np.arange(n) // 50
    yield Pair(
        f"`calibration_report` of {n:,} residuals", None, "2 s allowed", 1.0,
        lambda: rg.calibration_report(residuals, std, blocks=blocks), lambda: None,
        rounds=2, compared=lambda ours, theirs: (ours, 2.0),
    )  # fmt: skip


def all_pairs(short):
    """All of these pairs, or a short form."""
    structures = load_silicon()
    yield from gathering(64 if short else 1024, 64 if short else 448)
    soap = Soap("Si", cutoff=4.0, max_radial=2, max_angular=2) if short else Soap("Si", compact=False)
    yield from force_rows(structures[:4] if short else structures, soap)
    yield from kernel_fit(
        structures[::40] if short else structures, soap if short else Soap("Si"), 20 if short else 500
    )
    yield from every_regularizer(64 if short else 2048, 128 if short else 4096)
    yield from pairs_of_regularizer_and_scale(*((64, 100, 21) if short else (512, 2000, 101)))
    yield from report_of_calibration(1000 if short else 100_000)
