"""Half-widths of error bars by every method of the package, for fits to some structures.

A method sees a budget of labelled structures. "left out": the model is fitted to all of them, and
calibrated on each of them in a fit without it (closed form). "held out": the model is fitted to two
thirds, and calibrated on the last third. "none": what needs no calibration.
"""

import numpy as np

import rigidities as rg
from rigidities.calibration.intervals import gaussian_quantile
from rigidities.calibration.losses import BIN_SIZE

SMALLEST_NORM = 1e-3
"""Norms of predicted forces below 1 meV/Å count as this: below it, DFT is not converged."""

FEWEST_BINS = 5
"""Bins of loss "binned", where there are too few targets for bins of its usual size."""

QUINTILES = (0.2, 0.4, 0.6, 0.8)


def features_of(targets, bends, floor, names):
    """Features that adaptive intervals follow: ln v, its hinges at `bends`, ln of the predicted force's norm."""
    log = np.log(np.maximum(targets.variances, floor))
    columns = {"v": [log], "bends": [np.maximum(log - bend, 0.0) for bend in bends]}
    if targets.norms is not None:
        columns["norm"] = [np.log(np.maximum(targets.norms, SMALLEST_NORM))]
    return np.column_stack([column for name in names for column in columns[name]])


def interval(
    known, new, coverage, *, method="gaussian", loss="nll", noise=0.0, by=False, structures=False, follow=None
):
    """Half-widths for `new` targets, calibrated on `known` ones.

    Parameters
    ----------
    known, new : Targets
    coverage : float
    method, loss, noise
        As in `rigidities.calibrate` and `Calibration.interval`.
    by : bool
        A scale, or a quantile, for each kind.
    structures : bool
        Conformal half-widths that hold all targets of a structure together.
    follow : tuple of {"v", "bends", "norm"}, optional
        Features of adaptive intervals.
    """
    # Scales of kinds count structures; conformal quantiles count rows unless whole structures are asked for.
    blocks = known.structures if structures or (by and method == "gaussian") else None
    options = {"noise": noise, "by": known.kinds if by else None, "blocks": blocks}
    asked = {"by": new.kinds if by else None}
    if method == "student":
        asked["degrees_of_freedom"] = len(np.unique(known.structures))
    if method == "adaptive":
        plain = rg.calibrate(known.errors, known.variances)
        bends = np.quantile(np.log(known.variances[known.variances > plain.floor]), QUINTILES)
        options["features"] = features_of(known, bends, plain.floor, follow)
        asked["features"] = features_of(new, bends, plain.floor, follow)
    if loss == "binned":
        options["bin_size"] = min(BIN_SIZE, len(known.errors) // FEWEST_BINS)
    calibration = rg.calibrate(known.errors, known.variances, loss, **options)
    return calibration.interval(new.variances, coverage, method, **asked)


def of_spread(errors, own, new, coverage):
    """Conformal half-widths with the variances `own` and `new` of a spread of the weights θ in place of v."""
    return rg.calibrate(errors, own).interval(new, coverage, "conformal")


def one_width(known, new, coverage):
    """Conformal half-widths without any σ: a quantile of |r|, the same for all targets above rounding."""
    errors = known.errors[known.variances > rg.calibrate(known.errors, known.variances).floor]
    return rg.calibrate(errors, np.ones_like(errors)).interval(np.ones_like(new.errors), coverage, "conformal")


SCALES = {
    '"nll"': {},
    '"absolute"': {"loss": "absolute"},
    '"crps"': {"loss": "crps"},
    '"binned"': {"loss": "binned"},
    '"nll", noise fitted': {"noise": "fit"},
    '"nll" by kind': {"by": True},
    '"nll", noise fitted, by kind': {"by": True, "noise": "fit"},
    '"absolute", noise fitted, by kind': {"by": True, "noise": "fit", "loss": "absolute"},
    'Student, "nll"': {"method": "student"},
}
"""Gaussian and Student intervals."""

FOLLOWED = {
    "ln v": ("v",),
    "ln v with bends": ("v", "bends"),
    "ln of the norm": ("norm",),
    "ln v, ln of the norm": ("v", "norm"),
    "ln v with bends, ln of the norm": ("v", "bends", "norm"),
}
"""Sets of features for adaptive intervals. Energies, with one target for each structure, take the
first; forces the last."""


def calibrated(term):
    """Options of `interval` by method, for left-out and for held-out structures."""
    follow = FOLLOWED["ln v" if term == "energy" else "ln v with bends, ln of the norm"]
    conformal = {
        "conformal": {"method": "conformal"},
        "conformal by kind": {"method": "conformal", "by": True},
        "adaptive": {"method": "adaptive", "follow": follow},
    }
    by_structure = {}
    if term == "forces":  # energies: too few of a kind for half of them, and one in each structure
        conformal["adaptive by kind"] = {"method": "adaptive", "follow": follow, "by": True}
        by_structure = {"conformal by structure": {"method": "conformal", "structures": True}}
    return SCALES | conformal, {'"nll"': {}} | conformal | by_structure


def half_widths(term, pair, coverage, spreads):
    """Half-widths of judged targets by source and method, in the order of the tables.

    Parameters
    ----------
    term : {"energy", "forces"}
    pair : error_bars_fits.Pair
    coverage : float
    spreads : Spreads
    """
    left_out, held_out = calibrated(term)
    known, new = pair.targets["left out"]
    held, other = pair.targets["held out"]
    scaled = {f"{name}, conformal": of_spread(held.errors, *both, coverage) for name, both in spreads.held_out.items()}
    found = {
        "left out": {name: interval(known, new, coverage, **options) for name, options in left_out.items()},
        "held out": {name: interval(held, other, coverage, **options) for name, options in held_out.items()} | scaled,
        "none": {name: gaussian_quantile(coverage) * np.sqrt(v) for name, v in spreads.variances.items()},
    }
    found["left out"]["one width for all"] = one_width(known, new, coverage)
    found["none"]["box of misspecification"] = spreads.box
    if term == "forces":
        found["followed"] = {
            name: interval(known, new, coverage, method="adaptive", follow=follow) for name, follow in FOLLOWED.items()
        }
    return found


class Spreads:
    """Spreads of the weights θ, as variances of targets in (eV per atom)² or (eV/Å)².

    Attributes
    ----------
    variances : dict of ndarray
        Of the judged targets, in the fit to the whole budget.
    held_out : dict of (ndarray, ndarray)
        Of the held-out and the judged targets, in the fit to two thirds of it.
    box : ndarray
        Largest deviation that the fits through single targets allow.
    """

    def __init__(self, term, pair):
        hessian, batches, own = pair.whole.fit.hessian, pair.whole.batches(), pair.whole.batches([term])
        new, held, other = (targets.rows for targets in (pair.targets["left out"][1], *pair.targets["held out"]))
        first = rg.misspecification(hessian, batches)
        low, high = first.bounds(new)
        self.box = np.maximum(-low, high)
        whole = {
            "misspecification": first,
            "misspecification, half of largest leverage": rg.misspecification(hessian, batches, leverage_quantile=0.5),
            "misspecification, targets of this kind": rg.misspecification(hessian, iter(own)),
            "sandwich, HC0": rg.robust_covariance(hessian, batches, kind="HC0"),
            "sandwich, HC3": rg.robust_covariance(hessian, batches, kind="HC3"),
        }
        self.variances = {name: spread.variance(new) for name, spread in whole.items()}
        hessian, batches = pair.part.fit.hessian, pair.part.batches()
        part = {
            "misspecification": rg.misspecification(hessian, iter(batches)),  # read once: no box
            "sandwich": rg.robust_covariance(hessian, batches, kind="HC3"),
        }
        self.held_out = {name: (spread.variance(held), spread.variance(other)) for name, spread in part.items()}
