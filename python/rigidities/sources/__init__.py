"""Sources of feature rows: a set of structures, or the features of any model.

A `Source` hands out rows in batches and says which structure and which atom each row belongs to.
Reports, maps and the command line use its methods alone. A new kind of source is a new subclass,
and no other file changes.
"""

from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features
from rigidities.sources.read import read_features, read_sources, read_test, read_training
from rigidities.sources.source import AtomLabels, Components, Description, Source

__all__ = [
    "AtomLabels",
    "Components",
    "Description",
    "Features",
    "Source",
    "Structures",
    "read_features",
    "read_sources",
    "read_test",
    "read_training",
]
