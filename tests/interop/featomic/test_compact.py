"""Compact columns: one for (l, n₁, n₂) and (l, n₂, n₁) of equal species. Nothing that rows are for may change."""

import numpy as np
import pytest

ase = pytest.importorskip("ase")
pytest.importorskip("featomic")

from ase.build import bulk, molecule  # noqa: E402
from crystals import SMALL, made, rattled, rows, triclinic, with_emt  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.interop.featomic import Soap  # noqa: E402
from rigidities.model import LinearModel  # noqa: E402

KINDS = {
    "one": ([rattled(bulk("Cu", cubic=True), seed) for seed in range(5)], "Cu"),
    "two": ([triclinic(seed) for seed in range(5)], ["Au", "Cu"]),
    "four": ([rattled(molecule("CH3CONH2"), seed) for seed in range(5)], ["H", "C", "N", "O"]),
}
"""Structures and their species."""


def both(species, **settings):
    return Soap(species, **settings, compact=False), Soap(species, **settings)


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def close(compact, full):
    """A force of 0.004 among some of 10 keeps the digits of those."""
    np.testing.assert_allclose(compact, full, rtol=1e-10, atol=1e-10 * np.abs(full).max())


@pytest.mark.parametrize(
    ("species", "full", "compact"),
    [
        ("Si", 448, 252),
        (["Si", "Ge"], 2 * 3 * 448, 2 * (2 * 252 + 448)),
        (range(1, 9), 129_024, 8 * (8 * 252 + 28 * 448)),
    ],
)
def test_numbers_of_columns(species, full, compact):
    assert [soap.n_features for soap in both(species)] == [full, compact]


def test_columns_are_those_of_featomic_scaled(kind):
    structures, species = kind
    full, compact = (rows(structures, soap) for soap in both(species, **SMALL))
    for one, other in zip(full.soap.blocks, compact.soap.blocks, strict=True):
        assert one[:3] == other[:3]
        values = full.values[:, one.columns]
        if one.neighbours[0] == one.neighbours[1]:
            angular, n1, n2 = np.indices((3, 4, 4)).reshape(3, -1)
            np.testing.assert_array_equal(
                values[:, n1 <= n2], values[:, np.ravel_multi_index((angular, n2, n1), (3, 4, 4))[n1 <= n2]]
            )
            values = values[:, n1 <= n2] * np.where(n1 == n2, 1, np.sqrt(2))[n1 <= n2]
        np.testing.assert_array_equal(compact.values[:, other.columns], values)


@pytest.mark.filterwarnings("ignore::rigidities.SetByPriorWarning")  # true: few structures
@pytest.mark.parametrize("body_orders", [(3,), (2, 3)])
def test_scalar_products_and_rigidities_are_the_same(kind, body_orders):
    structures, species = kind
    full, compact = (rows(structures, soap) for soap in both(species, **SMALL, body_orders=body_orders))
    close(compact.values @ compact.values.T, full.values @ full.values.T)
    found = []
    for part in (compact, full):
        covariance = rg.Covariance(part.values.shape[1], feature_space=part.feature_space)
        covariance.update(part.values, groups=part.groups, targets=np.arange(5.0))
        hessian = covariance.factorize(1e-3 * covariance.trace)
        components = list(part.soap.components().values())
        path = rg.regularizer_path(covariance, np.geomspace(1e-6, 1, 4) * covariance.trace)
        found.append([
            hessian.rigidity(part),
            hessian.rigidity(part.values),
            hessian.component_rigidity(part.values, components),
            part.values @ hessian.coef,
            path.log_evidence,
        ])  # fmt: skip
    for one, other in zip(*found, strict=True):
        close(one, other)


@pytest.mark.filterwarnings("ignore:the compositions of the training")
def test_fits_of_forces_and_virials_are_the_same():
    structures = [with_emt(triclinic(seed)) for seed in range(6)]
    loss = rg.Loss(energy=rg.Term(100.0), forces=rg.Term(), virial=rg.Term(0.1))
    models = [
        LinearModel.fit(structures[:4], soap, loss, baseline="fit", regularizer=0.1, progress=False)
        for soap in both(["Cu", "Au"], **SMALL)
    ]
    full, compact = (model.predict(structures[4:], virials=True, progress=False) for model in models)
    for name in ("energies", "energy_std", "pr", "lpr", "forces", "forces_std", "virials", "virial_std"):
        close(getattr(compact, name), getattr(full, name))


def test_gradient_rows_have_the_same_products(kind):
    structures, species = kind
    terms = rg.Loss(energy=rg.Term(), forces=rg.Term())
    found = []
    for soap in both(species, **SMALL):
        batches = list(made(structures, terms, soap, targets=False))
        found.append(np.concatenate([batch[name].values for batch in batches for name in batch]))
    full, compact = (values @ values.T for values in found)
    close(compact, full)
