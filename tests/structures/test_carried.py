"""Whatever structures carry, the file that is written is read back with all that was added to them."""

import random
import warnings

import numpy as np
import pytest

pytest.importorskip("ase")

import ase
import ase.io
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLength, FixCartesian
from ase.spacegroup import crystal

import rigidities as rg
from rigidities.structures.extxyz import write_annotated

N = 4

LOST_INFO = {
    "empty": "",
    "backslashes": "C:\\data\\run1",
    "lines": "one\ntwo",
    "carriage": "one\rtwo",
    "nothing": None,
    "truth in words": "T",
    "complex": 1j,
    "object": object(),
    "set": {1},
    "Lattice": "1 2 3",
    "Properties": "species:S:1",
    "pbc": "F F F",
    3: "a number as name",
    "": "no name",
    "matrices": np.ones((2, 2, 2)) * 1j,
    "formfeed": "a\fb",
    "separator": "a\u2028b",
    "virial": 3.0,
    "stress": np.arange(9.0).reshape(3, 3),  # not symmetric
    "uid": 7,
    "dipole": "x",
    "beyond": 10**30 + 1,
}
KEPT_INFO = {
    "number": 3,
    "float": 1e-9,
    "flag": True,
    "text": "two words",
    "quotes": "it's",
    "quote": 'say "x',
    "greek": "λ",
    "vector": np.arange(3.0),
    "integers": np.arange(4),
    "list": [1, 2, 3],
    "dict": {"a": [1, 2]},
    "matrix": np.arange(4.0).reshape(2, 2),
    "nine": np.arange(9.0),
    "name with blank": 1.0,
    "digits": "123",
    "numpy": np.float32(0.1),
    "singles": np.full(3, 0.1, np.float32),
    "gaps": np.array([1.0, np.nan, np.inf]),
    "small": np.arange(3, dtype=np.uint8),
    "bracket": "[1, 2",
    "column": ":lpr:R:1:std:S:3",
    "virial": np.arange(9.0).reshape(3, 3),
}
LOST_ARRAYS = {
    "born": np.ones((N, 3, 3)),
    "amp": np.ones(N, complex),
    "name": np.array(["Ar", "", "Ar", "Ar"]),
    "blank": np.array(["a b"] * N),
    "line": np.array(["a\nb"] * N),
    "bytes": np.array([b"Ar"] * N),
    "objects": np.array([None] * N),
    "huge": np.full(N, 2**63, np.uint64),
    "none": np.ones((N, 0)),
    "times": np.zeros(N, "M8[s]"),
    "a b": np.ones(N),
    "a:b": np.ones(N),
    "species": np.ones(N),
    "symbols": np.array(["He"] * N),
    "move_mask": np.zeros(N, bool),
    "charge": np.ones(N),
    "energy": np.ones(N),
    "magmoms": np.array(["up"] * N),
    "beyond": np.full(N, 2**40),
    "std1": np.ones(N),
    "pos0": np.ones(N),
    "trailing": np.array(["a "] * N, object),
}
KEPT_ARRAYS = {
    "kind": np.ones(N, np.uint8),
    "small": np.arange(N, dtype=np.int16),
    "half": np.ones((N, 2), np.float16),
    "site": np.array(["A", "Bb", "C", "λ"]),
    "mask": np.array([True, False, True, False]),
    "flags": np.ones((N, 3), bool),
    "height": np.linspace(0, 1, N),
    "tiny": np.full(N, 1e-12),
    "gaps": np.array([np.nan, np.inf, 0.0, 1.0]),
    "read": np.array(["a", "b", "T", "1"], object),
    "wide": np.ones((N, 12)),
    "initial_charges": np.arange(4.0),
}


def structure():
    frame = bulk("Ar", "fcc", a=5.3, cubic=True)
    frame.calc = SinglePointCalculator(frame, energy=-1.0, forces=np.full((N, 3), 0.5))
    return frame


def written(frames, path):
    """Frames as they come back, after a check of what was added; and the text of the warning."""
    info = {"pr": np.arange(1.0, len(frames) + 1), "virial_std": np.ones((len(frames), 6))}
    arrays = {"lpr": 1e-9 * np.arange(1.0, N * len(frames) + 1), "std": np.ones((N * len(frames), 3))}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_annotated(frames, path, info, arrays)
    found = ase.io.read(path, ":")
    np.testing.assert_array_equal([frame.info["pr"] for frame in found], info["pr"])
    np.testing.assert_array_equal([frame.info["virial_std"] for frame in found], info["virial_std"])
    for name, values in arrays.items():
        np.testing.assert_array_equal(np.concatenate([frame.arrays[name] for frame in found]), values)
    for frame in found:
        assert frame.get_potential_energy() == -1.0
        assert (frame.get_forces(apply_constraint=False) == 0.5).all()
    return found, [str(entry.message) for entry in caught if entry.category is rg.NotWrittenWarning]


@pytest.mark.parametrize("name", LOST_INFO, ids=repr)
def test_info_that_the_format_cannot_hold_is_named(tmp_path, name):
    frame = structure()
    frame.info |= {"first": 1, name: LOST_INFO[name], "last": "x"}
    [found], warned = written([frame], tmp_path / "a.xyz")
    assert (found.info["first"], found.info["last"], name in found.info) == (1, "x", False)
    assert warned == [f"extended XYZ cannot hold info {name} of 1 structure: left out of the file"]
    assert name in frame.info


@pytest.mark.parametrize("name", KEPT_INFO)
def test_other_info_comes_back(tmp_path, name):
    frame = structure()
    frame.info |= {name: KEPT_INFO[name], "last": "x"}
    [found], warned = written([frame], tmp_path / "a.xyz")
    value = found.info[name]
    if name == "nine":  # ASE makes a matrix of it
        value = value.ravel("F")
    assert warned == []
    if name == "digits":
        assert str(value) == "123"
    elif name in ("numpy", "singles", "gaps"):
        np.testing.assert_array_equal(np.float32(value), np.float32(KEPT_INFO[name]))
    else:
        np.testing.assert_array_equal(value, KEPT_INFO[name])


@pytest.mark.parametrize("name", LOST_ARRAYS)
def test_arrays_that_the_format_cannot_hold_are_named(tmp_path, name):
    frame = structure()
    frame.arrays[name] = LOST_ARRAYS[name]
    [found], warned = written([frame], tmp_path / "a.xyz")
    assert name not in found.arrays
    assert warned == [f"extended XYZ cannot hold array {name} of 1 structure: left out of the file"]
    assert name in frame.arrays


@pytest.mark.parametrize("name", KEPT_ARRAYS)
def test_other_arrays_come_back(tmp_path, name):
    frame = structure()
    frame.arrays[name] = KEPT_ARRAYS[name]
    [found], warned = written([frame], tmp_path / "a.xyz")
    assert warned == []
    np.testing.assert_array_equal(found.arrays[name], KEPT_ARRAYS[name])


def test_a_space_group_is_written_as_its_symbol(tmp_path):
    frame = crystal("Ar", [(0, 0, 0)], spacegroup=225, cellpar=[5.3] * 3 + [90] * 3)
    frame.calc = structure().calc
    [found], warned = written([frame], tmp_path / "a.xyz")
    assert (found.info["spacegroup"], warned) == ("F m -3 m", [])


@pytest.mark.parametrize(("constraint", "mask"), [
    (FixAtoms([1, 2]), [True, False, False, True]),
    (FixCartesian(3, [True, False, False]), [[True] * 3] * 3 + [[False, True, True]]),
])  # fmt: skip
def test_constraints_come_back(tmp_path, constraint, mask):
    frame = structure()
    frame.set_constraint([constraint, FixBondLength(0, 3)])
    [found], warned = written([frame], tmp_path / "a.xyz")
    forces = np.ones((N, 3))
    for one in found.constraints:
        one.adjust_forces(found, forces)
    np.testing.assert_array_equal(forces, np.broadcast_to(np.reshape(mask, (N, -1)), (N, 3)))
    assert warned == ["extended XYZ cannot hold constraint FixBondLengths of 1 structure: left out of the file"]


def test_a_result_comes_before_an_entry_of_its_name(tmp_path):
    """ASE reads both as the result."""
    same, other = structure(), structure()
    same.info["energy"], other.info["energy"] = -1.0, -2.0
    same.arrays["forces"], other.arrays["forces"] = np.full((N, 3), 0.5), np.zeros((N, 3))
    found, warned = written([same, other], tmp_path / "a.xyz")
    assert [frame.get_potential_energy() for frame in found] == [-1.0, -1.0]
    assert warned == [
        "extended XYZ cannot hold array forces of 1 structure, info energy of 1 structure: left out of the file"
    ]


def test_a_stress_comes_back_in_its_order(tmp_path):
    frame = structure()
    frame.calc.results["stress"] = np.arange(6.0)
    labelled = ase.Atoms("Ar", cell=[1, 1, 1], info={"stress": np.arange(6.0)})
    frame.info["free_energy"] = -1.5
    write_annotated([frame, labelled], tmp_path / "a.xyz", {"pr": np.ones(2)}, {"lpr": np.ones(N + 1)})
    for found in ase.io.read(tmp_path / "a.xyz", ":"):
        np.testing.assert_array_equal(found.get_stress(), np.arange(6.0))
    assert ase.io.read(tmp_path / "a.xyz", "0").calc.results["free_energy"] == -1.5


def test_what_is_replaced_is_named(tmp_path):
    """Pressures, and a column of somebody else; but not those of an earlier output."""
    one, other, earlier = structure(), structure(), structure()
    one.info["pr"], other.arrays["lpr"] = 1e5, np.ones(N)
    earlier.info["pr"], earlier.arrays["lpr"] = 1e5, np.ones(N)
    _, warned = written([one, other, earlier], tmp_path / "a.xyz")
    assert warned == ["the file holds new numbers in place of array lpr of 1 structure, info pr of 1 structure"]


def test_one_warning_counts_the_structures(tmp_path):
    frames = [structure() for _ in range(5)]
    for frame in frames[1:4]:
        frame.info["label"] = ""
    frames[4].arrays["amp"] = np.ones(N, complex)
    _, warned = written(frames, tmp_path / "a.xyz")
    assert warned == [
        "extended XYZ cannot hold array amp of 1 structure, info label of 3 structures: left out of the file"
    ]


def test_texts_of_any_characters(tmp_path):
    rng = random.Random(5)
    frames = []
    for _ in range(150):
        frame = structure()
        frame.info |= {
            f"t{i}": "".join(rng.choices("ab ='\"\\{}[](),:;#\n\tλ\0", k=rng.randint(0, 6))) for i in range(3)
        }
        frames.append(frame)
    found, _ = written(frames, tmp_path / "a.xyz")
    for one, two in zip(frames, found, strict=True):
        for name in one.info.keys() & two.info.keys():
            assert str(two.info[name]) == one.info[name]
