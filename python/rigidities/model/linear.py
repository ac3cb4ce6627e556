"""A fitted linear model of energies and forces that knows how far its training data hold: fit, file, predictions.

What enters: structures. What leaves: a `LinearModel`, E = Σ_atoms fᵀθ + the energies of the composition, with the
Hessian of its loss; and from it a `Prediction`: energies, forces, virials, their standard deviations, rigidities. Rows
are made, used and dropped batch by batch: memory holds the structures, the factor, one batch and the results.

σ = scale·√v, v = gᵀH⁻¹g with g the row of what is predicted. The scale is settled by the training structures, each
left out as a whole (see `rigidities.fitting`).
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from rigidities import files
from rigidities.exceptions import OtherVersionWarning
from rigidities.hessian import Hessian
from rigidities.loss.baseline import Baseline
from rigidities.loss.terms import NAMES, Loss, Term
from rigidities.model.errors import Errors, Tally, per_atom
from rigidities.model.prediction import Prediction
from rigidities.rows import reduce_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from rigidities.interop.featomic import Soap

_HESSIAN = "hessian."


@dataclass(frozen=True, eq=False)
class LinearModel(files.Stored):
    """A linear model of SOAP features, the Hessian of the loss that it was fitted by, and the scale of its variances.

    Made by `LinearModel.fit`, or read from a file by `LinearModel.load`.

    Attributes
    ----------
    soap : Soap
        What the columns of its rows mean.
    loss : Loss
        What was minimised.
    baseline : Baseline or None
        Energies of the composition, which are added to the prediction.
    hessian : Hessian
        Second derivative of the loss at the fit, with its regularizer.
    coef : ndarray of shape (n_features,)
        The weights θ.
    scales : dict of str to float
        σ/√v by the name of the term: of the energies, the forces, the virials, as far as the loss has them. NaN where
        no structure could be left out.
    training, left_out : dict of str to Errors
        Errors of the training set by the name of the term: of the fit, and of fits without the structure in question.
    versions : dict of str to str
        Of the packages that made it.
    """

    soap: Soap
    loss: Loss
    baseline: Baseline | None
    hessian: Hessian
    coef: NDArray[np.float64]
    scales: dict[str, float]
    training: dict[str, Errors]
    left_out: dict[str, Errors]
    versions: dict[str, str] = field(default_factory=dict)

    _kind = "model"

    @classmethod
    def fit(
        cls,
        structures: Any,
        soap: Soap,
        loss: Loss,
        *,
        baseline: Baseline | Mapping[int | str, float] | Literal["fit"] | None = "fit",
        regularizer: float | Literal["auto", "evidence", "gcv", "loo"] = "auto",
        progress: bool = True,
    ) -> LinearModel:
        """Fit a model to structures with energies, forces or virials.

        Parameters
        ----------
        structures : ase.Atoms, or an iterable of them
            With what the terms of the loss need.
        soap : Soap
            Of the species of all structures that are ever to be predicted.
        loss : Loss
            What is minimised.
        baseline : Baseline, mapping of species to energy, "fit" or None
            As for `rigidities.interop.featomic.LossRows`. A loss without energies has nothing to fit it to: None.
        regularizer : float or "auto", "evidence", "gcv", "loo"
            λ; "auto" as in `Covariance.factorize`, else the best of a path (`regularizer_path`) by that criterion.
            "loo" leaves out one energy at a time.
        progress : bool, default True
            Show a progress bar on stderr in each pass over the structures.

        Returns
        -------
        LinearModel

        Raises
        ------
        ValueError, TypeError
            As `LossRows`, `fit_loss` and `RegularizerPath.best`; or "loo" is asked of a loss without energies.

        Warns
        -----
        UnresolvedEvidenceWarning
            As `Covariance.factorize` and `RegularizerPath.best`.
        NotConvergedWarning
            As `fit_loss`.
        IllConditionedWarning
            If the fit is not determined without some structure: those tell nothing about the scale.

        Examples
        --------
        >>> import rigidities as rg
        >>> from rigidities.datasets import load_silicon
        >>> from rigidities.interop.featomic import Soap
        >>> from rigidities.model import LinearModel
        >>> loss = rg.Loss(energy=rg.Term(1000.0, per_atom=True), forces=rg.Term())
        >>> soap = Soap("Si", cutoff=3.5, max_radial=3, max_angular=2)
        >>> model = LinearModel.fit(load_silicon(groups="strained")[:8], soap, loss, progress=False)
        >>> prediction = model.predict(load_silicon(groups="vacancy")[:1], progress=False)
        >>> prediction.forces_std.shape
        (63, 3)
        """
        from rigidities.model.training import fit_model

        options: Any = {"baseline": baseline, "regularizer": regularizer, "progress": progress}
        return fit_model(structures, soap, loss, **options).model

    def __repr__(self) -> str:
        return f"LinearModel({self.soap!r}; {', '.join(self.loss.terms)}; regularizer={self.hessian.regularizer:g})"

    def scale(self, name: str) -> float:
        """Return σ/√v of energies, forces or virials.

        Parameters
        ----------
        name : {"energy", "forces", "virial"}
            What the loss does not have takes the scale of the first term that it has: all rows belong to one model.
        """
        return self.scales.get(name, next(iter(self.scales.values())))

    def predict(
        self, structures: Any, *, forces: bool = True, virials: bool = False, progress: bool = True
    ) -> Prediction:
        """Predict energies, forces and virials, their standard deviations, and rigidities.

        Parameters
        ----------
        structures : ase.Atoms, or an iterable of them
            They need no labels.
        forces : bool, default True
            Most of the work; without, `Prediction.forces` is None.
        virials : bool, default False
            −∂E/∂ε, whether or not the loss has such a term: half the work of forces, a tenth more beside them.
        progress : bool, default True
            Show a progress bar on stderr.

        Returns
        -------
        Prediction

        Raises
        ------
        ValueError
            If a structure contains a species that the model does not know, or as `iter_soap_rows`.
        """
        from rigidities.interop.featomic import iter_soap_rows
        from rigidities.interop.featomic.systems import iterable, types_of

        frames = list(iterable(structures))
        numbers = [types_of(frame, index) for index, frame in enumerate(frames)]
        self._check_species(numbers)
        energies, variances, lpr = [], [], []
        for rows in iter_soap_rows(frames, self.soap, progress=progress):
            means = reduce_rows(rows)[1]
            energies.append(means @ self.coef)
            variances.append(self.hessian.variance(means))
            lpr.append(self.hessian.rigidity(rows.without_groups()))
        sizes = np.array([len(entry) for entry in numbers])
        std, pr = self._std_and_rigidity(np.concatenate(variances))
        whole = sizes * np.concatenate(energies) + self._baseline_energies(numbers)
        derivatives = self._derivatives(frames, forces, virials, progress)
        return Prediction(sizes, whole, sizes * std, pr, np.concatenate(lpr), **derivatives)

    def _derivatives(
        self, frames: Sequence[Any], forces: bool, virials: bool, progress: bool
    ) -> dict[str, NDArray[np.float64]]:
        """Return what is asked for of forces and virials, and their standard deviations, as `Prediction` names them."""
        from rigidities.interop.featomic import LossRows

        if not (forces or virials):
            return {}
        loss = Loss(forces=Term() if forces else None, virial=Term() if virials else None)
        parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in loss.terms}
        for batch in LossRows(frames, self.soap, loss, targets=False, progress=progress):
            for name, rows in batch.items():
                std = self.scale(name) * np.sqrt(self.hessian.variance(rows))
                parts[name].append(np.column_stack([rows.values @ self.coef, std]))
        shapes = {"forces": ("forces", 3), "virial": ("virials", 6)}
        found: dict[str, NDArray[np.float64]] = {}
        for name, pairs in parts.items():
            plural, components = shapes[name]
            values, std = np.concatenate(pairs).T
            found |= {plural: values.reshape(-1, components), f"{name}_std": std.reshape(-1, components)}
        return found

    def errors(
        self, structures: Any, *, terms: Iterable[str] | None = None, progress: bool = True
    ) -> dict[str, Errors]:
        """Return the errors on structures with labels, by the name of the term.

        Parameters
        ----------
        structures : ase.Atoms, or an iterable of them
            A structure without one of the labels counts nowhere in that term. Weights that structures carry are not
            looked at: every target counts the same.
        terms : iterable of {"energy", "forces", "virial"}, optional
            Those of the loss by default. A term that the loss has is looked for under the name that the loss gives.
        progress : bool, default True
            Show a progress bar on stderr.

        Returns
        -------
        dict of str to Errors

        Raises
        ------
        ValueError
            If no structure has the labels of a term, or as `predict`.
        """
        from rigidities.interop.featomic import LossRows
        from rigidities.interop.featomic.systems import iterable, types_of

        frames = list(iterable(structures))
        numbers = [types_of(frame, index) for index, frame in enumerate(frames)]
        self._check_species(numbers)
        wanted = _judged(self.loss, self.loss.terms if terms is None else terms)
        sizes = np.array([len(entry) for entry in numbers])
        tallies = {name: Tally() for name in wanted.terms}
        for batch in LossRows(frames, self.soap, wanted, baseline=self.baseline, progress=progress):
            for name, rows in batch.items():
                assert rows.targets is not None  # LossRows was asked for them
                tallies[name].add((rows.targets - rows.values @ self.coef) * per_atom(name, rows, sizes))
        return {name: tally.errors() for name, tally in tallies.items()}

    def _std_and_rigidity(self, variances: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        with np.errstate(divide="ignore"):
            return self.scale("energy") * np.sqrt(variances), 1 / variances

    def _baseline_energies(self, numbers: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
        if self.baseline is None:
            return np.zeros(len(numbers))
        return np.array([self.baseline.energy(entry) for entry in numbers])

    def _check_species(self, numbers: Sequence[NDArray[np.int64]]) -> None:
        from rigidities.structures.species import symbols

        if not numbers:
            raise ValueError("there are no structures: expected at least one")
        for index, entry in enumerate(numbers):
            unknown = sorted(set(entry.tolist()).difference(self.soap.species))
            if unknown:
                known = symbols(self.soap.species)
                raise ValueError(
                    f"structure {index} contains {symbols(unknown)}, which the model does not know: it was fitted to "
                    f"{known} only"
                )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what `save` wrote: it predicts the same bits, with the same featomic.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        LinearModel

        Raises
        ------
        ValueError
            If the file is damaged, of a later version, or holds something else.
        OSError
            If it cannot be read.

        Warns
        -----
        OtherVersionWarning
            If the model was fitted with another version of featomic than is installed.
        """
        model = super().load(path)
        fitted, here = model.versions.get("featomic"), version("featomic")
        if fitted not in (None, here):
            warnings.warn(
                f"the model was fitted to features of featomic {fitted}, here is {here}: what it predicts may differ. "
                "Compare structures whose predictions are known, install that version, or fit anew",
                OtherVersionWarning,
                stacklevel=2,
            )
        return model

    def __getstate__(self) -> dict[str, Any]:
        parts = {f"{_HESSIAN}{name}": value for name, value in self.hessian.__getstate__().items()}
        return parts | {
            "coef": self.coef,
            "soap": _soap_state(self.soap),
            "loss": {name: asdict(term) for name, term in self.loss.terms.items()},
            "baseline": None if self.baseline is None else asdict(self.baseline),
            "scales": self.scales,
            "training": {name: asdict(errors) for name, errors in self.training.items()},
            "left_out": {name: asdict(errors) for name, errors in self.left_out.items()},
            "versions": self.versions,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in _fields_of(state).items():
            object.__setattr__(self, name, value)  # a frozen dataclass can set its fields in no other way


def _fields_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `LinearModel` with this state."""
    parts = {name.removeprefix(_HESSIAN): value for name, value in state.items() if name.startswith(_HESSIAN)}
    hessian = Hessian.__new__(Hessian)
    hessian.__setstate__(parts)
    soap, coef, baseline = _soap_of_state(state["soap"]), state["coef"], state["baseline"]
    if coef.shape != (soap.n_features,) or hessian.n_features != soap.n_features:
        raise ValueError(
            f"{coef.shape} weights and a Hessian of {hessian.n_features} features, but the descriptor has "
            f"{soap.n_features}"
        )
    coef.flags.writeable = False
    if baseline is not None:
        baseline = Baseline(dict(zip(baseline["species"], baseline["energies"], strict=True)))
    return {
        "soap": soap,
        "loss": Loss(**{name: Term(**term) for name, term in state["loss"].items()}),
        "baseline": baseline,
        "hessian": hessian,
        "coef": coef,
        "scales": state["scales"],
        "training": {name: Errors(**errors) for name, errors in state["training"].items()},
        "left_out": {name: Errors(**errors) for name, errors in state["left_out"].items()},
        "versions": state["versions"],
    }


def _judged(loss: Loss, names: Iterable[str]) -> Loss:
    """Return the loss whose rows errors are taken of: labels where the fit had them, and all weights 1."""
    wanted = list(names)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise ValueError(f"terms has {', '.join(map(repr, unknown))}: expected some of {', '.join(NAMES)}")
    known = loss.terms
    plain = {"weight": 1.0, "huber": None, "missing": "skip", "weights": None}
    return Loss(**{name: replace(known.get(name, Term()), **plain) for name in wanted})  # type: ignore[arg-type]


def _soap_state(soap: Soap) -> dict[str, Any]:
    return {
        "species": list(soap.species),
        "body_orders": list(soap.body_orders),
        "hyperparameters": soap.hyperparameters,
        "feature_space": soap.feature_space,
    }


def _soap_of_state(state: dict[str, Any]) -> Soap:
    from rigidities.interop.featomic import Soap

    soap = Soap(state["species"], body_orders=state["body_orders"], hyperparameters=state["hyperparameters"])
    if soap.feature_space != state["feature_space"]:
        raise ValueError(f"its columns are {state['feature_space']!r}, but its settings give {soap.feature_space!r}")
    return soap
