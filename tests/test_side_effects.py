"""What the package does around itself: it writes through one place, and leaves the state of the process alone."""

import ast
import os
import stat
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import rigidities as rg
from rigidities.exceptions import IllConditionedWarning, NotConvergedWarning, held, warn

PACKAGE = Path(rg.__file__).parent
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

WRITERS = {
    "write_text",
    "write_bytes",
    "savetxt",
    "tofile",
    "mkstemp",
    "mkdtemp",
    "NamedTemporaryFile",
    "save_file",
    "serialize_file",
    "rename",
    "symlink_to",
    "hardlink_to",
    "touch",
    "copyfile",
    "write_input",
    "truncate",
    "unlink",
    "rmdir",
    "rmtree",
    "memmap",
    "fdopen",
}

INTO_A_FILE = {"savez", "savez_compressed", "savefig"}
"""Functions of other packages that take an open file or a name: here, `file`."""

PROCESS = {
    "umask",
    "chdir",
    "putenv",
    "setlocale",
    "setrecursionlimit",
    "catch_warnings",
    "simplefilter",
    "filterwarnings",
    "resetwarnings",
    "seterr",
    "signal",
    "setitimer",
    "alarm",
    "set_printoptions",
    "threadpool_limits",
    "settrace",
    "seed",
    "setrlimit",
    "basicConfig",
    "setdefaulttimeout",
    "set_start_method",
    "setswitchinterval",
    "set_wakeup_fd",
}


def nodes(file, kind):
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, kind)]


def last_name(call):
    return ast.unparse(call.func).rpartition(".")[2]


def modes(call):
    """Texts among the arguments of `open` that can be a mode."""
    values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return {value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_one_place_writes(file):
    """It knows how a file is replaced whole or not at all."""
    if file == Path("runtime", "writing.py"):
        return
    for call in nodes(file, ast.Call):
        place = f"{file}:{call.lineno} {ast.unparse(call.func)}"
        ours = isinstance(call.func, ast.Name) and call.func.id == "write_text"
        assert ours or last_name(call) not in WRITERS, place
        if last_name(call) in INTO_A_FILE:
            assert ast.unparse(call.args[0]) == "file", place
        if last_name(call) == "open" and ast.unparse(call.args[0]) != "ours":  # a descriptor of stderr
            assert modes(call) <= {"rb", "r"}, place
        if ast.unparse(call.func) in ("ase.io.write", "io.write"):
            assert ast.unparse(call.args[0]) == "buffer", place


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_state_of_the_process_is_left_alone(file):
    """Another thread may be at work. The command line is alone in its process."""
    if file.parts[0] == "cli":
        return
    for call in nodes(file, ast.Call):
        assert last_name(call) not in PROCESS, f"{file}:{call.lineno}"
    for change in nodes(file, ast.Assign | ast.AugAssign | ast.Delete):
        targets = change.targets if hasattr(change, "targets") else [change.target]
        assert not any(ast.unparse(target).startswith(("os.environ", "sys.")) for target in targets), change.lineno


def test_the_umask_is_not_set(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("umask is set"))
    rg.Covariance(2).save(tmp_path / "file")


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_files_of_other_threads_are_never_open_to_all(tmp_path):
    """The umask was 0 for a moment in each save, and after four threads at once for ever."""
    covariance, stop = rg.Covariance(2), threading.Event()

    def save(name):
        while not stop.is_set():
            covariance.save(tmp_path / name)

    (tmp_path / "expected").touch()
    writers = [threading.Thread(target=save, args=[f"c{i}"]) for i in range(4)]
    for writer in writers:
        writer.start()
    for i in range(300):
        (tmp_path / f"b{i}").touch()
    stop.set()
    for writer in writers:
        writer.join()
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        stat.S_IMODE((tmp_path / "expected").stat().st_mode)
    }


# Warnings that are kept ---------------------------------------------------------------------------


def test_warnings_of_one_category_are_kept():
    with warnings.catch_warnings(record=True) as caught, held(IllConditionedWarning) as kept:
        warnings.simplefilter("always")
        warn(IllConditionedWarning, "one")
        warn(NotConvergedWarning, "two")
    assert ([str(warning) for warning in kept], [str(entry.message) for entry in caught]) == (["one"], ["two"])
    with pytest.warns(IllConditionedWarning, match="three"):
        warn(IllConditionedWarning, "three")


def test_warnings_are_kept_in_one_thread_alone():
    """`warnings.catch_warnings` in two threads at once loses warnings, and leaves filters changed."""
    barrier, kept = threading.Barrier(2), {}

    def keep(name):
        for _ in range(200):
            barrier.wait()
            with held(IllConditionedWarning) as mine:
                warn(IllConditionedWarning, name)
            kept.setdefault(name, []).extend(map(str, mine))

    filters = list(warnings.filters)
    threads = [threading.Thread(target=keep, args=[name]) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == {"a": ["a"] * 200, "b": ["b"] * 200}
    assert warnings.filters == filters


def test_reports_and_peers_leave_the_filters_of_warnings_alone(monkeypatch):
    """Both factorise systems that may be ill-conditioned, and keep the warning for themselves."""
    from rigidities.interop.skmatter import local_prediction_rigidity
    from rigidities.report.without_labels import without_labels
    from rigidities.sources.features import Features

    train = Features("train", rg.Rows(np.diag([1.0, 1e-9])))
    rows = [np.array([[1.0, 1e-9], [1.0, -1e-9]])]
    with held(IllConditionedWarning) as mine, monkeypatch.context() as patch:
        patch.setattr(warnings, "catch_warnings", lambda **_: pytest.fail("filters are changed"))
        theirs = without_labels(train, 1e-19, "mean").warned
        values, _ = local_prediction_rigidity(rows, rows, 1e-19)
    assert ["rounding leaves no digit" in text for text in theirs] == [True]
    assert ["the pseudo-inverse is used" in str(warning) for warning in mine] == [True]
    assert np.isfinite(values[0]).all()
