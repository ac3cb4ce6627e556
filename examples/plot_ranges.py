"""Short and long range of a model, and rigidities that say something of them.

Ions of charge ±0.6 e repel each other when they are near, and attract or repel each other at any
distance. A linear model of SOAP sees neighbours up to 5 Å: its errors have a floor, however many
structures it is fitted to. With LODE beside it, the potential 1/r of all ions beyond 5 Å, the floor
is gone, and the weights of the long range are the products of the charges (docs/ranges.md).

Which data carry the long range? Crystals that differ in their lattice constant alone do not: there,
the distant potential is a function of the distance of neighbours. The rigidity (CPR) of the long
range is nearly proportional to λ. Disordered structures tell the ranges apart: the CPR is a million
times as high, and λ does not matter. Without an inner cutoff, the potential contains that of
neighbours. With six radial functions as wide as the cutoff, both ranges can take nearly the same
part of the energy, and their rigidities are small, and the prior's unless λ is very small.

It prints the errors for structures that the model has not seen, the charge that the weights stand
for, the CPR of the long range, and the prior's share of it: the part of 1/CPR that λ alone answers
for. It draws, in ranges.png, the errors as a function of the number of structures, and the CPR of
the long range as a function of λ.

    python examples/plot_ranges.py [ranges.png]

Energies are Ewald sums, of the script itself. The example takes ten seconds.
"""

import itertools
import sys
import warnings

import ase
import numpy as np
from ase.build import bulk
from ase.neighborlist import neighbor_list
from matplotlib.figure import Figure
from scipy.special import erfc

import rigidities as rg
from rigidities.interop.featomic import Lode, Soap
from rigidities.plot import PALETTE
from rigidities.structures.joined import Joined

CUTOFF, CHARGE, COULOMB = 5.0, 0.6, 14.399645  # Å, e, e²/4πε₀ in eV Å
REGULARIZER = 1e-6  # for energies in eV
REGULARIZERS = np.geomspace(1e-9, 1e-3, 13)
SPLIT = 0.6  # 1/Å, between the sums of an Ewald sum in real and reciprocal space
SIZES = (10, 20, 40, 80, 160)
WIDTH = 0.5  # Å, of the sources and of the function that averages their potential

SOAP = Soap(["Na", "Cl"], CUTOFF, body_orders=(2,), max_radial=5)
MODELS = {
    "SOAP alone": SOAP,
    "SOAP and LODE of all ions": Lode(SOAP.species, radius=CUTOFF, max_radial=5, inner_cutoff=None),
    "SOAP and LODE beyond 5 Å": Lode(SOAP.species, smearing=WIDTH, radius=WIDTH, inner_cutoff=CUTOFF),
}
for name in list(MODELS)[1:]:
    MODELS[name] = Joined({"short range": SOAP, "long range": MODELS[name]})


def energy(atoms):
    """Ewald sum of the charges, and 3 eV · exp(−(r − 2.2 Å)/0.4 Å) (1 − r/4.5 Å)² of neighbours."""
    q = np.where(atoms.numbers == 11, CHARGE, -CHARGE)
    reciprocal, farthest = 2 * np.pi * np.linalg.inv(atoms.cell.array).T, 12 * SPLIT
    n = (farthest * atoms.cell.lengths() / (2 * np.pi)).astype(int)
    k = np.array(list(itertools.product(*(range(-most, most + 1) for most in n)))) @ reciprocal
    k2 = np.sum(k**2, axis=1)
    k, k2 = k[(k2 > 0) & (k2 < farthest**2)], k2[(k2 > 0) & (k2 < farthest**2)]
    structure_factors = np.abs(q @ np.exp(1j * atoms.positions @ k.T)) ** 2
    waves = 2 * np.pi / atoms.get_volume() * np.sum(np.exp(-k2 / (4 * SPLIT**2)) / k2 * structure_factors)
    i, j, r = neighbor_list("ijd", atoms, 6 / SPLIT)
    pairs = 0.5 * np.sum(q[i] * q[j] * erfc(SPLIT * r) / r)
    near = r[r < 4.5]
    repulsion = 0.5 * np.sum(3 * np.exp(-(near - 2.2) / 0.4) * (1 - near / 4.5) ** 2)
    return COULOMB * (waves + pairs - SPLIT / np.sqrt(np.pi) * np.sum(q**2)) + repulsion


def crystals(n):
    """Rocksalt at lattice constants from 5.1 to 6.5 Å."""
    return [bulk("NaCl", "rocksalt", a=a, cubic=True) for a in np.linspace(5.1, 6.5, n)]


def disordered(n, seed, n_ions=12):
    """Ions at random places, 2.2 Å apart or more, in cubes of 9 to 12 Å."""
    random, frames = np.random.default_rng(seed), []
    for _ in range(n):
        side, places = random.uniform(9, 12), np.empty((0, 3))
        while len(places) < n_ions:
            place = random.uniform(0, side, size=3)
            apart = (place - places + side / 2) % side - side / 2
            if (np.linalg.norm(apart, axis=1) > 2.2).all():
                places = np.vstack([places, place])
        frames.append(ase.Atoms(["Na", "Cl"] * (n_ions // 2), places, cell=[side] * 3, pbc=True))
    return frames


def rows_of(frames, descriptor):
    """The row of each structure's energy: the sum of the rows of its atoms."""
    return next(descriptor.term_rows([frames], ["energy"]))["energy"][:, 0]


def main(output="ranges.png"):
    warnings.simplefilter("ignore", rg.SetByPriorWarning)  # the example shows what it says
    train, unseen = {"crystals": crystals(40), "disordered": disordered(max(SIZES), seed=0)}, disordered(60, seed=1)
    targets = {name: np.array([energy(frame) for frame in frames]) for name, frames in train.items()}
    truth = np.array([energy(frame) for frame in unseen])
    found, curves = {}, {}
    for name, descriptor in MODELS.items():
        X = rows_of(unseen, descriptor)
        rows = {data: rows_of(frames, descriptor) for data, frames in train.items()}
        sums = rg.Covariance(descriptor.n_features)
        sums.update(rows["crystals"], targets=targets["crystals"])
        found[name, "crystals"] = told(sums, descriptor, X, truth)
        for size in SIZES:
            more = rg.Covariance(descriptor.n_features)
            more.update(rows["disordered"][:size], targets=targets["disordered"][:size])
            found[name, size] = told(sums + more, descriptor, X, truth)
        curves[name] = [found[name, size]["rmse"] for size in SIZES]
    print_table(found)
    draw(found, curves).savefig(output)
    print(f"\nDrawn: {output}")


def told(covariance, descriptor, X, truth):
    """What a fit tells of unseen structures: errors in meV per atom, and CPR of the long range."""
    hessian = covariance.factorize(REGULARIZER)
    misses = (X @ hessian.coef - truth) / 12
    entry = {"rmse": 1000 * np.sqrt(np.mean(misses**2))}
    if descriptor is SOAP:
        return entry
    components = list(descriptor.components().values())
    long = [covariance.factorize(value).component_rigidity(X, components)[:, 1] for value in REGULARIZERS]
    entry["cpr of λ"] = np.median(long, axis=1)
    entry["cpr"] = np.median(hessian.component_rigidity(X, components), axis=0)
    entry["share"] = np.median(hessian.prior_share(X, components=components), axis=0)
    if len(components[1]) == 3:
        # a source of unit charge has the potential π^{3/4} √8 WIDTH^{3/2} / r; each pair counts
        # twice
        weights = hessian.coef[components[1]] * 2 * np.pi**0.75 * np.sqrt(8) * WIDTH**1.5 / COULOMB
        entry["charge"] = np.sqrt(np.abs(weights)).mean()
    return entry


def print_table(found):
    print(f"{'':44}{'40 crystals':>22}{f'and {SIZES[-1]} disordered':>22}")
    for name in MODELS:
        few, more = found[name, "crystals"], found[name, SIZES[-1]]
        lines = {"RMSE of unseen structures, meV per atom": [f"{e['rmse']:.1f}" for e in (few, more)]}
        if "cpr" in few:
            lines["CPR, short and long range"] = ["{:.2g} {:.2g}".format(*e["cpr"]) for e in (few, more)]
            lines["prior's share, short and long range"] = ["{:.4f} {:.4f}".format(*e["share"]) for e in (few, more)]
        if "charge" in few:
            lines[f"charge in e, {CHARGE:g} in truth"] = [f"{e['charge']:.3f}" for e in (few, more)]
        print(name)
        for label, cells in lines.items():
            print(f"  {label:42}" + "".join(f"{cell:>22}" for cell in cells))


def draw(found, curves):
    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = dict(zip(MODELS, (PALETTE[0], PALETTE[1], PALETTE[4]), strict=True))
    for name, errors in curves.items():
        left.loglog(SIZES, errors, "o-", color=colours[name], label=name)
    for name in list(MODELS)[1:]:
        for data, label, line in (("crystals", "crystals", "--"), (SIZES[-1], "and disordered", "-")):
            cpr = found[name, data]["cpr of λ"]
            right.loglog(
                REGULARIZERS, cpr, line, color=colours[name], label=f"{name.removeprefix('SOAP and ')}: {label}"
            )
    left.set(xlabel="disordered structures beside 40 crystals", ylabel="RMSE of unseen structures, meV per atom")
    right.set(xlabel="λ", ylabel="CPR of the long range")
    for ax, letter in zip((left, right), "ab", strict=True):
        ax.set_title(letter, loc="left", fontweight="bold")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
