"""Training sets that are made larger, or smaller, on real data: what selection.py and pruning.py share."""

import numpy as np
from ase.io import read

import rigidities as rg
from rigidities.interop.featomic import LossRows, Soap
from rigidities.model.target_rows import target_rows

LOSS = rg.Loss(energy=rg.Term(3000.0, per_atom=True), forces=rg.Term())


def kind_of(atoms):
    return str(atoms.info.get("group", atoms.info.get("config_type", "")))


class Task:
    """Rows of the training structures of an element, and of the test structures that are asked for.

    Parameters
    ----------
    asked : tuple of str
        Beginnings of the groups of test structures whose predictions matter; all by default.
    """

    def __init__(self, folder, element, asked=("",)):
        train, test = (read(folder / f"{element}-{name}.xyz", ":") for name in ("training", "test"))
        soap = Soap(element)
        made = LossRows(train, soap, LOSS, baseline="fit", progress=False)
        self.rows = target_rows(made, targets=True)
        self.kinds = np.array([kind_of(atoms) for atoms in train])
        wanted = [atoms for atoms in test if kind_of(atoms).startswith(asked)]
        batches = list(LossRows(wanted, soap, LOSS, baseline=made.baseline, progress=False))
        self.energy, self.forces = (
            tuple(
                np.concatenate([getattr(batch[name], field) for batch in batches])
                for field in ("values", "known_targets")
            )
            for name in ("energy", "forces")
        )
        self.regularizer = self.covariance(np.arange(len(train))).factorize().regularizer

    def members(self, structures):
        """Places of the rows of structures."""
        return np.flatnonzero(np.isin(self.rows.blocks, structures))

    def covariance(self, structures):
        chosen = self.members(structures)
        covariance = rg.Covariance(self.rows.values.shape[1])
        covariance.update(
            self.rows.values[chosen], weights=self.rows.weights[chosen], targets=self.rows.targets[chosen]
        )
        return covariance

    def judge(self, structures):
        """Mean rigidity of the energies asked for, and errors in meV/atom and meV/Å."""
        hessian = self.covariance(structures).factorize(self.regularizer)
        errors = [1000 * np.sqrt(np.mean((y - X @ hessian.coef) ** 2)) for X, y in (self.energy, self.forces)]
        return hessian.rigidity(self.energy[0]).mean(), *errors

    def means(self, structures):
        """Rows of the energies: the mean over the atoms of each structure."""
        energies = self.rows.weights == LOSS.energy.weight
        order = dict(zip(self.rows.blocks[energies].tolist(), np.flatnonzero(energies), strict=True))
        return np.array([self.rows.values[order[structure]] for structure in np.asarray(structures).tolist()])


def farthest(pool, known, n):
    """Farthest-point sampling as scikit-matter has it, from what is known; without that, from the first."""
    from skmatter.sample_selection import FPS

    rows = np.concatenate([known, pool]) if len(known) else pool
    selector = FPS(n_to_select=len(known) + n, initialize=list(range(len(known))) or 0)
    return selector.fit(rows).selected_idx_[len(known) :] - len(known)


def print_table(heads, columns, found):
    """Print a table for each head: a line for each rule, the middle 68 % of random ones in brackets."""
    for k, head in enumerate(heads):
        print(f"\n| {head} | " + " | ".join(columns) + " |")
        print("| --- |" + " --: |" * len(columns))
        for rule, values in found.items():
            low, middle, high = np.quantile(values[:, :, k], [0.16, 0.5, 0.84], axis=0)
            cells = [
                f"{m:.3g}" + (f" ({a:.3g} to {b:.3g})" if len(values) > 1 and a != b else "")
                for a, m, b in zip(low, middle, high, strict=True)
            ]
            print(f"| {rule} | " + " | ".join(cells) + " |", flush=True)
