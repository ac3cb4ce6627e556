"""Files under kill, a full disk, and other writers: the old file or the new one is there, whole, and no other."""

import resource
import signal
import time
from collections import Counter

from attack import things
from attack.harness import refused, right
from attack.processes import bits, ended, forked, kill

from rigidities.model import LinearModel

NAME = "thing.safetensors"


def _pair(rng):
    """Two objects of one kind, and how such a file is read."""
    p = int(rng.choice([1, 4, 40, 200, 500]))
    kind = rng.integers(3)
    if kind == 0:
        pair = [things.covariance(rng, p, int(rng.integers(0, 3))) for _ in range(2)]
    elif kind == 1:
        pair = [things.hessian(rng, p) for _ in range(2)]
    else:
        pair = [things.model(6), things.model(7)]
    return pair, _reader(pair[0])


def _reader(thing):
    if isinstance(thing, LinearModel):
        return lambda path: bits(vars(LinearModel.load(path, descriptor=things.DESCRIPTOR)))
    return lambda path: bits(type(thing).load(path))


def _held(thing):
    return bits(vars(thing) if isinstance(thing, LinearModel) else thing)


def kills(rng, folder):
    """SIGKILL at a random moment of `save`: the file is whole, and the next save removes what the killed one left."""
    (first, second), read = _pair(rng)
    path, known = folder / NAME, [_held(first), _held(second)]
    first.save(path)

    def save_for_ever():
        while True:
            second.save(path)
            first.save(path)

    n = 8
    for _ in range(n):
        child = forked(save_for_ever)
        time.sleep(rng.uniform(0, 0.04))
        kill(child)
        assert read(path) in known, "after a kill the file is neither the old one nor the new one"
    second.save(path)
    assert read(path) == known[1]
    _assert_alone(folder)
    return right(n)


def full_disk(rng, folder):
    """No file may be larger than some bytes, as if the disk were full: an OSError, and the old file as it was."""
    (first, second), read = _pair(rng)
    path, counts = folder / NAME, Counter()
    second.save(path)
    size = path.stat().st_size
    for _ in range(8):
        limit = int(size * rng.uniform(0, 1.2))
        first.save(path)
        old = path.read_bytes()
        status = ended(forked(lambda limit=limit: _save_within(limit, second, path)))
        _assert_alone(folder)
        if status == 0:
            assert read(path) == _held(second)
            assert limit >= size
            counts += right()
        else:
            assert status == 3, f"exit status {status}"
            assert path.read_bytes() == old, "a save that failed has changed the file"
            assert limit < size
            counts += refused()
    return counts


def _save_within(limit, thing, path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        thing.save(path)
    except OSError as error:
        if path.name not in str(error):
            raise AssertionError("the error does not name the file") from error
        return 3


def crowds(rng, folder):
    """Two processes write to one name while two read it: every read is of a whole file."""
    pair, read = _pair(rng)
    path, known = folder / NAME, [_held(thing) for thing in pair]
    pair[0].save(path)
    end = time.monotonic() + 0.4

    def write(thing):
        while time.monotonic() < end:
            thing.save(path)

    def look():
        while time.monotonic() < end:
            assert read(path) in known, "a reader has seen a file that nobody wrote"

    children = [forked(lambda thing=thing: write(thing)) for thing in pair] + [forked(look) for _ in range(2)]
    assert [ended(child) for child in children] == [0, 0, 0, 0]
    assert read(path) in known
    _assert_alone(folder)
    return right(4)


def _assert_alone(folder):
    names = sorted(file.name for file in folder.iterdir())
    assert names == [NAME], f"left behind: {names}"
