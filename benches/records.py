"""Files of figures: written whole or not at all, joined only if they are from one machine, never dropped.

Each suite writes a part: the date, the description of the machine, and its own figures. `join`
makes one file of all parts. A part from another day or machine (processor, kernels, threads,
versions) is an error that names the difference, and stays where it is. Standard library only.
"""

import json
import os
import re
from pathlib import Path

import roofline

RESULTS = Path(__file__).parent / "results"

#: Share of all cores that others may use, above which a figure is marked as not measured alone.
QUIET = 0.05

#: What each suite must deliver, beside the date, the machine and its roofline.
SUITES = {"peers": "results", "pipeline": "pipeline", "memory": "memory"}


class RecordError(ValueError):
    """Figures that are incomplete, or that do not belong together."""


def depth(value):
    """How many lists and objects lie in each other: 0 for a number."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def text_of(value, flat=0, indent=0):
    """JSON as `json.dumps` has it; what is no deeper than `flat` has a line of its own."""
    if depth(value) <= flat or not value or not isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, dict):
        ends, entries = "{}", [f"{json.dumps(key)}: {text_of(one, flat, indent + 1)}" for key, one in value.items()]
    else:
        ends, entries = "[]", [text_of(one, flat, indent + 1) for one in value]
    room = "\n" + " " * indent
    return ends[0] + room + " " + f",{room} ".join(entries) + room + ends[1]


def write(path, content, flat=0):
    """Write a JSON file in one step: at no time is there half a file, and a failure leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text_of(content, flat) + "\n")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def read(path):
    """Read one file of figures."""
    return json.loads(path.read_text())


def differences(a, b):
    """Name what differs between two descriptions: [(name, value in a, value in b)]."""
    found = []
    for name in dict.fromkeys([*a, *b]):
        one, other = a.get(name), b.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found += [(f"{name} {inner}", *values) for inner, *values in differences(one, other)]
        elif one != other:
            found.append((name, one, other))
    return found


def identity(content):
    """What must agree before figures are put together."""
    return {"date": content["date"], **content["machine"]}


def join(parts):
    """Join the parts {suite: content} of one day and machine into the content of a results file."""
    missing = [suite for suite in SUITES if suite not in parts]
    if missing:
        raise RecordError(f"no figures of {', '.join(missing)}: incomplete results are not put together")
    first, *others = SUITES
    for other in others:
        found = differences(identity(parts[first]), identity(parts[other]))
        if found:
            lines = [f"  {name}: {one!r} in {first}, {two!r} in {other}" for name, one, two in found]
            raise RecordError("\n".join(["figures of unlike machines or days are not put together:", *lines]))
    joined = {"date": parts[first]["date"], "machine": parts[first]["machine"]}
    joined["left_out"] = [name for part in parts.values() for name in part.get("left_out", [])]
    joined["roofline"] = roofline.best([parts[suite]["roofline"] for suite in SUITES])
    joined |= {key: parts[suite][key] for suite, key in SUITES.items()}
    require_complete(joined)
    return joined


def require_complete(content, where="the results"):
    """Raise if the figures of a suite are missing or empty."""
    needed = {"roofline": "every suite", **{key: suite for suite, key in SUITES.items()}}
    missing = [f"{key} (from {suite})" for key, suite in needed.items() if not content.get(key)]
    if content.get("pipeline") and not content["pipeline"].get("points"):
        missing.append("points of the pipeline")
    if missing:
        raise RecordError(f"{where} lack {', '.join(missing)}: run benches/run.py to its end")


def short_name(machine):
    """A machine in a file's name: "AMD EPYC 7763 64-Core Processor" is amd-epyc-7763-2-avx2."""
    plain = re.sub(r"\((R|TM)\)|@.*|\d+-Core|\b(CPU|Processor)\b", " ", machine["processor"])
    return re.sub(r"[^a-z0-9]+", "-", f"{plain} {machine['cores']} {machine['vector']}".lower()).strip("-")


def place(content, folder=RESULTS):
    """Return the file for these figures: that of the day and machine, or one of its own beside another machine's."""
    name, number = f"{content['date']}-{short_name(content['machine'])}", 1
    path = folder / f"{name}.json"
    while path.exists() and differences(identity(read(path)), identity(content)):
        number += 1
        path = folder / f"{name}-{number}.json"
    return path


def newest(folder=RESULTS):
    """Return the file of the latest day, the last finished of that day; None if there is none."""
    contents = {path: read(path) for path in folder.glob("*.json")}
    age = lambda path: (contents[path]["date"], contents[path].get("finished", ""), path)
    return max(contents, key=age, default=None)
