"""Which error bars hold on real data: the figures of docs/error-bars.md.

    python benches/error_bars.py FOLDER Si Li [--output benches/results/error_bars/mlearn.json]

FOLDER holds Si-training.xyz, Si-test.xyz, Li-training.xyz, Li-test.xyz with energies, forces and
the kind of each structure, as the mlearn sets of Zuo et al., J. Phys. Chem. A 124 (2020) 731. Prints
the tables of the page in Markdown; with --output, writes the figures too, and
`python benches/error_bars_page.py` brings them into the page. Takes ten minutes on one thread
of a machine that is not shared.
"""

import argparse
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import error_bars_page
import records
from claims import PACKAGES
from claims_rows import KERNEL, LINEAR, Structures, TrainingRows
from error_bars_measured import measure

import rigidities as rg

MODELS = {"linear": (LINEAR, ("test", "thirds", "new kinds")), "kernel": (KERNEL, ("test", "thirds"))}
"""Models, and the settings that each is judged in."""

EXPECTED = (rg.UnresolvedEvidenceWarning, rg.IllConditionedWarning, rg.UndeterminedWarning)
"""What the page says in words: λ at the edge, rows at rounding, kinds of too few structures."""


def rounded(value):
    """Four digits, as many as the page shows at most."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("elements", nargs="+")
    parser.add_argument("--output", type=Path, help="JSON file for the figures; replaced if it is there")
    arguments = parser.parse_args()
    for category in EXPECTED:
        warnings.simplefilter("ignore", category)
    start = time.process_time()
    found = []
    for element in arguments.elements:
        structures = Structures(arguments.folder, element)
        for name, (model, settings) in MODELS.items():
            of_model = measure(TrainingRows(structures, model), settings)
            found += [{"element": element, "model": name, **record} for record in of_model]
    content = rounded({
        "set": "mlearn",
        "versions": {name: version(name) for name in PACKAGES},
        "seconds": time.process_time() - start,
        "records": found,
    })  # fmt: skip
    if arguments.output:
        records.write(arguments.output, content, flat=2)
    for name, block in error_bars_page.blocks(content).items():
        print(f"\n{name}\n\n{block}")


if __name__ == "__main__":
    main()
