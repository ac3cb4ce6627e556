"""A small model of silicon, which several files of tests are about."""

import rigidities as rg
from rigidities.datasets import load_silicon
from rigidities.interop.featomic import Soap
from rigidities.model import LinearModel

LOSS = rg.Loss(energy=rg.Term(100.0, per_atom=True), forces=rg.Term())

SOAP = Soap("Si", 3.5, max_radial=2, max_angular=2)

SMALL = [frame for frame in load_silicon(groups=["crystal", "strained"]) if len(frame) == 8]

TRAIN, TEST = SMALL[2:20:2], SMALL[3:9:2]


def made(structures=TRAIN, loss=LOSS, soap=SOAP, **options):
    return LinearModel.fit(structures, soap, loss, progress=False, **options)
