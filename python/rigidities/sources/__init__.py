"""Sources of feature rows: a set of structures, or the features of any model.

A `Source` yields rows in batches, and gives the structure and the atom of each row. Reports, maps
and the command line use only its methods, so a new kind of source is a new subclass and changes no
other file.
"""

from rigidities.sources.atoms import Structures
from rigidities.sources.feature_files import read_features
from rigidities.sources.features import Features
from rigidities.sources.read import read_sources, read_test, read_training
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
