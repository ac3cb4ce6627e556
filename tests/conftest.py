"""Structures that several files of tests are about; ase and featomic are imported where they are asked for."""

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_answered():
    """A shell starts what runs in its background with SIGINT ignored; Python then keeps it so, and so do children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def silicon():
    from ase.build import bulk
    from crystals import rattled

    return rattled(bulk("Si", cubic=True))


@pytest.fixture
def salt():
    from ase.build import bulk
    from crystals import rattled

    return rattled(bulk("NaCl", "rocksalt", a=5.6, cubic=True))


@pytest.fixture
def mixed(silicon, salt):
    from ase.build import bulk, molecule
    from crystals import rattled

    return [silicon, salt, molecule("H2O"), rattled(bulk("Ge", cubic=True), 3), salt[:3]]
