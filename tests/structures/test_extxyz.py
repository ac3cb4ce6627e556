"""Extended XYZ with random contents: what is written is read back by ASE, or named as left out."""

import re
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

pytest.importorskip("ase")

import ase
import ase.io
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLength, FixCartesian

import rigidities as rg
from rigidities.structures.extxyz import write_annotated

TEXTS = st.text("ab T1.e ='\"\\{}[](),:;#_\n\r\t\0\x85\u2028\u00a0λÅ", max_size=7) | st.sampled_from(
    ["", " ", "T", "nan", "1 2", "[1, 2", "{", "}]", "_JSON [1", "_JSON 1", "a=b", ":lpr:S:1", "Properties=x:R:1", '"']
)
NAMES = st.sampled_from(
    [
        "a",
        "b0",
        "pos0",
        "lpr0",
        "std",
        "std0",
        "std1",
        "std2",
        "x",
        "x0",
        "x1",
        "energy",
        "free_energy",
        "stress",
        "virial",
        "dipole",
        "magmom",
        "forces",
        "charges",
        "charge",
        "initial_charges",
        "magmoms",
        "energies",
        "stresses",
        "uid",
        "Z",
        "species",
        "symbols",
        "numbers",
        "move_mask",
        "pbc",
        "Lattice",
        "Properties",
        "lpr",
        "pr",
        "masses",
        "momenta",
        "tags",
        "λ",
        "REF_energy",
    ]
) | st.text("ab_-.= \"'\\{[λ1", max_size=4)
FLOATS = st.floats(width=64) | st.sampled_from([1e-300, 5e-324, -0.0, 0.1, 1e22])
PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FLOATS | TEXTS | st.complex_numbers()
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(), inner, max_size=2)
    | st.tuples(inner, inner),
    max_leaves=5,
)  # fmt: skip
DTYPES = st.sampled_from(["f8", "f4", "f2", "g", "i8", "i4", "i1", "u1", "u8", "?", "c16", "U3", "S2", ">f8", "M8[s]"])
SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
NUMPY = DTYPES.flatmap(lambda dtype: npst.arrays(dtype, SHAPES) | npst.arrays(dtype, (3, 3)) | npst.arrays(dtype, 6))
OTHERS = st.sampled_from([{1}, b"x", object(), Fraction(1, 3), np.float32(0.1), np.int8(3), np.bool_(True), 1j])
INFO = st.dictionaries(NAMES | st.integers(), NESTED | NUMPY | OTHERS, max_size=4)


def columns(n):
    words = st.lists(TEXTS | st.sampled_from(["A", "B", "T", "1"]), min_size=n, max_size=n)
    objects = (words | st.lists(PLAIN, min_size=n, max_size=n)).map(lambda entries: _objects(entries))
    shapes = st.sampled_from([(n,), (n, 1), (n, 2), (n, 3), (n, 3, 3), (n, 0), (n, 12)])
    numbers = st.tuples(DTYPES, shapes).flatmap(lambda drawn: npst.arrays(*drawn))
    return st.dictionaries(NAMES, numbers | objects, max_size=4)


def _objects(entries):
    made = np.empty(len(entries), object)
    made[:] = entries
    return made


@st.composite
def structures(draw):
    n = draw(st.integers(1, 3))
    coordinate = st.floats(-1e3, 1e3)
    frame = ase.Atoms(draw(st.lists(st.sampled_from([1, 8, 14, 0, 118]), min_size=n, max_size=n)))
    frame.positions = draw(npst.arrays("f8", (n, 3), elements=coordinate))
    frame.pbc = draw(st.booleans())
    frame.cell = draw(st.sampled_from([np.zeros((3, 3)), 5.3 * np.eye(3), 1 / 3 * np.ones((3, 3)) + np.eye(3)]))
    frame.info = draw(INFO)
    for name, values in draw(columns(n)).items():
        if name not in ("numbers", "positions"):
            frame.arrays[name] = values
    rows = st.sampled_from([FixAtoms([0]), FixCartesian(0, [True, False, True]), FixBondLength(0, n - 1)])
    frame.set_constraint(draw(st.lists(rows, max_size=2)))
    if draw(st.booleans()):
        results = {"energy": draw(FLOATS), "forces": draw(npst.arrays("f8", (n, 3))), "stress": np.arange(6.0)}
        frame.calc = SinglePointCalculator(frame, **results)
    return frame


def equal(found, value):
    """Whether ASE gives back a value: numbers as numbers, a text that is a number as that number."""
    if isinstance(value, str):
        return str(found) == value or (isinstance(found, str) and found == value)
    if value is None or isinstance(value, dict):
        return bool(found == value)
    if isinstance(value, Fraction):
        return found == str(value)
    with np.errstate(all="ignore"):
        one, other = np.asarray(found), np.asarray(value)
        if one.size != other.size:
            return False
        if other.dtype.kind == "f":
            return np.array_equal(one.ravel().astype(other.dtype), other.ravel(), equal_nan=True) or np.array_equal(
                one.ravel("F").astype(other.dtype), other.ravel(), equal_nan=True
            )
        return np.array_equal(one.ravel(), other.ravel()) or np.array_equal(one.ravel("F"), other.ravel())


def read_back(frames, path):
    """Write and read structures; check what was added; return them and the text of the one warning."""
    n = sum(map(len, frames))
    rng = np.random.default_rng(n)
    info = {"pr": rng.lognormal(0, 30, len(frames)), "virial_std": rng.lognormal(0, 30, (len(frames), 6))}
    arrays = {"lpr": rng.lognormal(0, 30, n), "std": rng.lognormal(0, 30, (n, 3))}
    info["pr"][0], arrays["lpr"][0] = np.inf, np.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_annotated(frames, path, info, arrays)
    found = ase.io.read(path, ":")
    assert len(found) == len(frames)
    for name, values in info.items():
        np.testing.assert_array_equal([frame.info[name] for frame in found], values)
    for name, values in arrays.items():
        np.testing.assert_array_equal(np.concatenate([frame.arrays[name] for frame in found]), values)
    assert len(caught) <= 1, [str(entry.message) for entry in caught]
    assert all(entry.category is rg.NotWrittenWarning for entry in caught)
    return found, " ".join(str(entry.message) for entry in caught)


def is_named(what, name, warned):
    """Whether the warning names it; numbers of ours may replace those of an earlier output without a word."""
    return f"{what} {name} of " in warned or name in ("pr", "virial_std", "lpr", "std")


def results_of(frame):
    return {} if frame.calc is None else frame.calc.results


@settings(
    max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None
)
@given(frames=st.lists(structures(), min_size=1, max_size=3))
def test_whatever_structures_carry(tmp_path_factory, frames):
    path = tmp_path_factory.mktemp("fuzz") / "a.xyz"
    found, warned = read_back(frames, path)
    for one, two in zip(frames, found, strict=True):
        np.testing.assert_array_equal(one.numbers, two.numbers)
        np.testing.assert_array_equal(one.positions, two.positions)
        np.testing.assert_array_equal(one.cell, two.cell)
        np.testing.assert_array_equal(one.pbc, two.pbc)
        for name, value in results_of(one).items():
            assert is_named("info", name, warned) or equal(results_of(two)[name], value), name
        held = results_of(two) | two.info
        for name, value in one.info.items():
            if (
                name == "stress" and isinstance(value, np.ndarray) and value.shape == (3, 3)
            ):  # comes back in six numbers
                value = value[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            assert is_named("info", name, warned) or equal(held[name], value), (name, value)
        held = results_of(two) | two.arrays
        for name, value in one.arrays.items():
            assert is_named("array", name, warned) or equal(held[name], value), (name, value)
        mask = re.search(r"move_mask:L:(\d)", path.read_text())
        assert bool(two.constraints) <= (mask is not None)
