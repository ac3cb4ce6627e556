"""SOAP rows of atoms, and rows of a loss of energies, forces and virials, by featomic.

`soap_rows` gives one row per atom, `LossRows` the rows of each term of a loss with their targets
and weights. A `Soap` defines the columns. It depends only on its settings and species, never on a
batch of structures, so that rows of training and test set have the same columns.

Radial and power spectrum: Bartók, Kondor, Csányi, Phys. Rev. B 87 (2013) 184115; Musil et al.,
Chem. Rev. 121 (2021) 9759.
"""

try:
    import ase as _ase  # noqa: F401
    import featomic as _featomic  # noqa: F401
except ImportError as error:
    hint = 'rigidities.interop.featomic needs featomic and ase: pip install "rigidities[atoms]"'
    raise ImportError(hint) from error

from rigidities.interop.featomic.atom_rows import AtomRows, iter_soap_rows, soap_rows
from rigidities.interop.featomic.columns import ColumnBlock
from rigidities.interop.featomic.lode import Lode
from rigidities.interop.featomic.soap import Soap
from rigidities.structures.loss_rows import LossRows

__all__ = ["AtomRows", "ColumnBlock", "Lode", "LossRows", "Soap", "iter_soap_rows", "soap_rows"]
