"""Hostile files: bytes that nobody wrote are refused with the name of the file, or they change nothing.

Nothing else may happen: another kind of exception, a crash, a hang, memory without bound, or other numbers.
"""

import copy
import json
import resource
import struct
from collections import Counter

import numpy as np
from attack import things
from attack.processes import bits

from rigidities.model import LinearModel
from rigidities.sources.read import read_features

#: Hostile files of one seed.
TRIES = 60

#: Address space that a file of some kilobytes may take beyond what the process has.
ROOM = 2 << 30

ODD = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**400, -0.0, 1e-320, 1e308, float("nan"), float("inf"),
    "", "x", "-1", "1e999", "nan", "\u0000", [], {}, [0], [1, 2, 3], {"a": 1}, [[[]]],
)  # fmt: skip


def objects(rng, folder):
    """Files of covariances, Hessians and models, with bits flipped, parts swapped, or numbers replaced."""
    thing, load = _stored(rng)
    path = folder / "thing.safetensors"
    thing.save(path)
    whole, expected = path.read_bytes(), load(path)

    def changed():
        return (_bytes_changed if rng.random() < 0.5 else _header_changed)(rng, whole)

    return _attack(path, changed, lambda: load(path), expected)


def _stored(rng):
    kind, p = rng.integers(3), int(rng.integers(1, 30))
    if kind == 2:
        return things.model(), lambda path: bits(vars(LinearModel.load(path, descriptor=things.DESCRIPTOR)))
    thing = things.covariance(rng, p, int(rng.integers(0, 3))) if kind == 0 else things.hessian(rng, p)
    return thing, lambda path: bits(type(thing).load(path))


def features(rng, folder):
    """Files of features of other programs: refused or read. The directory of a zip archive has no checksum."""
    path = folder / "rows.npz"
    np.savez(path, features=rng.normal(size=(12, 5)), groups=np.arange(12) // 3)
    whole = path.read_bytes()

    return _attack(path, lambda: _bytes_changed(rng, whole), lambda: read_features(str(path)), None)


def _attack(path, changed, load, expected):
    """Write changed bytes and load them, many times; what is loaded is not compared where None is expected."""
    counts = Counter()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + ROOM, hard))
    try:
        for _ in range(TRIES):
            content = changed()
            path.write_bytes(content)
            try:
                found = load()
            except ValueError as error:
                if path.name not in str(error):
                    raise AssertionError("the error does not name the file") from error
                counts["refused"] += 1
            else:
                assert expected in (None, found), f"other numbers are read from {content[:2000]!r}"
                counts["right"] += 1
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return counts


def _address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _bytes_changed(rng, whole):
    """One to three changes of single bits, bytes or runs."""
    content = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        at, n = int(rng.integers(len(content) or 1)), int(rng.integers(1, 64))
        kind = rng.integers(8)
        if kind == 0 and content:
            content[at] ^= 1 << rng.integers(8)
        elif kind == 1 and content:
            content[at] = rng.integers(256)
        elif kind == 2:
            del content[at:]
        elif kind == 3:
            content += rng.bytes(n)
        elif kind == 4:
            content[at : at + n] = bytes(n)
        elif kind == 5:
            del content[at : at + n]
        elif kind == 6:
            content[at:at] = content[at : at + n]
        else:
            other = int(rng.integers(len(content) or 1))
            content[at : at + n], content[other : other + n] = content[other : other + n], content[at : at + n]
    return bytes(content)


def _header_changed(rng, whole):
    """Another header before the same tensors: an odd value, another name, parts that are missing or swapped."""
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])
    metadata = header["__metadata__"]
    inner = rng.random() < 0.5 and "values" in metadata
    edited = json.loads(metadata["values"]) if inner else header
    _edit(rng, edited)
    if inner:
        metadata["values"] = json.dumps(edited)
    text = json.dumps(header)
    if rng.random() < 0.05:
        text = text.replace(":", ":" + "[" * 100_000, 1)
    text = text.encode()
    length = len(text) if rng.random() < 0.9 else int(rng.choice([0, 1, length + 1, 2**32, 2**62]))
    return struct.pack("<Q", length) + text + whole[8 + struct.unpack("<Q", whole[:8])[0] :]


def _edit(rng, node):
    """Change one place somewhere below a dict or list."""
    places = list(node) if isinstance(node, dict) else list(range(len(node)))
    if not places:
        return
    place = places[rng.integers(len(places))]
    if isinstance(node[place], (dict, list)) and node[place] and rng.random() < 0.7:
        _edit(rng, node[place])
    elif (kind := rng.integers(4)) == 0:
        node[place] = copy.deepcopy(ODD[rng.integers(len(ODD))])
    elif kind == 1:
        other = places[rng.integers(len(places))]
        node[place], node[other] = node[other], node[place]
    elif kind == 2 and isinstance(node, dict):
        node[f"{place}x"] = node.pop(place)
    else:
        del node[place]
