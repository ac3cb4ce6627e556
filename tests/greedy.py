"""Greedy selection as the textbook has it: H is factorised anew for each candidate in each step."""

import numpy as np

TIE = 1e-9
"""Candidates of equal gain differ by this part of the greatest gain, or of the objective, at most: the textbook's
differences of ln|H| and of means have lost more digits than the gains themselves."""


def mean_rigidity(H, G, weights):
    return np.average(1 / np.einsum("ij,ji->i", G, np.linalg.solve(H, G.T)), weights=weights)


def mean_variance(H, G, weights):
    return np.average(np.einsum("ij,ji->i", G, np.linalg.solve(H, G.T)), weights=weights)


def value(H, objective, G=None, weights=None):
    """What a selection raises."""
    if objective == "determinant":
        return np.linalg.slogdet(H)[1]
    return mean_rigidity(H, G, weights) if objective == "target_rigidity" else -mean_variance(H, G, weights)


def gain_of(H, F, objective, G, weights, H0):
    if objective == "variance":
        return np.einsum("ij,ji->", F, np.linalg.solve(H0, F.T))
    return value(H + F.T @ F, objective, G, weights) - value(H, objective, G, weights)


def greedy(
    H, blocks, n_select, objective, *, G=None, target_weights=None, costs=None, budget=np.inf, forced=(), closed=()
):
    """Picks and gains; `blocks`: rows times √w of each candidate."""
    H0, picks, gains, spent = H, [], [], 0.0
    costs = np.ones(len(blocks)) if costs is None else costs
    closed = set(closed)
    while len(picks) < n_select:
        able = [c for c in range(len(blocks)) if c not in closed and spent + costs[c] <= budget * (1 + 1e-12)]
        if len(picks) < len(forced):
            able = [forced[len(picks)]]
        if not able:
            break
        each = np.array([gain_of(H, blocks[c], objective, G, target_weights, H0) for c in able])
        scores = each / costs[able]
        scale = 0.0 if objective == "variance" else abs(value(H, objective, G, target_weights))
        band = TIE * max(scores.max(), 1e-4 * scale / costs[able].min())
        place = int(np.flatnonzero(scores >= scores.max() - band)[0])
        pick = able[place]
        picks.append(pick)
        gains.append(each[place])
        closed.add(pick)
        spent += costs[pick]
        H = H + blocks[pick].T @ blocks[pick]
    return picks, np.array(gains), H
