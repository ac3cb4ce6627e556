"""Which error bars of forces hold, on average and for each kind of structure.

A linear model of SOAP features is fitted to energies and forces of silicon. Its forces get error
bars in five ways, from training structures that are left out in closed form. The example shows how
many errors of other structures each of them holds.

It prints the share of force components within the half-widths at 68 and 95 %, the kind of
structures with the least of them at 95 %, and the interval score: mean width plus a penalty for
each error outside. It draws the shares of all kinds in error_bars.png.

The Gaussian interval takes σ = scale·√v of all kinds together. Errors have heavier tails than a
Gaussian, so it holds too many at 68 %, and too few of the rattled crystals at 95 %. A quantile of
|r|/√v (conformal) repairs the share of all together, classes (`by`) that of each kind, and the
score with it. docs/error-bars.md has the same, and more, on DFT data.

Energies and forces are those of Tersoff's potential (`rigidities.datasets.load_silicon`). The
example takes less than a minute.
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import rigidities as rg
from rigidities.datasets import load_silicon
from rigidities.interop.featomic import LossRows, Soap
from rigidities.plot import PALETTE

KINDS = ["strained", "rattled", "vacancy", "surface"]
LOSS = rg.Loss(energy=rg.Term(100.0, per_atom=True), forces=rg.Term())
METHODS = {
    "one width for all": {"method": "conformal"},
    "Gaussian": {"method": "gaussian"},
    "Gaussian by kind": {"method": "gaussian", "by": True},
    "conformal": {"method": "conformal"},
    "conformal by kind": {"method": "conformal", "by": True},
}
COVERAGES = (0.68, 0.95)


def main(output="error_bars.png"):
    frames = load_silicon(groups=KINDS)
    train, test = frames[1::2], frames[::2]
    soap = Soap("Si", cutoff=3.5)  # Å; the potential ends at 3.0 Å
    rows = LossRows(train, soap, LOSS, progress=False)
    batches = list(rows)
    hessian = rg.fit_loss(batches, regularizer="loo").hessian
    known = left_out(hessian, batches, np.array([frame.info["group"] for frame in train]))
    known = tuple(column[known[1] > rg.calibrate(*known[:2]).floor] for column in known)  # symmetry holds others at 0
    judged = list(LossRows(test, soap, LOSS, baseline=rows.baseline, progress=False))
    X, y, _, structures = of_term(judged, "forces")
    new = (y - X @ hessian.coef, hessian.variance(X), np.array([frame.info["group"] for frame in test])[structures])
    held = {name: print_row(name, known, new, options) for name, options in METHODS.items()}
    draw(held, new[2]).savefig(output)
    print(f"\nDrawn: {output}")


def of_term(batches, name):
    """Rows, targets, weights in the loss and structures of a term."""
    fields = ("values", "targets", "weights_in_loss", "blocks")
    return tuple(np.concatenate([getattr(batch[name], field) for batch in batches]) for field in fields)


def left_out(hessian, batches, kinds):
    """Errors, variances and kinds of force components, each structure left out as a whole."""
    energies, forces = (of_term(batches, name) for name in ("energy", "forces"))
    F, y, weights, structures = (np.concatenate(column) for column in zip(energies, forces, strict=True))
    found = rg.leave_one_out(hessian, F, y, weights=weights, blocks=structures)
    n = len(energies[1])
    return found.residuals[n:], found.variances[n:], kinds[structures[n:]]


def half_widths(known, new, coverage, name, method, by=False):
    """Half-widths of new components, calibrated on known ones."""
    (residuals, v, kinds), (_, v_new, new_kinds) = known, new
    if name == "one width for all":  # as if no σ were known
        v, v_new = np.ones_like(v), np.ones_like(v_new)
    calibration = rg.calibrate(residuals, v, by=kinds if by else None)
    return calibration.interval(v_new, coverage, method, by=new_kinds if by else None)


def print_row(name, known, new, options):
    """Print a method's figures; return which errors it holds, by coverage."""
    errors, v, kinds = new
    above = v > rg.calibrate(*known[:2]).floor  # symmetry holds some forces at 0
    held, cells = {}, []
    for coverage in COVERAGES:
        half = half_widths(known, new, coverage, name, **options)
        held[coverage] = np.where(above, np.abs(errors) <= half, np.nan)
        score = 2 * half + 2 / (1 - coverage) * np.maximum(np.abs(errors) - half, 0)
        cells.append((np.nanmean(held[coverage]), np.mean(score[above])))
    shares = {kind: np.nanmean(held[0.95][kinds == kind]) for kind in KINDS}
    worst = min(shares, key=shares.get)
    print(
        f"{name:18} held {100 * cells[0][0]:3.0f} / {100 * cells[1][0]:3.0f} %   least at 95 %: {worst} "
        f"{100 * shares[worst]:.0f} %   score at 95 %: {1000 * cells[1][1]:.0f} meV/Å"
    )
    return held


def draw(held, kinds):
    """Shares of each kind, methods side by side."""
    figure = Figure(figsize=(9, 4.2), dpi=150, layout="constrained")
    ax = figure.subplots()
    for index, (name, of) in enumerate(held.items()):
        places = np.arange(len(KINDS)) + 0.12 * (index - (len(held) - 1) / 2)
        for coverage in COVERAGES:
            shares = [100 * np.nanmean(of[coverage][kinds == kind]) for kind in KINDS]
            label = name if coverage == COVERAGES[0] else None
            ax.plot(places, shares, "osD^vP"[index], color=PALETTE[index], markersize=6, label=label)
    for coverage in COVERAGES:
        ax.axhline(100 * coverage, color="0.4", linestyle="--", linewidth=0.8, zorder=0)
    ax.set_xticks(range(len(KINDS)), KINDS)
    ax.set_ylabel("force components within the half-width, %")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(held), frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
