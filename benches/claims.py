"""The claims of the papers on rigidities, on real data: the figures of docs/claims.md.

    python benches/claims.py FOLDER Si Li [--output benches/results/claims/mlearn.json]

FOLDER holds Si-training.xyz, Si-test.xyz, Li-training.xyz, Li-test.xyz with energies, forces and
the kind of each structure, as the mlearn sets of Zuo et al., J. Phys. Chem. A 124 (2020) 731. Prints
the tables of the page in Markdown; with --output, writes the figures too, and
`python benches/claims_page.py` brings them into the page. Takes five to ten minutes on one thread.
"""

import argparse
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import claims_measured
import claims_page
import claims_rows
import records

import rigidities as rg

PACKAGES = ("rigidities", "featomic", "numpy")


def measure(folder, element):
    """Figures of one element, by the claim."""
    structures = claims_rows.Structures(folder, element)
    rows = claims_rows.TrainingRows(structures)
    atoms = rows.atoms()
    return {
        "n_training": int(structures.train.sum()),
        "n_test": int((~structures.train).sum()),
        "defects": claims_measured.defects(rows, atoms),
        "committees": claims_measured.committees(rows, atoms),
        "errors": claims_measured.errors(structures, rows),
    }


def rounded(value):
    """Floats with five digits: the rest depends on the machine."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("elements", nargs="+", choices=claims_rows.NEIGHBOURS)
    parser.add_argument("--output", type=Path, help="JSON file for the figures; replaced if it is there")
    arguments = parser.parse_args()
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        elements = {element: measure(arguments.folder, element) for element in arguments.elements}
    at_edge = [warning for warning in told if issubclass(warning.category, rg.UnresolvedEvidenceWarning)]
    for warning in told:
        if warning not in at_edge:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    content = {
        "set": "mlearn",
        "members": claims_measured.MEMBERS,
        "seeds": len(claims_measured.SEEDS),
        "versions": {name: version(name) for name in PACKAGES},
        "seconds": time.perf_counter() - start,
        "at_edge": len(at_edge),
        "elements": elements,
    }
    content = rounded(content)
    if arguments.output:
        records.write(arguments.output, content)
    for name, block in claims_page.blocks(content).items():
        print(f"\n{name}\n\n{block}")


if __name__ == "__main__":
    main()
