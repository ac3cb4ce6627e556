"""Two-body and three-body parts of a model, and rigidities that say something of them.

A linear model of radial and power spectrum is fitted to energies of copper trimers, and then to
those of dimers too. The power spectrum contains two-body terms of its own. What the radial spectrum
loses, it can take, so the two-body part of the model is arbitrary, and its rigidity (CPR) is
proportional to λ whatever the data. With `purified=True` the power spectrum is without these terms
(docs/body-orders.md). Trimers alone still do not tell: a function of a triangle can be a sum over
its sides. But now dimers do. With 50 of them, the two-body part is the energy of a dimer, its CPR
is a thousand times as high, and λ hardly matters.

It prints what the two-body part misses of the energy of a dimer, the CPR of both parts for trimers
that the model has not seen, and the prior's share of them: the part of 1/CPR that λ alone answers
for. It draws, in body_orders.png, the two-body part as a function of the distance, and its CPR as a
function of λ. There, the lines of the power spectrum with and without dimers coincide.

    python examples/plot_body_orders.py [body_orders.png]

Energies are those of ASE's EMT, less those of single atoms. The example takes some seconds.
"""

import sys
import warnings

import ase
import numpy as np
from ase.calculators.emt import EMT
from matplotlib.figure import Figure

import rigidities as rg
from rigidities.interop.featomic import Soap, soap_rows
from rigidities.plot import PALETTE

REGULARIZER = 1e-5  # for energies in eV
REGULARIZERS = np.geomspace(1e-8, 1e-2, 13)
CLOSEST, CUTOFF = 2.0, 5.0  # Å
NAMES = {False: "power spectrum", True: "purified"}


def energy(frame):
    """Energy less that of single atoms, in eV."""
    alone = ase.Atoms("Cu", calculator=EMT()).get_potential_energy()
    return ase.Atoms(frame, calculator=EMT()).get_potential_energy() - len(frame) * alone


def dimers(distances):
    return [ase.Atoms("Cu2", positions=[[0, 0, 0], [0, 0, distance]]) for distance in distances]


def trimers(n, seed):
    """Triangles of random shapes with all sides from 2 to 4.5 Å."""
    random, frames = np.random.default_rng(seed), []
    while len(frames) < n:
        positions = random.normal(size=(3, 3), scale=1.6)
        sides = np.linalg.norm(positions - positions[[1, 2, 0]], axis=1)
        if sides.min() > CLOSEST and sides.max() < 4.5:
            frames.append(ase.Atoms("Cu3", positions=positions))
    return frames


def rows_of(frames, soap):
    """The row of each structure's energy: the sum of the rows of its atoms."""
    return rg.reduce_rows(soap_rows(frames, soap, progress=False), reduction="sum")[1]


def sums_of(frames, soap):
    covariance = rg.Covariance(soap.n_features)
    covariance.update(rows_of(frames, soap), targets=np.array([energy(frame) for frame in frames]))
    return covariance


def main(output="body_orders.png"):
    warnings.simplefilter("ignore", rg.SetByPriorWarning)  # the example shows what it says
    pairs, triplets, unseen = dimers(np.linspace(CLOSEST, CUTOFF, 50)), trimers(80, seed=0), trimers(40, seed=1)
    asked = np.linspace(2.1, 4.9, 200)
    curve = np.array([energy(frame) for frame in dimers(asked)])
    soaps = {flag: Soap("Cu", CUTOFF, body_orders=(2, 3), purified=flag) for flag in NAMES}
    found = {}
    for flag, soap in soaps.items():
        sums = {"trimers": sums_of(triplets, soap)}
        sums["and dimers"] = sums["trimers"] + sums_of(pairs, soap)
        components = list(soap.components().values())
        of_unseen, of_curve = rows_of(unseen, soap), rows_of(dimers(asked), soap)
        truth = np.array([energy(frame) for frame in unseen])
        for data, covariance in sums.items():
            hessian = covariance.factorize(REGULARIZER)
            two = components[0]
            found[flag, data] = {
                "curve": of_curve[:, two] @ hessian.coef[two],
                "rmse": np.sqrt(np.mean((of_unseen @ hessian.coef - truth) ** 2)),
                "cpr": np.median(hessian.component_rigidity(of_unseen, components), axis=0),
                "share": np.median(hessian.prior_share(of_unseen, components=components), axis=0),
                "cpr of λ": [
                    np.median(covariance.factorize(value).component_rigidity(of_unseen, components)[:, 0])
                    for value in REGULARIZERS
                ],
            }
    print_table(found, curve)
    draw(found, asked, curve).savefig(output)
    print(f"\nDrawn: {output}")


def print_table(found, curve):
    print(f"{'':46}{'trimers':>22}{'and 50 dimers':>22}")
    for flag, name in NAMES.items():
        few, more = found[flag, "trimers"], found[flag, "and dimers"]
        lines = {
            "two-body part misses the dimer by, meV": [
                f"{1000 * np.abs(entry['curve'] - curve).max():.0f}" for entry in (few, more)
            ],
            "RMSE of unseen trimers, meV": [f"{1000 * e['rmse']:.1f}" for e in (few, more)],
            "CPR, 2-body and 3-body": ["{:.2g} {:.2g}".format(*e["cpr"]) for e in (few, more)],
            "prior's share, 2-body and 3-body": ["{:.3f} {:.3f}".format(*e["share"]) for e in (few, more)],
        }
        print(name)
        for label, cells in lines.items():
            print(f"  {label:44}" + "".join(f"{cell:>22}" for cell in cells))


def draw(found, asked, curve):
    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(asked, curve, color="0.2", linewidth=3, alpha=0.4, label="energy of the dimer")
    for (flag, data), entry in found.items():
        style = {"color": PALETTE[4 if flag else 0], "linestyle": "-" if data == "and dimers" else "--"}
        label = f"{NAMES[flag]}, trimers" + " and dimers" * (data == "and dimers")
        left.plot(asked, entry["curve"], **style, label=label)
        right.loglog(REGULARIZERS, entry["cpr of λ"], **style, label=label)
    left.set(xlabel="distance, Å", ylabel="two-body part of the energy, eV", ylim=(-4.5, 1.5))
    right.set(xlabel="λ", ylabel="CPR of the two-body part")
    for ax, letter in zip((left, right), "ab", strict=True):
        ax.set_title(letter, loc="left", fontweight="bold")
        ax.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
