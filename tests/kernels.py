"""Sparse kernel models of toy data: rows K_NM and K_TM, penalty K_MM, targets and what they would be without noise."""

from dataclasses import dataclass

import numpy as np


@dataclass
class KernelProblem:
    """Rows of training and test points, the penalty, noisy training targets, exact test targets."""

    train: np.ndarray
    penalty: np.ndarray
    test: np.ndarray
    y: np.ndarray
    truth: np.ndarray

    def error(self, coef):
        return root_mean_square(self.test @ coef - self.truth)

    def whitened(self):
        """Training and test rows in the textbook's coordinates K_MM^(-½), zero directions left out."""
        d, U = np.linalg.eigh(self.penalty)
        kept = d > len(d) * np.finfo(float).eps * d[-1]
        W = U[:, kept] / np.sqrt(d[kept])
        return self.train @ W, self.test @ W

    def best(self):
        """Smallest test error of a dense scan of λ, by singular values of whitened rows."""
        F, X = self.whitened()
        U, s, Vt = np.linalg.svd(F, full_matrices=False)
        scan = np.geomspace(1e-15, 1.0, 300) * s[0] ** 2
        return min(root_mean_square(X @ (Vt.T @ (s * (U.T @ self.y) / (s**2 + value))) - self.truth) for value in scan)


def root_mean_square(values):
    return float(np.sqrt(np.mean(np.square(values))))


def farthest_points(X, n):
    """Points, each the farthest from those before it."""
    chosen, distances = [0], np.linalg.norm(X - X[0], axis=1)
    while len(chosen) < n:
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.linalg.norm(X - X[chosen[-1]], axis=1))
    return X[chosen]


def gaussian(width):
    return lambda A, B: np.exp(-((A[:, None] - B[None]) ** 2).sum(-1) / (2 * width**2))


def power(zeta):
    """(x·x')^ζ of normalised rows."""
    unit = lambda A: A / np.linalg.norm(A, axis=1, keepdims=True)  # noqa: E731
    return lambda A, B: (unit(A) @ unit(B).T) ** zeta


def linear(A, B):
    return A @ B.T


def wave(X):
    return np.sin(X[:, 0]) + np.cos(X[:, 1]) * X[:, 0]


def descriptors(n, seed):
    """Positive rows of 60 columns that six numbers determine: what descriptors of atoms look like."""
    shared = np.random.default_rng(1).normal(size=(6, 60)) / np.sqrt(6)
    return np.abs(np.tanh(np.random.default_rng(seed).uniform(-1, 1, (n, 6)) @ shared) + 1.5)


def energy(X):
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    along = unit @ np.random.default_rng(4).normal(size=60)
    return 30 * np.tanh(2 * (along - along.mean())) + 5 * along**2


def problem(kernel, X, T, n_points, truth, noise, duplicates=0.0):
    """With `duplicates`, half of the points are the other half, moved by so much."""
    rng = np.random.default_rng(0)
    points = farthest_points(X, n_points)
    if duplicates:
        half = points[: n_points // 2]
        points = np.concatenate([half, half + duplicates * rng.normal(size=half.shape)])
    y = truth(X) + noise * rng.normal(size=len(X))
    return KernelProblem(kernel(X, points), kernel(points, points), kernel(T, points), y, truth(T))


def plane(n=400, dimensions=2, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(-2, 2, (n, dimensions)), rng.uniform(-2, 2, (200, dimensions))


PROBLEMS = {
    "wide, little noise": lambda: problem(gaussian(2.0), *plane(), 40, wave, 1e-4),
    "narrow": lambda: problem(gaussian(1.0), *plane(), 50, wave, 1e-3),
    "narrow, much noise": lambda: problem(gaussian(0.7), *plane(), 100, wave, 0.1),
    "three dimensions, 300 points": lambda: problem(gaussian(1.5), *plane(1000, 3), 300, wave, 1e-3),
    "squares": lambda: problem(power(2), descriptors(800, 2), descriptors(200, 3), 100, energy, 1e-3),
    "squares, 300 points": lambda: problem(power(2), descriptors(800, 2), descriptors(200, 3), 300, energy, 1e-2),
    "fourth powers": lambda: problem(power(4), descriptors(800, 2), descriptors(200, 3), 200, energy, 1e-4),
    "linear": lambda: problem(linear, descriptors(800, 2), descriptors(200, 3), 50, energy, 1e-2),
    "linear, more points than columns": lambda: problem(
        linear, descriptors(800, 2), descriptors(200, 3), 150, energy, 1e-3
    ),
    "near duplicates": lambda: problem(gaussian(1.0), *plane(), 100, wave, 1e-3, 1e-4),
    "duplicates to rounding": lambda: problem(gaussian(1.0), *plane(), 100, wave, 1e-2, 1e-9),
    "few rows": lambda: problem(gaussian(1.0), *plane(150, 3), 100, wave, 1e-3),
}
