"""`Soap`: the settings and species that define SOAP columns. It fulfils `Descriptor`.

Columns form blocks, one for each body order, species of the centre and choice of species of the
neighbours. Components for CPR are unions of blocks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rigidities.interop.featomic.calculators import Calculators
from rigidities.interop.featomic.columns import ColumnBlock, Columns
from rigidities.interop.featomic.gradients import CENTRES, Derivatives
from rigidities.interop.featomic.limits import check_limits
from rigidities.interop.featomic.pseudo_species import as_mixing
from rigidities.interop.featomic.spectra import properties
from rigidities.interop.featomic.systems import systems_of, types_of
from rigidities.structures.species import atomic_numbers, symbols
from rigidities.validation import as_flag, as_integer, as_number


@dataclass(frozen=True, init=False, repr=False)
class Soap:
    """SOAP features of some species: their settings and columns. Immutable and hashable.

    Columns are ordered in `blocks` by body order, then by the species of the centre, then by the
    species of the neighbours (radial spectrum) or pairs of them (power spectrum), all rising.
    Within a block the order is featomic's: n, or l, n₁, n₂. A row is zero in the blocks of other
    centres, so each species has its own parameters in a linear model. With S species, N radial
    functions and L = max_angular there are S²·N columns of body order 2, and S·SN(SN+1)/2·(L+1) of
    body order 3.

    A pair of different species is kept once and scaled by √2, so that scalar products are those of
    the full power spectrum. So is the column of (l, n₁, n₂) and (l, n₂, n₁) in a pair of equal
    species: one species has 252 columns in place of 448, with the same rigidities and fits.

    The power spectrum contains two-body terms too, of which the radial spectrum is a combination:
    rigidities of "2-body" and "3-body" are λ's, not the data's. With `purified`, body order 3 is
    the power spectrum less the part of each neighbour alone and of the atom itself,
    f₃(i) − Σ_j f₃(pair i, j) + (k − 1) f₃(lone atom i) with k neighbours j. It vanishes for dimers,
    and the components of a model are those of the body orders. Fits differ: λ weighs fewer ways to
    make the same function (`rigidities.interop.featomic.purified` has the derivation).

    From four species on there are many columns: 14,784 for four, 116,480 for eight. With
    `pseudo_species` the species of neighbours are mixed into K channels. Body order 3 then has
    S·KN(KN+1)/2·(L+1) columns, 7,616 for eight species and K = 2. Species that are near in the
    periodic table have similar shares: with few data, errors are smaller than with all columns
    (docs/species.md).

    Parameters
    ----------
    species : int, str, or iterable of them
        Atomic numbers or chemical symbols of all elements in the training *and* the test set.
    cutoff : float, default 5.0
        Radius of an atom's neighbourhood, in Å.
    smoothing : float, default 0.5
        Width in Å of the range before the cutoff in which the weight of neighbours falls to 0
        (shifted cosine). 0: a step.
    density_width : float, default 0.5
        Standard deviation of the Gaussian at each neighbour, in Å.
    max_radial : int, default 7
        Largest index n of the radial functions (Gaussian-type orbitals): 7 makes 8 functions.
    max_angular : int, default 6
        Largest l of the power spectrum's angular channels.
    body_orders : iterable of {2, 3}, default (3,)
        (2,): radial spectrum. (3,): power spectrum. (2, 3): both side by side, as components for
        CPR.
    hyperparameters : mapping, optional
        Featomic's dictionary for `SoapPowerSpectrum`, in place of the settings above: "cutoff",
        "density" and "basis", as plain values or classes of featomic. The radial spectrum uses the
        basis functions of l = 0.
    compact : bool, default True
        If False, body order 3 has featomic's columns, as in version 0.1: both of (l, n₁, n₂) and
        (l, n₂, n₁).
    pseudo_species : int or array_like of shape (n_species, n_channels), optional
        Number of channels, e.g. 2, that the species of neighbours are mixed into in body order 3.
        Or the share of each species in each channel, in the order of rising atomic numbers. As many
        channels as species mix nothing. The species of centres are not mixed.
    purified : bool, default False
        Whether body order 3 is without its two- and one-body parts. It needs both body orders.

    Attributes
    ----------
    species, body_orders : tuple of int
        Rising, each once.
    settings : str
        The hyperparameters as canonical JSON.
    compact : bool
        As given; False if there is no body order 3.
    purified : bool
        As given.
    mixing : tuple of tuple of float, or None
        Shares of the species in the channels, one row for each species; None if they are not mixed.

    Raises
    ------
    ValueError
        If a setting is out of range, or featomic refuses the hyperparameters.

    Examples
    --------
    >>> from rigidities.interop.featomic import Soap
    >>> Soap("Si", cutoff=4.0, max_radial=3, max_angular=2).n_features
    30
    >>> Soap(range(1, 9)).n_features, Soap(range(1, 9), pseudo_species=2).n_features
    (116480, 7616)
    """

    kind: ClassVar[str] = "soap"
    packages: ClassVar[tuple[str, ...]] = ("featomic",)

    species: tuple[int, ...]
    body_orders: tuple[int, ...]
    settings: str
    compact: bool
    mixing: tuple[tuple[float, ...], ...] | None
    purified: bool

    def __init__(
        self,
        species: int | str | Iterable[int | str],
        cutoff: float = 5.0,
        *,
        smoothing: float = 0.5,
        density_width: float = 0.5,
        max_radial: int = 7,
        max_angular: int = 6,
        body_orders: Iterable[int] = (3,),
        hyperparameters: Mapping[str, Any] | None = None,
        compact: bool = True,
        pseudo_species: int | ArrayLike | None = None,
        purified: bool = False,
    ) -> None:
        given = (cutoff, smoothing, density_width, max_radial, max_angular)
        if hyperparameters is None:
            hyperparameters = _hyperparameters(*given)
        elif given != (5.0, 0.5, 0.5, 7, 6):
            raise ValueError("give either hyperparameters or cutoff, smoothing, …: both set the same things")
        # a frozen dataclass cannot set its fields in another way
        object.__setattr__(self, "species", atomic_numbers(species))
        object.__setattr__(self, "body_orders", _body_orders(body_orders))
        object.__setattr__(self, "settings", _canonical_json(hyperparameters))
        for order in self.body_orders:
            properties(self.settings, order)
        self._set_columns(compact, pseudo_species)
        object.__setattr__(self, "purified", as_flag(purified, "purified"))
        if self.purified and self.body_orders != (2, 3):
            raise ValueError(
                f"purified takes the two-body part out of body order 3, but body_orders is {self.body_orders}: pass "
                "body_orders=(2, 3), whose radial spectrum keeps it"
            )

    def _set_columns(self, compact: bool, pseudo_species: int | ArrayLike | None) -> None:
        mixing = None if pseudo_species is None else as_mixing(pseudo_species, self.species)
        if pseudo_species is not None and not compact:
            raise ValueError("compact is False: with pseudo_species, columns are always compact")
        if pseudo_species is not None and 3 not in self.body_orders:
            raise ValueError(f"pseudo_species mix columns of body order 3, but body_orders is {self.body_orders}")
        object.__setattr__(self, "compact", as_flag(compact, "compact") and 3 in self.body_orders)
        object.__setattr__(self, "mixing", mixing)

    def __repr__(self) -> str:
        return (
            f"Soap({symbols(self.species)}; cutoff {self.cutoff:g} Å, body orders {self.body_orders}, "
            f"{self.n_features} features, {self.feature_space!r})"
        )

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Featomic's dictionary of settings; a new one each time."""
        return dict(json.loads(self.settings))

    @property
    def cutoff(self) -> float:
        """Radius of an atom's neighbourhood, in Å."""
        return float(self.hyperparameters["cutoff"]["radius"])

    @property
    def columns(self) -> Columns:
        """All columns, and where featomic's values go to in them."""
        return _columns(self.settings, self.body_orders, self.species, self.compact, self.mixing)

    @property
    def blocks(self) -> tuple[ColumnBlock, ...]:
        """The blocks of columns, in order."""
        return self.columns.blocks

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.columns.n_features

    @property
    def feature_space(self) -> str:
        """Short name of the columns: the same for the same settings and species, in any process."""
        parts: list[Any] = [self.species, self.body_orders, self.settings]
        if self.mixing is not None:
            parts.append(self.mixing)
        elif self.compact:
            parts.append("compact")
        if self.purified:
            parts.append("purified")
        return f"soap-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"

    def components(self, by: Literal["body_order", "species"] = "body_order") -> dict[str, NDArray[np.int64]]:
        """Return the columns of each component, as `Hessian.component_rigidity` takes them.

        Parameters
        ----------
        by : {"body_order", "species"}
            Body orders, named "2-body" and "3-body", or species of the central atom, named by their
            symbol.

        Returns
        -------
        dict of str to ndarray of shape (n_columns,)
            Indices of columns, rising. Each column belongs to one component; components are in the
            order of their columns.

        Examples
        --------
        >>> components = Soap("Si", body_orders=(2, 3)).components()
        >>> {name: len(columns) for name, columns in components.items()}
        {'2-body': 8, '3-body': 252}
        """
        if by not in ("body_order", "species"):
            raise ValueError(f"by is {by!r}: expected 'body_order' or 'species'")
        parts: dict[str, list[NDArray[np.int64]]] = {}
        for block in self.blocks:
            name = f"{block.body_order}-body" if by == "body_order" else symbols([block.centre])
            columns = np.arange(block.columns.start, block.columns.stop, dtype=np.int64)
            parts.setdefault(name, []).append(columns)
        return {name: np.concatenate(columns) for name, columns in parts.items()}

    def with_pseudo_species(self, n_channels: int) -> Soap | None:
        """Return the same SOAP with so many pseudo-species, or None if it has no more columns now.

        None, too, if a species is no element, or there is no body order 3.
        """
        try:
            mixed = Soap(
                self.species,
                body_orders=self.body_orders,
                hyperparameters=self.hyperparameters,
                pseudo_species=n_channels,
                purified=self.purified,
            )
        except ValueError:
            return None
        return mixed if mixed.n_features < self.n_features else None

    # The other members of a `Descriptor` ----------------------------------------------------------

    def numbers(self, structure: Any, index: int) -> NDArray[np.int64]:
        """Return the atomic numbers of a structure of any library that featomic accepts."""
        return types_of(structure, index)

    def calculators(self) -> Calculators:
        """Return featomic's calculators for one pass over structures."""
        return Calculators(self.columns, self.purified)

    def atom_rows(self, batches: Iterable[Sequence[Any]]) -> Iterator[NDArray[np.float64]]:
        """Yield the rows of all atoms of each batch, of shape (n_atoms, n_features)."""
        with self.calculators() as calculators:
            yield from map(calculators.atom_rows, systems_of(batches, self.cutoff))

    def term_rows(
        self, batches: Iterable[Sequence[Any]], terms: Collection[str]
    ) -> Iterator[dict[str, NDArray[np.float64]]]:
        """Yield the rows of these terms of a loss for each batch, as in `Descriptor`."""
        with self.calculators() as calculators:
            derivatives = Derivatives(calculators)
            gradient_bytes = derivatives.gradient_bytes(terms)
            yield from derivatives.rows(systems_of(batches, self.cutoff, gradient_bytes, CENTRES), terms)

    def state(self) -> dict[str, Any]:
        """Return species, body orders, hyperparameters, and how the columns are reduced."""
        state: dict[str, Any] = {
            "species": list(self.species),
            "body_orders": list(self.body_orders),
            "hyperparameters": self.hyperparameters,
        }
        if self.mixing is not None:
            state["pseudo_species"] = [list(row) for row in self.mixing]
        elif self.compact:
            state["compact"] = True
        return state | ({"purified": True} if self.purified else {})

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the `Soap` that has this state. Older ones have no "compact" or "purified"."""
        mixing = state.get("pseudo_species")
        return cls(
            state["species"],
            body_orders=state["body_orders"],
            hyperparameters=state["hyperparameters"],
            compact=mixing is not None or state.get("compact", False),
            pseudo_species=mixing,
            purified=state.get("purified", False),
        )

    def describe(self) -> str:
        """Return cutoff, body orders and pseudo-species in a few words."""
        mixed = "" if self.mixing is None else f", {len(self.mixing[0])} pseudo-species"
        orders = f"{', '.join(map(str, self.body_orders))}{', purified' * self.purified}"
        return f"SOAP: cutoff {self.cutoff:g} Å, body orders {orders}{mixed}"


@lru_cache(maxsize=64)
def _columns(*settings: Any) -> Columns:
    """Return columns, the same object for the same settings: it keeps what it has worked out."""
    return Columns(*settings)


def _hyperparameters(
    cutoff: float, smoothing: float, density_width: float, max_radial: int, max_angular: int
) -> dict[str, Any]:
    """Return featomic's dictionary. Values refused here make featomic crash, or pass unnoticed."""
    if as_number(cutoff, "cutoff", "a positive number, in Å") <= 0:
        raise ValueError(f"cutoff is {cutoff}: expected a positive number, in Å")
    if not 0 <= as_number(smoothing, "smoothing", "a width, in Å") <= cutoff:
        raise ValueError(f"smoothing is {smoothing}: expected a width from 0 to the cutoff, {cutoff} Å")
    if as_number(density_width, "density_width", "a positive number, in Å") <= 0:
        raise ValueError(f"density_width is {density_width}: expected a positive number, in Å")
    for name, value in (("max_radial", max_radial), ("max_angular", max_angular)):
        if as_integer(value, name, "an integer from 0") < 0:
            raise ValueError(f"{name} is {value}: expected an integer from 0")
    fading = {"type": "ShiftedCosine", "width": smoothing} if smoothing > 0 else {"type": "Step"}
    radial = {"type": "Gto", "max_radial": max_radial}
    return {
        "cutoff": {"radius": cutoff, "smoothing": fading},
        "density": {"type": "Gaussian", "width": density_width, "center_atom_weight": 1.0},
        "basis": {"type": "TensorProduct", "max_angular": max_angular, "radial": radial},
    }


def _canonical_json(hyperparameters: Mapping[str, Any]) -> str:
    if set(hyperparameters) != {"cutoff", "density", "basis"}:
        names = ", ".join(map(repr, hyperparameters))
        raise ValueError(f"hyperparameters have {names}: expected 'cutoff', 'density' and 'basis'")
    try:
        plain = _plain(hyperparameters)
    except RecursionError:
        raise ValueError("hyperparameters are nested too deeply: expected those of featomic") from None
    check_limits(plain)
    # sorted keys, and floats in the shortest form with the same bits: equal settings give equal
    # text
    return json.dumps(plain, sort_keys=True, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return a setting in the types of JSON: classes as dictionaries, arrays as lists, 5.0 as 5."""
    if hasattr(value, "_featomic_hypers"):
        value = value._featomic_hypers()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    # featomic accepts 5 for a float, but not 5.0 for an integer
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _body_orders(body_orders: Iterable[int]) -> tuple[int, ...]:
    orders = tuple(sorted(set(body_orders)))
    if orders not in ((2,), (3,), (2, 3)):
        raise ValueError(f"body_orders is {orders}: expected (2,), (3,) or (2, 3)")
    return orders
