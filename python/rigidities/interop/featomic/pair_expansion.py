"""Expansion coefficients of one neighbour's density, as functions of its distance.

A neighbour on the z axis at distance r has coefficients c_nl(r) for m = 0 alone. They are

    c_nl(r) = R_nl(r) · s(r) · u(r)

with R_nl the radial integral, s the cutoff's smoothing and u the scaling of the density. Featomic
interpolates R_nl by cubics on knots that divide the cutoff into 10·2ᵏ parts. A table of its values
and slopes at these knots (Hermite) is the same function, to rounding. It takes some tenths of a
second, once in a process for each set of hyperparameters. Knots are added until the function is met
between them too, so that the table does not depend on where featomic has its own.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ase
import featomic
import numpy as np

from rigidities.interop.featomic.coincident import CLOSEST
from rigidities.runtime.aside import aside

if TYPE_CHECKING:
    from numpy.typing import NDArray

ERROR = 1e-10
"""Largest error of values and slopes between knots, relative to the largest of each function. With
the knots of featomic it is 2e-14 and 2e-12 at most (cutoffs from 0.3 to 12 Å)."""

FIRST_STEP = CLOSEST / 3
"""Largest distance of knots, in Å, at first. Knots begin at a multiple of it, below the least
distance of two atoms, but not so far below that featomic warns of atoms at one place (0.032 Å)."""

MOST = 40_960
"""Most intervals between knots."""


@dataclass(frozen=True, eq=False)
class PairExpansion:
    """c_nl(r) of a neighbour, and those of the atom itself.

    Attributes
    ----------
    angular, radial : ndarray of int of shape (n_functions,)
        l and n of each function.
    centre : ndarray of shape (n_functions,)
        Coefficients of the density of the atom itself: 0 but for l = 0.
    first, step : float
        The first knot and the distance between knots, in Å.
    values, slopes : ndarray of shape (n_knots, n_functions)
        R_nl and its derivative at the knots.
    cutoff, scaling : dict
        Featomic's hyperparameters of s(r), and of u(r); empty without.
    """

    angular: NDArray[np.int64]
    radial: NDArray[np.int64]
    centre: NDArray[np.float64]
    first: float
    step: float
    values: NDArray[np.float64]
    slopes: NDArray[np.float64]
    cutoff: dict[str, Any]
    scaling: dict[str, Any]

    def of(self, distances: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return c_nl and dc_nl/dr at distances, both (n, n_functions)."""
        R, dR = _hermite(self.first, self.step, self.values, self.slopes, distances)
        (s, ds), (u, du) = _smoothing(self.cutoff, distances), _scaling(self.scaling, distances)
        factor, slope = s * u, ds * u + s * du
        return R * factor[:, None], dR * factor[:, None] + R * slope[:, None]


@lru_cache(maxsize=16)
def pair_expansion(settings: str) -> PairExpansion:
    """Return the coefficients of one neighbour for featomic's hyperparameters in JSON.

    Raises
    ------
    ValueError
        If radial functions change too fast for a table.
    """
    full = json.loads(settings)
    radius = float(full["cutoff"]["radius"])
    scaling = full["density"].get("scaling") or {}
    plain = dict(full)
    plain["cutoff"] = {"radius": radius, "smoothing": {"type": "Step"}}
    plain["density"] = {name: value for name, value in full["density"].items() if name != "scaling"}
    angular, radial, centre = aside(_lone_atom, plain)
    n = 10 * 2 ** max(0, math.ceil(math.log2(radius / FIRST_STEP / 10)))
    while n <= MOST:
        step = radius / n
        start = math.floor(CLOSEST / step)
        knots = step * np.arange(start, max(n, start + 1) + 1)
        found = aside(_on_axis, plain, knots)
        between = knots[:-1] + 0.5 * step
        values, slopes = found
        missed = np.abs(_hermite(knots[0], step, values, slopes, between) - aside(_on_axis, plain, between))
        if (missed <= ERROR * np.abs(found).max(axis=1, keepdims=True)).all():
            return PairExpansion(angular, radial, centre, knots[0], step, values, slopes, full["cutoff"], scaling)
        n *= 2
    raise ValueError(
        f"the radial functions change too fast for a table of {MOST} distances up to {radius:g} Å: pass "
        "purified=False, or a smoother basis"
    )


def _hermite(
    first: float, step: float, values: NDArray[np.float64], slopes: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cubics with these values and slopes at equidistant knots, and their derivatives."""
    left = np.clip(((x - first) / step).astype(np.int64), 0, len(values) - 2)
    t = ((x - first) / step - left)[:, None]
    y0, y1, d0, d1 = values[left], values[left + 1], step * slopes[left], step * slopes[left + 1]
    rise = y1 - y0
    # y0 + t·d0 + t²(3·rise − 2·d0 − d1) + t³(d0 + d1 − 2·rise)
    two, three = 3 * rise - 2 * d0 - d1, d0 + d1 - 2 * rise
    return y0 + t * (d0 + t * (two + t * three)), (d0 + t * (2 * two + 3 * t * three)) / step


def _smoothing(cutoff: dict[str, Any], r: NDArray[np.float64]) -> tuple[Any, Any]:
    """½(1 + cos(π(r − r_c + w)/w)) in the last w before the cutoff r_c, 1 before, and its slope."""
    radius, width = float(cutoff["radius"]), float(cutoff["smoothing"].get("width", 0.0))
    if width == 0:
        return np.ones_like(r), np.zeros_like(r)
    phase = np.pi * (r - radius + width).clip(0, width) / width
    return 0.5 * (1 + np.cos(phase)), -0.5 * np.pi * np.sin(phase) / width


def _scaling(scaling: dict[str, Any], r: NDArray[np.float64]) -> tuple[Any, Any]:
    """c/(c + (r/r₀)^m) and its slope; (r₀/r)^m if c is 0.

    Willatt, Musil, Ceriotti, Phys. Chem. Chem. Phys. 20 (2018) 29661.
    """
    if not scaling:
        return np.ones_like(r), np.zeros_like(r)
    c, m, x = float(scaling["rate"]), int(scaling["exponent"]), r / float(scaling["scale"])
    value = x ** float(-m) if c == 0 else c / (c + x**m)
    return value, -m / r * (value if c == 0 else value * (1 - value))


# These call featomic, on a thread that takes no signals


def _lone_atom(hyperparameters: dict[str, Any]) -> tuple[NDArray[Any], ...]:
    """Return l and n of all functions, and the coefficients of an atom without neighbours."""
    atom = ase.Atoms("H", positions=[[0.0, 0.0, 0.0]])
    blocks = _blocks(featomic.SphericalExpansion(**hyperparameters).compute(atom))
    radial = [np.asarray(block.properties.values)[:, 0].astype(np.int64) for _, block in blocks]
    angular = [np.full(len(n), order) for (order, _), n in zip(blocks, radial, strict=True)]
    centre = [np.array(block.values)[0, order] for order, block in blocks]  # m = 0 is in the middle
    return np.concatenate(angular), np.concatenate(radial), np.concatenate(centre)


def _on_axis(hyperparameters: dict[str, Any], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return R_nl and dR_nl/dr of neighbours on the z axis, (2, n, n_functions)."""
    inside = np.minimum(distances, np.nextafter(float(hyperparameters["cutoff"]["radius"]), 0.0))
    dimers = [ase.Atoms([1, 2], positions=[[0.0, 0.0, 0.0], [0.0, 0.0, r]]) for r in inside]
    tensor = featomic.SphericalExpansionByPair(**hyperparameters).compute(dimers, gradients=["positions"])
    values, slopes = [], []
    for order, block in _blocks(tensor, first_atom_type=1, second_atom_type=2):
        gradient = block.gradient("positions")
        of_neighbour = np.asarray(gradient.samples.values)[:, 2] == 1
        values.append(np.array(block.values)[:, order])
        slopes.append(np.asarray(gradient.values)[of_neighbour, 2, order])
    return np.stack([np.concatenate(values, axis=1), np.concatenate(slopes, axis=1)])


def _blocks(tensor: Any, **wanted: int) -> list[tuple[int, Any]]:
    """Return l and the block of each l of a tensor, with l rising."""
    found = [
        (int(key["o3_lambda"]), block) for key, block in tensor.items() if all(key[n] == v for n, v in wanted.items())
    ]
    return sorted(found, key=lambda entry: entry[0])
