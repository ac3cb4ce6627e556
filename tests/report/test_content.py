"""Reports against NumPy: their numbers, their labels, and what comes back from their files."""

import json

import numpy as np
import pytest

import rigidities as rg
from rigidities.exceptions import InputError
from rigidities.report.content import make_report
from rigidities.report.files import summary, write_npz, write_summary, write_xyz
from rigidities.report.statistics import QUANTILES, describe
from rigidities.report.without_labels import without_labels
from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features
from rigidities.structures.read import coordination

pytest.importorskip("ase")
pytest.importorskip("featomic")

import ase
import ase.io
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from rigidities.interop.featomic import Soap, soap_rows

SMALL = {"cutoff": 4.0, "max_radial": 2, "max_angular": 1}
REGULARIZER = 1e-4  # of rows of norm about 1: cond(H) is about 1e5, eleven digits are left
CLOSE = {"rtol": 1e-9}


def rattled(frame, seed, **info):
    frame = frame.copy()
    frame.rattle(0.1, seed=seed)
    frame.info.update(info)
    return frame


def silicon(n, seed=0, kinds=("crystal", "liquid")):
    return [rattled(bulk("Si", cubic=True)[: 8 - i % 2], seed + i, group=kinds[i % 2]) for i in range(n)]


@pytest.fixture
def soap():
    return Soap("Si", **SMALL)


@pytest.fixture
def sets(soap):
    return Structures("train.xyz", silicon(5), soap), Structures("test.xyz", silicon(4, seed=50), soap)


def oracle(train, test, reduction, columns=slice(None)):
    """R = 1/(gᵀH⁻¹g) of each row and of each structure, with g zero outside the columns."""
    reduce = np.mean if reduction == "mean" else np.sum
    known, asked = (np.split(rows(source).values, np.cumsum(source.sizes)[:-1]) for source in (train, test))
    F = np.array([reduce(part, axis=0) for part in known])
    H = F.T @ F + REGULARIZER * np.eye(F.shape[1])
    keep = np.zeros(len(H))
    keep[columns] = 1
    atoms, structures = (G * keep for G in (np.concatenate(asked), np.array([reduce(p, axis=0) for p in asked])))
    with np.errstate(divide="ignore"):
        return [1 / np.einsum("ij,ji->i", G, np.linalg.solve(H, G.T)) for G in (atoms, structures)]


def rows(source):
    return soap_rows(source.frames, source.soap, progress=False)


def strict(path):
    """JSON as other languages read it: no NaN, no Infinity."""
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def features(values, groups=None, name="rows.npz", species=None):
    return Features(name, rg.Rows(np.asarray(values, dtype=float), groups), species)


# ---- numbers


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_rigidities_are_those_of_the_textbook(sets, reduction):
    report = make_report(*sets, regularizer=REGULARIZER, reduction=reduction)
    lpr, pr = oracle(*sets, reduction)
    np.testing.assert_allclose(report.rigidities.lpr, lpr, **CLOSE)
    np.testing.assert_allclose(report.rigidities.pr, pr, **CLOSE)
    assert report.components == report.body_orders == []
    assert report.rigidities.lcpr.shape == (len(lpr), 0)


def test_components_are_body_orders_and_species():
    salt = [rattled(bulk("NaCl", "rocksalt", a=5.6, cubic=True), seed) for seed in range(5)]
    soap = Soap(["Na", "Cl"], body_orders=(2, 3), **SMALL)
    train, test = Structures("train", salt[:3], soap), Structures("test", salt[3:], soap)
    report = make_report(train, test, regularizer=REGULARIZER)
    assert report.body_orders == ["2-body", "3-body"]
    assert report.components == ["2-body", "3-body", "Na", "Cl"]
    columns = soap.components("body_order") | soap.components("species")
    for i, name in enumerate(report.components):
        lpr, pr = oracle(train, test, "mean", columns[name])
        np.testing.assert_allclose(report.rigidities.cpr[:, i], pr, **CLOSE)
        if i < 2:
            np.testing.assert_allclose(report.rigidities.lcpr[:, i], lpr, **CLOSE)


def test_batches_leave_the_results_alone(sets, monkeypatch):
    whole = make_report(*sets, regularizer=REGULARIZER)
    import rigidities.interop.featomic as interop

    original = interop.iter_soap_rows
    monkeypatch.setattr(interop, "iter_soap_rows", lambda *a, **k: original(*a, **(k | {"batch_size": 1})))
    assert len(list(sets[0].batches())) == 5
    np.testing.assert_array_equal(make_report(*sets, regularizer=REGULARIZER).rigidities.lpr, whole.rigidities.lpr)


def test_features_are_grouped_by_their_labels():
    rng = np.random.default_rng(0)
    X, G = rng.normal(size=(30, 4)), rng.normal(size=(5, 4))
    report = make_report(features(X), features(G, np.array([7, -2, 7, 7, -2])), regularizer=1.0)
    H = X.T @ X + np.eye(4)
    means = np.array([G[[1, 4]].mean(axis=0), G[[0, 2, 3]].mean(axis=0)])
    np.testing.assert_allclose(report.rigidities.pr, 1 / np.diag(means @ np.linalg.inv(H) @ means.T), **CLOSE)
    np.testing.assert_array_equal(report.labels, [-2, 7])
    np.testing.assert_array_equal(report.structures, [7, -2, 7, 7, -2])
    np.testing.assert_array_equal(report.atoms, [0, 0, 1, 2, 1])


def test_rows_without_groups_are_structures():
    report = make_report(features(np.eye(3)), features(2 * np.eye(3)), regularizer=1.0)
    np.testing.assert_allclose(report.rigidities.pr, [0.5, 0.5, 0.5], **CLOSE)  # 4 / (1 + 1) is the variance's inverse
    np.testing.assert_array_equal(report.rigidities.pr, report.rigidities.lpr)


# ---- labels


def test_classes_say_what_an_atom_is(sets):
    report = make_report(*sets, regularizer=REGULARIZER)
    assert list(report.classes) == ["group", "species", "coordination"]
    assert list(report.kinds) == ["crystal", "liquid", "crystal", "liquid"]
    np.testing.assert_array_equal(report.classes["group"], np.repeat(report.kinds, [8, 7, 8, 7]))
    assert set(report.classes["species"]) == {"Si"}


@pytest.mark.parametrize(("infos", "key", "expected"), [
    ([{"config_type": "a"}, {}], None, ["a", "-"]),
    ([{"config_type": "a", "group": "b"}, {"group": 3}], None, ["b", "3"]),
    ([{"config_type": "a", "mine": "b"}, {"mine": "c"}], "mine", ["b", "c"]),
    ([{}, {}], None, None),
])  # fmt: skip
def test_kinds_come_from_info(soap, infos, key, expected):
    frames = silicon(2)
    for frame, info in zip(frames, infos, strict=True):
        frame.info = info
    source = Structures("x.xyz", frames, soap)
    report = make_report(source, source, regularizer=REGULARIZER, group_key=key)
    assert (None if report.kinds is None else list(report.kinds)) == expected
    assert ("group" in report.classes) == (expected is not None)


def test_a_group_key_nobody_has_is_an_error(sets):
    with pytest.raises(InputError, match=r"test\.xyz: no structure has 'colour' in its info"):
        make_report(*sets, regularizer=REGULARIZER, group_key="colour")


# ---- statistics


def test_a_quantile_is_one_of_the_values():
    values = np.array([3.0, np.inf, 1.0, 2.0, np.inf, 5.0])
    described = describe(values)
    assert described["n"] == 6
    assert described["n_infinite"] == 2
    assert [described[name] for name in ("min", "median", "max")] == [1.0, 3.0, np.inf]
    assert all(described[name] in values for name in QUANTILES)


def test_summary_is_plain_json(sets, tmp_path):
    report = make_report(*sets, reduction="sum")
    write_summary(report, tmp_path / "summary.json")
    read = strict(tmp_path / "summary.json")
    assert read == summary(report)
    assert read["train"] == {"source": "train.xyz", "n_structures": 5, "n_atoms": 38}
    assert read["test"] == {"source": "test.xyz", "n_structures": 4, "n_atoms": 30}
    assert read["versions"]["rigidities"] == rg.__version__
    assert read["descriptor"]["feature_space"] == sets[0].soap.feature_space
    assert read["descriptor"]["hyperparameters"] == sets[0].soap.hyperparameters
    assert read["pr"]["is"] == "of the total energy"
    assert read["regularizer"] == report.hessian.regularizer
    assert read["regularizer_reason"].startswith("guaranteed")
    for name in ("rcond", "effective_dimension", "log_determinant"):
        assert read[name] == getattr(report.hessian, name)
    liquid = report.rigidities.lpr[report.classes["group"] == "liquid"]
    assert read["lpr"]["group"]["liquid"] == describe(liquid)
    assert read["lpr"]["species"]["Si"] == read["lpr"]["all"] == describe(report.rigidities.lpr)
    assert sum(part["n"] for part in read["lpr"]["coordination"].values()) == 30
    assert read["pr"]["group"]["crystal"]["n"] == 2


def test_least_rigid_atoms_and_where_they_are(sets):
    report = make_report(*sets, regularizer=REGULARIZER)
    listed = summary(report)["least_rigid_atoms"]
    np.testing.assert_array_equal([atom["lpr"] for atom in listed], np.sort(report.rigidities.lpr)[:10])
    for atom in listed:
        frame = sets[1].frames[atom["structure"]]
        index = sum(map(len, sets[1].frames[: atom["structure"]])) + atom["atom"]
        assert atom["lpr"] == report.rigidities.lpr[index]
        assert atom["group"] == frame.info["group"]
        assert atom["coordination"] == coordination(frame)[atom["atom"]]
        np.testing.assert_array_equal(atom["position"], frame.positions[atom["atom"]])


def test_infinite_rigidities_are_null_in_json(tmp_path):
    report = make_report(features(np.eye(2)), features([[1, 0], [0, 0]], species=np.array(["a", "b"])))
    np.testing.assert_array_equal(np.isinf(report.rigidities.lpr), [False, True])
    write_summary(report, tmp_path / "summary.json")
    read = strict(tmp_path / "summary.json")
    assert read["lpr"]["species"]["b"] == {"n": 1, "n_infinite": 1} | dict.fromkeys(QUANTILES)
    assert read["least_rigid_atoms"][1]["lpr"] is None
    assert "infinite" in read["null"]


def test_warnings_of_the_factorisation_are_kept():
    found = without_labels(features(np.diag([1.0, 1e-9])), 1e-19, "mean")
    assert found.hessian.regularizer == 1e-19
    assert len(found.warned) == 1
    assert "rounding leaves no digit" in found.warned[0]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("n_alike", [0, 3])
def test_few_structures_give_the_same_as_the_whole_sums(monkeypatch, reduction, n_alike):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(24, 40))
    rows[: 3 * n_alike] = np.tile(rows[:3], (n_alike, 1))
    train = features(rows, groups=np.repeat(np.arange(8), 3))
    test = features(rng.normal(size=(10, 40)), groups=np.arange(10) // 2)
    with monkeypatch.context() as patch:
        patch.setattr("rigidities.report.without_labels.Covariance", None)  # it would have 40 features
        few = make_report(train, test, regularizer=0.3, reduction=reduction)
    monkeypatch.setattr("rigidities.report.without_labels.FEW", np.inf)
    whole = make_report(train, test, regularizer=0.3, reduction=reduction)
    for name in ("lpr", "pr"):
        np.testing.assert_allclose(getattr(few.rigidities, name), getattr(whole.rigidities, name), rtol=1e-10)
    assert few.against.training.rank == whole.against.training.rank == 8 - max(n_alike - 1, 0)


# ---- files


def test_xyz_comes_back_whole(tmp_path):
    soap = Soap("Si", body_orders=(2, 3), **SMALL)
    frames = silicon(3, seed=9)
    for i, frame in enumerate(frames):
        frame.info["note"] = f"number {i}"
        frame.arrays["charge_guess"] = np.arange(len(frame)) / 4
        frame.calc = SinglePointCalculator(frame, energy=-4.5 - i, forces=np.full((len(frame), 3), 0.25))
    frames[0].arrays["lpr"] = np.zeros(8)
    report = make_report(Structures("train", silicon(4), soap), Structures("test", frames, soap), regularizer=1e-12)
    assert report.rigidities.lpr.min() < 1e-6  # of which eight decimals would leave nothing
    with pytest.warns(rg.NotWrittenWarning, match="new numbers in place of array lpr of 1 structure"):
        write_xyz(report, tmp_path / "out.xyz")
    read = ase.io.read(tmp_path / "out.xyz", ":")
    np.testing.assert_array_equal(np.concatenate([frame.arrays["lpr"] for frame in read]), report.rigidities.lpr)
    np.testing.assert_array_equal([frame.info["pr"] for frame in read], report.rigidities.pr)
    for i, (name, column) in enumerate(zip(report.body_orders, report.rigidities.lcpr.T, strict=True)):
        np.testing.assert_array_equal(np.concatenate([frame.arrays[f"lcpr_{name}"] for frame in read]), column)
        np.testing.assert_array_equal([frame.info[f"cpr_{name}"] for frame in read], report.rigidities.cpr[:, i])
    for before, after in zip(frames, read, strict=True):
        assert after.info["note"] == before.info["note"]
        assert after.info["group"] == before.info["group"]
        np.testing.assert_array_equal(after.arrays["charge_guess"], before.arrays["charge_guess"])
        np.testing.assert_array_equal(after.positions, before.positions)
        assert after.get_potential_energy() == before.get_potential_energy()
        np.testing.assert_array_equal(after.get_forces(), before.get_forces())
    assert not frames[0].arrays["lpr"].any()  # what was given is left alone


def test_infinite_rigidities_come_back_from_xyz(tmp_path):
    class Blind(Structures):
        """Rows of the first atom are zero."""

        def batches(self):
            for batch in super().batches():
                batch.values[0] = 0.0
                yield batch

    frames = silicon(2)
    soap = Soap("Si", **SMALL)
    report = make_report(Structures("train", frames, soap), Blind("test", frames[:1], soap), regularizer=1e-3)
    write_xyz(report, tmp_path / "out.xyz")
    lpr = ase.io.read(tmp_path / "out.xyz").arrays["lpr"]
    assert np.isposinf(lpr[0])
    assert np.isfinite(lpr[1:]).all()


def test_npz_comes_back(tmp_path):
    report = make_report(features(np.eye(3)), features(np.ones((4, 3)), np.array([5, 5, 1, 1])))
    write_npz(report, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as read:
        assert sorted(read) == ["labels", "lpr", "pr"]
        np.testing.assert_array_equal(read["labels"], [1, 5])
        np.testing.assert_array_equal(read["lpr"], report.rigidities.lpr)
        np.testing.assert_array_equal(read["pr"], report.rigidities.pr)


# ---- refusals


def test_refusals_name_the_set(sets, soap):
    broken = silicon(3)
    broken[2].positions[1] = np.nan
    bad = Structures("bad.xyz", broken, soap)
    with pytest.raises(InputError, match=r"^bad\.xyz: structure 2: atom 1"):
        make_report(bad, sets[1])
    with pytest.raises(InputError, match=r"^bad\.xyz: structure 2: atom 1"):
        make_report(sets[0], bad, regularizer=REGULARIZER)
    with pytest.raises(InputError, match=r"^bad\.xyz@::2: structure 1: atom 1"):  # of every second one
        bad.sample(15)
    with pytest.raises(InputError, match=r"^regularizer auto: "):
        make_report(features(np.zeros((2, 2))), features(np.eye(2)))
    with pytest.raises(InputError, match=r"^rows\.npz: features\[1, 0\] is NaN"):
        make_report(features([[1.0], [np.nan]]), features(np.eye(1)))
