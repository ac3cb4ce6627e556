"""Made-up rows of a loss."""

import numpy as np

import rigidities as rg

LOSS = rg.Loss(energy=rg.Term(weight=2.0), forces=rg.Term(weight=0.5))
P = 6


def batches(loss=LOSS, n_batches=3, seed=0, outliers=0.0, weighted=True, targets=True):
    """Rows of a linear model with noise, and `outliers` of some targets."""
    random = np.random.default_rng(seed)
    coef = random.normal(size=P)
    made = []
    for _ in range(n_batches):
        batch = {}
        for (name, term), n in zip(loss.terms.items(), (4, 15, 6), strict=False):
            values = random.normal(size=(n, P))
            y = values @ coef + 0.1 * random.normal(size=n) + outliers * random.standard_t(1.5, size=n)
            weights = random.uniform(0.5, 2.0, size=n) if weighted else None
            blocks = np.arange(n) % 2  # two structures a batch; labels begin anew
            batch[name] = rg.TermRows(values, term=term, weights=weights, targets=y if targets else None, blocks=blocks)
        made.append(batch)
    return made


def left_out(rows, loss, regularizer, penalty=None):
    """Σwe² of fits that leave out one structure at a time, each refitted, with the loss's own weights."""
    X, y, w = dense(rows, loss)
    labels = np.concatenate([2 * i + batch[name].blocks for i, batch in enumerate(rows) for name in loss.terms])
    Lambda = np.diag(np.ones(P) if penalty is None else penalty)
    total = 0.0
    for label in np.unique(labels):
        own, others = labels == label, labels != label
        H = X[others].T @ (w[others, None] * X[others]) + regularizer * Lambda
        coef = np.linalg.solve(H, X[others].T @ (w[others] * y[others]))
        total += w[own] @ (y[own] - X[own] @ coef) ** 2
    return total


def dense(rows, loss):
    """All rows, targets and weights of the loss, end to end."""
    parts = [(batch[name], term.weight) for batch in rows for name, term in loss.terms.items()]
    X = np.concatenate([part.values for part, _ in parts])
    y = np.concatenate([part.targets for part, _ in parts])
    w = np.concatenate(
        [weight * (1.0 if part.weights is None else part.weights) * np.ones(len(part)) for part, weight in parts]
    )
    return X, y, w
