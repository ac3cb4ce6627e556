"""How the figures of docs/claims.md are measured, on the silicon in the package."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

pytest.importorskip("featomic")
io = pytest.importorskip("ase.io")

from rigidities.datasets import load_silicon  # noqa: E402
from rigidities.interop.featomic import Soap  # noqa: E402
from rigidities.model import SparseKernel  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent.parent / "benches"))
claims, claims_measured, claims_page, claims_rows, rank_correlation = map(
    importlib.import_module, ("claims", "claims_measured", "claims_page", "claims_rows", "rank_correlation")
)

KINDS = {"strained": "Elastic", "rattled": "AIMD-NVT", "vacancy": "Vacancy", "surface": "Surface"}
"""Names of the mlearn sets for those of the package."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small set in the form of the mlearn sets: 25 training structures and 8 test structures."""
    place = tmp_path_factory.mktemp("set")
    parts = {"training": [], "test": []}
    for index, (group, kind) in enumerate(KINDS.items()):
        frames = load_silicon(groups=group)[:: 3 if group != "surface" else 4]
        for frame in frames:
            frame.info = {"group": kind, "description": "at 300 K" if index < 3 else "slab"}
            del frame.arrays["defect"]
        parts["training"] += frames[2:8] + frames[8:9] * (index == 0)
        parts["test"] += frames[:2]
    for name, frames in parts.items():
        io.write(place / f"Si-{name}.xyz", frames)
    return place


@pytest.fixture(scope="module", autouse=True)
def small_soap():
    """24 features in place of 252."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims_rows, "Soap", lambda element: Soap(element, cutoff=3.5, max_radial=3, max_angular=2))
        yield


@pytest.fixture(scope="module")
def rows(folder):
    return claims_rows.TrainingRows(claims_rows.Structures(folder, "Si"))


def textbook(rows, counts, weights, regularizer):
    """θ and H by normal equations, each structure as often as it counts."""
    mean = sum(count * y for count, y in zip(counts, rows.energy.targets, strict=True)) / sum(counts)
    H, b = regularizer * np.eye(rows.soap.n_features), np.zeros(rows.soap.n_features)
    for part, weight, subtracted in ((rows.energy, weights.energy, mean), (rows.forces, weights.forces, 0.0)):
        w = weight * np.asarray(counts)[part.blocks]
        H += (part.values.T * w) @ part.values
        b += (part.values.T * w) @ (part.targets - subtracted)
    return np.linalg.solve(H, b), H, mean


@pytest.mark.parametrize("weights", [claims_measured.ENERGIES, claims_measured.BOTH], ids=lambda one: one.name)
def test_a_fit_counts_structures_as_often_as_asked(rows, weights):
    counts = np.arange(rows.structures.n) % 3
    fit = rows.fit(counts, weights, regularizer=1e-2)
    theta, H, mean = textbook(rows, counts, weights, 1e-2)
    assert fit.baseline == pytest.approx(mean, rel=1e-12)
    np.testing.assert_allclose(fit.predict(rows.energy.values), rows.energy.values @ theta + mean, rtol=1e-8)
    R = 1 / np.einsum("ij,ji->i", rows.energy.values, np.linalg.solve(H, rows.energy.values.T))
    np.testing.assert_allclose(fit.hessian.rigidity(rows.energy.values), R, rtol=1e-6)


def test_left_out_is_a_fit_without_the_structure_at_the_same_baseline(rows):
    weights, train = claims_measured.BOTH, rows.structures.train
    fit = rows.fit(train, weights, regularizer=1e-2)
    residuals, variances = rows.left_out(fit, train, weights)
    without = train.copy()
    without[3] = False
    H = textbook(rows, without, weights, 1e-2)[1]
    b = textbook(rows, train, weights, 1e-2)[1] @ fit.hessian.coef  # less the targets of structure 3
    for part, weight, subtracted in ((rows.energy, weights.energy, fit.baseline), (rows.forces, weights.forces, 0.0)):
        own = part.blocks == 3
        b -= weight * part.values[own].T @ (part.targets[own] - subtracted)
    row = rows.energy.values[3]
    assert residuals[3] == pytest.approx(rows.energy.targets[3] - fit.baseline - row @ np.linalg.solve(H, b), rel=1e-4)
    assert variances[3] == pytest.approx(row @ np.linalg.solve(H, row), rel=1e-6)


def test_loo_of_a_bootstrap_leaves_out_both_copies(rows):
    """Weight 2 in place of two rows: the error of a structure is that of a fit without any of it."""
    counts = np.where(rows.structures.train, 2, 0)
    single = rows.fit(rows.structures.train, claims_measured.ENERGIES).hessian.regularizer
    doubled = rows.fit(counts, claims_measured.ENERGIES).hessian.regularizer
    assert doubled == pytest.approx(2 * single, rel=0.15)  # H times 2; λ are points of a path


@pytest.mark.parametrize(("draw", "size"), [("bootstrap", 11), ("halves", 5)])
def test_members_are_drawn_from_the_training_set(draw, size):
    train = np.arange(3, 14)
    drawn = [claims_measured._drawn(train, 20, draw, np.random.default_rng(seed)) for seed in range(20)]
    assert {int(counts.sum()) for counts in drawn} == {size}
    assert set(np.flatnonzero(np.sum(drawn, axis=0))) == set(train)
    assert (np.max(drawn) == 1) == (draw == "halves")


def variances(rows, counts, weights, regularizer, X):
    return np.einsum("ij,ji->i", X, np.linalg.solve(textbook(rows, counts, weights, regularizer)[1], X.T))


@pytest.mark.parametrize("weights", [claims_measured.ENERGIES, claims_measured.BOTH], ids=lambda one: one.name)
def test_gains_are_ratios_of_rigidities_without_the_slab_itself(rows, weights):
    structures, atoms = rows.structures, rows.atoms()
    start = structures.train & np.isin(structures.kinds, ["AIMD-NVT", "Elastic"])
    found = claims_measured._gains(rows, atoms, start, weights, 1e-2, additions=("Surface",))["Surface"]
    outside, pr = [], []
    for slab in np.flatnonzero(structures.kinds == "Surface"):
        after = start | (structures.train & (structures.kinds == "Surface"))
        after[slab] = False
        own = atoms.structure == slab
        few = atoms.values[own & structures.exposed], rows.energy.values[[slab]]
        before, behind = ([variances(rows, counts, weights, 1e-2, X) for X in few] for counts in (start, after))
        outside.append(before[0] / behind[0])
        pr.append(before[1] / behind[1])
    right = [np.quantile(np.concatenate(ratios), [0.1, 0.5, 0.9]) for ratios in (outside, pr)]
    for name, quantiles in zip(("exposed", "pr"), right, strict=True):
        came = [found[name][key] for key in ("low", "median", "high")]
        np.testing.assert_allclose(came, quantiles, rtol=1e-5)


def test_kinds_left_out_are_predicted_by_a_fit_to_the_others(rows, monkeypatch):
    monkeypatch.setattr(claims_rows.Weights, "rule", 1e-2)
    structures, weights = rows.structures, claims_measured.BOTH
    found = claims_measured._errors(rows, weights)
    missed, std = np.empty((2, structures.n))
    for kind in np.unique(structures.kinds):
        out = structures.kinds == kind
        theta, _, mean = textbook(rows, ~out, weights, 1e-2)
        X = rows.energy.values[out]
        missed[out] = rows.energy.targets[out] - mean - X @ theta
        std[out] = np.sqrt(variances(rows, ~out, weights, 1e-2, X))
    assert found["kinds"]["rmse"] == pytest.approx(np.sqrt(np.mean(missed**2)), rel=1e-5)
    assert found["kinds"]["value"] == pytest.approx(scipy.stats.spearmanr(std, abs(missed)).statistic, abs=1e-9)
    assert found["kinds"]["n"] == structures.n


@pytest.mark.slow
def test_the_whole_way_gives_every_table(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims_measured, "MEMBERS", 4)
    monkeypatch.setattr(claims_measured, "SEEDS", (0, 1))
    monkeypatch.setattr(rank_correlation, "SAMPLES", 20)
    monkeypatch.setattr(claims_measured, "KERNEL", SparseKernel(n_points=20))
    monkeypatch.setattr(sys, "argv", ["claims.py", str(folder), "Si", "--output", str(tmp_path / "figures.json")])
    claims.main()
    content = claims_page.records.read(tmp_path / "figures.json")
    printed = capsys.readouterr().out
    assert all(f"\n{name}\n\n{block}" in printed for name, block in claims_page.blocks(content).items())
    for record in content["elements"]["Si"]["defects"]:
        for added in ("Surface", "Vacancy", "control"):
            for where in ("exposed", "inside", "pr"):
                assert record[added][where]["low"] >= 1 - 1e-4, "more data at the same λ lower no rigidity"
    assert {record["model"] for record in content["elements"]["Si"]["errors"]} == {"linear", "kernel"}
