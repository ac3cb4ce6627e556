"""SOAP rows of structures, and the rows of a loss of energies, forces and virials, computed by featomic.

`soap_rows` gives one row per atom, `LossRows` the rows of each term of a loss with targets and weights. What the
columns mean is a `Soap`, which depends on its settings and species alone, never on a batch of structures: rows of
training and test set fit together.

Radial and power spectrum: Bartók, Kondor, Csányi, Phys. Rev. B 87 (2013) 184115; Musil et al., Chem. Rev. 121
(2021) 9759.
"""

try:
    import ase as _ase  # noqa: F401
    import featomic as _featomic  # noqa: F401
except ImportError as error:
    hint = 'rigidities.interop.featomic needs featomic and ase: pip install "rigidities[atoms]"'
    raise ImportError(hint) from error

from rigidities.interop.featomic.atom_rows import AtomRows, iter_soap_rows, soap_rows
from rigidities.interop.featomic.loss_rows import LossRows
from rigidities.interop.featomic.soap import ColumnBlock, Soap

__all__ = ["AtomRows", "ColumnBlock", "LossRows", "Soap", "iter_soap_rows", "soap_rows"]
