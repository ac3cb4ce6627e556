"""A source of a third kind: reports, maps, tables and files take it by its methods alone."""

import errno
import gzip
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

import rigidities as rg
from rigidities.exceptions import InputError
from rigidities.plot import map_of, write_viewer
from rigidities.report.content import make_report
from rigidities.report.files import write, write_xyz
from rigidities.report.text import size_text, table
from rigidities.sources import Components, Description, Source

pytest.importorskip("ase")
pytest.importorskip("matplotlib")

import ase.io
from ase.build import bulk

SIZES = (2, 3, 1)
VALUES = np.random.default_rng(0).normal(size=(6, 4))


class Handed(Source):
    """Rows of structures from memory, one structure in a batch."""

    packages = ("scipy",)

    def __init__(self, name, values, frames=None):
        self.name, self.values, self.frames = name, values, frames

    @property
    def n_features(self):
        return self.values.shape[1]

    @property
    def sizes(self):
        return np.array(SIZES)

    def batches(self):
        groups = np.repeat(np.arange(3), SIZES)
        for label in range(3):
            chosen = groups == label
            yield rg.Rows(self.values[chosen], groups[chosen])

    def sample(self, n_atoms):
        return self.values[:n_atoms]

    def describe(self):
        return Description(f"{self.n_features} of a network", {"kind": "last layer", "layer": 7})


class Halved(Handed):
    """The same with two components of a structure's prediction and of an atom's."""

    def components(self):
        halves = {"near": np.array([0, 1]), "far": np.array([2, 3])}
        return Components(halves, halves | {"all": np.arange(4)})


def frames():
    structures = [bulk("Si", cubic=True)[:size] for size in SIZES]
    structures[1].info["group"] = "odd"
    return structures


def report_of(kind, structures=None):
    train, test = kind("train", VALUES[::-1].copy()), kind("test", VALUES, structures)
    atom_map = map_of(train, test)
    return make_report(train, test, regularizer=0.1, atom_map=atom_map), atom_map


def inverse():
    means = np.array([part.mean(axis=0) for part in np.split(VALUES[::-1], [2, 5])])
    return np.linalg.inv(means.T @ means + 0.1 * np.eye(4))


def test_rows_are_assessed():
    report, atom_map = report_of(Handed)
    np.testing.assert_allclose(report.rigidities.lpr, 1 / np.diag(VALUES @ inverse() @ VALUES.T), rtol=1e-10)
    np.testing.assert_array_equal(report.structures, [0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(report.atoms, [0, 1, 0, 1, 2, 0])
    np.testing.assert_array_equal(report.labels, [0, 1, 2])
    assert report.kinds is None
    assert report.classes == {}
    np.testing.assert_allclose(report.rigidities.coordinates, atom_map.project(VALUES), rtol=1e-12)


def test_rows_alone_go_to_npz(tmp_path):
    report, atom_map = report_of(Handed)
    assert write(report, atom_map, tmp_path) == ["rigidities.npz", "summary.json", "ranking.csv", "lpr_map.png"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "rigidities.npz",
        "summary.json",
        "ranking.csv",
        "lpr_map.png",
    }
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["descriptor"] == {"kind": "last layer", "layer": 7}
    assert list(summary["versions"]) == ["rigidities", "numpy", "scipy", "python"]
    assert summary["test"] == {"source": "test", "n_structures": 3, "n_atoms": 6}
    assert "position" not in summary["least_rigid_atoms"][0]
    with np.load(tmp_path / "rigidities.npz") as arrays:
        np.testing.assert_array_equal(arrays["lpr"], report.rigidities.lpr)
    for writer in (write_xyz, write_viewer):
        with pytest.raises(ValueError, match=r"^test: only feature rows are known"):
            writer(report, tmp_path / "out")


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("broken", range(4))
def test_a_full_disk_leaves_the_files_of_an_earlier_report(tmp_path, monkeypatch, known, broken):
    """The disk is full from one of the files on: that one and those after it are the old ones."""
    pytest.importorskip("chemiscope")
    report, atom_map = report_of(Handed, frames() if known else None)
    names = write(report, atom_map, tmp_path)
    broken = min(broken, len(names) - 1)
    for name in names:
        (tmp_path / name).write_text("old")
    sync, synced = os.fsync, []

    def fill(handle):
        if stat.S_ISREG(os.fstat(handle).st_mode):
            synced.append(handle)
        if len(synced) > broken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(report, atom_map, tmp_path)
    assert Path(caught.value.filename).name in names
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    assert sum((tmp_path / name).read_bytes() != b"old" for name in names) == broken


def test_structures_go_to_xyz_and_viewer(tmp_path):
    pytest.importorskip("chemiscope")
    report, atom_map = report_of(Handed, frames())
    names = ["rigidities.xyz", "next.xyz", "summary.json", "ranking.csv", "lpr_map.png", "viewer.json.gz"]
    assert write(report, atom_map, tmp_path) == names
    read = ase.io.read(tmp_path / "rigidities.xyz", ":")
    np.testing.assert_array_equal(np.concatenate([frame.arrays["lpr"] for frame in read]), report.rigidities.lpr)
    assert list(report.kinds) == ["-", "odd", "-"]
    assert list(report.classes) == ["group", "species", "coordination"]
    least = json.loads((tmp_path / "summary.json").read_text())["least_rigid_atoms"][0]
    assert least["position"] == frames()[least["structure"]].positions[least["atom"]].tolist()
    viewer = json.loads(gzip.decompress((tmp_path / "viewer.json.gz").read_bytes()))
    assert {entry["cutoff"] for entry in viewer["environments"]} == {report.test.cutoff}
    assert viewer["properties"]["group"]["values"] == ["-", "-", "odd", "odd", "odd", "-"]


def test_components_are_those_of_the_source():
    report, _ = report_of(Halved)
    assert report.body_orders == ["near", "far"]
    assert report.components == ["near", "far", "all"]
    near = VALUES * [1, 1, 0, 0]
    np.testing.assert_allclose(report.rigidities.lcpr[:, 0], 1 / np.diag(near @ inverse() @ near.T), rtol=1e-10)
    np.testing.assert_allclose(report.rigidities.cpr[:, 2], report.rigidities.pr, rtol=1e-12)
    assert "\nLCPR" in table(report)


def test_the_table_has_its_words():
    report, _ = report_of(Handed)
    lines = table(report).splitlines()
    assert lines[:3] == [
        "training set  train: 3 structures, 6 atoms",
        "test set      test: 3 structures, 6 atoms",
        "features      4 of a network",
    ]
    assert size_text(report.test) == "test: 3 structures, 6 atoms"
    assert "x in Å" not in table(report)
    assert "x in Å" in table(report_of(Handed, frames())[0])


def test_a_group_key_is_looked_up_in_its_structures():
    source = Handed("test", VALUES, frames())
    assert list(source.kinds("group")) == ["-", "odd", "-"]
    with pytest.raises(InputError, match="test: no structure has 'colour' in its info"):
        source.kinds("colour")


def test_a_source_without_rows_is_refused():
    class Empty(Source):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Empty()
