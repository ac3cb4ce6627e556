"""A linear model of energies and forces, with standard deviations and rigidities.

`LinearModel` is E = Σ_atoms fᵀθ + baseline, with the Hessian of its loss. It predicts energies,
forces, virials, their standard deviations and rigidities. Rows are computed and used batch by
batch: memory holds the structures, the factor, one batch and the results.

σ² = scale²·(v + noise), v = gᵀH⁻¹g with g the row of the prediction. Scale
and noise come from the training structures, each left out as a whole (see
`rigidities.calibration.scale`).
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rigidities import files
from rigidities.factor import reciprocal
from rigidities.hessian import Hessian
from rigidities.loss.baseline import Baseline
from rigidities.loss.rules import Rule
from rigidities.loss.terms import NAMES, Loss, Term
from rigidities.model.atom_rows import iter_atom_rows, known_structures
from rigidities.model.compositions import baseline_energies, undetermined
from rigidities.model.energies import mean_energies
from rigidities.model.ensembles import draw_members, energies_of
from rigidities.model.errors import Errors, Evaluation, evaluate, per_atom, read_to_compare
from rigidities.model.prediction import Prediction, std_of_atoms
from rigidities.model.scale import calibration_for, check_feature_spaces
from rigidities.model.state import check_descriptor, checked_state, fields_of, state_of, warn_of_other_versions
from rigidities.model.training import ModelFit, fit_model
from rigidities.model.training_set import TrainingSet
from rigidities.structures.read import kinds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from rigidities.calibration.scale import Calibration
    from rigidities.model.kernel import SparseKernel
    from rigidities.structures.descriptor import Descriptor


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A linear model of SOAP or other features, with the Hessian of its loss and its scale.

    Made by `LinearModel.fit`, or read from a file by `LinearModel.load`.

    Attributes
    ----------
    soap : Soap, or another Descriptor
        Defines the columns of its rows.
    loss : Loss
        The loss that was minimised.
    baseline : Baseline or None
        Energies of the species, which are added to the prediction.
    hessian : Hessian
        Second derivative of the loss at the fit, with its regularizer.
    coef : ndarray of shape (n_features,)
        The parameters θ.
    calibrations : dict of str to Calibration
        What σ is made of, by the name of the term: energies and virials per atom, and forces, if
        the loss has them. The scale is NaN if structures that are left out determine none
        (`LinearModel.fit` warns).
    training, left_out : dict of str to Errors
        Errors of the training set by the name of the term: of the fit, and of fits that leave out
        the structure of the target.
    versions : dict of str to str
        Versions of the packages that were used for the fit.
    training_set : TrainingSet or None
        Rigidities of the training set itself, and fingerprints of its structures. None if the model
        was read from an older file that has none.
    """

    soap: Descriptor
    loss: Loss
    baseline: Baseline | None
    hessian: Hessian
    coef: NDArray[np.float64]
    calibrations: dict[str, Calibration]
    training: dict[str, Errors]
    left_out: dict[str, Errors]
    versions: dict[str, str] = field(default_factory=dict)
    training_set: TrainingSet | None = None

    def __post_init__(self) -> None:
        check_feature_spaces(self.calibrations, self.hessian)

    @classmethod
    def fit(
        cls,
        structures: Any,
        soap: Descriptor,
        loss: Loss,
        *,
        baseline: Baseline | Mapping[int | str, float] | Literal["fit"] | None = "fit",
        regularizer: float | Rule = "auto",
        kernel: SparseKernel | None = None,
        progress: bool = True,
    ) -> LinearModel:
        """Fit a model to structures with energies, forces or virials.

        Parameters
        ----------
        structures : ase.Atoms, or an iterable of them
            With the data that the terms of the loss need.
        soap : Soap, or another Descriptor
            With the species of all structures that the model will ever predict. Features of your
            own: see `rigidities.structures.descriptor.Descriptor`.
        loss : Loss
            The loss to minimise.
        baseline : Baseline, mapping of species to energy, "fit" or None
            As for `rigidities.interop.featomic.LossRows`. A loss without energies needs None.
        regularizer : float or "auto", "evidence", "gcv", "loo"
            λ, or the rule that chooses it, as for `fit_loss`.
        kernel : SparseKernel, optional
            Fit a sparse kernel model on the rows of a `Soap`: linear in whitened kernels.
        progress : bool, default True
            Show a progress bar on stderr in each pass over the structures.

        Returns
        -------
        LinearModel

        Raises
        ------
        ValueError, TypeError
            As `LossRows`, `fit_loss` and `SparseKernel.rows`.

        Warns
        -----
        UnresolvedEvidenceWarning
            As `Covariance.factorize` and `RegularizerPath.best`.
        NotConvergedWarning
            As `fit_loss`.
        IllConditionedWarning
            If the fit is undetermined without one of the structures: its targets are excluded from
            the scale. If a term has no scale: of one structure, or of errors that are rounding.

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
        settings: dict[str, Any] = {"baseline": baseline, "regularizer": regularizer, "kernel": kernel}
        return cls.of_fit(fit_model(structures, soap, loss, **settings, progress=progress))

    @classmethod
    def of_fit(cls, fitted: ModelFit) -> LinearModel:
        """Return the model of a fit that `rigidities.model.training.fit_model` returned."""
        packages = ("rigidities", "numpy", *fitted.soap.packages)
        return cls(
            soap=fitted.soap,
            loss=fitted.minimum.loss,
            baseline=fitted.baseline,
            hessian=fitted.hessian,
            coef=fitted.coef,
            calibrations=fitted.calibrations,
            training=fitted.training,
            left_out=fitted.left_out,
            versions={name: version(name) for name in packages} | {"python": platform.python_version()},
            training_set=fitted.training_set,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.coef.flags.writeable = False  # pickle does not store this flag

    def __repr__(self) -> str:
        return f"LinearModel({self.soap!r}; {', '.join(self.loss.terms)}; regularizer={self.hessian.regularizer:g})"

    @property
    def scales(self) -> dict[str, float]:
        """Scale of each term of the loss."""
        return {name: one.scale for name, one in self.calibrations.items()}

    def scale(self, name: str) -> float:
        """Return the scale of `calibration`."""
        return float(self.calibration(name).scale)

    def calibration(self, name: str) -> Calibration:
        """Return what σ of energies per atom, forces or virials per atom is made of.

        Parameters
        ----------
        name : {"energy", "forces", "virial"}
            If the loss lacks this term, or it has no scale, the first scale that there is counts:
            all rows belong to one model. NaN if there is none.
        """
        if name not in NAMES:
            raise ValueError(f"name is {name!r}: expected one of {', '.join(NAMES)}")
        return calibration_for(self.calibrations, name)

    def predict(
        self,
        structures: Any,
        *,
        forces: bool = True,
        virials: bool = False,
        ensemble: int | None = None,
        random_state: int | np.random.Generator | None = None,
        progress: bool = True,
    ) -> Prediction:
        """Predict energies, forces and virials, their standard deviations, and rigidities.

        Parameters
        ----------
        structures : ase.Atoms, or an iterable of them
            They need no reference values.
        forces : bool, default True
            Predict forces; they take most of the time. If False, `Prediction.forces` is None.
        virials : bool, default False
            Predict −∂E/∂ε, also if the loss has no virials. It takes half the time of forces alone,
            or a tenth more together with them.
        ensemble : int, optional
            Predict the energies of so many members, too (`rigidities.model.ensembles`).
        random_state : int or numpy.random.Generator, optional
            The same number gives the same members, for any structures.
        progress : bool, default True
            Show a progress bar on stderr.

        Returns
        -------
        Prediction

        Raises
        ------
        ValueError, TypeError
            If a structure contains a species that the model has no columns for, if the descriptor
            refuses a structure, if an ensemble is asked for and there are fewer than two members or
            no scale, or if `random_state` is given without `ensemble`.
        MemoryError
            If members and their energies do not fit in memory.
        """
        frames, numbers = known_structures(structures, self.soap)
        sizes = np.array([len(entry) for entry in numbers])
        calibration = self.calibration("energy")
        members = draw_members(self.hessian, calibration, ensemble, random_state, len(frames))
        found = mean_energies(iter_atom_rows(frames, sizes, self.soap, progress), self.hessian, self.coef, members)
        kinds = kinds_of(frames)
        std = calibration.deviations(found.variances, kinds)
        pr = reciprocal(found.variances)  # overwrites it
        arbitrary = undetermined(self.baseline, numbers)
        std[arbitrary], pr[arbitrary] = np.inf, 0.0
        whole = sizes * found.values + baseline_energies(self.baseline, numbers)
        return Prediction(
            sizes,
            whole,
            sizes * std,
            pr,
            found.lpr,
            fingerprints=found.fingerprints,
            atom_energy_std=std_of_atoms(calibration.scale, found.lpr, np.repeat(arbitrary, sizes)),
            energy_ensemble=None if ensemble is None else energies_of(whole, sizes, found.deviations, arbitrary),
            **self._derivatives(frames, kinds, forces, virials, progress),
        )

    def _derivatives(
        self, frames: Sequence[Any], kinds: NDArray[np.str_] | None, forces: bool, virials: bool, progress: bool
    ) -> dict[str, NDArray[np.float64]]:
        """Return forces, virials and their σ, by their names in `Prediction`."""
        from rigidities.structures.loss_rows import LossRows

        if not (forces or virials):
            return {}
        loss = Loss(forces=Term() if forces else None, virial=Term() if virials else None)
        parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in loss.terms}
        made = LossRows(frames, self.soap, loss, targets=False, progress=progress)
        for batch in made:
            for name, rows in batch.items():
                factor = per_atom(name, rows, made.sizes)  # σ is that of virials per atom
                own = None if kinds is None else kinds[rows.blocks]
                std = self.calibration(name).deviations(factor**2 * self.hessian.variance(rows), own)
                parts[name].append(np.column_stack([rows.values @ self.coef, std / factor]))
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
        """Return the errors on structures with reference values, by the name of the term.

        Parameters
        ----------
        structures : ase.Atoms, or an iterable of them
            Structures that lack the values of a term are skipped in that term. Weights of the
            structures are ignored: all targets have the same weight.
        terms : iterable of {"energy", "forces", "virial"}, optional
            By default the terms of the loss that at least one structure has values of. Reference
            values are read under the names in the loss.
        progress : bool, default True
            Show a progress bar on stderr.

        Returns
        -------
        dict of str to Errors

        Raises
        ------
        ValueError
            If no structure has the values of one of `terms`, or of any term, or as `predict`.
        """
        found = self.evaluate(structures, terms=terms, progress=progress).errors
        if not found:
            raise ValueError(f"no structure has {' or '.join(self.loss.terms)} to compare with")
        return found

    def evaluate(
        self,
        structures: Any,
        *,
        terms: Iterable[str] | None = None,
        keep_energies: bool = False,
        progress: bool = True,
    ) -> Evaluation:
        """Return the errors as `errors` does, or none, and the rows of the energies if asked."""
        from rigidities.structures.loss_rows import LossRows

        frames, numbers = known_structures(structures, self.soap)
        undetermined(self.baseline, numbers)  # for its warning
        loss, known = read_to_compare(frames, self.loss, terms)
        if loss is None:
            return Evaluation({})
        rows = LossRows(frames, self.soap, loss, baseline=self.baseline, targets=known, progress=progress)
        return evaluate(rows, self.coef, keep_energies=keep_energies)

    # Files ----------------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write the whole model to a file: safetensors, no pickle, written whole or not at all.

        Parameters
        ----------
        path : path-like
            Replaced if it exists, and keeps its mode then. A Hessian takes 4p² bytes.

        Raises
        ------
        OSError
            If the file cannot be written, or `path` is something else than a regular file, or one
            with several hard links. What was there is unchanged then.
        MemoryError
            If the state of the Hessian does not fit in memory beside the model.
        """
        files.save(path, "model", state_of({entry.name: getattr(self, entry.name) for entry in fields(self)}))

    @classmethod
    def load(cls, path: str | PathLike[str], descriptor: Descriptor | None = None) -> LinearModel:
        """Read a model that `save` wrote. With the same featomic, predictions have the same bits.

        Parameters
        ----------
        path : path-like
        descriptor : Descriptor, optional
            The descriptor of the model, if it, or one that is joined, is of your own: a file does
            not choose the code that runs. Its feature space must be that of the file.

        Returns
        -------
        LinearModel

        Raises
        ------
        ValueError
            If the file is damaged, of a later version, or holds something else; or if the
            descriptor is missing or another one.
        OSError
            If the file cannot be read.

        Warns
        -----
        OtherVersionWarning
            If the model was fitted with another version of featomic than the installed one.
        """
        state = files.restore(path, "model", checked_state)
        check_descriptor(path, state, descriptor)
        model = files.rebuild(path, "model", state, lambda state: cls(**fields_of(state, descriptor)))
        warn_of_other_versions(model.versions, model.soap.packages)
        return model
