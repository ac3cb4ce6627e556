"""What a calibration report refuses, sets aside or warns of."""

import warnings

import numpy as np
import pytest

import rigidities as rg
from rigidities.calibration.provenance import installed_versions

RNG = np.random.default_rng(5)
S = np.exp(RNG.normal(size=200))
R = S * RNG.normal(size=200)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"residuals": R[:9], "std": S[:9]}, ValueError, "there are 9 targets: expected at least 10"),
        ({"residuals": [], "std": []}, ValueError, "there are 0 targets"),
        ({"std": S[:-1]}, ValueError, "200 residuals but 199 standard deviations"),
        ({"std": np.where(S[7] == S, -1.0, S)}, ValueError, r"std\[7\] is -1.0: standard deviations must not be"),
        ({"std": np.where(S[7] == S, np.inf, S)}, ValueError, r"std\[7\] is inf: expected finite"),
        ({"residuals": np.where(S[3] == S, np.nan, R)}, ValueError, r"residuals\[3\] is nan: expected finite"),
        ({"std": 0 * S}, ValueError, "all standard deviations are 0"),
        ({"residuals": 0 * R}, ValueError, "all residuals are 0: are the predictions compared with themselves"),
        ({"residuals": R[:, None]}, ValueError, "residuals has shape"),
        ({"residuals": R.astype(complex)}, TypeError, "residuals has dtype complex128"),
        ({"residuals": 1e80 * R}, ValueError, r"the largest \|residual\| is .*: expected at most 1e\+75"),
        ({"std": 1e-80 * S}, ValueError, r"the largest \|residual\|/std is"),
        ({"residuals": 1e-80 * R, "std": 1e-80 * S}, ValueError, "the least std is .*: expected 0, or at least 1e-75"),
        ({"residuals": 1e-80 * R}, ValueError, r"the largest \|residual\| is .*: use another unit"),
        ({"levels": [0.5, 1.0]}, ValueError, r"levels\[1\] is 1.0: expected a number between 0 and 1"),
        ({"levels": []}, ValueError, "levels is empty"),
        ({"levels": ["a"]}, TypeError, r"levels\[0\] is 'a'"),
        ({"blocks": np.zeros(200, dtype=int)}, ValueError, "blocks has one label: expected at least two"),
        ({"blocks": np.arange(199)}, ValueError, "blocks has 199 entries"),
        ({"blocks": 0.5 * np.arange(200)}, TypeError, "blocks has dtype float64"),
        ({"by": np.arange(3)}, ValueError, r"by has shape \(3,\) but there are 200 targets"),
        ({"by": {"kind": np.full(200, np.nan)}}, ValueError, r"by\['kind'\]\[0\] is nan"),
        ({"by": {"kind": np.array([None] * 200)}}, TypeError, r"by\['kind'\] has dtype object"),
        ({"by": {3: np.zeros(200)}}, TypeError, "by has the key 3: expected the name"),
        ({"unit": 3}, TypeError, "unit is 3: expected a string"),
        ({"provenance": {"scale": 1}}, TypeError, "provenance is a dict: expected a rigidities.Provenance"),
        ({"random_state": -1}, ValueError, "random_state is -1"),
        ({"random_state": 0.5}, TypeError, "random_state is 0.5"),
        ({"threshold": np.inf}, ValueError, "threshold is inf"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        rg.calibration_report(**({"residuals": R, "std": S} | change))


def finite(value):
    """All numbers of a report's `to_dict` are there: None stands for NaN and infinity."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return all(map(finite, value)) if isinstance(value, list) else value is not None


def test_zeros_in_std_are_set_aside_and_counted():
    std = np.where(np.arange(200) % 20 == 0, 0.0, S)
    with pytest.warns(rg.IllConditionedWarning, match=r"10 of 200 .*: 10 with a standard deviation of 0 \(largest"):
        found = rg.calibration_report(R, std, blocks=np.arange(200) // 4, by={"half": np.arange(200) // 100})
    kept = std > 0
    alone = rg.calibration_report(
        R[kept], S[kept], blocks=(np.arange(200) // 4)[kept], by={"half": (np.arange(200) // 100)[kept]}
    )
    assert (found.n, found.n_aside) == (190, 10)
    one, other = found.to_dict(), alone.to_dict()
    assert [entry["index"] for entry in one.pop("worst")] == np.flatnonzero(kept)[
        [entry["index"] for entry in other.pop("worst")]
    ].tolist()
    assert one | {"n_aside": 0} == other
    assert finite({name: value for name, value in one.items() if name != "provenance"})


def test_rounding_is_set_aside_but_overconfidence_is_not():
    """A force that symmetry holds at zero has a σ and a residual at rounding; a large error at a tiny σ stays."""
    r, s = R.copy(), S.copy()
    r[:5], s[:5] = 1e-9 * R[:5], 1e-8
    with pytest.warns(rg.IllConditionedWarning, match="5 whose residual and standard deviation are rounding"):
        assert rg.calibration_report(r, s).n == 195
    r[:5] = 1 + np.abs(R[:5])
    found = rg.calibration_report(r, s)
    assert found.n == 200
    assert found.mean_square.value > 1e10
    assert sorted(one.index for one in found.worst)[:5] == [0, 1, 2, 3, 4]


def test_too_few_are_left():
    with pytest.raises(ValueError, match=r"there are 9 targets \(set aside: 3 with a standard deviation of 0"):
        rg.calibration_report(R[:12], np.where(np.arange(12) < 3, 0, S[:12]))


@pytest.mark.parametrize(
    "arrays",
    [
        (np.where(np.arange(200) < 150, 0.0, R), S),  # most residuals are 0
        (np.where(np.arange(200) == 0, 1.0, 0.0), S),  # all but one
        (R, np.ones(200)),  # one σ for all
        (np.ones(200), S),  # one residual for all
        (np.ones(200), np.ones(200)),
        (R[:10], S[:10]),
        (np.where(np.arange(200) == 0, 1e30, R), S),  # one outlier by far
        (R, np.where(np.arange(200) == 0, 1e30, S)),
        (R, np.where(np.arange(200) == 0, 1e-30, S)),
        (1e-60 * R, 1e-60 * S),
        (R.astype(np.float32), S.astype(np.float16)),
        (np.round(10 * R + 1).astype(int), np.ceil(S).astype(int)),
    ],
)
@pytest.mark.parametrize("blocks", [None, 2, 20])
def test_odd_data_have_a_report(arrays, blocks):
    """No NaN, no infinity, no warning of NumPy: as text, as JSON, in every figure."""
    n = len(arrays[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rg.calibration_report(*arrays, blocks=None if blocks is None else np.arange(n) * blocks // n)
        values = found.to_dict()
        assert "nan" not in str(found)
        assert "inf" not in str(found).replace("information", "")
    provenance, auroc = values.pop("provenance"), values.pop("auroc")
    assert all((one.pop("block") is None) == (blocks is None) for one in values["worst"])
    for name in ("gaussian", "student"):
        assert (values[name].pop("auroc")["value"] is None) == (auroc is None)
    bins = values.pop("bins")
    if blocks != 2:  # a bin may lie in one block, and has no interval then
        assert finite(bins)
    assert finite(values), [name for name, value in values.items() if not finite(value)]
    assert provenance["versions"] == installed_versions()


def test_provenance_is_kept():
    provenance = rg.Provenance("validation", n=50, n_blocks=5, regularizer=1e-6, scale=2.0, scale_error=0.1)
    found = rg.calibration_report(R, S, provenance=provenance)
    assert found.provenance is provenance
    assert found.to_dict()["provenance"]["scale_error"] == 0.1
    assert set(provenance.versions) == {"rigidities", "numpy", "scipy", "python"}
