"""Whatever structures carry, the file that is written is read back with all that was added to them."""

import random
import warnings

import numpy as np
import pytest

ase = pytest.importorskip("ase")

from ase.build import bulk  # noqa: E402
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402
from ase.spacegroup import crystal  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.structures.extxyz import write_annotated  # noqa: E402

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
    "numpy": np.float32(0.5),
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
}
KEPT_ARRAYS = {
    "kind": np.ones(N, np.uint8),
    "small": np.arange(N, dtype=np.int16),
    "half": np.ones((N, 2), np.float16),
    "site": np.array(["A", "Bb", "C", "λ"]),
    "mask": np.array([True, False, True, False]),
    "flags": np.ones((N, 3), bool),
    "height": np.linspace(0, 1, N),
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
        assert (frame.get_forces() == 0.5).all()
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
    assert str(value) == "123" if name == "digits" else np.array_equal(value, KEPT_INFO[name])


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
    np.testing.assert_allclose(found.arrays[name], KEPT_ARRAYS[name], atol=1e-8) if name == "height" else (
        np.testing.assert_array_equal(found.arrays[name], KEPT_ARRAYS[name])
    )


def test_a_space_group_is_written_as_its_symbol(tmp_path):
    frame = crystal("Ar", [(0, 0, 0)], spacegroup=225, cellpar=[5.3] * 3 + [90] * 3)
    frame.calc = structure().calc
    [found], warned = written([frame], tmp_path / "a.xyz")
    assert (found.info["spacegroup"], warned) == ("F m -3 m", [])


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
