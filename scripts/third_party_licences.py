"""Collect the licences of the crates that are compiled into the wheel, in THIRD_PARTY_LICENSES.txt.

The crates are the normal dependencies of rust/python, macros included, on the platforms that
deny.toml names, at the versions of Cargo.lock. Each text is written once, under the crates whose
archives carry it. A crate whose archive carries no text gets that of its declared licence.

    python scripts/third_party_licences.py           # write the file
    python scripts/third_party_licences.py --check   # fail if the file is not what would be written
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "THIRD_PARTY_LICENSES.txt"
NAMES = ("license", "licence", "unlicense", "copying", "copyright", "notice")  # how a licence's file begins
PORTED = "COPYING."  # in faer: the licences of algorithms that it ported, not its own
RULE = 100 * "-"

OPENING = """\
Third-party software in the wheels of rigidities

The compiled module rigidities/_core contains, or was compiled with the help of, the {n} Rust crates
below and Rust's standard library. Their sources are at the addresses beside them and on
https://crates.io. The texts of their licences follow; where a crate offers a choice of licences,
all of its texts are here. The crate faer is under MIT and ports algorithms of Eigen (MPL-2.0),
LAPACK and SuiteSparse (BSD-3-Clause); their texts are here too.
"""
STANDARD_LIBRARY = ("rust standard library", "MIT OR Apache-2.0", "https://github.com/rust-lang/rust")

MIT = """\
MIT License

Copyright (c) {holder}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

Crate = dict[str, Any]  # a package as `cargo metadata` describes it


def main(arguments: list[str]) -> None:
    """Write the file, or compare it."""
    text = document(crates())
    if arguments == ["--check"]:
        if not OUTPUT.exists() or OUTPUT.read_text(encoding="utf-8") != text:
            sys.exit(f"{OUTPUT.name} is not current: run `python scripts/{Path(__file__).name}`")
    elif arguments:
        sys.exit(__doc__)
    else:
        OUTPUT.write_text(text, encoding="utf-8", newline="\n")


def crates() -> list[Crate]:
    """Return the crates in the wheels of all platforms, sorted by name and version."""
    platforms = tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))["graph"]["targets"]
    found = {crate["id"]: crate for platform in platforms for crate in crates_on(platform)}
    return sorted(found.values(), key=lambda crate: (crate["name"], crate["version"]))


def crates_on(platform: str) -> list[Crate]:
    """Follow the normal dependencies of rust/python on one platform, without our own."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={platform}"]
    command.append(f"--manifest-path={ROOT / 'rust' / 'python' / 'Cargo.toml'}")
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    nodes = {node["id"]: node["deps"] for node in metadata["resolve"]["nodes"]}
    reached: set[str] = set()
    waiting = [metadata["resolve"]["root"]]
    while waiting:
        crate = waiting.pop()
        if crate not in reached:
            reached.add(crate)
            waiting += [d["pkg"] for d in nodes[crate] if any(kind["kind"] is None for kind in d["dep_kinds"])]
    return [crate for crate in metadata["packages"] if crate["id"] in reached and crate["source"]]


def document(crates: list[Crate]) -> str:
    """Return the whole file: the list of crates, then each text with the crates that it is for."""
    entries = [(f"{crate['name']} {crate['version']}", crate["license"], crate["repository"]) for crate in crates]
    listed = [f"{name} ({licence}): {address}" for name, licence, address in [*entries, STANDARD_LIBRARY]]
    users: dict[str, list[str]] = {}  # by words, however they are broken into lines
    originals: dict[str, str] = {}
    for (name, _, _), crate in zip(entries, crates, strict=True):
        for text in texts(crate):
            words = " ".join(text.split())
            originals.setdefault(words, text)
            if name not in users.setdefault(words, []):
                users[words].append(name)
    rust = MIT.format(holder="The Rust Project Contributors")
    sections = [([STANDARD_LIBRARY[0]], rust), *((users[words], originals[words]) for words in users)]
    parts = [OPENING.format(n=len(crates)), "\n".join(listed) + "\n"]
    parts += [f"{RULE}\n{', '.join(names)}\n{RULE}\n\n{tidy(text)}" for names, text in sections]
    return "\n".join(parts)


def texts(crate: Crate) -> list[str]:
    """Return the licence texts in a crate's archive; if it has none of its own, the declared one."""
    folder = Path(crate["manifest_path"]).parent
    files = sorted(path for path in folder.rglob("*") if path.name.lower().startswith(NAMES) and is_text(path))
    found = [path.read_text(encoding="utf-8") for path in files]
    if any(not path.name.startswith(PORTED) for path in files):
        return found
    if crate["license"] != "MIT":
        sys.exit(f"{crate['name']} {crate['version']} is under {crate['license']} but carries no text of it")
    authors = [author.split(" <")[0] for author in crate["authors"]]
    return [*found, MIT.format(holder=", ".join(authors) or f"The {crate['name']} developers")]


def is_text(path: Path) -> bool:
    """Whether a path is a file of text, not source code that happens to begin with such a name."""
    return path.is_file() and path.suffix.lower() not in {".rs", ".toml", ".yml"}


def tidy(text: str) -> str:
    """Return the text with Unix line ends, no spaces at ends of lines, one newline at its end."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
