"""Where standard deviations come from: what a reader of a report needs to judge or repeat it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from rigidities._core import __version__


def installed_versions() -> dict[str, str]:
    """Return the versions of this package, NumPy, SciPy and Python."""
    found = {"rigidities": __version__}
    for name in ("numpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a build without metadata
            found[name] = "unknown"
    return found | {"python": platform.python_version()}


@dataclass(frozen=True)
class Provenance:
    """What σ was calibrated on, and with which numbers.

    Attributes
    ----------
    calibrated_on : str
        The data, in words, as "leave-one-out residuals of the training set". Empty if unknown.
    n, n_blocks : int or None
        Targets that σ was calibrated on, and independent units among them.
    regularizer : float or None
        λ of the fit.
    scale, scale_error : float or None
        Of σ² = scale²·(v + noise), and its standard error.
    n_seen : int
        Judged structures that the model was fitted to. Their errors say nothing about new ones.
    versions : mapping of str to str
        By default those that are installed.

    Examples
    --------
    >>> import rigidities as rg
    >>> rg.Provenance("validation forces", n=2000, n_blocks=40, scale=0.12).n_blocks
    40
    """

    calibrated_on: str = ""
    n: int | None = None
    n_blocks: int | None = None
    regularizer: float | None = None
    scale: float | None = None
    scale_error: float | None = None
    n_seen: int = 0
    versions: Mapping[str, str] = field(default_factory=installed_versions)
