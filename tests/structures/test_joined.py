"""`Joined`: rows of its parts side by side, their components, and the files of its models."""

import pickle

import numpy as np
import pytest

ase = pytest.importorskip("ase")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from pair_distances import PairDistances  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.model import LinearModel  # noqa: E402
from rigidities.structures.descriptor import Descriptor  # noqa: E402
from rigidities.structures.given import GivenRows  # noqa: E402
from rigidities.structures.joined import Joined  # noqa: E402
from rigidities.structures.loss_rows import LossRows  # noqa: E402

NEAR, FAR = PairDistances((29, 79)), PairDistances((29, 79), (4.6, 5.4), 7.0)
BOTH = Joined({"near": NEAR, "far": FAR})
ALL = rg.Loss(energy=rg.Term(), forces=rg.Term(), virial=rg.Term())
TERMS = ("energy", "forces", "virial")


def cluster(seed, n=8):
    random = np.random.default_rng(seed)
    atoms = ase.Atoms(random.permutation([29, 79] * (n // 2)), random.uniform(0, 6, size=(n, 3)))
    atoms.info["energy"] = random.normal()
    return atoms


FRAMES = [cluster(seed) for seed in range(12)]


def sums(descriptor, frames=FRAMES):
    covariance = rg.Covariance(descriptor.n_features)
    (found,) = descriptor.term_rows([frames], ["energy", "forces"])
    for rows in found.values():
        covariance.update(rows.reshape(-1, descriptor.n_features))
    return covariance


def test_it_fills_the_contract():
    assert isinstance(BOTH, Descriptor)
    assert (BOTH.species, BOTH.n_features, BOTH.packages) == ((29, 79), 12, ())
    assert list(BOTH.parts.values()) == [NEAR, FAR]
    assert BOTH.describe() == f"near: {NEAR.describe()}; far: {FAR.describe()}"
    assert repr(BOTH) == f"Joined({{'near': {NEAR!r}, 'far': {FAR!r}}})"


def test_rows_are_those_of_the_parts_side_by_side():
    batches = [FRAMES[:5], FRAMES[5:]]
    for both, near, far in zip(
        BOTH.atom_rows(iter(batches)), *(p.atom_rows(batches) for p in (NEAR, FAR)), strict=True
    ):
        np.testing.assert_array_equal(both, np.hstack([near, far]))
    for both, *parts in zip(
        BOTH.term_rows(iter(batches), TERMS), *(p.term_rows(batches, TERMS) for p in (NEAR, FAR)), strict=True
    ):
        for name in TERMS:
            np.testing.assert_array_equal(both[name], np.concatenate([part[name] for part in parts], axis=2))


def test_batches_are_read_once_and_few_at_a_time():
    most = taken = given_back = 0

    def batches():
        nonlocal most, taken
        for frame in FRAMES:
            taken += 1
            most = max(most, taken - given_back)
            yield [frame]

    for _ in BOTH.term_rows(batches(), TERMS):
        given_back += 1
    assert taken == given_back == len(FRAMES)
    assert most <= 2


def test_components_are_parts_body_orders_and_species():
    assert {name: columns.tolist() for name, columns in BOTH.components().items()} == {
        "near": list(range(8)),
        "far": list(range(8, 12)),
    }
    assert list(BOTH.components("body_order")) == ["near 2-body", "far 2-body"]
    assert {name: columns.tolist() for name, columns in BOTH.components("species").items()} == {
        0: [0, 1, 2, 3, 8, 9],
        1: [4, 5, 6, 7, 10, 11],
    }
    assert [columns.tolist() for columns in BOTH.components("body_order").values()] == [
        columns.tolist() for columns in BOTH.components().values()
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-6, 10.0))
def test_a_part_is_no_more_rigid_than_in_a_model_of_its_own(seed, regularizer):
    """What the other part can take makes it softer: CPR of the whole ≤ PR of the part alone."""
    frames = [cluster(seed + index) for index in range(4)]
    (rows,) = BOTH.term_rows([frames], ["energy"])
    X = rows["energy"][:, 0]
    components = list(BOTH.components().values())
    whole = sums(BOTH).factorize(regularizer).component_rigidity(X, components)
    for place, part in enumerate((NEAR, FAR)):
        alone = sums(part).factorize(regularizer).rigidity(X[:, components[place]])
        assert (whole[:, place] <= alone * (1 + 1e-7)).all()


def test_the_order_of_parts_has_no_effect_on_rigidities():
    other = Joined({"far": FAR, "near": NEAR})
    assert other.feature_space != BOTH.feature_space
    found = []
    for both in (BOTH, other):
        (rows,) = both.atom_rows([FRAMES[:3]])
        hessian = sums(both).factorize(1e-3)
        by_name = dict(
            zip(both.names, hessian.component_rigidity(rows, list(both.components().values())).T, strict=True)
        )
        found.append((hessian.rigidity(rows), by_name["near"], by_name["far"]))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-8)


def test_a_model_comes_back_with_the_parts_that_are_passed(tmp_path):
    loss = rg.Loss(energy=rg.Term(target="energy"))
    model = LinearModel.fit(FRAMES, BOTH, loss, regularizer=1e-3, baseline=None, progress=False)
    expected = model.predict(FRAMES, progress=False)
    model.save(tmp_path / "model")
    for other in (LinearModel.load(tmp_path / "model", BOTH), pickle.loads(pickle.dumps(model))):
        found = other.predict(FRAMES, progress=False)
        for name in ("energies", "energy_std", "forces", "lpr"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    with pytest.raises(ValueError, match="of kind 'pair-distances', which cannot be made from a file: pass it"):
        LinearModel.load(tmp_path / "model")
    with pytest.raises(ValueError, match="but the descriptor has"):
        LinearModel.load(tmp_path / "model", Joined({"near": NEAR, "other": FAR}))


def test_parts_that_a_file_can_hold_are_made_from_it(tmp_path):
    frames = [frame.copy() for frame in FRAMES]
    random = np.random.default_rng(3)
    for frame in frames:
        frame.arrays["features"] = random.normal(size=(len(frame), 2))
    both = Joined({"one": GivenRows(2, (29, 79)), "two": GivenRows(2, (29, 79), "again")})
    loss = rg.Loss(energy=rg.Term(target="energy"))
    model = LinearModel.fit(frames, both, loss, regularizer=1e-3, baseline=None, progress=False)
    model.save(tmp_path / "model")
    loaded = LinearModel.load(tmp_path / "model")
    assert loaded.soap == both
    np.testing.assert_array_equal(
        loaded.predict(frames, forces=False, progress=False).energies,
        model.predict(frames, forces=False, progress=False).energies,
    )


class Wrong(PairDistances):
    """A descriptor whose rows lack a column."""

    def atom_rows(self, batches):
        for rows in super().atom_rows(batches):
            yield rows[:, 1:]


class Short(PairDistances):
    """A descriptor that leaves out the last batch."""

    def atom_rows(self, batches):
        yield from list(super().atom_rows(batches))[:-1]


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([NEAR, FAR], TypeError, "parts is a list: expected a mapping from names to descriptors"),
        ({"near": NEAR}, ValueError, "1 part is given: expected two or more"),
        ({"near": NEAR, 2: FAR}, TypeError, "a part is named 2: expected a text"),
        ({"near": NEAR, " ": FAR}, ValueError, "a part has an empty name"),
        ({"near": NEAR, "far": 1}, TypeError, "part 'far' is a int: expected a Descriptor"),
        ({"near": NEAR, "both": BOTH}, ValueError, "part 'both' is joined itself"),
        ({"near": NEAR, "Si": PairDistances((14,))}, ValueError, "'Si' has the species Si, but 'near' Cu, Au"),
    ],
)
def test_parts_that_cannot_be_joined_are_refused(parts, error, message):
    with pytest.raises(error, match=message):
        Joined(parts)


def test_components_that_a_part_lacks_are_refused():
    with pytest.raises(ValueError, match="by is 'range': expected 'part', 'body_order' or 'species'"):
        BOTH.components("range")
    with pytest.raises(ValueError, match="rows as given have no components by species"):
        Joined({"near": NEAR, "given": GivenRows(2, (29, 79))}).components("species")


def test_rows_of_another_shape_are_refused():
    both = Joined({"near": NEAR, "far": Wrong((29, 79))})
    with pytest.raises(ValueError, match=r"rows of atoms of part 'far' of shape \(8, 7\): expected \(8, 8\)"):
        list(both.atom_rows([FRAMES[:1]]))
    with pytest.raises(ValueError, match="shorter"):
        list(Joined({"near": NEAR, "far": Short((29, 79))}).atom_rows([FRAMES[:1], FRAMES[1:]]))


def test_a_structure_that_one_part_refuses_is_refused():
    both = Joined({"near": NEAR, "given": GivenRows(2, (29, 79))})
    with pytest.raises(ValueError, match="structure 0 has no array 'features'"):
        LossRows(FRAMES, both, rg.Loss(energy=rg.Term(target="energy")), progress=False)
