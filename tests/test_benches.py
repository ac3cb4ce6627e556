"""What the benchmarks make of their figures, and that the documents say what was measured. Nothing is timed here."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHES = Path(__file__).parent.parent / "benches"
sys.path.insert(0, str(BENCHES))
machine, pairs, pipeline, records, roofline, table = map(
    importlib.import_module, ("machine", "pairs", "pipeline", "records", "roofline", "table")
)

ROOF = {"read_gigabytes": 20.0, "float64_gigaflops": 100.0, "float32_gigaflops": 200.0, "busy": 0.0}


def result(work="`update`", p=1024, ratio=1.5, busy=0.0, **kwargs):
    row = {"work": work, "p": p, "peer": "NumPy", "goal": 1.0, "ratio": ratio, "spread": 0.02, "ours_ms": 2.0}
    row |= {"peer_ms": 3.0, "gigaflops": 70.0, "busy": busy, "flops": 1.4e8, "read_bytes": None}
    return row | {"precision": "float64"} | kwargs


def test_documents_say_what_the_newest_results_say():
    assert [file for file, _ in table.stale(table.newest())] == [], "run benches/table.py"


@pytest.mark.parametrize("file", ["README.md", "docs/speed.md"])
def test_a_changed_figure_is_seen(file):
    content = table.newest()
    for row in content["results"]:
        row["ratio"] += 1
    assert file in dict(table.stale(content))


def test_newest_is_by_date_and_then_by_the_time_of_day(tmp_path):
    times = {"a": ("2026-03-01", "09"), "b": ("2026-03-01", "08"), "z": ("2025-12-31", "23")}
    for name, (date, hour) in times.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"date": date, "finished": f"{date}T{hour}:00:00"}))
    assert records.newest(tmp_path) == tmp_path / "a.json"


def test_goals_of_one_work_share_a_line():
    rows = [result(p=1024), result("`factorize`", 256), result(p=512, ratio=0.8, busy=0.5)]
    update, factorize = table.short_peers({"results": rows, "roofline": ROOF}).splitlines()[2:4]
    assert update == "| `update` | NumPy | 512, 1024 | 0.80\\*, 1.50 | 1 | missed at 512 | 70.0, 70.0 | 70%, 70% |"
    assert factorize == "| `factorize` | NumPy | 256 | 1.50 | 1 | met | 70.0 | 70% |"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "70.0 GF/s, 70 % of 100.0"),
        ({"precision": "float32"}, "70.0 GF/s, 35 % of 200.0"),
        ({"read_bytes": 3e7}, "15.0 GB/s, 75 % of 20.0"),
        ({"read_bytes": 2e7}, "70.0 GF/s, 70 % of 100.0"),
        ({"flops": None, "read_bytes": 1e7}, "5.0 GB/s, 25 % of 20.0"),
        ({"flops": None}, "no count of flop or bytes"),
    ],
)
def test_a_missed_goal_stands_beside_the_roofline(changes, text):
    """2 ms for 0.14 Gflop: 1.4 ms at the peak; 30 MB: 1.5 ms, the narrower limit; 20 MB: 1 ms."""
    missed, met = (table.line(result(ratio=ratio, **changes), ROOF) for ratio in (0.9, 1.0))
    assert missed.endswith(f"MISSED  {text}")
    assert "MISSED" not in met
    assert " of 100.0" not in met


def test_a_run_ends_with_what_was_missed_and_left_out():
    rows = [result(), result(ratio=0.5)]
    lines = table.summary({"results": rows, "roofline": ROOF, "left_out": ["torch"]}).splitlines()
    assert [line.split()[0] for line in lines] == ["`update`,", "left", "1"]
    assert lines[1] == "left out, not installed: torch"
    assert lines[2] == "1 of 2 goals met"


def test_the_worst_of_several_runs_counts(monkeypatch):
    durations = iter([(1.0, 1.1), (1.0, 0.7), (1.0, 0.9)])
    monkeypatch.setattr(machine, "measure", lambda calls, rounds, tries: (np.array([next(durations)] * rounds), 0.0))
    pair = pairs.Pair("work", 1, "peer", 0.8, ours=int, theirs=int, runs=3)
    assert pairs.measure(pair, tries=1).ratio == pytest.approx(0.7)
    assert next(durations, None) is None


def test_disturbed_figures_are_explained():
    assert table.DISTURBED in table.full_peers({"results": [result(busy=0.5)]})
    assert table.DISTURBED not in table.full_peers({"results": [result(busy=None)]})


def test_readme_has_three_lines():
    lines = table.blocks(table.newest())["README.md"]["bench"].splitlines()
    assert len(lines) == 3
    assert all("times as fast" in line for line in lines)


def test_what_was_left_out_is_written():
    content = table.newest()
    assert "- Left out, because not installed: torch." in table.whole_machine(content | {"left_out": ["torch"]})
    assert "Left out" not in table.whole_machine(content | {"left_out": []})


@pytest.mark.parametrize(
    ("processor", "name"),
    [
        ("AMD EPYC", "amd-epyc-2-avx2"),
        ("AMD EPYC 7763 64-Core Processor", "amd-epyc-7763-2-avx2"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "intel-xeon-platinum-8481c-2-avx2"),
    ],
)
def test_name_of_a_machine(processor, name):
    assert records.short_name({"processor": processor, "cores": 2, "vector": "avx2"}) == name


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
    bounds = {p: [roofline.bound(stage, p, roof) for stage in pipeline.STAGES] for p in (8, 16, 32)}
    assert bounds == {8: [10.0, 20.0, 10.0], 16: [20.0] * 3, 32: [20.0] * 3}


@pytest.fixture
def copy(tmp_path):
    """The documents, their results and what writes them, in a folder that a test may spoil."""
    scripts = [f"benches/{name}.py" for name in ("table", "records", "roofline")]
    results = [path.relative_to(BENCHES.parent) for path in records.RESULTS.glob("*.json")]
    for file in ("README.md", "docs/speed.md", *scripts, *results):
        target = tmp_path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((BENCHES.parent / file).read_text())
    return tmp_path


def write_tables(folder, *arguments):
    command = [sys.executable, folder / "benches/table.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def texts(folder):
    return [(folder / file).read_text() for file in ("README.md", "docs/speed.md")]


def test_check_fails_on_a_stale_table(copy):
    """The command that people run, after a document was edited by hand."""
    before = texts(copy)
    assert write_tables(copy, "--check").returncode == 0
    speed = copy / "docs/speed.md"
    speed.write_text(speed.read_text().replace(" met |", " exceeded |", 1))
    assert write_tables(copy, "--check").returncode == 1
    assert write_tables(copy).returncode == 0
    assert texts(copy) == before


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda content: content.pop("results"), "results (from peers)"),
        (lambda content: content.update(results=[]), "results (from peers)"),
        (lambda content: content.pop("pipeline"), "pipeline (from pipeline)"),
        (lambda content: content["pipeline"].update(points=[]), "points of the pipeline"),
        (lambda content: content.pop("roofline"), "roofline (from every suite)"),
    ],
)
def test_incomplete_results_are_an_error_and_change_no_document(copy, change, word):
    for path in (copy / "benches/results").glob("*.json"):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    before = texts(copy)
    for arguments in ((), ("--check",)):
        done = write_tables(copy, *arguments)
        assert done.returncode == 1
        assert word in done.stderr
    assert texts(copy) == before


def test_a_table_never_gives_way_to_an_empty_one(copy):
    """Without any results "not measured yet" may stand only where no figures stand."""
    for path in (copy / "benches/results").glob("*.json"):
        path.unlink()
    before = texts(copy)
    done = write_tables(copy)
    assert done.returncode == 1
    assert "there are figures between the bench markers" in done.stderr
    assert texts(copy) == before
    for file in ("README.md", "docs/speed.md"):
        text = (copy / file).read_text()
        (copy / file).write_text(re.sub(r"(<!-- (bench.*?) -->\n).*?(?=<!-- /\2 -->)", r"\1", text, flags=re.DOTALL))
    assert write_tables(copy).returncode == 0
    assert [text.count(table.NOT_YET) for text in texts(copy)] == [1, 6]
    assert write_tables(copy).returncode == 0
