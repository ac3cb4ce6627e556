"""σ of a target from its variance: scale, noise, and a factor by class.

    σ² = factor² · (scale² · max(v, floor) + noise_std²),    noise_std = scale·√noise

v is gᵀH⁻¹g, what the parameters leave open. The noise is what more data of the same kind would not
remove: rounded labels, and what the features cannot express. Beside v it is `noise`, ν, the
variance of a target of weight 1 over scale²; in the unit of the target it is `noise_std`. The
factor is that of the class of the target, 1 if nothing is known of it. How scale and noise are
found: `rigidities.calibration.losses`.

**Rows at rounding.** A force that symmetry holds at zero has a row f = 0. Coordinates in files are
rounded, and so f, v and r are roundings, whose ratio r/√v has no meaning. A row is set aside if v
is at most `FLOOR` times the median. Its σ is that of the floor, so that no σ is 0.

**Classes.** Errors of one kind of structures may be larger than σ says, those of another smaller.
Its n structures give a scale of their own, which is drawn towards the common one as if that came
from `POOLED` structures (partial pooling; Gelman & Hill, *Data Analysis Using Regression and
Multilevel/Hierarchical Models*, 2007, section 12.2):

    factor^m = (POOLED + n q) / (POOLED + n),

with q^(1/m) the scale that the loss gives to z = r/σ of the class, σ the common one: m = 1 and q =
√(π/2) mean |z| for "absolute", m = 2 and q = mean z² for "nll", and m = 2 for the others, too. A
structure counts once however many forces it has: they are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from rigidities.calibration.intervals import Scores, as_coverage, gaussian_quantile, student_factor
from rigidities.calibration.losses import BIN_SIZE, Loss, scale_and_noise, size
from rigidities.exceptions import UndeterminedWarning, some_of, warn
from rigidities.validation import as_classes, as_feature_table, as_variances, check_feature_space, check_word

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PerOutput: TypeAlias = Any
"""A number, or an ndarray of shape (n_outputs,) if there are several outputs."""

Interval = Literal["gaussian", "student", "conformal", "adaptive"]

FLOOR = 1e-6
"""Rows of at most this share of the median v are rounding: σ is a thousandth of the usual one.

Of 39,699 force rows of silicon (mlearn) 9,098 are below it, and none is between 1e-6 and 1e-4.
Nearly all of them are zero by symmetry: with coordinates of eight decimals, as in the file, they
have up to 1e-13 of the median, with six decimals up to 1e-9, with five up to 1e-7. Of 34,728 rows
of lithium 218 have less than 1e-25, and the next one 1e-6."""

ROUNDED = 1e-8
"""Rows of at most this share of the largest mean |f|² of a term have no part in the median v: atoms
are 1e-4 Å off a place of symmetry, at most. Coordinates of five decimals make rows of 1e-9."""

LEAST_OF_KIND, POOLED = 5, 5.0
"""Fewest structures of a kind with a factor of its own, and how many structures the common scale
counts as. Left-out silicon and lithium (mlearn, four kinds), mean of ln σ + z²/2 with the factors
of all other structures: energies −4.16 to −4.31 and −6.54 to −6.62, forces −1.65 to −1.68 and −3.98
to −4.00. From 0 to 10 it is the same within 0.02; 50 loses half of the gain for energies."""


@dataclass(frozen=True)
class Kind:
    """How σ does for one class of targets, each of them left out.

    Attributes
    ----------
    n_structures : int
        Structures (blocks; without blocks, targets) that are not at rounding.
    mean_square : float
        Mean z² over their targets, z = r/σ with the common σ; 1 if σ is right for them.
    factor : float
        σ of this class over the common σ; 1 for fewer than `LEAST_OF_KIND` structures.
    """

    n_structures: int
    mean_square: PerOutput
    factor: PerOutput


@dataclass(frozen=True, eq=False)
class Calibration:
    """What makes σ of a target of its variance, and an interval of σ.

        σ² = factor² · (scale² · max(v, floor) + noise_std²)

    `rigidities.calibrate` returns it, and `LinearModel.calibrations` holds one for each term of its
    loss. With residuals of several outputs, scale, noise and factors are arrays of shape
    (n_outputs,).

    Attributes
    ----------
    scale : float or ndarray of shape (n_outputs,)
        In the unit of the target; NaN if nothing determines it.
    noise_std : float or ndarray of shape (n_outputs,)
        Standard deviation of what v does not describe, scale·√noise, in the unit of the target.
    floor : float
        Variance at and below which a row is rounding.
    n, n_aside : int
        Number of targets, and of those among them that were set aside as rounding.
    kinds : dict of Kind
        By the label of the class; empty if there are no classes.
    loss : {"nll", "absolute", "crps", "binned"}, or None
        What the scale minimises; None in a `LinearModel`, whose files do not hold it.
    scale_error : float or ndarray of shape (n_outputs,), or None
        Standard error of the scale; None in a `LinearModel`, too.
    scores : Scores, or None
        What conformal intervals need; None in a `LinearModel`, too.
    feature_space : str or None
        That of the Hessian whose v it belongs to, if it is known. v has no unit, so a scale is
        wrong for any other.

    Examples
    --------
    >>> import numpy as np
    >>> from rigidities.calibration.scale import Calibration, Kind
    >>> calibration = Calibration(2.0, 0.3, 1e-12, kinds={"surface": Kind(12, 4.0, 1.8)})
    >>> calibration.standard_deviation(np.array([0.04, 0.0]))
    array([0.5, 0.3])
    >>> calibration.standard_deviation(np.array([0.04]), by=["surface"])
    array([0.9])
    >>> calibration.noise, calibration.by  # beside v; scales of classes
    (0.0225, {'surface': 3.6})
    """

    scale: PerOutput
    noise_std: PerOutput = 0.0
    floor: float = 0.0
    n: int = 0
    n_aside: int = 0
    kinds: Mapping[Any, Kind] = field(default_factory=dict)
    loss: Loss | None = None
    scale_error: PerOutput = None
    scores: Scores | None = field(default=None, repr=False)
    feature_space: str | None = None

    @property
    def noise(self) -> PerOutput:
        """ν of σ² = scale²·(v + ν): the variance of a target of weight 1, over scale²."""
        return (self.noise_std / self.scale) ** 2

    @property
    def by(self) -> dict[Any, PerOutput]:
        """Scale of each class, by its label."""
        return {label: self.scale * kind.factor for label, kind in self.kinds.items()}

    def standard_deviation(
        self, variance: ArrayLike, by: ArrayLike | None = None, *, feature_space: str | None = None
    ) -> NDArray[np.float64]:
        """Return σ.

        Parameters
        ----------
        variance : array_like of shape (n,)
            v of targets, as `Hessian.variance` gives it; infinity where nothing is known.
        by : array_like of shape (n,), optional
            Class of each target. Without it, all have the common σ.
        feature_space : str, optional
            That of the Hessian and rows that `variance` comes from. An array does not know it, so
            without it nothing is checked.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)

        Raises
        ------
        ValueError, TypeError
            If a variance is negative or NaN, lengths differ, `by` is given and the calibration has
            no classes, or the calibration is of another feature space.

        Warns
        -----
        UndeterminedWarning
            If the calibration does not know a class: its targets have the common σ.
        """
        self.check_feature_space(feature_space)
        v = as_variances(variance, finite=False)
        return self.deviations(v, self._classes(by, len(v)))

    def check_feature_space(self, feature_space: str | None) -> None:
        """Raise if this feature space and that of the calibration are known and differ."""
        check_feature_space(feature_space)
        if None not in (feature_space, self.feature_space) and feature_space != self.feature_space:
            raise ValueError(
                f"the calibration is of feature space {self.feature_space!r}, but the variances are of "
                f"{feature_space!r}, where another scale holds: calibrate residuals of that space"
            )

    def deviations(self, variances: NDArray[np.float64], kinds: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """As `standard_deviation`, of arrays that are checked, and silent on unknown classes."""
        v = np.maximum(variances, self.floor)
        common = np.hypot(self.scale * np.sqrt(v if np.ndim(self.scale) == 0 else v[:, None]), self.noise_std)
        if kinds is None or not self.kinds:
            return np.asarray(common)
        labels, places = np.unique(kinds, return_inverse=True)
        one = np.ones(np.shape(self.scale))
        factors = [self.kinds[label].factor if label in self.kinds else one for label in labels.tolist()]
        by_label = np.array(factors).reshape(len(labels), *one.shape)
        return np.asarray(common * by_label[places.ravel()])

    def interval(
        self,
        variance: ArrayLike,
        coverage: float,
        method: Interval = "gaussian",
        *,
        by: ArrayLike | None = None,
        features: ArrayLike | None = None,
        degrees_of_freedom: float | None = None,
        feature_space: str | None = None,
    ) -> NDArray[np.float64]:
        """Return half-widths: prediction ± half-width holds this share of the targets.

        Parameters
        ----------
        variance : array_like of shape (n,)
            v of targets.
        coverage : float
            The share, between 0 and 1.
        method : {"gaussian", "student", "conformal", "adaptive"}
            "gaussian" and "student" trust σ and the distribution, "conformal" and "adaptive"
            neither: see `rigidities.calibration.intervals` for what they guarantee.
        by : array_like of shape (n,), optional
            Class of each target. A class has its σ ("gaussian", "student"), or the quantile of its
            own scores ("conformal", "adaptive"), so that the guarantee holds in each class. Without
            it, all targets have the common σ or quantile.
        features : array_like of shape (n,) or (n, n_features)
            For "adaptive": the features of these targets.
        degrees_of_freedom : float
            For "student": n less the effective dimension. The number of rows, if these are a
            validation set: z of a new target has exactly this distribution if errors are Gaussian,
            rows independent, the loss "nll" and the noise 0.
        feature_space : str, optional
            As for `standard_deviation`.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)

        Raises
        ------
        ValueError, TypeError
            As `standard_deviation`; if the coverage is not between 0 and 1, the method is unknown,
            an argument that it needs is missing or one that it does not take is given, or the
            calibration holds no scores.

        Warns
        -----
        UndeterminedWarning
            If there are too few scores for the coverage, so that half-widths are infinite, or if
            the calibration does not know a class: its targets have the common σ or quantile.

        Examples
        --------
        >>> import numpy as np, rigidities as rg
        >>> rng = np.random.default_rng(0)
        >>> v = rng.uniform(0.5, 2.0, 500)
        >>> calibration = rg.calibrate(0.3 * np.sqrt(v) * rng.standard_t(4, 500), v)  # heavy tails
        >>> calibration.interval([1.0], 0.68).round(2)  # as if errors were Gaussian
        array([0.4])
        >>> calibration.interval([1.0], 0.68, "conformal").round(2)
        array([0.33])
        """
        check_word(method, "method", ("gaussian", "student", "conformal", "adaptive"))
        share = as_coverage(coverage)
        for name, value, only in (
            ("features", features, "adaptive"),
            ("degrees_of_freedom", degrees_of_freedom, "student"),
        ):
            if value is not None and method != only:
                raise TypeError(f'{name} is for method "{only}", but method is "{method}"')
        self.check_feature_space(feature_space)
        v = as_variances(variance, finite=False)
        classes = self._classes(by, len(v))
        if method == "gaussian":
            return gaussian_quantile(share) * self.deviations(v, classes)
        if method == "student":
            return student_factor(share, degrees_of_freedom) * self.deviations(v, classes)
        if self.scores is None:
            raise ValueError(f'method "{method}" needs scores: calibrate residuals with rigidities.calibrate')
        if method == "conformal":
            factors = self.scores.conformal(share, classes)
        else:
            factors = self.scores.adaptive(share, classes, self._features(features, len(v)))
        root = self.deviations(v) / self.scale  # √(max(v, floor) + ν)
        with np.errstate(invalid="ignore"):
            half = root * (factors[:, 0] if np.ndim(self.scale) == 0 else factors)
        return np.where(np.isinf(root), np.inf, half)  # also where the factor is 0

    def _classes(self, by: ArrayLike | None, n: int) -> NDArray[Any] | None:
        """Check the classes of n targets, and warn of those that are not known."""
        if by is None:
            return None
        if not self.kinds:
            raise ValueError("by is given, but this calibration has no classes: pass by to rigidities.calibrate, too")
        labels = as_classes(by, "by", n, "target")
        unknown = [repr(label) for label in np.unique(labels).tolist() if label not in {*self.kinds, "-"}]
        if unknown:
            warn(
                UndeterminedWarning,
                f"class {some_of(unknown)} was not in the calibration: its targets have the σ, or the "
                "quantile, of all classes together",
            )
        return labels

    def _features(self, features: ArrayLike | None, n: int) -> NDArray[np.float64]:
        known = None if self.scores is None else self.scores.features
        if known is None:
            raise ValueError('method "adaptive" needs features: pass features to rigidities.calibrate, too')
        if features is None:
            raise TypeError('method "adaptive" needs the features of these targets: interval(..., features=...)')
        return as_feature_table(features, n, known.shape[1])


def above_rounding(
    variances: NDArray[np.float64], norms: NDArray[np.float64], largest: float
) -> tuple[NDArray[np.bool_], float]:
    """Return which rows are more than rounding, and the variance at and below which they are not.

    Parameters
    ----------
    variances, norms : ndarray of shape (n,)
        v and |f|² of the rows.
    largest : float
        Mean |f|² of rows that are more than rounding.

    Returns
    -------
    kept : ndarray of bool of shape (n,)
    floor : float
        `FLOOR` times the median v of rows longer than `ROUNDED`; 0 if there are none.
    """
    kept = norms > ROUNDED * largest
    floor = FLOOR * float(np.median(variances[kept])) if kept.any() else 0.0
    return kept & (variances > floor), floor


def fit_calibration(
    residuals: NDArray[np.float64],
    variances: NDArray[np.float64],
    structures: NDArray[np.int64],
    loss: Loss,
    *,
    floor: float = 0.0,
    kinds: NDArray[Any] | None = None,
    noise: float | None = None,
    bin_size: int = BIN_SIZE,
) -> Calibration:
    """Fit scale and noise to targets, each in a fit without its structure, then factors by class.

    Parameters
    ----------
    residuals, variances : ndarray of shape (n,)
        r, at least one of them not 0, and v > 0, of targets that are not set aside; n > 0.
    structures : ndarray of int of shape (n,)
        Index of the structure of each target.
    loss : {"nll", "absolute", "crps", "binned"}
    floor : float
        What `above_rounding` returned.
    kinds : ndarray of shape (n,), optional
        Label of the class of each target; "-" if it is unknown.
    noise : float, optional
        ν; fitted by default, with "nll" or "absolute".
    bin_size : int
        For "binned".

    Returns
    -------
    Calibration
        Scale 0 if that is the minimum of the loss (see `scale_and_noise`).
    """
    scale, noise_std = scale_and_noise(residuals, variances, loss, noise=noise, bin_size=bin_size)
    common = Calibration(scale, noise_std, floor, len(residuals))
    if kinds is None or scale == 0:
        return common
    deviation = common.deviations(variances)
    found = {}
    for label in np.unique(kinds).tolist():
        if label != "-":
            own = kinds == label
            n = len(np.unique(structures[own]))
            found[label] = _kind(residuals[own], deviation[own], n, loss, bin_size)
    return replace(common, kinds=found)


def _kind(residuals: NDArray[np.float64], deviation: NDArray[np.float64], n: int, loss: Loss, bin_size: int) -> Kind:
    own, power = size(residuals, deviation, loss, min(bin_size, len(residuals))), 1 if loss == "absolute" else 2
    pooled = float((POOLED + n * own**power) / (POOLED + n)) ** (1 / power)
    return Kind(n, float(np.mean((residuals / deviation) ** 2)), pooled if n >= LEAST_OF_KIND else 1.0)
