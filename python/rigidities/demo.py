"""The demo: what a rigidity tells about silicon, before and after a model has seen defects.

What enters: the structures shipped with the package. What leaves: rows and energies to fit, a regularizer, the story as
text, and the paths of the files that were written. Printing is done in `cli`.
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
from rigidities.regularizer.path import regularizer_path
from rigidities.report.atom_map import MAP_ATOMS, AtomMap
from rigidities.report.content import Report, score
from rigidities.report.files import make_directory, write
from rigidities.report.maps import log_limits, log_rigidity, lpr_maps
from rigidities.rows import reduce_rows
from rigidities.sources.atoms import Structures
from rigidities.sources.read import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.hessian import Hessian

PRISTINE = ("crystal", "strained", "rattled")
DEFECTIVE = ("vacancy", "interstitial", "surface")

DEMO_CUTOFF = 3.5
"""Å. The potential behind the demo's energies ends at 3.0: a longer reach adds features that no energy depends on."""

DEMO_GRID = np.logspace(-13, -2, 23)
"""λ that the demo tries, in units of the trace of C: from rounding's reach to a model that hardly fits."""


@dataclass(frozen=True, eq=False)
class Part:
    """Structures of the demo, their rows, and the energies to fit: eV per atom, from the mean of the pristine ones."""

    source: Structures
    rows: NDArray[np.float64]
    energies: NDArray[np.float64]

    def covariance(self) -> Covariance:
        """Return the sums of a fit to these energies."""
        covariance = Covariance(self.source.n_features, feature_space=self.source.soap.feature_space)
        covariance.update(self.rows, targets=self.energies)
        return covariance

    def error(self, hessian: Hessian, kinds: Sequence[str]) -> float:
        """Return the root mean squared error, in meV per atom, of a fit on the structures of these kinds."""
        chosen = [frame.info["group"] in kinds for frame in self.source.frames]
        return 1000 * _rms((self.energies - self.rows @ hessian.coef)[chosen])


def load_parts() -> tuple[Part, Part, Part]:
    """Return pristine structures, these and such with defects, and other ones of both to test on."""
    from rigidities.datasets import load_silicon
    from rigidities.interop.featomic import Soap, soap_rows

    # An even number of each kind, disorder rising with the index: every other one makes halves that are alike.
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
    """Return the λ of the least leave-one-out error, and that error in meV per atom."""
    covariance = part.covariance()
    path = regularizer_path(covariance, DEMO_GRID * covariance.trace)
    best = path.best("loo", part.rows, part.energies)
    without = leave_one_out(covariance.factorize(best), part.rows, part.energies)
    return best, 1000 * _rms(without.residuals)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def compare(parts: Sequence[Part], test: Part, regularizer: float, atom_map: AtomMap) -> list[Report]:
    """Score the test structures by a fit to each of the parts."""
    return [
        score(part.covariance().factorize(regularizer), part.source, test.source, atom_map=atom_map) for part in parts
    ]


def premise(before: Part, after: Part, regularizer: float, error: float) -> str:
    """Return what is compared, and at which regularizer."""
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
    """Return median LPR of the test atoms before and after, and what it has to do with the errors."""
    kinds, defect = reports[0].classes["group"], _at_defect(reports[0].test)
    lines = ["", f"{'median LPR of test atoms':38}{'atoms':>7}{'before':>11}{'after':>11}{'after/before':>15}"]
    rows = {kind: kinds == kind for kind in PRISTINE}
    rows |= {f"{kind}, elsewhere in the cell": (kinds == kind) & ~defect for kind in DEFECTIVE}
    rows |= {f"{kind}, at the defect": (kinds == kind) & defect for kind in DEFECTIVE}
    medians = {name: [float(np.median(r.scores.lpr[chosen])) for r in reports] for name, chosen in rows.items()}
    for name, (low, high) in medians.items():
        lines.append(f"{name:38}{rows[name].sum():>7}{low:>11.2g}{high:>11.2g}{high / low:>15,.1f}")
    lines += ["", f"{'error of test energies, meV per atom':38}{'number':>7}{'before':>11}{'after':>11}"]
    for name, group in (("pristine", PRISTINE), ("with defects", DEFECTIVE)):
        n = sum(frame.info["group"] in group for frame in test.source.frames)
        low, high = (test.error(report.hessian, group) for report in reports)
        lines.append(f"{name:38}{n:>7}{low:>11.1f}{high:>11.1f}")
    growth = reports[1].hessian.n_rows / reports[0].hessian.n_rows
    gains = [high / low for low, high in medians.values()]
    known, new = gains[: -len(DEFECTIVE)], gains[-len(DEFECTIVE) :]
    text = (
        f"The second training set is {growth:.1f} times as large, and C is a sum over it: what the first one pinned "
        f"down gains about as much ({min(known):.1f} to {max(known):.1f} times). Atoms at defects, which it had never "
        f"seen, gain {min(new):,.0f} to {max(new):,.0f} times. Nothing loses. "
        f"Least rigid now: {min(medians, key=lambda name: medians[name][1])}. That is where to add data next."
    )
    return "\n".join([*lines, "", textwrap.fill(text, 100)])


def _at_defect(source: Source) -> NDArray[np.bool_]:
    assert isinstance(source, Structures)
    return np.concatenate([frame.arrays["defect"] for frame in source.frames])


def write_demo(reports: Sequence[Report], atom_map: AtomMap, directory: Path) -> list[Path]:
    """Write each model's report, its map on the common scale, and both maps side by side; return the files' paths."""
    names = ("pristine", "with_defects")
    titles = [f"trained on {report.train.name} ({report.hessian.n_rows} structures)" for report in reports]
    panels = {title: report.scores.lpr for title, report in zip(titles, reports, strict=True)}
    grounds = [atom_map.project(report.train.sample(MAP_ATOMS)) for report in reports]
    options: dict[str, Any] = {
        "explained": atom_map.explained,
        "backgrounds": dict(zip(titles, grounds, strict=True)),
        "marks": np.where(_at_defect(reports[0].test), reports[0].classes["group"], ""),
        "limits": log_limits(*map(log_rigidity, panels.values())),
    }
    places = reports[0].scores.coordinates
    written = [directory / "lpr_maps.png"]
    lpr_maps(places, panels, **options).savefig(written[0])
    for name, title, report, ground in zip(names, titles, reports, grounds, strict=True):
        figure = lpr_maps(places, {title: report.scores.lpr}, **options)
        written.append(directory / f"lpr_map_{name}.png")
        figure.savefig(written[-1])
        folder = make_directory(directory / name)
        written += [folder / file for file in write(report, replace(atom_map, background=ground), folder)]
    return written
