"""A fitted model and its predictions as tables of 100 columns, and the figure of λ.

Energies and virials are in meV per atom, forces in meV/Å.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rigidities.loss.rules import energies_alone
from rigidities.report.against import below_text, seen_text
from rigidities.report.next_structures import TOP, ranking, ranking_table
from rigidities.report.statistics import describe, root_mean_square
from rigidities.report.text import determined, fact_lines, quantile_head, quantile_row, size_text, training_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rigidities.loss.rows import TermRows
    from rigidities.loss.terms import Term
    from rigidities.model.errors import Errors
    from rigidities.model.linear import LinearModel
    from rigidities.model.prediction import Prediction
    from rigidities.model.training import ModelFit
    from rigidities.report.against import Against
    from rigidities.report.comparison import Compared
    from rigidities.sources.source import Source

UNITS = {"energy": "meV/atom", "forces": "meV/Å", "virial": "meV/atom"}

EXPECTED = "68 %"
"""Share of errors within σ, if they are Gaussian."""


# A fit --------------------------------------------------------------------------------------------


def fit_table(
    model: LinearModel,
    n_missing: Mapping[str, int],
    train: Source,
    test: Source | None = None,
    test_errors: Mapping[str, Errors] | None = None,
    seen: str = "",
) -> str:
    """Return the facts of a fit, and the errors of the training and the test set.

    `seen` names the test structures that are in the training set.
    """
    facts = {"training set": size_text(train)} | ({} if test is None else {"test set": size_text(test)}) | _facts(model)
    lacking = [] if test is None or test_errors is None else [n for n in model.loss.terms if n not in test_errors]
    if lacking:
        facts["not judged"] = f"{', '.join(lacking)}: the test set has no such labels"
    aside = {name: one for name, one in model.calibrations.items() if one.n_aside}
    facts["set aside"] = ", ".join(f"{name} {one.n_aside:,} of {one.n:,}" for name, one in aside.items())
    facts["set aside"] += " (their rows are zero or nearly so, as by symmetry: σ is not judged by them)" * bool(aside)
    facts["in both"] = seen
    facts |= {"unlabelled": ", ".join(f"{name} {n}" for name, n in n_missing.items() if n)}
    columns: dict[str, Mapping[str, Errors]] = {"training": model.training, "left out": model.left_out}
    columns |= {"test": test_errors} if test_errors else {}
    lines = fact_lines({name: fact for name, fact in facts.items() if fact})
    lines += ["", f"{'errors':26}" + "".join(f"{name:>12}" for name in columns)]
    for name in model.loss.terms:
        for what in ("n", "rmse", "mae"):
            cells = [_cell(column.get(name), what) for column in columns.values()]
            label = f"{name}, number" if what == "n" else f"  {what.upper()}, {UNITS[name]}"
            lines.append(f"{label:26}" + "".join(f"{cell:>12}" for cell in cells))
    lines += ["", "left out: of fits without the structure in question, at the same regularizer"]
    return "\n".join([*lines, *_kind_lines(model)])


def _kind_lines(model: LinearModel) -> list[str]:
    """Return how the common σ does for each kind of structures, and the factor that it gets."""
    terms = {name: one.kinds for name, one in model.calibrations.items() if one.kinds}
    names = sorted({kind for kinds in terms.values() for kind in kinds})
    if not names:
        return []
    lines = ["", f"{'left out, by kind':22}" + "".join(f"{name:>10}{'z²':>8}{'σ ×':>8}" for name in terms)]
    for kind in names:
        found = [kinds.get(kind) for kinds in terms.values()]
        cells = [
            f"{'-':>10}{'-':>8}{'-':>8}"
            if one is None
            else f"{one.n_structures:>10,}{one.mean_square:>8.3g}{one.factor:>8.2f}"
            for one in found
        ]
        lines.append(f"{kind:22.22}" + "".join(cells))
    return [
        *lines,
        "",
        "z²: mean square of error/σ with the common σ; structures of a kind have σ times the factor",
    ]


def _facts(model: LinearModel) -> dict[str, str]:
    hessian, p = model.hessian, model.soap.n_features
    scales = ", ".join(f"{name} {scale:.3g}" for name, scale in model.scales.items())
    return {
        "features": f"{p} of {model.soap.describe()}",
        "loss": "; ".join(_term(name, term) for name, term in model.loss.terms.items()),
        "baseline": _baseline(model),
        "regularizer": f"{hessian.regularizer:.3g} ({hessian.regularizer_reason})",
        "determined": determined(hessian, model.training_set),
        "σ/√v": f"{scales} (each training structure left out)",
        "noise": ", ".join(
            f"{name} {1000 * one.noise_std:.3g} {UNITS[name]}"
            for name, one in model.calibrations.items()
            if one.noise_std > 0
        )
        or "none",
    }


def _term(name: str, term: Term) -> str:
    habit = " per atom" if term.per_atom else ""
    return f"{name}{habit} · {term.weight:g}" + ("" if term.huber is None else f", Huber beyond {term.huber:g}")


def _baseline(model: LinearModel) -> str:
    if model.baseline is None:
        return "none"
    from rigidities.structures.species import symbols

    pairs = zip(model.baseline.species, model.baseline.energies, strict=True)
    energies = ", ".join(f"{symbols([number])} {energy:.4f} eV" for number, energy in pairs)
    unknown = model.baseline.open_species
    return energies + (f" (the energies of {symbols(unknown)} are not determined apart)" if unknown else "")


def _cell(errors: Errors | None, what: str) -> str:
    if errors is None:
        return "-"
    return f"{errors.n:,}" if what == "n" else f"{1000 * getattr(errors, what):.4g}"


def regularizer_figure(fit: ModelFit, test: TermRows | None = None) -> Figure:
    """Draw the criteria for λ over a path, with the λ in use.

    Leave-one-out errors (if the loss has only energies and they were kept) and test errors are
    errors of the energies, in meV, or in meV/atom if the loss takes them per atom. With forces or
    virials the errors of structures that are left out are drawn if "loo" chose λ by them.

    Parameters
    ----------
    fit : ModelFit
        If it has no path, one is decomposed now, which may cost more than the fit.
    test : TermRows, optional
        Rows and targets of test energies. Left out where the fit is in the span of its rows, which
        knows nothing of what lies across.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from rigidities.report.curves import regularizer_curves

    minimum, used = fit.minimum, fit.minimum.hessian.regularizer
    if minimum.energies is None:
        return regularizer_curves(fit.path, left_out=minimum.left_out, regularizer=used)
    alone = energies_alone(minimum.loss)
    return regularizer_curves(
        fit.path,
        train=_pair(minimum.energies) if alone else None,
        weights=minimum.energies.weights_in_loss if alone else None,
        left_out=None if alone else minimum.left_out,
        test=None if test is None or fit.in_span else _pair(test),
        regularizer=used,
        unit="meV/atom" if minimum.energies.term.per_atom else "meV",
        factor=1000.0,
    )


def _pair(rows: TermRows) -> tuple[NDArray[Any], NDArray[np.float64]]:
    if rows.targets is None:
        raise ValueError("the rows have no targets: there are no errors to draw")
    return rows.values, rows.targets


# Predictions --------------------------------------------------------------------------------------


def prediction_table(
    model: LinearModel,
    name: str,
    prediction: Prediction,
    compared: Mapping[str, Compared],
    against: Against,
    top: int = TOP,
) -> str:
    """Return σ, rigidities and known errors of a prediction, and the structures of largest σ."""
    sizes = prediction.sizes
    energy_std = 1000 * prediction.energy_std / sizes
    facts = {"structures": f"{name}: {len(sizes):,} structures, {sizes.sum():,} atoms"} | _facts(model)
    lines = [*fact_lines(facts), "", quantile_head("", "number")]
    lines.append(quantile_row("σ of energies, meV/atom", describe(energy_std)))
    if prediction.forces_std is not None:
        lines.append(quantile_row("σ of forces, meV/Å", describe(1000 * prediction.forces_std.ravel())))
    if prediction.virial_std is not None:
        virial_std = 1000 * prediction.virial_std / sizes[:, None]
        lines.append(quantile_row("σ of virials, meV/atom", describe(virial_std.ravel())))
    lines += [quantile_row("PR of the energy per atom", describe(prediction.pr)), *training_rows(against, "pr")]
    lines += [quantile_row("LPR", describe(prediction.lpr)), *training_rows(against, "lpr")]
    lines += ["", *below_text(against), *seen_text(against)]
    if compared:
        lines += [
            "",
            f"{'against the labels':26}{'number':>7}{'RMSE':>12}{'RMS of σ':>12}{'within σ':>12}{'expected':>12}",
        ]
    for term, values in compared.items():
        residuals, std, share = values.residuals, values.std, values.share_within(1)
        within = "-" if np.isnan(share) else f"{100 * share:.0f} %"
        cells = [f"{1000 * root_mean_square(part):.4g}" for part in (residuals, std)] + [within, EXPECTED]
        lines.append(f"{f'{term}, {UNITS[term]}':26}{len(residuals):>7}" + "".join(f"{cell:>12}" for cell in cells))
    aside = [f"{term} {values.n_aside:,}" for term, values in compared.items() if values.n_aside]
    if aside:
        lines.append(f"within σ: without rows that are zero or nearly so, as by symmetry: {', '.join(aside)}")
    return "\n".join([*lines, "", *ranking_table(ranking(against), top)])


def comparison_summary(compared: Mapping[str, Compared]) -> dict[str, Any]:
    """Return the errors against known labels beside σ, as values of JSON."""
    found = {}
    for name, values in compared.items():
        residuals, std = values.residuals, values.std
        within = [values.share_within(k) for k in (1, 2)]
        found[name] = {
            "unit": UNITS[name],
            "n": len(residuals),
            "rmse": 1000 * root_mean_square(residuals),
            "rms_std": 1000 * root_mean_square(std),
            "n_set_aside": values.n_aside,
            "share_within_std": None if np.isnan(within[0]) else within[0],
            "share_expected": 0.683,
            "share_within_2_std": None if np.isnan(within[1]) else within[1],
            "share_expected_of_2_std": 0.954,
        }
    return found
