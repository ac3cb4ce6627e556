"""The three claims of the papers, measured on the structures of one element.

Each function returns records: what the tables of docs/claims.md are made of.
"""

import numpy as np
import rank_correlation
from claims_rows import KERNEL, LINEAR, TrainingRows, Weights

ENERGIES, BOTH = Weights(1000.0, 0.0), Weights(1000.0, 1.0)
"""The first has the λ that it would have with weight 1, times 1000."""

HEAVY = Weights(100_000.0, 1.0)
"""Energies are fitted as closely as they would be alone."""

SEEDS, MEMBERS = (0, 1, 2), 50
"""Committees of each kind, and fits in each."""


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def middle(values):
    """Median, and the range of the middle 80 %."""
    return dict(zip(("low", "median", "high"), np.quantile(values, [0.1, 0.5, 0.9]).tolist(), strict=True))


# Claim 1: LPR before and after defects are added -------------------------------------------------


def defects(rows, atoms):
    """How rigidities of slabs rise when other slabs, vacancies, or more of the known kinds are added.

    Each slab is left out of the fits that judge it. λ is that of the whole training set throughout:
    rigidities are compared at the same λ.
    """
    structures = rows.structures
    bulk = structures.train & np.isin(structures.kinds, ["AIMD-NVT", "Elastic"])
    starts = {"crystals and melts": bulk, "cold crystals": bulk & structures.cold}
    found = []
    for weights in (ENERGIES, BOTH, HEAVY):
        regularizer = rows.fit(structures.train, weights).hessian.regularizer
        for name, start in starts.items():
            record = {"weights": weights.name, "start": name, "n_start": int(start.sum()), "regularizer": regularizer}
            record |= _gains(rows, atoms, start, weights, regularizer)
            for factor in (0.01, 100.0):
                record[f"surface_at_{factor:g}"] = _surface_gain(rows, atoms, start, weights, factor * regularizer)
            found.append(record)
    return found


def _surface_gain(rows, atoms, start, weights, regularizer):
    return _gains(rows, atoms, start, weights, regularizer, additions=("Surface",))["Surface"]["exposed"]["median"]


def _gains(rows, atoms, start, weights, regularizer, additions=("Surface", "Vacancy", "control")):
    """Ratios of LPR and PR after over before, and errors and prior's shares on both sides."""
    structures, rng = rows.structures, np.random.default_rng(0)
    slabs = np.flatnonzero(structures.kinds == "Surface")
    exposed = structures.exposed
    n_added = int((structures.train & (structures.kinds == "Surface")).sum()) - 1
    before = rows.fit(start, weights, regularizer)
    found = {"n_slabs": len(slabs)}
    for added in additions:
        ratios, at_surface, pr, sides = [], [], [], []
        for slab in slabs:
            first, after = before, start | (structures.train & (structures.kinds == added))
            if added == "control":  # as many structures of the kinds that are there already
                fewer = start.copy()
                fewer[rng.choice(np.flatnonzero(start), n_added, replace=False)] = False
                first, after = rows.fit(fewer, weights, regularizer), start
            after = after.copy()
            after[slab] = False
            second = rows.fit(after, weights, regularizer)
            own = atoms.of(slab)
            ratios.append(second.hessian.rigidity(own) / first.hessian.rigidity(own))
            at_surface.append(exposed[atoms.structure == slab])
            mean = rows.energy.values[[slab]]
            pr.append(float((second.hessian.rigidity(mean) / first.hessian.rigidity(mean))[0]))
            sides.append([_side(rows, fit, slab, own[at_surface[-1]]) for fit in (first, second)])
        ratio, outside = np.concatenate(ratios), np.concatenate(at_surface)
        found[added] = {
            "n_exposed": int(outside.sum()),
            "n_inside": int((~outside).sum()),
            "exposed": middle(ratio[outside]),
            "inside": middle(ratio[~outside]),
            "pr": middle(pr),
            "before": _joined([side[0] for side in sides]),
            "after": _joined([side[1] for side in sides]),
        }
    return found


def _side(rows, fit, slab, exposed):
    """Errors of a slab, and prior's shares of its exposed atoms, with one fit."""
    return rows.errors(fit, [slab]), rows.force_errors(fit, slab), fit.hessian.prior_share(exposed)


def _joined(sides):
    energies, forces, shares = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    return {"energy_rmse": rms(energies), "force_rmse": rms(forces), "prior_share": float(np.median(shares))}


# Claim 2: LPR and the spread of a committee ------------------------------------------------------


def committees(rows, atoms):
    """Committees by bootstrap and by halves of the structures; each member has its own λ and baseline.

    A committee is judged on the test set: the spread of its atoms' energies beside LPR, and the
    spread of its energies beside the errors of the fit to the whole training set.
    """
    structures = rows.structures
    train, test = np.flatnonzero(structures.train), np.flatnonzero(~structures.train)
    chosen = ~structures.train[atoms.structure]
    local, structure = atoms.values[chosen], atoms.structure[chosen]
    found = []
    for weights in (ENERGIES, BOTH):
        fit = rows.fit(structures.train, weights)
        residuals, variances = rows.left_out(fit, structures.train, weights)
        root = np.sqrt(fit.hessian.variance(local))
        means = rows.energy.values[test]
        root_of_means = np.sqrt(fit.hessian.variance(means))
        errors = rows.errors(fit, test)
        std = np.sqrt(np.mean(residuals**2 / variances)) * root_of_means
        for draw in ("bootstrap", "halves"):
            seeds = []
            for seed in SEEDS:
                rng = np.random.default_rng(seed)
                members = [rows.fit(_drawn(train, structures.n, draw, rng), weights) for _ in range(MEMBERS)]
                spread = np.std([member.predict(local) for member in members], axis=0, ddof=1)
                of_means = np.std([member.predict(means) for member in members], axis=0, ddof=1)
                lpr = rank_correlation.correlation(root, spread, rng, structure)
                pr = rank_correlation.correlation(root_of_means, of_means, rng)
                by_kind = {
                    str(kind): rank_correlation.spearman(root[own], spread[own])
                    for kind in np.unique(structures.kinds[test])
                    for own in [structures.kinds[structure] == kind]
                }
                seeds.append({
                    "lpr": lpr.record(),
                    "pr": pr.record(),
                    "by_kind": by_kind,
                    "slope": float(np.polyfit(np.log(root), np.log(spread), 1)[0]),
                    "over_confidence": rms(errors / of_means),
                    "within_95": float(np.mean(np.abs(errors) <= 1.96 * of_means)),
                    "spread_of_energies": rms(of_means),
                    "regularizers": middle([member.hessian.regularizer for member in members]),
                })  # fmt: skip
            found.append({
                "weights": weights.name,
                "draw": draw,
                "error": rms(errors),
                "own_over_confidence": rms(errors / std),
                "own_within_95": float(np.mean(np.abs(errors) <= 1.96 * std)),
                "seeds": seeds,
            })  # fmt: skip
    return found


def _drawn(train, n, draw, rng):
    """How often each structure counts in a member.

    Halves are drawn without replacement. The variance among them is that of the fit to all (jackknife
    that deletes d of n: the factor (n − d)/d is 1); so it is among bootstrap samples.
    """
    size, again = (len(train), True) if draw == "bootstrap" else (len(train) // 2, False)
    return np.bincount(rng.choice(train, size, replace=again), minlength=n)


# Claim 3: PR and errors --------------------------------------------------------------------------


def errors(structures, linear):
    """PR beside errors of energies: on the test set, structures left out, and kinds left out."""
    found = []
    for name, model in (("linear", LINEAR), ("kernel", KERNEL)):
        rows = linear if model is LINEAR else TrainingRows(structures, model)
        found += [
            {"model": name, "weights": weights.name, **_errors(rows, weights)} for weights in (ENERGIES, BOTH, HEAVY)
        ]
    return found


def _errors(rows, weights):
    structures, rng = rows.structures, np.random.default_rng(0)
    fit = rows.fit(structures.train, weights)
    train, test = np.flatnonzero(structures.train), np.flatnonzero(~structures.train)
    residuals, variances = rows.left_out(fit, structures.train, weights)
    without_kind = np.empty((2, structures.n))
    for kind in np.unique(structures.kinds):
        out = structures.kinds == kind
        other = rows.fit(~out, weights)
        without_kind[:, out] = rows.errors(other, out), other.hessian.variance(rows.energy.values[out])
    settings = {
        "test": (rows.errors(fit, test), fit.hessian.variance(rows.energy.values[test])),
        "structures": (residuals, variances),
        "kinds": without_kind,
    }
    own = rows.errors(fit, train)
    found = {"regularizer": fit.hessian.regularizer, "training_rmse": rms(own)}
    found["training_correlation"] = rank_correlation.spearman(np.sqrt(variances), np.abs(own))
    for name, (missed, variance) in settings.items():
        std = np.sqrt(variance)
        found[name] = rank_correlation.correlation(std, np.abs(missed), rng).record()
        found[name] |= {"expected": rank_correlation.expected(std, rng), "rmse": rms(missed)}
    scale = np.sqrt(np.mean(residuals**2 / variances))
    found["by_kind"] = {
        str(kind): _of_kind(scale * np.sqrt(variances[own]), residuals[own])
        for kind in np.unique(structures.kinds[train])
        for own in [structures.kinds[train] == kind]
    }
    return found


def _of_kind(std, missed):
    return {
        "n": len(std),
        "std": rms(std),
        "rmse": rms(missed),
        "correlation": rank_correlation.spearman(std, np.abs(missed)),
    }
