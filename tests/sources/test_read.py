"""Sources from files: structures, features, the errors of files that cannot be read; samples and neighbours."""

from pathlib import Path

import numpy as np
import pytest

import rigidities as rg
from rigidities.exceptions import InputError
from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features
from rigidities.sources.read import read_features, read_sources
from rigidities.structures.read import coordination

pytest.importorskip("ase")
pytest.importorskip("featomic")

import ase
import ase.io
from ase.build import bulk, molecule

from rigidities.interop.featomic import Soap


def silicon(n):
    return [bulk("Si", cubic=True)[: 8 - i % 2] for i in range(n)]


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Train and test files, good and bad, in the working directory."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", silicon(4))
    ase.io.write("test.xyz", silicon(3))
    ase.io.write("ge.xyz", [*silicon(1), bulk("Ge")])
    Path("empty.xyz").touch()
    Path("none.traj").write_bytes(b"- of Ulm")
    Path("text.xyz").write_text("this is\nno structure\n")
    Path("noatoms.xyz").write_text("0\npbc=F\n")
    np.savez("train.npz", features=np.arange(15).reshape(5, 3))
    np.savez("test.npz", features=np.ones((4, 3)), groups=[3, 3, 1, 1], species=["Si", "Si", "C", "Si"])
    np.savez("wide.npz", features=np.ones((4, 5)))
    np.savez("other.npz", descriptors=np.eye(3))
    np.savez("short.npz", features=np.eye(3), groups=[1, 2])
    np.savez("floats.npz", features=np.eye(3), groups=[1.0, 2.0, 3.0])
    np.savez("flat.npz", features=np.ones(3))
    np.savez("nan.npz", features=np.array([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0]]))
    np.savez("huge.npz", features=np.diag([1.0, 1.0, 1.0]) - np.eye(3, k=-1) * 1e200)
    np.savez("bytes.npz", features=np.eye(3), species=[b"Si", b"\xff", b"Si"])
    np.savez("text.npz", features=np.array([["a", "b", "c"]]))
    np.savez("complex.npz", features=np.eye(3) * 1j)
    np.savez("norows.npz", features=np.ones((0, 3)))
    Path("broken.npz").write_text("no archive")
    return tmp_path


# ---- reading


def test_structures_are_read_whole_or_in_part(inputs):
    Path("odd@1.xyz").write_bytes(Path("test.xyz").read_bytes())  # the name of a file, not a slice of another
    train, test = read_sources("train.xyz@1:3", "odd@1.xyz", {"cutoff": 4.0})
    assert isinstance(train, Structures)
    assert train.name == "train.xyz@1:3"
    np.testing.assert_array_equal(train.sizes, [7, 8])
    np.testing.assert_array_equal(test.sizes, [8, 7, 8])
    assert train.soap is test.soap
    assert test.soap.cutoff == 4


def test_features_are_read_with_their_labels(inputs):
    train, test = read_sources("train.npz", "test.npz", {})
    assert isinstance(train, Features)
    np.testing.assert_array_equal(train.rows.values, np.arange(15.0).reshape(5, 3))
    np.testing.assert_array_equal(train.sizes, [1] * 5)
    assert train.species is None
    np.testing.assert_array_equal(test.groups, [3, 3, 1, 1])
    np.testing.assert_array_equal(test.sizes, [2, 2])
    assert list(read_features("test.npz").species) == ["Si", "Si", "C", "Si"]


@pytest.mark.parametrize(("names", "said"), [
    ("missing.xyz test.xyz", "missing.xyz: no such file"),
    ("missing.xyz@:3 test.xyz", "missing.xyz: no such file"),
    ("train.xyz missing.npz", "train.xyz, missing.npz: one holds features, the other structures"),
    ("train.xyz .", ".: is not a file"),
    ("empty.xyz test.xyz", "empty.xyz: is empty"),
    ("train.xyz none.traj", "none.traj: ASE cannot read it"),
    ("text.xyz test.xyz", "text.xyz: ASE cannot read it"),
    ("train.xyz@9:9 test.xyz", "train.xyz@9:9: holds no structures"),
    ("train.xyz@99 test.xyz", "train.xyz@99: ASE cannot read it"),
    ("noatoms.xyz test.xyz", "noatoms.xyz: its structures have no atoms"),
    ("train.xyz ge.xyz", "ge.xyz: structure 1 contains Ge, which train.xyz lacks: its species are Si"),
    ("train.npz wide.npz", "wide.npz: features have 5 columns, but 3 in train.npz"),
    ("broken.npz test.npz", "broken.npz: NumPy cannot read it as .npz"),
    ("train.npz other.npz", "other.npz: has no array named features; it has descriptors"),
    ("train.npz short.npz", "short.npz: groups has 2 entries but there are 3 rows: expected one label per row"),
    ("train.npz floats.npz", "floats.npz: groups has dtype float64: expected integer labels"),
    ("train.npz flat.npz", "flat.npz: features has shape (3,)"),
    ("train.npz nan.npz", "nan.npz: features hold nan in row 1, column 1"),
    ("train.npz huge.npz", "huge.npz: features hold -1e+200 in row 1, column 0: expected finite numbers"),
    ("train.npz bytes.npz", "bytes.npz: species: 'ascii' codec can't decode byte 0xff"),
    ("train.npz text.npz", "text.npz: features has dtype <U1"),
    ("train.npz complex.npz", "complex.npz: features has dtype complex128"),
    ("train.npz norows.npz", "norows.npz: features have shape (0, 3)"),
])  # fmt: skip
def test_what_cannot_be_read_is_said_in_one_line(inputs, names, said):
    with pytest.raises(InputError) as caught:
        read_sources(*names.split(), {})
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


# ---- rows and labels


def test_samples_are_evenly_spread():
    source = Structures("train.xyz", silicon(5), Soap("Si", 4.0, max_radial=2, max_angular=1))
    assert len(source.sample(1000)) == 38
    assert len(source.sample(10)) <= 10
    rows = Features("rows.npz", rg.Rows(np.arange(10.0)[:, None]))
    np.testing.assert_array_equal(rows.sample(4)[:, 0], [0, 3, 6, 9])


def test_coordination():
    vacancy = bulk("Si", cubic=True).repeat(2)[1:]
    assert set(coordination(bulk("Si", cubic=True))) == {4}
    assert sorted(coordination(vacancy)) == [3] * 4 + [4] * 59
    np.testing.assert_array_equal(coordination(molecule("H2O")), [2, 1, 1])
    np.testing.assert_array_equal(coordination(ase.Atoms("Ar")), [0])
