"""The demo: its story by what it wrote, its regularizer by refitting, its files by those of a report."""

import numpy as np
import pytest
from typer.testing import CliRunner

from rigidities import demo
from rigidities.cli import app
from rigidities.plot import map_of
from rigidities.sources.atoms import Structures

pytest.importorskip("ase")
pytest.importorskip("featomic")
pytest.importorskip("chemiscope")

import ase.io
from ase.build import bulk

from rigidities.interop.featomic import Soap

FILES = {"rigidities.xyz", "next.xyz", "summary.json", "ranking.csv", "lpr_map.png", "viewer.json.gz"}


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    return CliRunner().invoke(app, ["demo", "-o", str(directory)]), directory


def test_demo_writes_maps_and_both_reports(demonstration):
    result, directory = demonstration
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    maps = {"lpr_maps.png", "lpr_map_pristine.png", "lpr_map_with_defects.png"}
    assert {path.name for path in directory.iterdir()} == maps | {"pristine", "with_defects"}
    for name in ("pristine", "with_defects"):
        assert {path.name for path in (directory / name).iterdir()} == FILES


def test_demo_tells_its_story(demonstration):
    result, directory = demonstration
    lines = result.stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 100
    before, after = (
        [np.concatenate([frame.arrays["lpr"] for frame in frames]), frames]
        for frames in (ase.io.read(directory / name / "rigidities.xyz", ":") for name in ("pristine", "with_defects"))
    )
    kinds = np.concatenate([[frame.info["group"]] * len(frame) for frame in before[1]])
    defect = np.concatenate([frame.arrays["defect"] for frame in before[1]])
    # A theorem, at fixed λ; to rounding: cond(H) is 1e9, and p·eps·cond is 1e-4.
    assert (after[0] > before[0] * (1 - 1e-4)).all()
    for kind in ("vacancy", "interstitial", "surface"):
        chosen = (kinds == kind) & defect
        low, high = (np.median(lpr[chosen]) for lpr in (before[0], after[0]))
        [line] = [line for line in lines if line.startswith(f"{kind}, at the defect")]
        assert line.split()[-4:] == [str(chosen.sum()), f"{low:.2g}", f"{high:.2g}", f"{high / low:,.1f}"]
        assert high > 10 * low
    for kind in ("crystal", "strained", "rattled"):
        gain = np.median(after[0][kinds == kind]) / np.median(before[0][kinds == kind])
        assert 1 < gain < 3  # the training set doubles


def test_the_largest_errors_are_those_of_least_pr(demonstration):
    """The sentence from the files alone: PR as written, errors of a fit by NumPy."""
    result, directory = demonstration
    before, _, test = demo.load_parts()
    regularizer, _ = demo.choose_regularizer(before)
    H = before.rows.T @ before.rows + regularizer * np.eye(before.rows.shape[1])
    errors = 1000 * np.abs(test.energies - test.rows @ np.linalg.solve(H, before.rows.T @ before.energies))
    chosen = np.flatnonzero([frame.info["group"] in demo.PRISTINE for frame in test.source.frames])
    frames = ase.io.read(directory / "pristine" / "rigidities.xyz", ":")
    pr = np.array([frame.info["pr"] for frame in frames])
    worst, least = chosen[np.argsort(-errors[chosen])], chosen[np.argsort(pr[chosen])]
    assert set(worst[:3]) == set(least[:3])
    said = " ".join(result.stdout.split())
    numbers = ", ".join(f"{error:.0f}" for error in errors[worst[:3]])
    assert f"3 largest errors ({numbers} meV per atom; all others are at most {errors[worst[3]]:.1f})" in said
    assert "are exactly the 3 of least PR" in said
    assert "rigidities report train.xyz test.xyz -o report" in said


def test_paths_returned_are_those_of_the_files(tmp_path):
    frames = [bulk("Si", cubic=True), bulk("Si")]
    for seed, frame in enumerate(frames):
        frame.rattle(0.1, seed=seed)
        frame.info["group"] = "crystal"
        frame.arrays["defect"] = np.zeros(len(frame), dtype=bool)
    source = Structures("Si", frames, Soap("Si", 4.0, max_radial=2, max_angular=1))
    rows = np.concatenate([batch.values for batch in source.batches()])
    part, atom_map = demo.Part(source, rows, np.ones(len(rows))), map_of(source, source)
    written = demo.write_demo(demo.compare([part, part], part, 1e-3, atom_map), part, atom_map, tmp_path)
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())


def test_demo_tests_on_the_other_half():
    before, after, test = demo.load_parts()
    kinds = [[frame.info["group"] for frame in part.source.frames] for part in (before, after, test)]
    assert set(kinds[0]) == set(demo.PRISTINE)
    assert kinds[1] == kinds[2]
    energies = [{frame.get_potential_energy() for frame in part.source.frames} for part in (before, after, test)]
    assert energies[0] < energies[1]
    assert not energies[1] & energies[2]
    theta = np.linalg.solve(before.rows.T @ before.rows + 0.1 * np.eye(252), before.rows.T @ before.energies)
    chosen = np.isin(kinds[2], demo.DEFECTIVE)
    miss = np.sqrt(np.mean((test.energies - test.rows @ theta)[chosen] ** 2))
    # In meV; cond(H) is 3e4, of which the energies keep ten digits.
    assert test.error(before.covariance().factorize(0.1), demo.DEFECTIVE) == pytest.approx(1000 * miss, rel=1e-8)


def test_demo_takes_the_regularizer_of_least_leave_one_out_error():
    rng = np.random.default_rng(5)
    F = rng.normal(size=(12, 4)) @ np.diag([1, 1, 0.1, 0.01])
    y = F @ [1.0, 2.0, 3.0, 4.0] + 0.1 * rng.normal(size=12)
    source = Structures("none", [], Soap("Si", max_radial=3, body_orders=(2,)))
    chosen, error = demo.choose_regularizer(demo.Part(source, F, y))

    def left_out(regularizer):
        misses = []
        for i in range(12):
            A, b = np.delete(F, i, axis=0), np.delete(y, i)
            misses.append(y[i] - F[i] @ np.linalg.solve(A.T @ A + regularizer * np.eye(4), A.T @ b))
        return 1000 * np.sqrt(np.mean(np.square(misses)))

    errors = {regularizer: left_out(regularizer) for regularizer in demo.DEMO_GRID * (F**2).sum()}
    assert chosen == pytest.approx(min(errors, key=errors.get), rel=1e-12)
    assert error == pytest.approx(min(errors.values()), rel=1e-9)
