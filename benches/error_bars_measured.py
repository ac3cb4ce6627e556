"""Every method's error bars, judged on structures that neither the fit nor the calibration has seen.

"test": a method has the training file, and is judged on the test file. "thirds": it has two thirds
of the training file, and is judged on the last third; each third in turn, all structures together.
Frames of one trajectory lie on both sides in either case. "new kinds": it has the training
structures of all kinds but one, and is judged on this one; each kind in turn.
"""

from dataclasses import dataclass

import error_bars_methods as methods
import numpy as np
from claims_rows import Weights
from error_bars_fits import Pair, Targets, thirds
from error_bars_judged import Judge

import rigidities as rg

LOSSES = {"energies alone": Weights(1000.0, 0.0), "energies and forces": Weights(1000.0, 1.0)}

COVERAGES = (0.68, 0.95)

SEED = 0
"""Of the thirds, which are drawn without regard to kinds: exchangeability asks for this."""


@dataclass(frozen=True)
class Bars:
    """Half-widths of targets above rounding, by method and coverage, and σ of the Gaussian "nll"."""

    targets: Targets
    std: np.ndarray
    half: dict

    @classmethod
    def joined(cls, parts):
        """One of several, each of other structures."""
        columns = {
            name: np.concatenate([getattr(part.targets, name) for part in parts])
            for name in ("errors", "variances", "kinds", "structures")
        }
        half = {key: np.concatenate([part.half[key] for part in parts]) for key in parts[0].half}
        return cls(Targets(rows=None, norms=None, **columns), np.concatenate([part.std for part in parts]), half)


def bars(term, pair):
    """By source, the `Bars` of judged targets."""
    pair.look_at(term)
    spreads = methods.Spreads(term, pair)
    half = {coverage: methods.half_widths(term, pair, coverage, spreads) for coverage in COVERAGES}
    found = {}
    for source in half[COVERAGES[0]]:
        known, new = pair.targets["held out" if source == "held out" else "left out"]
        calibration = rg.calibrate(known.errors, known.variances)
        own = new.variances > calibration.floor
        values = {(name, c): h[own] for c in COVERAGES for name, h in half[c][source].items()}
        found[source] = Bars(new.at(own), calibration.standard_deviation(new.variances)[own], values)
    return found


def settings_of(structures):
    """By setting: (budget, judged) of each split, as masks of the structures."""
    train, kinds = structures.train, structures.kinds
    parts = thirds(train, np.random.default_rng(SEED))
    of_kinds = [train & (kinds == kind) for kind in np.unique(kinds[train])]
    return {
        "test": [(train, ~train)],
        "thirds": [(train & ~part, part) for part in parts],
        "new kinds": [(train & ~kind, kind) for kind in of_kinds],
    }


def measure(rows, names=("test", "thirds", "new kinds")):
    """Records of all losses and terms, for one model of one element."""
    settings = {name: splits for name, splits in settings_of(rows.structures).items() if name in names}
    records = []
    for name, weights in LOSSES.items():
        terms = ("energy", "forces") if weights.forces else ("energy",)
        found = {term: {setting: [] for setting in settings} for term in terms}
        for setting, splits in settings.items():
            for budget, judged in splits:
                pair = Pair(rows, weights, budget, judged, np.random.default_rng(SEED))
                for term in terms:
                    found[term][setting].append(bars(term, pair))
        records += [{"loss": name, "target": term, **_judged(of_term)} for term, of_term in found.items()]
    return records


def _judged(settings):
    """By setting: numbers of targets, RMSE, and each method's record by source and coverage."""
    found = {}
    for setting, parts in settings.items():
        record = {}
        for source in parts[0]:
            one = Bars.joined([part[source] for part in parts])
            judge = Judge(one.targets, one.std)
            of_methods = {}
            for (name, coverage), half in one.half.items():
                of_methods.setdefault(name, {})[f"{100 * coverage:.0f}"] = judge.record(half, coverage)
            record[source] = {
                "n": judge.n,
                "kinds": judge.of_kinds,
                "rmse": judge.rmse,
                "methods": of_methods,
            }
        found[setting] = record
    return found
