"""What forces do to a model's rigidities, and to its errors.

Two linear models of the same SOAP features are fitted to the same structures of silicon. One is
fitted to energies, the other to energies and forces. Each structure gives one energy, but three
force components for each of its atoms, so the second model has over a hundred times as many
targets. The example shows which predictions these targets hold.

It prints the errors on structures that neither model has seen, in meV/atom and meV/Å, and the
rigidities. It draws, in forces.png, the PR and LPR of both models, and their errors beside the σ
that each model gives.

At one regularizer, forces never lower a rigidity. In the figure, LPR ends at ceilings: the
horizontal bands. Forces tell how an atom's energy changes from place to place, not how large it
is. The size of an atom's energy rests on the energies of structures:

==============================  ======================
weight that is multiplied by 4  LPR in the bands rises
==============================  ======================
energies                        3.2 to 3.5 times
forces                          1.1 to 1.3 times
==============================  ======================

The lower bands are atoms at surfaces and vacancies, of which the training set has few structures.

    python examples/plot_forces.py [forces.png]

Energies and forces are those of Tersoff's potential (`rigidities.datasets.load_silicon`). The
example takes less than a minute.
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import rigidities as rg
from rigidities.datasets import load_silicon
from rigidities.interop.featomic import Soap
from rigidities.model import LinearModel
from rigidities.plot import PALETTE

KINDS = ["crystal", "strained", "rattled", "vacancy", "surface"]
COLOURS = dict(zip(KINDS, PALETTE, strict=False))  # people with red-green blindness tell them apart


def main(output="forces.png"):
    frames = load_silicon(groups=KINDS)
    # Within a kind, disorder rises with the index. Every other structure is for training, the
    # most disordered one included.
    train, test = frames[1::2], frames[::2]
    soap = Soap("Si", cutoff=3.5)  # Å; the potential ends at 3.0 Å
    energy = rg.Term(100.0, per_atom=True)  # an error of 10 meV/atom counts as much as one of 100 meV/Å
    both = LinearModel.fit(train, soap, rg.Loss(energy=energy, forces=rg.Term()), regularizer="loo", progress=False)
    # Compare rigidities at the same regularizer: more data then never lower them.
    options = {"regularizer": both.hessian.regularizer, "progress": False}
    models = {"energies": LinearModel.fit(train, soap, rg.Loss(energy=energy), **options), "energies and forces": both}
    predictions = {name: model.predict(test, progress=False) for name, model in models.items()}
    print_table(models, predictions, train, test)
    draw(predictions, test).savefig(output)
    print(f"\nDrawn: {output}")


def print_table(models, predictions, train, test):
    n_atoms = sum(map(len, train))
    print(
        f"trained on {len(train)} structures ({n_atoms} atoms), tested on {len(test)} ({sum(map(len, test))} atoms)\n"
    )
    print(f"{'':34}" + "".join(f"{name:>22}" for name in models))
    errors = {name: model.errors(test, terms=("energy", "forces"), progress=False) for name, model in models.items()}
    rows = {
        "training targets": [f"{model.hessian.n_rows:,}" for model in models.values()],
        "regularizer": [f"{model.hessian.regularizer:.1e}" for model in models.values()],
        f"directions determined, of {models['energies'].soap.n_features}": [
            f"{model.hessian.effective_dimension:.0f}" for model in models.values()
        ],
        "RMSE of test energies, meV/atom": [f"{1000 * entry['energy'].rmse:.1f}" for entry in errors.values()],
        "RMSE of test forces, meV/Å": [f"{1000 * entry['forces'].rmse:.0f}" for entry in errors.values()],
        "RMS of σ, energies, meV/atom": [f"{1000 * rms(p.energy_std / p.sizes):.1f}" for p in predictions.values()],
        "RMS of σ, forces, meV/Å": [f"{1000 * rms(p.forces_std):.0f}" for p in predictions.values()],
        "median PR": [f"{np.median(p.pr):.2g}" for p in predictions.values()],
        "median LPR": [f"{np.median(p.lpr):.2g}" for p in predictions.values()],
    }
    for name, cells in rows.items():
        print(f"{name:34}" + "".join(f"{cell:>22}" for cell in cells))


def rms(values):
    return np.sqrt(np.mean(values**2))


def draw(predictions, test):
    kinds = np.array([frame.info["group"] for frame in test])
    before, after = predictions.values()
    figure = Figure(figsize=(9.6, 8.4), dpi=150, layout="constrained")
    axes = figure.subplots(2, 2)
    draw_rigidities(axes[0, 0], before.pr, after.pr, kinds, "PR of the energy per atom", size=26)
    draw_rigidities(axes[0, 1], before.lpr, after.lpr, np.repeat(kinds, before.sizes), "LPR", size=5)
    energies = np.array([frame.get_potential_energy() for frame in test])
    forces = np.concatenate([frame.get_forces() for frame in test])
    for name, prediction in predictions.items():
        misses = 1000 * np.abs(prediction.energies - energies) / prediction.sizes
        draw_errors(axes[1, 0], misses, 1000 * prediction.energy_std / prediction.sizes, name, 26)
        misses = 1000 * np.linalg.norm(prediction.forces - forces, axis=1)
        draw_errors(axes[1, 1], misses, 1000 * np.linalg.norm(prediction.forces_std, axis=1), name, 4)
    for ax, what in zip(axes[1], ("energy, meV/atom", "force on an atom, meV/Å"), strict=True):
        ends = np.array([min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])])
        ax.plot(ends, ends, color="0.5", linewidth=0.8, zorder=0)
        ax.set(xlabel=f"σ of the {what}", ylabel=f"error of the {what}")
    for ax, letter in zip(axes.flat, "abcd", strict=True):
        ax.legend(frameon=False, fontsize=8, markerscale=2 if letter in "bd" else 1)
        ax.set_title(letter, loc="left", fontweight="bold")
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def draw_rigidities(ax, before, after, kinds, what, size):
    for kind in KINDS:
        chosen = kinds == kind
        ax.scatter(before[chosen], after[chosen], s=size, color=COLOURS[kind], label=kind, linewidths=0, alpha=0.7)
    ends = np.array([min(before.min(), after.min()), max(before.max(), after.max())])
    ax.plot(ends, ends, color="0.5", linewidth=0.8, zorder=0)
    ax.set(xscale="log", yscale="log", xlabel=f"{what}, energies", ylabel=f"{what}, energies and forces")


def draw_errors(ax, misses, std, name, size):
    shown = (misses > 0) & (std > 1e-3 * np.median(std))  # symmetry holds some forces at 0: no logarithm
    colour = {"energies": PALETTE[0], "energies and forces": PALETTE[4]}[name]
    ax.scatter(std[shown], misses[shown], s=size, color=colour, label=name, linewidths=0, alpha=0.5)
    ax.set(xscale="log", yscale="log")


if __name__ == "__main__":
    main(*sys.argv[1:])
