"""The demo: rigidities of silicon before and after a model has seen defects.

Structures of the package give the rows and energies for two fits. Functions choose the regularizer,
assess the held-out structures, make the text and write the files. The command line prints.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.covariance import Covariance
from rigidities.leave_one_out import leave_one_out
from rigidities.loss.terms import Term
from rigidities.regularizer import regularizer_path
from rigidities.report.atom_map import MAP_ATOMS, AtomMap
from rigidities.report.content import Report, assess
from rigidities.report.files import make_directory, write, write_figure
from rigidities.report.maps import log_limits, log_rigidity, lpr_maps
from rigidities.report.statistics import root_mean_square
from rigidities.rows import reduce_rows
from rigidities.sources.atoms import Structures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.hessian import Hessian

PRISTINE = ("crystal", "strained", "rattled")
DEFECTIVE = ("vacancy", "interstitial", "surface")

N_WORST = 3
"""Largest errors that the demo looks up in the order of PR."""

YOUR_OWN = "The same for structures of your own, with λ and all from their energies and forces:"

COMMANDS = ("", "    rigidities report train.xyz test.xyz -o report")

DEMO_CUTOFF = 3.5
"""In Å. The potential of the energies ends at 3.0 Å: atoms farther away have no effect."""

DEMO_GRID = np.logspace(-13, -2, 23)
"""Values of λ that the demo tries, in units of the trace of C: from rounding to underfitting."""


@dataclass(frozen=True, eq=False)
class Part:
    """One of the demo's data sets: structures, their rows, and the energies to fit.

    Attributes
    ----------
    source : Structures
    rows : ndarray of shape (n_structures, n_features)
        Mean SOAP rows of the structures.
    energies : ndarray of shape (n_structures,)
        In eV per atom, relative to the mean of the pristine training set.
    """

    source: Structures
    rows: NDArray[np.float64]
    energies: NDArray[np.float64]

    def covariance(self) -> Covariance:
        """Return the sums for a fit to these energies."""
        covariance = Covariance(self.source.n_features, feature_space=self.source.soap.feature_space)
        covariance.update(self.rows, targets=self.energies)
        return covariance

    def error(self, hessian: Hessian, kinds: Sequence[str]) -> float:
        """Return the RMSE of a fit for structures of these kinds, in meV per atom."""
        return root_mean_square(self.errors(hessian)[self.of_kinds(kinds)])

    def errors(self, hessian: Hessian) -> NDArray[np.float64]:
        """Return the error of a fit for each structure, in meV per atom."""
        return 1000 * (self.energies - self.rows @ hessian.coef)

    def of_kinds(self, kinds: Sequence[str]) -> NDArray[np.bool_]:
        """Return a mask of the structures of these kinds."""
        return np.array([frame.info["group"] in kinds for frame in self.source.frames], dtype=bool)

    def at_defect(self) -> NDArray[np.bool_]:
        """Return a mask of the atoms at a defect."""
        return np.concatenate([frame.arrays["defect"] for frame in self.source.frames])


def load_parts() -> tuple[Part, Part, Part]:
    """Return three parts: pristine training set, training set with defects, held-out test set."""
    from rigidities.datasets import load_silicon
    from rigidities.interop.featomic import Soap, soap_rows

    # each kind has an even number of structures, and disorder rises with the index: taking every
    # second structure gives two similar halves
    frames: list[Any] = load_silicon(groups=[*PRISTINE, *DEFECTIVE])
    train, test = frames[::2], frames[1::2]
    pristine = [frame for frame in train if frame.info["group"] in PRISTINE]
    baseline = np.mean([frame.get_potential_energy() / len(frame) for frame in pristine])
    soap = Soap("Si", DEMO_CUTOFF)
    parts = []
    for name, part in (("pristine silicon", pristine), ("silicon with defects", train), ("held-out silicon", test)):
        energies = np.array([frame.get_potential_energy() / len(frame) for frame in part]) - baseline
        rows = reduce_rows(soap_rows(part, soap, progress=False))[1]
        parts.append(Part(Structures(name, part, soap), rows, energies))
    return parts[0], parts[1], parts[2]


def choose_regularizer(part: Part) -> tuple[float, float]:
    """Return the λ of the smallest leave-one-out error, and that error in meV per atom."""
    covariance = part.covariance()
    path = regularizer_path(covariance, DEMO_GRID * covariance.trace)
    best = path.best("loo", part.rows, part.energies)
    without = leave_one_out(covariance.factorize(best), part.rows, part.energies)
    return best, 1000 * root_mean_square(without.residuals)


def compare(parts: Sequence[Part], test: Part, regularizer: float, atom_map: AtomMap) -> list[Report]:
    """Assess the test structures with a fit to each of the parts."""
    hessians = [part.covariance().factorize(regularizer) for part in parts]
    pairs = zip(hessians, parts, strict=True)
    energy = Term(per_atom=True)
    return [assess(hessian, part.source, test.source, atom_map=atom_map, energy=energy) for hessian, part in pairs]


def premise(before: Part, after: Part, regularizer: float, error: float) -> str:
    """Return the first paragraph: what is compared, and at which regularizer."""
    n, more = len(before.energies), len(after.energies) - len(before.energies)
    text = (
        f"A linear model of SOAP features (cutoff {DEMO_CUTOFF} Å) is fitted to the energies of {n} structures of "
        f"pristine silicon ({', '.join(PRISTINE)}), then to these and {more} with defects ({', '.join(DEFECTIVE)}). "
        f"Energies are those of Tersoff's potential. The regularizer is λ = {regularizer:.2g} for both: of "
        f"{len(DEMO_GRID)} between {DEMO_GRID[0]:.0e} and {DEMO_GRID[-1]:.0e} of the trace of C, it leaves the least "
        f"leave-one-out error of the pristine energies, {error:.1f} meV per atom. How rigid are the predictions for "
        "atoms of structures that neither model has seen?"
    )
    return textwrap.fill(text, 100)


def comparison(reports: Sequence[Report], test: Part) -> str:
    """Return tables of the median LPR and of the errors before and after, and what they show."""
    kinds, defect = reports[0].classes["group"], test.at_defect()
    rows = {kind: kinds == kind for kind in PRISTINE}
    rows |= {f"{kind}, elsewhere in the cell": (kinds == kind) & ~defect for kind in DEFECTIVE}
    rows |= {f"{kind}, at the defect": (kinds == kind) & defect for kind in DEFECTIVE}
    counts = {name: int(chosen.sum()) for name, chosen in rows.items()}
    medians = {name: [float(np.median(r.rigidities.lpr[chosen])) for r in reports] for name, chosen in rows.items()}
    lines = ["", *_median_table(counts, medians), "", *_error_table(reports, test), ""]
    paragraphs = _conclusion(reports, medians), worst(reports[0], test), YOUR_OWN
    return "\n".join([*lines, "\n\n".join(textwrap.fill(text, 100) for text in paragraphs), *COMMANDS])


def worst(report: Report, test: Part) -> str:
    """Say where the largest errors of pristine structures are in the order of PR."""
    chosen = np.flatnonzero(test.of_kinds(PRISTINE))
    errors = np.abs(test.errors(report.hessian))[chosen]
    by_error = np.argsort(-errors, kind="stable")
    by_pr = np.argsort(report.rigidities.pr[chosen], kind="stable")
    n_found = len(np.intersect1d(by_error[:N_WORST], by_pr[:N_WORST]))
    which = f"exactly the {N_WORST}" if n_found == N_WORST else f"for {n_found} of {N_WORST} among the {N_WORST}"
    return (
        f"Rigidity finds errors without any label: of the {len(chosen)} pristine test structures, the first model's "
        f"{N_WORST} largest errors ({', '.join(f'{errors[i]:.0f}' for i in by_error[:N_WORST])} meV per atom; all "
        f"others are at most {errors[by_error[N_WORST:]].max(initial=0.0):.1f}) are {which} of least PR, which "
        "needs no energies of the test set."
    )


def _median_table(counts: dict[str, int], medians: dict[str, list[float]]) -> list[str]:
    lines = [f"{'median LPR of test atoms':38}{'atoms':>7}{'before':>11}{'after':>11}{'after/before':>15}"]
    for name, (before, after) in medians.items():
        lines.append(f"{name:38}{counts[name]:>7}{before:>11.2g}{after:>11.2g}{after / before:>15,.1f}")
    return lines


def _error_table(reports: Sequence[Report], test: Part) -> list[str]:
    lines = [f"{'error of test energies, meV per atom':38}{'number':>7}{'before':>11}{'after':>11}"]
    for name, kinds in (("pristine", PRISTINE), ("with defects", DEFECTIVE)):
        before, after = (test.error(report.hessian, kinds) for report in reports)
        lines.append(f"{name:38}{test.of_kinds(kinds).sum():>7}{before:>11.1f}{after:>11.1f}")
    return lines


def _conclusion(reports: Sequence[Report], medians: dict[str, list[float]]) -> str:
    growth = reports[1].hessian.n_rows / reports[0].hessian.n_rows
    gains = [after / before for before, after in medians.values()]
    known, new = gains[: -len(DEFECTIVE)], gains[-len(DEFECTIVE) :]
    return (
        f"The second training set is {growth:.1f} times as large, and C is a sum over it: what the first one pinned "
        f"down gains about as much ({min(known):.1f} to {max(known):.1f} times). Atoms at defects, which it had never "
        f"seen, gain {min(new):,.0f} to {max(new):,.0f} times. Nothing loses. "
        f"Least rigid now: {min(medians, key=lambda name: medians[name][1])}. That is where to add data next."
    )


def write_demo(reports: Sequence[Report], test: Part, atom_map: AtomMap, directory: Path) -> list[Path]:
    """Write the report and the map of each model, and both maps side by side, on one colour scale.

    Returns
    -------
    list of Path
        The files.
    """
    names = ("pristine", "with_defects")
    titles = [f"trained on {report.train.name} ({report.hessian.n_rows} structures)" for report in reports]
    panels = {title: report.rigidities.lpr for title, report in zip(titles, reports, strict=True)}
    grounds = [atom_map.project(report.train.sample(MAP_ATOMS)) for report in reports]
    options: dict[str, Any] = {
        "explained": atom_map.explained,
        "backgrounds": dict(zip(titles, grounds, strict=True)),
        "marks": np.where(test.at_defect(), reports[0].classes["group"], ""),
        "limits": log_limits(*map(log_rigidity, panels.values())),
    }
    places = reports[0].rigidities.coordinates
    written = [directory / "lpr_maps.png"]
    write_figure(lpr_maps(places, panels, **options), written[0])
    for name, title, report, ground in zip(names, titles, reports, grounds, strict=True):
        written.append(directory / f"lpr_map_{name}.png")
        write_figure(lpr_maps(places, {title: panels[title]}, **options), written[-1])
        folder = make_directory(directory / name)
        written += [folder / file for file in write(report, replace(atom_map, background=ground), folder)]
    return written
