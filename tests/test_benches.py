"""What the benchmarks make of their figures, and that the documents say what was measured. Nothing is timed here."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHES = Path(__file__).parent.parent / "benches"
sys.path.insert(0, str(BENCHES))
machine, pipeline, table = map(importlib.import_module, ("machine", "pipeline", "table"))


def result(work="`update`", p=1024, ratio=1.5, busy=0.0, **kwargs):
    row = {"work": work, "p": p, "peer": "NumPy", "goal": 1.0, "ratio": ratio, "spread": 0.02, "ours_ms": 2.0}
    return row | {"peer_ms": 3.0, "gigaflops": 70.0, "busy": busy} | kwargs


def test_documents_say_what_the_newest_results_say():
    assert [file for file, _ in table.stale(table.newest())] == [], "run benches/table.py"


@pytest.mark.parametrize("file", ["README.md", "docs/speed.md"])
def test_a_changed_figure_is_seen(file):
    content = table.newest()
    for row in content["results"]:
        row["ratio"] += 1
    assert file in dict(table.stale(content))


def test_newest_is_by_date(tmp_path, monkeypatch):
    for name, date in {"a": "2026-03-01", "z": "2025-12-31"}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"date": date}))
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(table, "ROOT", tmp_path)
    assert table.newest()["date"] == "2026-03-01"


def test_goals_of_one_work_share_a_line():
    rows = [result(p=1024), result("`factorize`", 256), result(p=512, ratio=0.8, busy=0.5)]
    update, factorize = table.short_peers({"results": rows}).splitlines()[2:4]
    assert update == "| `update` | NumPy | 512, 1024 | 0.80\\*, 1.50 | 1 | missed at 512 | 70.0, 70.0 |"
    assert factorize == "| `factorize` | NumPy | 256 | 1.50 | 1 | met | 70.0 |"


def test_disturbed_figures_are_explained():
    assert table.DISTURBED in table.full_peers({"results": [result(busy=0.5)]})
    assert table.DISTURBED not in table.full_peers({"results": [result(busy=None)]})


def test_readmes_table_stays_short():
    assert len(table.blocks(table.newest())["README.md"]["bench"].splitlines()) <= 26


@pytest.mark.parametrize(
    ("processor", "name"),
    [
        ("AMD EPYC", "amd-epyc-2-avx2"),
        ("AMD EPYC 7763 64-Core Processor", "amd-epyc-7763-2-avx2"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "intel-xeon-platinum-8481c-2-avx2"),
    ],
)
def test_name_of_a_machine(processor, name):
    assert machine.short_name(processor, 2, "avx2") == name


def test_busy_is_what_others_used():
    """10 s on two cores, 12 s of work, 8 s of it ours: others had 4 of 20."""
    assert machine.busy_fraction((100.0, 50.0, 3.0), (120.0, 62.0, 11.0)) == pytest.approx(0.2)
    assert machine.busy_fraction((0.0, 0.0, 0.0), (20.0, 7.9, 8.0)) == 0
    assert machine.busy_fraction(None, None) is None


@pytest.mark.parametrize(
    ("shares", "tries", "taken"), [([0.3, 0.01, 0.0], 3, 0.01), ([0.3, 0.2, 0.4], 3, 0.2), ([0.3, 0.0], 1, 0.3)]
)
def test_disturbed_measurements_are_repeated_and_the_quietest_kept(monkeypatch, shares, tries, taken):
    runs = iter((np.full((1, 1), share), share) for share in shares)
    monkeypatch.setattr(machine, "alternate", lambda calls, rounds: next(runs))
    times, busy = machine.measure([], tries=tries)
    assert busy == taken == times[0, 0]


def test_parts_of_one_machine_share_a_file_and_those_of_another_do_not(tmp_path):
    path = tmp_path / "new" / "results.json"
    machine.save(path, results=[1])
    machine.save(path, pipeline=[2])
    content = json.loads(path.read_text())
    assert (content["results"], content["pipeline"]) == ([1], [2])
    path.write_text(json.dumps(content | {"machine": {"processor": "another"}}))
    machine.save(path, roofline=[3])
    assert set(json.loads(path.read_text())) == {"date", "machine", "roofline"}


@pytest.mark.parametrize(("stage", "exponents"), [("score", {"n": 1.0, "p": 1.9}), ("factorize", {"p": 1.9})])
def test_fit_finds_the_exponents_of_a_power_law(stage, exponents):
    sizes = [(n, p) for n in (10, 20, 40) for p in (100, 300)]
    costs = [3 * p**1.9 * (n if "n" in exponents else 1) for n, p in sizes]
    points = [pipeline.Point(stage, n, p, ms, 1.0, 1.0, None, None) for (n, p), ms in zip(sizes, costs, strict=True)]
    found = pipeline.fit(stage, points)
    assert found.exponents == pytest.approx(exponents)
    assert found.residual == pytest.approx(0, abs=1e-12)


def test_bound_is_memory_for_few_features_and_arithmetic_for_many():
    """10 GB/s · p/8 flop a byte meets 20 GF/s at p = 16."""
    roof = {"read_gigabytes": 10.0, "float64_gigaflops": 20.0}
    bounds = {p: [pipeline.bound(stage, p, roof) for stage in pipeline.STAGES] for p in (8, 16, 32)}
    assert bounds == {8: [10.0, 20.0, 10.0], 16: [20.0] * 3, 32: [20.0] * 3}


def test_check_fails_on_a_stale_table(tmp_path):
    """The command that people run, in a copy whose README was edited by hand."""
    for file in ("README.md", "docs/speed.md", *(f"benches/{name}.py" for name in ("table", "machine"))):
        target = tmp_path / file
        target.parent.mkdir(exist_ok=True)
        target.write_text((BENCHES.parent / file).read_text())
    (tmp_path / "benches/results").mkdir()
    for path in (BENCHES / "results").glob("*.json"):
        (tmp_path / "benches/results" / path.name).write_text(path.read_text())
    readme = tmp_path / "README.md"

    def run(*arguments):
        return subprocess.run([sys.executable, tmp_path / "benches/table.py", *arguments]).returncode

    assert run("--check") == 0
    readme.write_text(readme.read_text().replace(" met |", " exceeded |", 1))
    assert run("--check") == 1
    assert run() == 0
    assert run("--check") == 0
