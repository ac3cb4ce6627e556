"""Files are replaced whole or not at all, and nothing but regular files is replaced."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rigidities.runtime import writing
from rigidities.runtime.writing import replacing, write_text

posix = pytest.mark.skipif(os.name != "posix", reason="modes, links and signals of POSIX")
root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def write(path, content=b"new"):
    with replacing(path) as file:
        file.write(content)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def temporary(name="file", token="0123abcd"):
    return f".{name}.rigidities-{token}"


# What is replaced ---------------------------------------------------------------------------------


def test_a_new_file_has_the_mode_of_new_files(tmp_path):
    (tmp_path / "plain").touch()
    write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert mode(tmp_path / "file") == mode(tmp_path / "plain")
    assert names(tmp_path) == ["file", "plain"]


def test_a_text_is_written_as_utf_8(tmp_path):
    write_text(tmp_path / "λ", "λ\n")
    assert (tmp_path / "λ").read_bytes() == "λ\n".encode()


@posix
@pytest.mark.parametrize("bits", [0o600, 0o640, 0o444 | stat.S_IWUSR, 0o777])
def test_the_mode_of_a_file_is_kept(tmp_path, bits):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(bits)
    write(path)
    assert (mode(path), path.read_bytes()) == (bits, b"new")


@posix
def test_a_private_file_is_never_open_to_others(tmp_path, monkeypatch):
    """Who opens a file can read what is written to it later."""
    path, modes = tmp_path / "file", []
    path.write_bytes(b"old")
    path.chmod(0o600)
    take_over = writing._take_over

    def watched(handle, old):
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        take_over(handle, old)
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))

    monkeypatch.setattr(writing, "_take_over", watched)
    write(path)
    assert modes == [0o600, 0o600]


@root
def test_the_owner_of_a_file_is_kept(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 1234, 5678)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid, path.read_bytes()) == (1234, 5678, b"new")


@posix
def test_an_owner_that_cannot_be_kept_stops_nothing(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    true = os.fstat
    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(os, "fstat", lambda handle: os.stat_result((*true(handle)[:4], 77, 77, *true(handle)[6:])))
    write(path)
    assert path.read_bytes() == b"new"


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_is_followed(tmp_path, exists):
    (tmp_path / "deep").mkdir()
    target = tmp_path / "deep" / "target"
    if exists:
        target.write_bytes(b"old")
    (tmp_path / "one").symlink_to("deep/target")
    (tmp_path / "two").symlink_to("one")
    write(tmp_path / "two")
    assert target.read_bytes() == b"new"
    assert (tmp_path / "one").is_symlink()
    assert (tmp_path / "two").is_symlink()
    assert names(tmp_path / "deep") == ["target"]


@posix
def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        write(tmp_path / "loop")


@posix
def test_a_hard_link_is_not_parted(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"old")
    os.link(one, two)
    with pytest.raises(OSError, match="has 2 hard links, and the others would keep the old content: remove it first"):
        write(one)
    assert os.path.samefile(one, two)
    assert one.read_bytes() == b"old"
    assert names(tmp_path) == ["one", "two"]


def make_socket(path):
    import socket

    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@posix
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: os.mkfifo(path), "named pipe"),
        (make_socket, "socket"),
        pytest.param(lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3)), "device", marks=root),
        (lambda path: path.mkdir(), "directory"),
    ],
)
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_regular_file_stays(tmp_path, monkeypatch, make, kind, linked):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    path = Path("thing")
    make(path)
    before = path.stat()
    if linked:
        Path("link").symlink_to("thing")
    name = Path("link") if linked else path
    with pytest.raises(OSError, match=rf"s a {kind}: expected .*: '{name}'"):
        write(name)
    after = path.stat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert set(names(Path())) <= {"thing", "link"}


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write everything")
def test_a_write_protected_file_stays(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="is write-protected"):
        write(path)
    assert path.read_bytes() == b"old"


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere" / "file", tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        with pytest.raises(OSError, match=rf": '{path}'$"):
            write(path)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'file'}'"), replacing(tmp_path / "file"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match="'another file'"), replacing(tmp_path / "file"):
        raise FileNotFoundError(errno.ENOENT, "No such file", "another file")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["n" * 255, "λ" * 127, ".", ""])
def test_names_as_long_as_a_file_system_takes_them(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name in (".", ""):
        with pytest.raises(IsADirectoryError):
            write(name)
    else:
        write(name)
        assert names(Path()) == [name]


# Whole or not at all ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
def test_an_error_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with replacing(path) as file:
            file.write(b"part")
            file.flush()
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Otherwise a power failure can leave a name without content."""
    steps = []
    sync, replace = os.fsync, os.replace
    kind = lambda handle: "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else os.fstat(handle).st_size  # noqa: E731
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append(kind(handle)), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("moved"), replace(a, b)))
    write(tmp_path / "file", b"12345")
    assert steps == [5, "moved", "folder"]


def test_a_file_system_that_cannot_sync_is_no_error(tmp_path, monkeypatch):
    def refuse(handle):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_disk_that_fails_is_an_error(tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"Input/output error: .*file'"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


FULL = """
import resource, signal, sys
from rigidities.runtime.writing import replacing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
with replacing(sys.argv[1]) as file:
    file.write(b"x" * int(sys.argv[2]))
"""


@posix
@pytest.mark.parametrize("size", [10_001, 100_000])
def test_a_full_disk_leaves_the_old_file(tmp_path, size):
    """Files of at most 10 kB stand for a full disk. The smaller content waits in the buffer."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    run = subprocess.run([sys.executable, "-c", FULL, path, str(size)], capture_output=True, text=True)
    assert run.stderr.splitlines()[-1] == f"OSError: [Errno {errno.EFBIG}] File too large: '{path}'"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


# Writers that are killed, and writers at once -----------------------------------------------------


def test_leftovers_of_this_file_alone_are_removed(tmp_path):
    """They have eight digits after the name; files of other names are anybody's."""
    leftovers = [temporary(), temporary(token="ffffffff")]
    others = [temporary(token="notes"), temporary("file2"), "file.rigidities-0123abcd", temporary(token="0123abcd0")]
    for name in leftovers + others:
        (tmp_path / name).touch()
    others.append(temporary(token="00000000"))
    (tmp_path / others[-1]).mkdir()
    write(tmp_path / "file")
    assert names(tmp_path) == sorted([*others, "file"])


@posix
def test_a_pipe_that_looks_like_a_leftover_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / temporary())
    write(tmp_path / "file")
    assert names(tmp_path) == [temporary(), "file"]


def test_a_writer_at_work_keeps_its_file(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as file:
        file.write(b"first")
        write(path, b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_a_temporary_file_that_was_removed_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    """Another writer took it for a leftover in between."""
    made = []
    lock = writing._lock

    def removed_first(file):
        made.append(file.name)
        if len(made) == 1:
            os.unlink(file.name)
        return len(made) != 2 and lock(file)

    monkeypatch.setattr(writing, "_lock", removed_first)
    write(tmp_path / "file")
    assert len(set(made)) == 3
    assert (tmp_path / "file").read_bytes() == b"new"


def test_many_writers_of_one_file_at_once(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([i]) * 30_000 for i in range(8)]

    def many(content):
        for _ in range(40):
            write(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(many, contents))
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["file"]


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """Files are written there, and leftovers stay: whose they are is unknown."""
    if writing.fcntl is None:
        pytest.skip("no locks here")

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(writing.fcntl, "flock", refuse)
    (tmp_path / temporary()).touch()
    write(tmp_path / "file")
    assert names(tmp_path) == [temporary(), "file"]


def test_a_system_without_fcntl(tmp_path, monkeypatch):
    """As on Windows: a file is closed before it is moved."""
    moved = []
    replace = os.replace
    monkeypatch.setattr(writing, "fcntl", None)
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append(file.closed), replace(a, b)))
    (tmp_path / temporary()).touch()
    with replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert moved == [True]
    assert names(tmp_path) == ["file"]


KILLED = """
import sys
from rigidities.runtime.writing import replacing
for i in range(10**9):
    with replacing(sys.argv[1]) as file:
        print("at work", flush=True)
        for _ in range(20):
            file.write(bytes([i % 256]) * 10_000)
            file.flush()
"""


@posix
def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file"
    left = 0
    path.write_bytes(bytes(200_000))
    for i in range(15):
        with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            time.sleep(0.0007 * i)
            child.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert content == content[:1] * 200_000
        left += len(names(tmp_path)) - 1
    assert left > 0, "no kill came while a file was written"
    write(path)
    assert names(tmp_path) == ["file"]
