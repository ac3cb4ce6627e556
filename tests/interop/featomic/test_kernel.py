"""Rows of sparse kernels on SOAP: against the textbook, against finite differences, in parts, through a state."""

import numpy as np
import pytest

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from crystals import ALL, SMALL, rows, triclinic  # noqa: E402

from rigidities.interop.featomic import LossRows, Soap, gradients, kernel_gradients  # noqa: E402
from rigidities.interop.featomic.kernel import KernelRows  # noqa: E402
from rigidities.interop.featomic.points import columns_of  # noqa: E402
from rigidities.structures.descriptor import Descriptor  # noqa: E402

SETTINGS = {
    "power spectrum": {},
    "radial spectrum": {"body_orders": (2,)},
    "columns of 0.1": {"compact": False},
    "pseudo-species": {"pseudo_species": 1},
}
TRAIN = [triclinic(seed) for seed in range(10, 16)]


def made(zeta=2, soap=None, n_points=6, **settings):
    """Kernels with the first atoms of each species."""
    soap = Soap(["Cu", "Au"], **SMALL, **settings) if soap is None else soap
    found = rows(TRAIN, soap)
    points = {
        species: found.values[found.species == species][:n_points, own] for species, own in columns_of(soap).items()
    }
    return KernelRows.of_points(soap, zeta, points), points


def only_rows(structures, kernel, **arguments):
    taken = LossRows(structures, kernel, ALL, targets=False, progress=False, **arguments)
    return {name: part.values for name, part in next(iter(taken)).items()}


def atoms_of(kernel, structures):
    return np.concatenate(list(kernel.atom_rows([[one] for one in structures])))


def textbook(soap, zeta, points, structures):
    """Kernels (u·u_m)^ζ of every atom with every point, zero between species, one row at a time."""
    found = rows(structures, soap)
    out = []
    for row, species in zip(found.values, found.species, strict=True):
        out.append([])
        for other, own in columns_of(soap).items():
            for point in points[other]:
                x, p = row[own], point
                same = species == other
                out[-1].append((x @ p / np.sqrt((x @ x) * (p @ p))) ** zeta if same else 0.0)
    return np.array(out)


def penalty(soap, zeta, points):
    """K_MM, zero between species."""
    units = [own / np.linalg.norm(own, axis=1, keepdims=True) for own in points.values()]
    n = sum(map(len, units))
    K, start = np.zeros((n, n)), 0
    for own in units:
        stop = start + len(own)
        K[start:stop, start:stop] = (own @ own.T) ** zeta
        start = stop
    return K


def test_it_fills_the_contract():
    assert isinstance(made()[0], Descriptor)


@pytest.mark.parametrize("zeta", [1, 2, 3])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_scalar_products_are_those_of_the_kernel(settings, zeta):
    """f·f' = κᵀK_MM⁻¹κ', Nyström's approximation of the kernel, for atoms of any species."""
    kernel, points = made(zeta, **settings)
    structures = [triclinic(seed) for seed in (1, 2)]
    K_NM, K_MM = textbook(kernel.soap, zeta, points, structures), penalty(kernel.soap, zeta, points)
    F = atoms_of(kernel, structures)
    # K_MM is so near to singular that its directions below √eps·d differ in their digits
    solved = np.linalg.lstsq(K_MM, K_NM.T, rcond=None)[0]
    np.testing.assert_allclose(F @ F.T, K_NM @ solved, rtol=0, atol=1e-6)
    energies = only_rows(structures, kernel)["energy"]
    np.testing.assert_allclose(energies, F.reshape(2, 3, -1).sum(axis=1), rtol=0, atol=1e-9)


def test_points_have_the_kernel_itself():
    kernel, _ = made(3)
    F = atoms_of(kernel, TRAIN)
    own = rows(TRAIN, kernel.soap)
    first = [np.flatnonzero(own.species == species)[:6] for species in (29, 79)]
    for atoms, (species, columns) in zip(first, columns_of(kernel.soap).items(), strict=True):
        units = own.values[atoms, columns] / np.linalg.norm(own.values[atoms, columns], axis=1, keepdims=True)
        np.testing.assert_allclose(F[atoms] @ F[atoms].T, (units @ units.T) ** 3, atol=1e-7, err_msg=str(species))


def central(plus, minus, step):
    return (plus - minus) / (2 * step)


@pytest.mark.parametrize(
    ("zeta", "settings"), [(1, {}), (2, {}), (4, {}), *[(2, entry) for entry in SETTINGS.values()]]
)
def test_finite_differences_confirm_forces_and_virials(zeta, settings):
    kernel, _ = made(zeta, **settings)
    atoms, step = triclinic(), 1e-4
    found = only_rows(atoms, kernel)
    summed = lambda one: atoms_of(kernel, [one]).sum(axis=0)  # noqa: E731
    expected = []
    for atom in range(3):
        for axis in range(3):
            moved = [atoms.copy(), atoms.copy()]
            moved[0].positions[atom, axis] += step
            moved[1].positions[atom, axis] -= step
            expected.append(-central(*map(summed, moved), step))
    # an error of step² times the third derivative, and of the digits that W leaves of a row
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found["forces"], expected, rtol=0, atol=3e-6 * scale)
    for row, (i, j) in zip(found["virial"], [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)], strict=True):
        strain = np.zeros((3, 3))
        strain[i, j] = strain[j, i] = step if i == j else step / 2
        strained = [atoms.copy(), atoms.copy()]
        for copy, sign in zip(strained, (1, -1), strict=True):
            copy.set_cell(atoms.cell @ (np.eye(3) + sign * strain), scale_atoms=True)
        expected = -central(*map(summed, strained), step)
        np.testing.assert_allclose(row, expected, rtol=0, atol=3e-6 * np.abs(found["virial"]).max())


def test_parts_are_the_whole(monkeypatch):
    kernel, _ = made()
    structures = [triclinic(1), triclinic(2).repeat((2, 1, 1)), triclinic(3)]
    whole = only_rows(structures, kernel)
    monkeypatch.setattr(gradients, "CENTRES", 2)
    monkeypatch.setattr(kernel_gradients, "AT_ONCE", 1)
    for name, values in only_rows(structures, kernel).items():
        np.testing.assert_allclose(values, whole[name], rtol=0, atol=1e-9 * np.abs(whole[name]).max())


def test_batches_change_rows_by_rounding_alone():
    kernel, _ = made()
    structures = [triclinic(seed) for seed in range(4)]
    taken = [
        list(LossRows(structures, kernel, ALL, targets=False, progress=False, batch_size=size)) for size in (1, 4, 99)
    ]
    joined = [{name: np.concatenate([batch[name].values for batch in one]) for name in ALL.terms} for one in taken]
    for other in joined[1:]:
        for name, values in other.items():
            np.testing.assert_allclose(values, joined[0][name], rtol=0, atol=1e-9 * np.abs(values).max())
    [whole] = kernel.atom_rows([structures])
    np.testing.assert_allclose(atoms_of(kernel, structures), whole, rtol=0, atol=1e-9)


def test_an_element_alone_is_the_kernel_of_its_species():
    """A structure without gold, whose blocks of other species featomic leaves out."""
    kernel, _ = made()
    copper = ase.Atoms("Cu2", [[0, 0, 0], [2.3, 0.1, 0]])
    F = atoms_of(kernel, [copper])
    gold = kernel.components("species")["Au"]
    assert not F[:, gold].any()
    assert set(kernel.components("species")) == {"Cu", "Au"}
    assert list(kernel.components()) == ["kernel"]
    expected = only_rows([copper, triclinic()], kernel)["energy"][0]
    np.testing.assert_allclose(F.sum(axis=0), expected, atol=1e-10)
    with pytest.raises(ValueError, match="by is 'shape'"):
        kernel.components("shape")


def test_a_state_brings_back_the_same_rows():
    kernel, _ = made(3, pseudo_species=1)
    again = KernelRows.of_state(kernel.state())
    assert again == kernel
    assert hash(again) == hash(kernel)
    assert again.feature_space == kernel.feature_space != made(2)[0].feature_space
    np.testing.assert_array_equal(atoms_of(again, TRAIN), atoms_of(kernel, TRAIN))
    assert "ζ = 3" in repr(kernel)
    for name in ("points", "whitening"):
        state = kernel.state()
        with pytest.raises(ValueError, match=f"{name} has .* entries: expected"):
            KernelRows.of_state(state | {name: state[name][1:]})
        with pytest.raises(ValueError, match="finite"):
            KernelRows.of_state(state | {name: np.where(np.arange(len(state[name])) == 3, np.nan, state[name])})


def test_what_is_no_kernel_is_refused():
    soap = Soap(["Cu", "Au"], **SMALL)
    points = made()[1]
    with pytest.raises(ValueError, match=r"the kernel has no points of Au: expected atoms of each species"):
        KernelRows.of_points(soap, 2, {29: points[29]})
    with pytest.raises(ValueError, match="zeta is 0: expected an integer from 1"):
        KernelRows.of_points(soap, 0, points)
    with pytest.raises(TypeError, match=r"zeta is 0\.5: expected an integer from 1"):
        KernelRows.of_points(soap, 0.5, points)
    with pytest.raises(ValueError, match=r"body_orders is \(2, 3\): a kernel takes one of them"):
        columns_of(Soap(["Cu", "Au"], **SMALL, body_orders=(2, 3)))
    with pytest.raises(TypeError, match="soap is a str: expected a Soap"):
        columns_of("soap")
    with pytest.raises(ValueError, match="contains Ag"):
        LossRows([ase.Atoms("Ag")], made()[0], ALL, targets=False, progress=False)
