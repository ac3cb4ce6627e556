"""Which σ holds its coverage on real data: the table of docs/model-error.md.

    python benches/spreads.py FOLDER Si Li

FOLDER holds Si-training.xyz, Si-test.xyz, … with energies and forces, such as the mlearn sets of
Zuo et al., J. Phys. Chem. A 124 (2020) 731. Each σ is made of the training set alone and judged on
the test files: the share of errors within σ and 1.96 σ.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from ase.io import read

import rigidities as rg
from rigidities.interop.featomic import LossRows, Soap

LOSSES = {
    "energies alone": rg.Loss(energy=rg.Term(1000.0, per_atom=True)),
    "energies and forces": rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term()),
}

COVERAGES = (0.68, 0.95)


def rows_of(batches, name):
    """Rows, targets, weights in the loss and structures of a term."""
    parts = [batch[name] for batch in batches]
    blocks, first = [], 0
    for part in parts:
        blocks.append(first + part.blocks)
        first += 1 + int(part.blocks.max(initial=-1))
    columns = [np.concatenate([getattr(part, field) for part in parts]) for field in ("values", "known_targets")]
    return (*columns, np.concatenate([part.weights_in_loss for part in parts]), np.concatenate(blocks))


def left_out(hessian, batches, names):
    """Residuals and variances of every target, its structure left out with all its targets."""
    terms = [rows_of(batches, name) for name in names]
    F, y, w, blocks = (np.concatenate(column) for column in zip(*terms, strict=True))
    found = rg.leave_one_out(hessian, F, y, weights=w, blocks=blocks)
    ends = np.cumsum([len(term[1]) for term in terms])[:-1]
    return dict(
        zip(names, zip(*(np.split(x, ends) for x in (found.residuals, found.variances)), strict=True), strict=True)
    )


def half_widths(hessian, batches, names, X, name, coverage):
    """Half-widths of test rows X of a term, by the kind of σ."""
    v = hessian.variance(X)
    residuals, variances = left_out(hessian, batches, names)[name]
    known = np.isfinite(residuals)
    calibration = rg.calibrate(residuals[known], variances[known])
    scaled = {
        "scale·√v, Gaussian": calibration.interval(v, coverage, "gaussian"),
        "scale·√v, conformal": calibration.interval(v, coverage, "conformal"),
    }
    every = [(F, y, w) for F, y, w, _ in (rows_of(batches, term) for term in names)]
    own = [rows_of(batches, name)[:3]]
    spreads = {
        "misspecification, all targets": rg.misspecification(hessian, every),
        "the same, half of largest leverage": rg.misspecification(hessian, every, leverage_quantile=0.5),
        "the same, targets of this kind": rg.misspecification(hessian, own),
        "sandwich, HC3": rg.robust_covariance(hessian, every),
    }
    z = {0.68: 0.9945, 0.95: 1.96}[coverage]
    found = scaled | {kind: z * np.sqrt(spread.variance(X)) for kind, spread in spreads.items()}
    low, high = spreads["misspecification, all targets"].bounds(X)
    return found | {"box of the fits through targets": np.maximum(-low, high)}


def table(folder, element):
    """Lines of the table for one element."""
    train, test = (read(folder / f"{element}-{name}.xyz", ":") for name in ("training", "test"))
    soap = Soap(element)
    for title, loss in LOSSES.items():
        rows = LossRows(train, soap, loss, progress=False)
        batches, names = list(rows), list(loss.terms)
        fit = rg.fit_loss(batches)
        judged = list(LossRows(test, soap, loss, baseline=rows.baseline, progress=False))
        for name in names:
            X, y, _, _ = rows_of(judged, name)
            v = fit.hessian.variance(X)
            kept = v > 1e-6 * np.median(v)
            errors = np.abs(y - X @ fit.coef)[kept]
            widths = [half_widths(fit.hessian, batches, names, X, name, coverage) for coverage in COVERAGES]
            for kind in widths[0]:
                shares = [100 * np.mean(errors <= width[kind][kept]) for width in widths]
                size = 1000 * np.sqrt(np.mean(widths[0][kind][kept] ** 2))
                rmse = 1000 * np.sqrt(np.mean(errors**2))
                cells = (
                    element,
                    title,
                    name,
                    kind,
                    f"{shares[0]:.0f}",
                    f"{shares[1]:.0f}",
                    f"{size:.3g}",
                    f"{rmse:.3g}",
                )
                yield "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("elements", nargs="+")
    arguments = parser.parse_args()
    print("| set | fit | target | σ | 68 % holds, % | 95 % holds, % | width at 68 %, meV | RMSE, meV |")
    print("|" + " --- |" * 8)
    for element in arguments.elements:
        for line in table(arguments.folder, element):
            print(line, flush=True)
