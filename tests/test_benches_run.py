"""That benchmarks run in a clean environment, and that their figures are joined only if they belong together."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).parent.parent / "benches"
sys.path.insert(0, str(BENCHES))
environment, machine, optional, records, run, suite = map(
    importlib.import_module, ("environment", "machine", "optional", "records", "run", "suite")
)

#: What must not reach a suite; on x86 the first makes OpenBLAS take kernels of 2008.
STEERING = {"OPENBLAS_CORETYPE": "Nehalem", "OMP_NUM_THREADS": "1", "RIGIDITIES_NUM_THREADS": "1"}

MACHINE = {
    "processor": "AMD EPYC",
    "cores": 2,
    "vector": "avx2",
    "blas": ["openblas (Zen)"],
    "versions": {"numpy": "2"},
}

ROOF = {"read_gigabytes": 20.0, "float64_gigaflops": 80.0, "float32_gigaflops": 160.0, "busy": 0.0}


def python(script, *arguments, **variables):
    clean = environment.cleaned(os.environ)
    return subprocess.run(
        [sys.executable, BENCHES / script, *arguments], env=clean | variables, capture_output=True, text=True
    )


def part(date="2026-03-01", roof=ROOF, this=MACHINE, **figures):
    return {"date": date, "machine": this, "roofline": roof, **figures}


def parts(**changes):
    peers = part(results=[1], left_out=["torch"])
    return {"peers": peers, "pipeline": part(pipeline={"points": [2]}) | changes, "memory": part(memory=[3])}


def test_suites_do_not_see_the_callers_variables():
    """Kernels and threads are what they are in a clean environment, whatever is set."""
    clean, steered = python("machine.py"), python("run.py", "--describe", **STEERING)
    assert clean.returncode == steered.returncode == 0
    cleared = [f"cleared: {name}={value}" for name, value in sorted(STEERING.items())]
    assert steered.stdout.splitlines() == cleared + clean.stdout.splitlines()


@pytest.mark.parametrize(
    ("script", "name"),
    [("peers.py", "OPENBLAS_CORETYPE"), ("pipeline.py", "OMP_NUM_THREADS"), ("machine.py", "RIGIDITIES_NUM_THREADS")],
)
def test_a_suite_refuses_an_environment_that_holds_libraries_back(script, name):
    arguments = [] if script == "machine.py" else ["--short"]
    done = python(script, *arguments, **{name: STEERING[name]})
    assert done.returncode == environment.REFUSED
    assert done.stdout == ""
    assert f"{name}={STEERING[name]} set" in done.stderr
    assert "benches/run.py" in done.stderr


def test_deleting_a_variable_in_a_running_process_does_not_help():
    """That was the fault: NumPy had read the variable before it was deleted."""
    code = "import os, numpy; del os.environ['OPENBLAS_CORETYPE']; import environment; environment.refuse()"
    variables = environment.cleaned(os.environ) | {"OPENBLAS_CORETYPE": "Nehalem"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, cwd=BENCHES, capture_output=True, text=True)
    expected = environment.REFUSED if Path("/proc/self/environ").exists() else 0
    assert done.returncode == expected


def test_a_variable_that_was_set_after_the_start_is_seen(monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    with pytest.raises(SystemExit) as raised:
        environment.refuse()
    assert raised.value.code == environment.REFUSED


def test_unequal_threads_are_refused(monkeypatch):
    library = {"user_api": "blas", "internal_api": "openblas", "num_threads": machine.rg.get_num_threads()}
    monkeypatch.setattr(machine, "blas_libraries", lambda: [library])
    machine.require_equal_threads()
    library["num_threads"] += 1
    with pytest.raises(SystemExit, match=r"openblas runs \d+ threads and rigidities \d+"):
        machine.require_equal_threads()


def test_parts_of_one_machine_are_joined():
    faster = ROOF | {"float64_gigaflops": 90.0, "read_gigabytes": 10.0, "busy": None}
    joined = records.join(parts(roofline=faster))
    assert (joined["results"], joined["pipeline"]) == ([1], {"points": [2]})
    assert (joined["date"], joined["machine"], joined["left_out"]) == ("2026-03-01", MACHINE, ["torch"])
    assert joined["roofline"] == ROOF | {"float64_gigaflops": 90.0}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"date": "2026-03-02"}, "date: '2026-03-01' in peers, '2026-03-02' in pipeline"),
        ({"machine": MACHINE | {"blas": ["openblas (Haswell)"]}}, "blas: ['openblas (Zen)'] in peers, "),
        ({"machine": MACHINE | {"versions": {"numpy": "3"}}}, "versions numpy: '2' in peers, '3' in pipeline"),
        ({"machine": MACHINE | {"versions": {"numpy": "2", "torch": "2"}}}, "versions torch: None in peers, "),
        ({"pipeline": {}}, r"pipeline (from pipeline)"),
    ],
)
def test_parts_that_do_not_belong_together_are_an_error_that_says_why(changes, text):
    with pytest.raises(records.RecordError) as raised:
        records.join(parts(**changes))
    assert text in str(raised.value)


def test_a_missing_suite_is_an_error():
    with pytest.raises(records.RecordError, match="no figures of pipeline, memory"):
        records.join({"peers": parts()["peers"]})


def test_another_machines_figures_get_a_file_of_their_own(tmp_path):
    first = records.place(part(), tmp_path)
    assert first == tmp_path / "2026-03-01-amd-epyc-2-avx2.json"
    records.write(first, part())
    assert records.place(part(), tmp_path) == first
    other = part(this=MACHINE | {"blas": ["openblas (Haswell)"]})
    second = records.place(other, tmp_path)
    assert second == tmp_path / "2026-03-01-amd-epyc-2-avx2-2.json"
    records.write(second, other)
    assert records.read(first) == part()
    assert records.place(other, tmp_path) == second
    assert records.place(part(date="2026-03-02"), tmp_path).name == "2026-03-02-amd-epyc-2-avx2.json"


def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "new" / "results.json"
    records.write(path, {"results": [1]})

    def fail(self, target):
        assert json.loads(self.read_text()) == {"results": [2]}
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        records.write(path, {"results": [2]})
    assert records.read(path) == {"results": [1]}
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


@pytest.fixture
def fake_suites(tmp_path, monkeypatch):
    """Suites that write what a test gives them at once, and folders that a test may fill."""
    contents = parts()
    calls = []

    def start(script, *arguments):
        name, options = script.removesuffix(".py"), dict(zip(arguments[::2], arguments[1::2], strict=False))
        calls.append(name)
        if contents[name] is not None:
            records.write(Path(options["--output"]), contents[name])
        return 0 if contents[name] is not None else 7

    monkeypatch.setattr(run, "start", start)
    monkeypatch.setattr(run.table, "summary", lambda content: "the goals")
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(records.place, "__defaults__", (tmp_path / "results",))
    monkeypatch.setattr(run, "UNFINISHED", tmp_path / "unfinished")
    return contents, calls


def benchmark(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
    run.main()


def test_a_run_writes_one_file_and_clears_up(tmp_path, monkeypatch, fake_suites, capsys):
    benchmark(monkeypatch)
    (path,) = (tmp_path / "results").glob("*.json")
    assert records.read(path)["results"] == [1]
    assert list((tmp_path / "unfinished").iterdir()) == []
    assert capsys.readouterr().out.endswith("the goals\n")


def test_unlike_parts_are_kept_and_the_difference_is_named(tmp_path, monkeypatch, fake_suites):
    contents, _ = fake_suites
    contents["pipeline"]["machine"] = MACHINE | {"blas": ["openblas (Haswell)"]}
    with pytest.raises(SystemExit, match=r"(?s)openblas \(Zen\).*openblas \(Haswell\).*figures kept: .*peers.json, "):
        benchmark(monkeypatch)
    assert not (tmp_path / "results").exists()
    assert {path.stem for path in tmp_path.glob("unfinished/*/*.json")} == {"peers", "pipeline", "memory"}


def test_a_run_that_failed_can_be_completed(tmp_path, monkeypatch, fake_suites):
    contents, calls = fake_suites
    pipeline, contents["pipeline"] = contents["pipeline"], None
    with pytest.raises(SystemExit, match=r"pipeline failed with exit status 7; figures kept: .*peers.json"):
        benchmark(monkeypatch)
    (folder,) = (tmp_path / "unfinished").iterdir()
    contents["pipeline"] = pipeline
    benchmark(monkeypatch, "--parts", folder)
    assert calls == ["peers", "pipeline", "pipeline", "memory"]
    assert len(list((tmp_path / "results").glob("*.json"))) == 1


def test_one_suite_alone_is_kept_but_not_joined(tmp_path, monkeypatch, fake_suites, capsys):
    benchmark(monkeypatch, "--suite", "peers")
    assert "pipeline, memory missing: python benches/run.py --parts" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    assert len(list(tmp_path.glob("unfinished/*/peers.json"))) == 1


def test_a_suite_overwrites_no_figures(tmp_path, monkeypatch):
    path = tmp_path / "peers.json"
    path.write_text("{}")
    monkeypatch.setattr(environment, "refuse", lambda: None)
    monkeypatch.setattr(sys, "argv", ["peers.py", "--short", "--output", str(path)])
    with pytest.raises(SystemExit, match="is there already"):
        suite.run("peers", "", measure=pytest.fail)
    assert path.read_text() == "{}"


def test_peers_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setattr(optional.importlib.util, "find_spec", lambda name: None)
    assert optional.left_out() == ["scikit-learn-intelex", "torch"]
    assert list(optional.all_pairs(short=True)) == []
