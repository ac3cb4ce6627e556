"""A descriptor that is not ours, in NumPy alone: Gaussians of pair distances with a smooth cutoff, without periodicity.

f_ik = Σ_j g_k(r_ij), g_k(r) = exp(−(r − c_k)²/2w²) (1 − r²/R²)³ for r < R. Each species has columns
of its own.
"""

from dataclasses import dataclass

import numpy as np

WIDTH = 0.5


@dataclass(frozen=True)
class PairDistances:
    species: tuple[int, ...]
    centres: tuple[float, ...] = (2.0, 2.6, 3.2, 3.8)
    cutoff: float = 4.5

    kind = "pair-distances"
    packages = ()

    @property
    def n_features(self):
        return len(self.species) * len(self.centres)

    @property
    def feature_space(self):
        return f"pair-distances {self.species} {self.centres} {self.cutoff}"

    def components(self, by="body_order"):
        if by == "body_order":
            return {"2-body": np.arange(self.n_features)}
        return dict(enumerate(np.arange(self.n_features).reshape(len(self.species), -1)))

    def numbers(self, structure, index):
        if not hasattr(structure, "numbers"):
            raise TypeError(f"structure {index} is a {type(structure).__name__}: expected ase.Atoms")
        return np.asarray(structure.numbers, dtype=np.int64)

    def atom_rows(self, batches):
        for batch in batches:
            yield np.concatenate([self._features(atoms).sum(axis=1) for atoms in batch])

    def term_rows(self, batches, terms):
        for batch in batches:
            parts = [self._terms(atoms) for atoms in batch]
            yield {name: np.concatenate([part[name] for part in parts]) for name in terms}

    def state(self):
        return {"species": list(self.species), "centres": list(self.centres), "cutoff": self.cutoff}

    def describe(self):
        return f"pair distances up to {self.cutoff:g} Å"

    def _terms(self, atoms):
        vectors = atoms.positions[None, :] - atoms.positions[:, None]  # from i to j
        slopes = self._features(atoms, derivative=True)  # ∂f_i/∂r_ij, (i, j, feature)
        r = np.linalg.norm(vectors, axis=-1) + np.eye(len(atoms))
        pulls = slopes[:, :, None, :] * (vectors / r[:, :, None])[:, :, :, None]  # ∂f_i/∂R_j: (i, j, xyz, feature)
        virial = -np.einsum("ija,ijbk->abk", vectors, pulls)
        return {
            "energy": self._features(atoms).sum(axis=(0, 1))[None, None],
            "forces": pulls.sum(axis=1) - pulls.sum(axis=0),
            "virial": np.stack([virial[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])[None],
        }

    def _features(self, atoms, derivative=False):
        """What each neighbour j adds to each feature of i, (i, j, feature), or its derivative by their distance."""
        distances = np.linalg.norm(atoms.positions[None, :] - atoms.positions[:, None], axis=-1)[:, :, None]
        x = (distances - np.array(self.centres)) / WIDTH
        inside = np.maximum(1 - (distances / self.cutoff) ** 2, 0.0)
        values = np.exp(-0.5 * x**2) * inside**3
        if derivative:
            values = np.exp(-0.5 * x**2) * (-x / WIDTH * inside**3 - 6 * distances / self.cutoff**2 * inside**2)
        values[np.arange(len(atoms)), np.arange(len(atoms))] = 0.0
        of_species = atoms.numbers[:, None] == np.array(self.species)
        spread = of_species[:, None, :, None] * values[:, :, None, :]
        return spread.reshape(len(atoms), len(atoms), self.n_features)
