"""Rows of energies, forces and virials: against finite differences, and against what the structures hold."""

from pathlib import Path

import numpy as np
import pytest

ase = pytest.importorskip("ase")
featomic = pytest.importorskip("featomic")


from ase.build import bulk, molecule  # noqa: E402
from ase.calculators.emt import EMT  # noqa: E402
from ase.io import read  # noqa: E402
from crystals import made, together, triclinic, with_emt  # noqa: E402
from scipy.linalg import lstsq  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.datasets import load_silicon  # noqa: E402
from rigidities.interop.featomic import (  # noqa: E402
    Soap,
    gradients,
    soap_rows,
)

SMALL = {"cutoff": 4.0, "max_radial": 3, "max_angular": 2}
MLEARN = Path(__file__).parents[4] / "shared" / "data" / "mlearn"


def only_rows(structures, **arguments):
    return {name: rows.values for name, rows in next(iter(made(structures, targets=False, **arguments))).items()}


def summed(atoms, soap):
    return soap_rows(atoms, soap, progress=False).values.sum(axis=0)


def central(plus, minus, step):
    """Central difference; its error is O(step²) and rounding, eps·‖f‖/step: about 1e-8 for features of order 1."""
    return (plus - minus) / (2 * step)


# ---- rows are derivatives


@pytest.mark.parametrize("body_orders", [(3,), (2, 3)])
def test_finite_differences_confirm_forces_and_virials(body_orders):
    soap = Soap(["Cu", "Au"], **SMALL, body_orders=body_orders)
    atoms, step = triclinic(), 1e-4
    rows = only_rows(atoms, soap=soap)
    np.testing.assert_allclose(rows["energy"], summed(atoms, soap)[None], rtol=1e-12, atol=1e-14)
    scale = np.abs(rows["forces"]).max()
    for atom in range(3):
        for axis in range(3):
            moved = [atoms.copy(), atoms.copy()]
            moved[0].positions[atom, axis] += step
            moved[1].positions[atom, axis] -= step
            expected = -central(*(summed(copy, soap) for copy in moved), step)
            np.testing.assert_allclose(rows["forces"][3 * atom + axis], expected, rtol=0, atol=1e-6 * scale)
    for row, (i, j) in zip(rows["virial"], [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)], strict=True):
        strain = np.zeros((3, 3))
        strain[i, j] = strain[j, i] = step if i == j else step / 2
        strained = [atoms.copy(), atoms.copy()]
        for copy, sign in zip(strained, (1, -1), strict=True):
            copy.set_cell(atoms.cell @ (np.eye(3) + sign * strain), scale_atoms=True)
        expected = -central(*(summed(copy, soap) for copy in strained), step)
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-6 * np.abs(rows["virial"]).max())


def test_virial_targets_are_the_derivative_of_the_energy():
    """Signs and order: what is fitted to virials is −∂E/∂ε of the potential that made the energies."""
    atoms, step = triclinic(), 1e-4
    targets = together(made(with_emt(atoms)))["virial"]["targets"]
    for target, (i, j) in zip(targets, [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)], strict=True):
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            copy = atoms.copy()
            copy.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
            copy.calc = EMT()
            energies.append(copy.get_potential_energy())
        assert target == pytest.approx(-central(*energies, step), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "group", "others"), [("virial", "strained", "forces"), ("forces", "rattled", "energy")]
)
def test_rows_and_targets_of_all_terms_are_of_one_model(name, group, others):
    """Silicon as shipped: what is fitted to one term alone predicts energies (less a constant) and the others."""
    structures = load_silicon(groups=group)[::3]
    soap = Soap("Si", **SMALL)
    coef = rg.loss_sums(made(structures, rg.Loss(**{name: rg.Term()}), soap)).combined().factorize(1e-9).coef
    terms = together(made(structures, rg.Loss(energy=rg.Term(per_atom=True), forces=rg.Term(), virial=rg.Term()), soap))
    for other in {name, others, "energy"}:
        # a correlation does not see the constant; 0.986 at the least, the rest is what so small a
        # model leaves
        assert np.corrcoef(terms[other]["values"] @ coef, terms[other]["targets"])[0, 1] > 0.97, other


def test_gradients_in_parts_are_the_whole(monkeypatch):
    structures = [triclinic(1), triclinic(2).repeat((2, 1, 1)), triclinic(3)]
    whole = only_rows(structures)
    monkeypatch.setattr(gradients, "CENTRES", 2)
    for name, rows in only_rows(structures).items():
        # sums of the same terms in another order
        np.testing.assert_allclose(rows, whole[name], rtol=1e-12, atol=1e-13 * np.abs(whole[name]).max())


def test_batches_change_no_row():
    structures = [with_emt(triclinic(seed)) for seed in range(4)]
    whole = together(made(structures, batch_size=10**6))
    for batch_size in (1, 4):
        for name, terms in together(made(structures, batch_size=batch_size)).items():
            for field, values in terms.items():
                np.testing.assert_array_equal(values, whole[name][field])


def test_few_gradients_are_held_at_once(monkeypatch):
    held = []
    compute = featomic.SoapPowerSpectrum.compute

    def watched(self, *arguments, **options):
        tensor = compute(self, *arguments, **options)
        centres = {tuple(sample) for block in tensor for sample in block.samples.values.tolist()}
        held.append(len(centres))
        return tensor

    monkeypatch.setattr(featomic.SoapPowerSpectrum, "compute", watched)
    monkeypatch.setattr(gradients, "CENTRES", 7)
    structures = [triclinic(seed) for seed in range(5)] + [triclinic().repeat((5, 1, 1))]
    rows = made(structures, targets=False, batch_size=7)
    assert [len(batch["forces"]) // 3 for batch in rows] == [6, 6, 3, 15]
    assert held == [6, 6, 3, 7, 7, 1]
    held.clear()
    assert len(list(made(structures, targets=False, batch_size=10**6))) == 1
    assert sum(held) == 30
    assert max(held) <= 7 * rg.get_num_threads()


def test_gradient_blocks_of_few_species_go_to_their_columns():
    wide = Soap(["Al", "Cu", "Au"], **SMALL)
    copper, atoms = bulk("Cu", cubic=True), triclinic()
    copper.rattle(0.1, seed=1)
    mixed = only_rows([copper, atoms], soap=wide)
    alone = only_rows([atoms], soap=wide)
    for name, rows in alone.items():
        np.testing.assert_allclose(mixed[name][-len(rows) :], rows, rtol=1e-12, atol=1e-13)
    aluminium = next(b.columns for b in wide.blocks if b.centre == 13)
    assert not mixed["forces"][:, aluminium].any()


def test_open_structures_have_forces():
    soap = Soap(["H", "O"], **SMALL)
    water = molecule("H2O")
    rows = only_rows(water, loss=rg.Loss(forces=rg.Term()), soap=soap)["forces"].reshape(3, 3, -1)
    assert np.abs(rows).max() > 1e-3
    # no net force, no net torque
    np.testing.assert_allclose(rows.sum(axis=0), 0, atol=1e-12)
    torque = np.cross(water.positions[:, :, None], rows, axis=1).sum(axis=0)
    np.testing.assert_allclose(torque, 0, atol=1e-10)


# ---- sums


def some_structures(name):
    if name == "shipped":
        return load_silicon()[::30]
    path = MLEARN / f"{name}-training.xyz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return read(path, ":")[::35]


def dense_terms(structures, soap, baseline):
    """All rows and targets, from featomic's own gradients, pair by pair."""
    found = {"energy": [], "forces": [], "virial": []}
    for atoms in structures:
        (block,) = featomic.SoapPowerSpectrum(**soap.hyperparameters).compute(atoms, gradients=["positions", "strain"])
        energy, forces = (
            atoms.get_potential_energy() - baseline.energy(atoms.numbers),
            np.zeros((len(atoms), 3, soap.n_features)),
        )
        gradient = block.gradient("positions")
        np.subtract.at(forces, gradient.samples["atom"], gradient.values)
        virial = -np.sum(block.gradient("strain").values, axis=0)
        virial = np.stack([(virial[i, j] + virial[j, i]) / 2 for i, j in gradients.VOIGT])
        found["energy"].append((np.sum(block.values, axis=0)[None] / len(atoms), [energy / len(atoms)]))
        found["forces"].append((forces.reshape(-1, soap.n_features), atoms.get_forces().ravel()))
        found["virial"].append((virial, -atoms.get_volume() * atoms.get_stress()))
    return {name: [np.concatenate(part) for part in zip(*parts, strict=True)] for name, parts in found.items()}


@pytest.mark.parametrize("name", ["shipped", "Si", "Li"])
def test_sums_are_those_of_dense_assembly(name):
    structures = some_structures(name)
    soap = Soap(np.unique(structures[0].numbers).tolist(), **SMALL, compact=False)  # featomic's own columns
    loss = rg.Loss(rg.Term(10.0, per_atom=True), rg.Term(0.1), rg.Term(0.01))
    rows = made(structures, loss, soap, baseline="fit")
    dense = dense_terms(structures, soap, rows.baseline)
    sums = rg.loss_sums(rows)
    for term, (X, y) in dense.items():
        covariance = sums.covariances[term]
        assert covariance.n_rows == len(X)
        # a sum of n products differs by its order by n·eps of its size at the most
        C, b = X.T @ X, X.T @ y
        np.testing.assert_allclose(covariance.matrix(), C, rtol=0, atol=len(X) * 2.3e-16 * np.abs(C).max())
        # b = Hθ: what the product loses is p·eps·‖H‖‖θ‖
        hessian = covariance.factorize(1e-3 * np.trace(C))
        backward = np.linalg.norm(C + hessian.regularizer * np.eye(len(C)), 2) * np.linalg.norm(hessian.coef)
        restored = C @ hessian.coef + hessian.regularizer * hessian.coef
        np.testing.assert_allclose(restored, b, rtol=0, atol=len(C) * 1e-15 * backward)
    weights = [loss.terms[term].weight for term in dense]
    X = np.vstack([np.sqrt(w) * X for w, (X, _) in zip(weights, dense.values(), strict=True)])
    y = np.concatenate([np.sqrt(w) * y for w, (_, y) in zip(weights, dense.values(), strict=True)])
    regularizer = 1e-8 * np.trace(X.T @ X)
    p = soap.n_features
    expected = lstsq(np.vstack([X, np.sqrt(regularizer) * np.eye(p)]), np.append(y, np.zeros(p)))[0]
    # the normal equations lose cond(H)·eps ≤ 1e8·2.3e-16 of the weights
    coef = sums.combined().factorize(regularizer).coef
    np.testing.assert_allclose(coef, expected, rtol=0, atol=1e-7 * np.linalg.norm(expected))
