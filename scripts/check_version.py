"""Check that a tag, Cargo.toml, CITATION.cff and CHANGELOG.md's newest section name one version.

python scripts/check_version.py v0.1.0
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATED = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", re.MULTILINE)


def versions() -> dict[str, str]:
    """Return the version that each file names, and both dates of its release."""
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = DATED.findall((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    cited = dict(re.findall(r"^(version|date-released): (\S+)$", citation, re.MULTILINE))
    return {
        "Cargo.toml": cargo["workspace"]["package"]["version"],
        "CITATION.cff": cited["version"],
        "CHANGELOG.md": changes[0][0],
        "CITATION.cff, date-released": cited["date-released"],
        "CHANGELOG.md, date": changes[0][1],
    }


def main(tag: str) -> None:
    """Compare all of them with the tag."""
    named = versions()
    for file in ("Cargo.toml", "CITATION.cff", "CHANGELOG.md"):
        if f"v{named[file]}" != tag:
            sys.exit(f"{file} names version {named[file]}, but the tag is {tag}")
    cited, dated = named["CITATION.cff, date-released"], named["CHANGELOG.md, date"]
    if cited != dated:
        sys.exit(f"CITATION.cff is dated {cited}, CHANGELOG.md {dated}")


if __name__ == "__main__":
    main(sys.argv[1])
