"""Virials in another unit or of the opposite sign: found before the fit, and warned of.

A model of energies and forces predicts virials. It is fitted to some structures, and the spread of
the labels is compared with the spread of its predictions. In the mlearn sets of Si and Li and in
`load_silicon` labels spread 0.4 to 4.3 times as much, for 6 to 50 structures of any kind. Labels in
GPa, kbar or bar spread 160 to 10⁶ times as much, a stress in eV/Å³ taken for a virial 1/volume as
much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.exceptions import Advice, ImplausibleLabelsWarning, warn
from rigidities.structures.reference import volume_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rigidities.loss.rows import TermRows
    from rigidities.structures.loss_rows import LossRows

N_STRUCTURES, N_ATOMS, N_FORCES = 20, 1000, 400
"""Most structures, and about as many atoms and force components, that are looked at."""

FEWEST, FEWEST_FOR_SIGN = 6, 10
"""Structures below which a spread says nothing, and a correlation says nothing about the sign."""

SPREAD = 10.0
"""Ratio of the spreads from which on there is a warning: twice as far as the data above."""

NEAR = 4.0
"""Ratio up to which a spread agrees with that of a unit."""

BEYOND_UNITS = 1e8
"""Ratio that no unit makes: energies and forces do not vary, and the model knows nothing."""

AGREEMENT, CONTRADICTION = 0.3, -0.5
"""Correlations: below the first a model without forces says nothing about the size; below the
second the sign is wrong."""

UNITS = {"eV/Å³": 1.0, "GPa": 160.2176634, "kbar": 1602.176634, "bar": 1602176.634}
"""Numbers for 1 eV/Å³."""


@dataclass(frozen=True)
class Comparison:
    """Virials of labels and of a model of energies and forces.

    Attributes
    ----------
    ratio : float
        Spread of the labels over that of the model.
    correlation : float
        Of the labels with the model, each component from its mean.
    volume : float
        Mean volume of the structures, in Å³.
    n : int
        Number of structures.
    """

    ratio: float
    correlation: float
    volume: float
    n: int


def check_virials(rows: LossRows) -> None:
    """Warn if virials do not have the size or the sign that energies and forces imply.

    Without energies and forces, or with too few structures, nothing is compared.

    Warns
    -----
    ImplausibleLabelsWarning
    """
    term = rows.loss.virial
    found = None if term is None else compare_virials(rows)
    if term is None or found is None:
        return
    told = rows.loss.forces is not None or found.correlation > AGREEMENT
    wrong_size = told and not 1 / SPREAD < found.ratio < SPREAD
    wrong_sign = found.n >= FEWEST_FOR_SIGN and found.correlation < CONTRADICTION
    if not (wrong_size or wrong_sign):
        return
    size = f"vary {found.ratio:.2g} times as much as" if wrong_size else "have the opposite sign of"
    likely = likely_unit(found, term.target is None)
    warn(
        ImplausibleLabelsWarning,
        f"the virials {size} those of a fit to the energies and forces of {found.n} structures (correlation "
        f"{found.correlation:.2f}). {likely}",
        Advice.CONVERT_STRESSES,
    )


def likely_unit(found: Comparison, from_stress: bool) -> str:
    """Say what the labels look like: the one or two units and signs with the nearest factors."""
    factors: dict[str, float] = {} if from_stress else {"virials of the opposite sign": -1.0}
    if from_stress:
        factors["virials"] = -found.volume
    for unit, factor in UNITS.items():
        scale = factor if from_stress else -factor / (found.volume or math.inf)
        factors[f"stresses in {unit}, positive under tension"] = scale
        factors[f"stresses in {unit}, positive under compression"] = -scale
    signed = math.copysign(found.ratio, found.correlation)
    far = {name: abs(math.log(signed / factor)) for name, factor in factors.items() if signed / factor > 0}
    near = sorted((name for name in far if far[name] < math.log(NEAR)), key=lambda name: far[name])[:2]
    labels = "stresses" if from_stress else "virials"
    return f"The {labels} look like {', or '.join(near)}" if near else f"The unit of the {labels} is unknown"


def compare_virials(rows: LossRows) -> Comparison | None:
    """Compare labels with a model of energies and forces; None if there is nothing to compare."""
    chosen = _some_structures(rows)
    if len(chosen) < FEWEST or set(rows.loss.terms) == {"virial"}:
        return None
    part = rows.part(chosen)
    batches = list(part)
    known = {name: _joined([batch[name] for batch in batches]) for name in part.loss.terms}
    values, targets, blocks = known.pop("virial")
    coef = _fit([(part.loss.terms[name].weight or 1.0, *_few(*entry[:2])) for name, entry in known.items()])
    divisors = np.ones(1) if part.loss.terms["virial"].per_atom else part.sizes[blocks]
    labels, model = (_from_means(virials / divisors) for virials in (targets, values @ coef))
    spreads = math.sqrt(float((labels**2).sum())), math.sqrt(float((model**2).sum()))
    if not (min(spreads) > 0 and spreads[0] < BEYOND_UNITS * spreads[1]):
        return None
    correlation = float((labels * model).sum()) / (spreads[0] * spreads[1])
    volume = float(np.mean([volume_of(atoms) for atoms in part.structures]))
    return Comparison(spreads[0] / spreads[1], correlation, volume, len(chosen))


def _some_structures(rows: LossRows) -> NDArray[np.int64]:
    """Return indices of structures that have a virial, spread over the set by a fixed shuffle."""
    known = np.flatnonzero(rows.known("virial"))
    chosen = np.random.default_rng(0).permutation(known)[:N_STRUCTURES]
    few_atoms = np.cumsum(rows.sizes[chosen]) <= N_ATOMS
    few_atoms[:FEWEST] = True
    return np.sort(chosen[few_atoms])


def _joined(parts: list[TermRows]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return values, targets and blocks of the rows of a term."""
    values, targets, blocks = (
        np.concatenate([getattr(rows, name) for rows in parts]) for name in ("values", "targets", "blocks")
    )
    return values, targets, blocks


def _few(values: NDArray[Any], targets: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return these rows and targets, or as many as are looked at, picked by a fixed shuffle."""
    picked = np.random.default_rng(0).permutation(len(values))[:N_FORCES]
    return values[picked], targets[picked]


def _fit(terms: list[tuple[float, NDArray[Any], NDArray[Any]]]) -> NDArray[np.float64]:
    """Fit weighted terms: θ = Fᵀ(FFᵀ + λ)⁻¹y at the λ of generalised cross-validation."""
    features = np.concatenate([math.sqrt(weight) * values for weight, values, _ in terms])
    targets = np.concatenate([math.sqrt(weight) * values for weight, _, values in terms])
    squares, vectors = np.linalg.eigh(features @ features.T)
    projected, squares = vectors.T @ targets, np.maximum(squares, 0.0)
    least = np.finfo(np.float64).tiny  # of rows that are zero
    inverses = [1 / (squares + 10.0**decade * squares[-1] + least) for decade in range(-12, 0)]
    best = min(inverses, key=lambda inverse: float(((inverse * projected) ** 2).sum() / inverse.sum() ** 2))
    return np.asarray(features.T @ (vectors @ (best * projected)))


def _from_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    components = values.reshape(-1, 6)
    return np.asarray(components - components.mean(axis=0))
