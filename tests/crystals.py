"""Structures that tests of SOAP rows are about, and their rows."""

from rigidities.interop.featomic import soap_rows

SMALL = {"cutoff": 4.0, "max_radial": 3, "max_angular": 2}
"""Settings of a `Soap` that is quick to compute."""


def rattled(atoms, seed=0, stdev=0.1):
    atoms = atoms.copy()
    atoms.rattle(stdev, seed=seed)
    return atoms


def rows(structures, soap=None, **settings):
    return soap_rows(structures, soap, progress=False, **settings)
