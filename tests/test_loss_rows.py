"""Rows of energies, forces and virials: against finite differences, and against what the structures hold."""

import pickle
from pathlib import Path

import numpy as np
import pytest

ase = pytest.importorskip("ase")
featomic = pytest.importorskip("featomic")


from ase.build import bulk, molecule  # noqa: E402
from ase.calculators.emt import EMT  # noqa: E402
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402
from ase.io import read  # noqa: E402
from scipy.linalg import lstsq  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.datasets import load_silicon  # noqa: E402
from rigidities.interop import gradients  # noqa: E402
from rigidities.interop.featomic import LossRows, Soap, soap_rows  # noqa: E402

SMALL = {"cutoff": 4.0, "max_radial": 3, "max_angular": 2}
MLEARN = Path(__file__).parents[2] / "shared" / "data" / "mlearn"
ALL = rg.Loss(energy=rg.Term(), forces=rg.Term(), virial=rg.Term())


def triclinic(seed=0):
    """A periodic structure of two species in a skew cell."""
    random = np.random.default_rng(seed)
    cell = np.array([[4.4, 0.0, 0.0], [1.3, 4.1, 0.0], [-0.7, 0.9, 4.6]])
    positions = [[0.1, 0.2, 0.0], [0.55, 0.45, 0.5], [0.2, 0.7, 0.6]]
    atoms = ase.Atoms("CuAuCu", scaled_positions=positions, cell=cell, pbc=True)
    atoms.positions += random.normal(scale=0.1, size=(3, 3))
    return atoms


def labelled(atoms, energy=None, forces=None, stress=None):
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    return atoms


def with_emt(atoms):
    atoms = atoms.copy()
    atoms.calc = EMT()
    return labelled(atoms, atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())


def made(structures, loss=ALL, soap=None, **arguments):
    soap = Soap(["Cu", "Au"], **SMALL) if soap is None else soap
    return LossRows(structures, soap, loss, progress=False, **arguments)


def together(rows):
    """All batches, end to end."""
    batches = list(rows)
    join = lambda name, field: np.concatenate([getattr(batch[name], field) for batch in batches])  # noqa: E731
    fields = ("values", "weights", "targets", "blocks")
    return {name: {field: join(name, field) for field in fields} for name in batches[0]}


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
        # a correlation does not see the constant; 0.986 at the least, the rest is what so small a model leaves
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
    soap = Soap(np.unique(structures[0].numbers).tolist(), **SMALL)
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


# ---- what a batch holds


def test_rows_per_atom_are_divided_with_their_targets():
    atoms = with_emt(triclinic())
    term = rg.Term(per_atom=True)
    total, per_atom = together(made(atoms)), together(made(atoms, rg.Loss(energy=term, virial=term)))
    for name in ("energy", "virial"):
        for field in ("values", "targets"):
            np.testing.assert_allclose(per_atom[name][field], total[name][field] / 3, rtol=1e-15)


def test_rows_carry_labels():
    structures = [with_emt(triclinic(0)), with_emt(triclinic(1).repeat((2, 1, 1)))]
    rows = made(structures)
    batch = next(iter(rows))
    assert list(batch) == ["energy", "forces", "virial"]
    np.testing.assert_array_equal(batch["energy"].blocks, [0, 1])
    np.testing.assert_array_equal(batch["forces"].blocks, np.repeat([0, 1], [9, 18]))
    np.testing.assert_array_equal(batch["virial"].blocks, np.repeat([0, 1], 6))
    forces = np.concatenate([atoms.get_forces().ravel() for atoms in structures])
    np.testing.assert_array_equal(batch["forces"].targets, forces)
    assert batch["forces"].feature_space == rows.feature_space == rows.soap.feature_space
    assert (rows.n_structures, rows.n_features) == (2, batch["energy"].values.shape[1])
    with pytest.raises(ValueError, match="feature space"):
        rg.Covariance(rows.n_features, feature_space="another").update(batch["forces"])


def test_targets_are_found_by_name():
    reference = together(made(with_emt(triclinic())))
    atoms = with_emt(triclinic())
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    atoms.info |= {"e": atoms.get_potential_energy(), "v": -atoms.get_volume() * stress}
    atoms.set_array("f", forces)
    atoms.calc = None
    loss = rg.Loss(energy=rg.Term(target="e"), forces=rg.Term(target="f"), virial=rg.Term(target="v"))
    for virial in (atoms.info["v"], atoms.info["v"].ravel(), atoms.info["v"].ravel()[[0, 4, 8, 5, 2, 1]]):
        atoms.info["v"] = virial
        for name, terms in together(made(atoms, loss)).items():
            np.testing.assert_allclose(terms["targets"], reference[name]["targets"], rtol=1e-14)


def test_weights_of_structures_and_atoms():
    atoms = with_emt(triclinic())
    atoms.info["w"] = 2.0
    atoms.set_array("w", np.array([1.0, 0.0, 3.0]))
    term = rg.Term(weights="w")
    terms = together(made(atoms, rg.Loss(energy=term, forces=term)))
    np.testing.assert_array_equal(terms["energy"]["weights"], [2.0])
    np.testing.assert_array_equal(terms["forces"]["weights"], np.repeat([2.0, 0.0, 6.0], 3))
    del atoms.info["w"]
    np.testing.assert_array_equal(
        together(made(atoms, rg.Loss(forces=term)))["forces"]["weights"], np.repeat([1.0, 0.0, 3.0], 3)
    )


def test_only_structures_with_targets_need_weights():
    weighted = with_emt(triclinic())
    weighted.info["w"] = 2.0
    loss = rg.Loss(energy=rg.Term(weights="w", missing="skip"))
    np.testing.assert_array_equal(together(made([triclinic(), weighted], loss))["energy"]["weights"], [2.0])


def test_rows_are_scored_as_they_come():
    """Rigidities of forces: rows of a test set go into the Hessian of the loss as they are."""
    batch = next(iter(made(with_emt(triclinic()))))
    hessian = rg.loss_sums([batch]).combined().factorize(1e-3)
    np.testing.assert_array_equal(hessian.rigidity(batch["forces"]), hessian.rigidity(batch["forces"].values))
    assert len(hessian.rigidity(batch["forces"])) == 9


def test_a_generator_can_be_gone_through_again():
    rows = made(with_emt(triclinic(seed)) for seed in range(3))
    first, second = together(rows), together(rows)
    np.testing.assert_array_equal(first["forces"]["values"], second["forces"]["values"])


def test_rows_without_targets_need_no_labels():
    batch = next(iter(made(featomic.systems.AseSystem(triclinic()), targets=False)))
    assert batch["forces"].targets is None
    assert batch["forces"].weights is None
    assert len(batch["forces"]) == 9


# ---- energies of the composition


def test_baselines_are_fitted_or_given():
    structures = [with_emt(atoms) for atoms in (triclinic(0), triclinic(1), triclinic(2)[:2], bulk("Cu"))]
    energies = np.array([atoms.get_potential_energy() for atoms in structures])
    rows = made(structures, baseline="fit")
    assert rows.baseline == rg.Baseline.fit([atoms.numbers for atoms in structures], energies)
    expected = energies - [rows.baseline.energy(atoms.numbers) for atoms in structures]
    np.testing.assert_allclose(together(rows)["energy"]["targets"], expected, rtol=1e-14)
    given = made(structures, baseline={"Cu": 1.0, 79: 2.0})
    np.testing.assert_allclose(together(given)["energy"]["targets"], energies - [4, 4, 3, 1], rtol=1e-14)
    np.testing.assert_array_equal(together(given)["forces"]["targets"], together(rows)["forces"]["targets"])


def test_a_baseline_leaves_the_users_energies_alone():
    atoms = triclinic()
    atoms.info["e"] = np.array(3.0)
    made(atoms, rg.Loss(energy=rg.Term(target="e")), baseline={"Cu": 1.0, "Au": 1.0})
    assert atoms.info["e"] == 3.0


# ---- what is missing


def test_missing_targets_are_skipped_where_that_is_said():
    full = with_emt(triclinic())
    partial = full.get_forces()
    partial[1] = np.nan
    structures = [labelled(full, energy=1.0), labelled(full, forces=partial), full]
    loss = rg.Loss(energy=rg.Term(missing="skip"), forces=rg.Term(missing="skip"), virial=rg.Term(missing="skip"))
    rows = made(structures, loss, baseline="fit")
    assert rows.n_missing == {"energy": 1, "forces": 12, "virial": 12}
    terms = together(rows)
    np.testing.assert_array_equal(terms["energy"]["blocks"], [0, 2])
    np.testing.assert_array_equal(terms["forces"]["blocks"], [1] * 6 + [2] * 9)
    np.testing.assert_array_equal(terms["forces"]["values"][:3], terms["forces"]["values"][6:9])
    np.testing.assert_array_equal(terms["forces"]["values"][3:6], terms["forces"]["values"][12:])
    np.testing.assert_array_equal(terms["virial"]["blocks"], [2] * 6)
    # one batch may have no rows of a term
    sums = rg.loss_sums(made(structures, loss, batch_size=1))
    assert {name: covariance.n_rows for name, covariance in sums.covariances.items()} == {
        "energy": 2,
        "forces": 15,
        "virial": 6,
    }


def test_stale_labels_are_missing():
    atoms = with_emt(triclinic())
    atoms.positions[0, 0] += 0.1  # what the calculator holds is of another structure
    with pytest.raises(ValueError, match="1 structure has no energies"):
        made(atoms)


FULL = with_emt(triclinic())
NAN = FULL.get_forces()
NAN[1, 2] = np.nan
INF = FULL.get_stress()
INF[3] = np.inf
ENERGY, FORCES, VIRIAL = (rg.Loss(**{name: rg.Term(weight=0.1)}) for name in ("energy", "forces", "virial"))
SKIP = rg.Loss(virial=rg.Term(missing="skip"))


def carrying(**info):
    atoms = FULL.copy()
    atoms.info |= info
    atoms.calc = FULL.calc
    return atoms


@pytest.mark.parametrize(
    ("structures", "loss", "message"),
    [
        (
            [FULL, *[labelled(FULL, energy=1.0)] * 5],
            FORCES,
            r"forces weight is 0\.1 but 5 structures have no forces: number 1, 2, 3, … of 6\. They are expected "
            r"attached by a calculator; label them, leave them out, or pass Term\(missing=\"skip\"\) .*forces=None",
        ),
        ([triclinic()], ENERGY, r"energy weight is 0\.1 but 1 structure has no energies: number 0 of 1"),
        (FULL, rg.Loss(virial=rg.Term(target="v")), "no virials: .* under the name 'v'"),
        (labelled(FULL, energy=1.0), SKIP, "virial weight is 1 but no structure has virials: pass virial=None"),
        (labelled(FULL, forces=NAN), FORCES, 'structure 0: the force on atom 1, component z, is nan: .*missing="skip"'),
        (labelled(FULL, stress=INF), SKIP, "structure 0: the virial, component yz, is -inf: .*; correct it"),
        (labelled(FULL, energy=np.nan), ENERGY, "structure 0: the energy is nan"),
        (labelled(FULL, forces=NAN[:2]), FORCES, r"structure 0: forces has shape \(2, 3\): expected shape \(3, 3\)"),
        (
            carrying(e=[1.0, 2.0]),
            rg.Loss(energy=rg.Term(target="e")),
            r"the energy has shape \(2,\): expected a number",
        ),
        (carrying(v=np.ones((2, 3))), rg.Loss(virial=rg.Term(target="v")), r"the virial has shape \(2, 3\)"),
        (
            labelled(ase.Atoms("Cu"), stress=np.ones(6)),
            VIRIAL,
            "structure 0 has a stress but its cell has no volume",
        ),
        (FULL, rg.Loss(energy=rg.Term(weights="w")), "structure 0: the energy weight 'w' is not in its info: give"),
        (FULL, rg.Loss(forces=rg.Term(weights="w")), "weight 'w' is not in its info or arrays"),
        (
            carrying(w=-1.0),
            rg.Loss(energy=rg.Term(weights="w")),
            r"weight 'w' is -1\.0: expected finite numbers from 0",
        ),
        ([], ENERGY, "there are no structures"),
        ([FULL, with_emt(bulk("Ni"))], ENERGY, "structure 1 contains Ni, which the training set lacks"),
    ],
)
def test_what_cannot_be_used_is_refused(structures, loss, message):
    with pytest.raises(ValueError, match=message):
        made(structures, loss)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"baseline": {"Cu": 1.0}}, ValueError, "the baseline has no energy for Au, only for Cu: add it"),
        ({"baseline": "mean"}, TypeError, "baseline is 'mean': expected a Baseline, a mapping"),
        ({"baseline": "fit", "targets": False}, ValueError, "there are no energies to fit it to"),
        ({"loss": FORCES, "baseline": "fit"}, ValueError, "there are no energies to fit it to"),
        ({"loss": "energy"}, TypeError, "loss is a str: expected a Loss"),
        ({"soap": "Cu"}, TypeError, "soap is a str: expected a Soap"),
        ({"batch_size": 0}, ValueError, "batch_size is 0: expected at least 1 atom"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        made(FULL, **arguments)


def test_other_things_than_structures_are_refused():
    with pytest.raises(TypeError, match=r"structure 0 is a AseSystem: targets are read from ase\.Atoms"):
        made([featomic.systems.AseSystem(FULL)])
    with pytest.raises(TypeError, match="structures is a int"):
        made(3)
    with pytest.raises(TypeError, match="the energy is 'low': expected numbers"):
        made(carrying(e="low"), rg.Loss(energy=rg.Term(target="e")))


def test_a_loss_survives_pickling():
    assert pickle.loads(pickle.dumps(ALL)) == ALL
