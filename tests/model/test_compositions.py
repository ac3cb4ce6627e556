"""Compositions that a fit leaves open: warned of, with an infinite σ, and nothing is said of the others."""

import itertools

import numpy as np
import pytest
from scipy.linalg import null_space

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import molecule  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities import cli  # noqa: E402
from rigidities.interop.featomic import Soap  # noqa: E402
from rigidities.model import LinearModel  # noqa: E402

ENERGIES = {"H": -13.6, "C": -1029.0, "N": -1480.0, "O": -2041.0}
LOSS = rg.Loss(energy=rg.Term(per_atom=True, target="energy"))
SMALL = {"cutoff": 3.0, "max_radial": 2, "max_angular": 1}


def labelled(name, seed):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=seed)
    distances = atoms.get_all_distances()[np.triu_indices(len(atoms), 1)]
    atoms.info["energy"] = sum(ENERGIES[symbol] for symbol in atoms.symbols) + np.exp(-distances).sum()
    return atoms


def fitted(names, **options):
    frames = [labelled(name, seed) for seed, name in enumerate(names * (12 // len(names)))]
    soap = Soap(["H", "C", "N", "O"], **SMALL)
    return LinearModel.fit(frames, soap, LOSS, regularizer=1e-4, progress=False, **options)


CASES = {
    "one compound": (["CO2"], ["CO2"], ["CO", "O2"]),
    "hydrocarbons of one ratio": (["C2H4", "C3H6_D3h"], ["C2H4"], ["CH4", "C2H2"]),
    "two compounds of three species": (["CH4", "CO2"], ["CH4", "CO2"], ["CO", "H2O", "CH3OH"]),
    "a product of reactants": (["CH4", "CO2", "NH3"], ["NH3"], ["HCN", "N2"]),
}


@pytest.mark.filterwarnings("ignore:the compositions of the training")
@pytest.mark.parametrize("name", CASES)
def test_compositions_outside_the_fit(name, recwarn):
    names, inside, outside = CASES[name]
    model = fitted(names)
    recwarn.clear()
    expected = model.predict([labelled(one, 7) for one in inside], progress=False)
    assert not recwarn.list
    assert np.isfinite(expected.energy_std).all()
    order = [*inside, *outside, inside[0]]
    numbers = ", ".join(map(str, range(len(inside), len(order) - 1)))
    with pytest.warns(rg.UndeterminedWarning, match=f"of {len(order)} structures, number {numbers}, are outside"):
        found = model.predict([labelled(one, 7) for one in order], progress=False)
    is_outside = np.isin(order, outside)
    np.testing.assert_array_equal(np.isinf(found.energy_std), is_outside)
    np.testing.assert_array_equal(np.isinf(found.atom_energy_std), np.repeat(is_outside, found.sizes))
    np.testing.assert_array_equal(found.pr == 0, is_outside)
    np.testing.assert_allclose(found.energy_std[: len(inside)], expected.energy_std, rtol=1e-9)
    np.testing.assert_allclose(found.energies[-1], labelled(inside[0], 7).info["energy"], atol=0.3)


def test_a_mixture_that_adds_up_is_determined(recwarn):
    """Any composition that is a sum of those of the fit is determined, as that of CH4 and CO2 together."""
    with pytest.warns(rg.UndeterminedWarning, match="energies of H, C, O apart"):
        model = fitted(["CH4", "CO2"])
    assert model.baseline.determines([6, 1, 1, 1, 1, 6, 8, 8])
    assert model.baseline.determines([6, 1, 1, 6, 8, 1, 1, 8])  # in another order
    assert not model.baseline.determines([6, 1, 1, 1, 1, 6, 8])


def test_enough_compositions_are_silent(recwarn):
    model = fitted(["CH4", "CO2", "CO", "N2"])
    model.predict([labelled(name, 3) for name in ("HCN", "CH3OH", "NO")], progress=False)
    assert not recwarn.list
    assert model.baseline.undetermined == ()


@pytest.mark.parametrize("baseline", [None, ENERGIES])
def test_energies_of_atoms_that_are_given_are_known(baseline, recwarn):
    model = fitted(["CO2"], baseline=baseline)
    assert np.isfinite(model.predict(labelled("CO", 1), progress=False).energy_std).all()
    assert not recwarn.list


def test_what_is_unnoticed_is_the_null_space():
    rng = np.random.default_rng(0)
    for n_compositions, n_species in itertools.product([1, 2, 3], [2, 4]):
        kinds = [rng.integers(0, 4, n_species) + (np.arange(n_species) == 0) for _ in range(n_compositions)]
        numbers = [np.repeat(np.arange(1, n_species + 1), counts * rng.integers(1, 4)) for counts in kinds * 3]
        numbers.append(np.arange(1, n_species + 1))  # all species
        baseline = rg.Baseline.fit(numbers, rng.normal(size=len(numbers)))
        counts = np.array([np.bincount(entry, minlength=n_species + 1)[1:] for entry in numbers])
        expected = null_space(counts)
        found = np.reshape(baseline.undetermined, (-1, n_species))
        np.testing.assert_allclose(found.T @ found, expected @ expected.T, atol=1e-9)
        assert all(baseline.determines(entry) for entry in numbers)


@pytest.mark.filterwarnings("ignore:the compositions of")
def test_models_keep_it_and_older_files_load(tmp_path):
    model = fitted(["CO2"])
    model.save(tmp_path / "model")
    again = LinearModel.load(tmp_path / "model")
    assert again.baseline == model.baseline
    assert not again.baseline.determines([6, 8])


def test_a_wrong_number_of_species_is_refused():
    with pytest.raises(ValueError, match="undetermined has rows that are not of 2 species"):
        rg.Baseline({6: 1.0, 8: 2.0}, [[1.0]])


def test_the_command_line_names_the_structures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", [labelled("CO2", seed) for seed in range(12)])
    ase.io.write("test.xyz", [labelled(name, 3) for name in ("CO2", "CO", "CO2")])

    def run(*arguments):
        done = CliRunner().invoke(cli.app, [*arguments, "--no-progress"])
        assert done.exit_code == 0, done.output
        return done.stdout, " ".join(done.stderr.split())

    shape = ["--energy-key", "energy", "--regularizer", "1e-4", "--cutoff", "3"]
    out, err = run("fit", "train.xyz", "test.xyz", "-o", "model.safetensors", "--forces-weight", "0", *shape)
    assert "(the energies of C, O are not determined apart)" in " ".join(out.split())
    assert "do not determine the energies of C, O apart" in err
    assert "1 of 3 structures, number 1, are outside those of the fit" in err
    for command in (("score", "model.safetensors"), ("report", "train.xyz")):
        extra = [] if command[0] == "score" else ["--energy-key", "energy", "--cutoff", "3"]
        where = "scored.xyz" if command[0] == "score" else "report"
        out, err = run(*command, "test.xyz", "-o", where, *extra)
        assert "1 of 3 structures, number 1, are outside those of the fit" in err
        first = out[out.index("compute next") :].splitlines()[2].split()
        assert first[0] == "1"  # the first to compute
    scored = ase.io.read("scored.xyz", ":")
    assert [np.isinf(frame.info["energy_std"]) for frame in scored] == [False, True, False]
    reported = ase.io.read("report/rigidities.xyz", ":")
    assert [np.isinf(frame.info["energy_uncertainty"]) for frame in reported] == [False, True, False]
    assert [np.isinf(frame.arrays["energies_uncertainty"]).all() for frame in reported] == [False, True, False]
    assert np.isfinite(scored[0].info["predicted_energy"])
