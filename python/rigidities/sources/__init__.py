"""Sources of rows: a set of structures, or the features of any model, read from files."""

from rigidities.sources.atoms import Structures
from rigidities.sources.features import Features
from rigidities.sources.read import Source, read_features, read_sources, read_test, read_training

__all__ = ["Features", "Source", "Structures", "read_features", "read_sources", "read_test", "read_training"]
