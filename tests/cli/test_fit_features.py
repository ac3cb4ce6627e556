"""`rigidities fit` and `rigidities score` of features of any model: .npz with energies, names, weights, species."""

import arrays
import numpy as np
import pytest
from typer.testing import CliRunner

import rigidities as rg
from rigidities import cli

pytest.importorskip("ase")
pytest.importorskip("matplotlib")

from rigidities.model import LinearModel
from rigidities.sources.feature_files import read_features
from rigidities.structures.given import GivenRows, structures_of_rows

P, THETA = 6, np.array([1.0, -2.0, 0.5, 0.0, 3.0, 1.5])


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def features(seed, n=40, per_row=0.0, noise=1e-3):
    """Rows in any order, groups, and energies of the mean rows."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, n)
    groups = rng.permutation(np.repeat(np.arange(n), sizes))
    rows = rng.normal(size=(len(groups), P))
    means = rg.reduce_rows(rows, groups)[1]
    return {"features": rows, "groups": groups, "energies": means @ THETA + per_row + noise * rng.normal(size=n)}


def errors_of(path):
    model = LinearModel.load(path)
    return model.left_out["energy"].rmse


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_fit_score_and_report():
    np.savez("train.npz", **features(0))
    np.savez("test.npz", **features(1))
    done = run("fit", "train.npz", "test.npz", "-o", "model.safetensors", "--regularizer", "loo")
    assert done.exit_code == 0, done.output
    assert "left out        test" in done.stdout
    np.testing.assert_allclose(LinearModel.load("model.safetensors").coef, THETA, atol=5e-3)
    assert run("score", "model.safetensors", "test.npz", "-o", "scored.npz").exit_code == 0
    scored = arrays.load("scored.npz")
    np.testing.assert_allclose(scored["energies"], features(1)["energies"], atol=0.02)
    assert (scored["energy_std"] > 0).all()
    assert scored["pr"].shape == (40,)
    assert scored["lpr"].shape == features(1)["groups"].shape
    assert run("report", "train.npz", "test.npz", "-o", "report").exit_code == 0


def test_test_structures_that_were_fitted_are_named():
    known, new = features(0), features(1, n=3)
    np.savez("train.npz", **known)
    both = np.concatenate([known["features"][known["groups"] == 7], new["features"]])
    groups = np.concatenate([np.zeros((known["groups"] == 7).sum(), dtype=int), new["groups"] + 1])
    np.savez("test.npz", features=both, groups=groups, energies=[known["energies"][7], *new["energies"]])
    done = run("fit", "train.npz", "test.npz", "-o", "m", "--no-plot")
    assert "1 of 4 test structures are in the training set, and say nothing about new ones: 0 (training 7)" in " ".join(
        done.stdout.split()
    )
    np.savez("test.npz", **new)
    assert "in the training set" not in run("fit", "train.npz", "test.npz", "-o", "m", "--no-plot").stdout


@pytest.mark.parametrize("species", [False, True])
def test_a_report_of_features_is_that_of_the_fitted_model(species):
    train, test = ({name: data for name, data in features(seed).items()} for seed in (0, 1))
    train["weights"] = np.linspace(0.5, 2.0, 40)
    if species:
        for data in (train, test):
            data["species"] = np.where(np.arange(len(data["groups"])) % 3, "C", "O")
            data["energies"] = data["energies"] - 100.0
    np.savez("train.npz", **train)
    np.savez("test.npz", **test)
    for arguments in (
        ("fit", "train.npz", "-o", "model.safetensors"),
        ("score", "model.safetensors", "test.npz", "-o", "scored.npz"),
        ("report", "train.npz", "test.npz", "-o", "own"),
        ("report", "train.npz", "test.npz", "-o", "given", "--model", "model.safetensors"),
    ):
        done = run(*arguments)
        assert done.exit_code == 0, done.output
    assert "λ is only the least" not in done.stdout
    assert "PR/weight counts equal training structures" in done.stdout
    scored, own, given = (arrays.load(path) for path in ("scored.npz", "own/rigidities.npz", "given/rigidities.npz"))
    for name in ("pr", "lpr"):
        np.testing.assert_array_equal(own[name], given[name])
    np.testing.assert_allclose(own["pr"], scored["pr"], rtol=1e-9)


def test_a_report_without_all_energies_says_so():
    data = features(0)
    data["energies"][3] = np.nan
    np.savez("train.npz", **data)
    np.savez("test.npz", **features(1))
    assert "λ is only the least" in run("report", "train.npz", "test.npz", "-o", "report").stdout
    refused = run("report", "train.npz", "test.npz", "-o", "r", "--regularizer", "loo")
    assert "add an array named energies" in " ".join(refused.stderr.split())


def test_a_report_warns_of_a_missing_intercept():
    np.savez("train.npz", **features(0, per_row=5.0))
    assert "an intercept is missing" in run("report", "train.npz", "train.npz", "-o", "report").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fit", "f.npz", "-o", "m", "--energy-key", "e"), "--energy-key: for structures only, and f.npz holds"),
        (("fit", "f.npz", "-o", "m", "--cutoff", 3, "--body-orders", "3"), "--cutoff, --body-orders: for structures"),
        (("report", "f.npz", "f.npz", "-o", "r", "--group-key", "k"), "--group-key: for structures only"),
        (("report", "f.npz", "f.npz", "-o", "r", "--pseudo-species", 2), "--pseudo-species: for structures only"),
        (
            ("report", "f.npz", "f.npz", "-o", "r", "--regularizer", 1, "--model", "m"),
            "--regularizer: --model m decides",
        ),
    ],
)
def test_options_of_structures_are_refused(arguments, said):
    np.savez("f.npz", **features(0))
    done = run(*arguments)
    assert done.exit_code != 0
    assert said in " ".join(done.stderr.split())


def test_features_of_another_model_are_refused():
    np.savez("train.npz", **features(0))
    wide = features(1)
    np.savez("wide.npz", **wide | {"features": np.hstack([wide["features"]] * 2)})
    assert run("fit", "train.npz", "-o", "model.safetensors").exit_code == 0
    for command in (
        ("score", "model.safetensors", "wide.npz", "-o", "s.npz"),
        ("report", "wide.npz", "wide.npz", "-o", "r", "--model", "model.safetensors"),
    ):
        said = " ".join(run(*command).stderr.split())
        assert "wide.npz: features have 12 columns, but the model 6" in said


def test_energies_of_whole_structures_with_total():
    data = features(0, noise=0.0)
    sizes = np.unique(data["groups"], return_counts=True)[1]
    np.savez("total.npz", **data | {"energies": data["energies"] * sizes})
    assert run("fit", "total.npz", "--total", "-o", "m.safetensors", "--regularizer", 1e-9).exit_code == 0
    np.testing.assert_allclose(LinearModel.load("m.safetensors").coef, THETA, atol=1e-6)


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_structures_are_named_by_strings(order):
    data, rng = features(0), np.random.default_rng(3)
    names = np.array([f"run/{i:02d}" for i in range(40)])
    named = data | {"groups": names[data["groups"]]}
    if order == "shuffled":
        moved = rng.permutation(40)
        named |= {"labels": names[moved], "energies": data["energies"][moved]}
    np.savez("named.npz", **named)
    read = read_features("named.npz")
    np.testing.assert_array_equal(read.energies, data["energies"])
    assert run("fit", "named.npz", "-o", "m.safetensors", "--no-plot").exit_code == 0
    scored = run("score", "m.safetensors", "named.npz", "-o", "out.npz")
    assert "run/" in scored.stdout
    np.testing.assert_array_equal(arrays.load("out.npz")["labels"], names)
    reported = run("report", "named.npz", "named.npz", "-o", "report")
    assert "run/" in reported.stdout, reported.output
    np.testing.assert_array_equal(arrays.load("report/rigidities.npz")["labels"], names)


def test_fewer_structures_than_features():
    """The missing intercept is looked for in the span of the rows, where the fit takes place."""
    rng = np.random.default_rng(0)
    F = rng.normal(size=(20, 50))
    np.savez("wide.npz", features=F, energies=F[:, :3].sum(axis=1) + 0.01 * rng.normal(size=20))
    done = run("fit", "wide.npz", "-o", "m.safetensors", "--regularizer", "0.1")
    assert done.exit_code == 0, done.output
    assert LinearModel.load("m.safetensors").coef.shape == (50,)
    scored = run("score", "m.safetensors", "wide.npz", "-o", "out.npz")
    assert scored.exit_code == 0, scored.output


def test_integer_groups_can_have_names():
    np.savez("named.npz", **features(0) | {"labels": [f"s{i}" for i in range(40)]})
    assert list(read_features("named.npz").names[:2]) == ["s0", "s1"]


def test_weights_and_missing_energies():
    data = features(0)
    data["energies"][3] = 1e3
    np.savez("weighted.npz", **data, weights=np.where(np.arange(40) == 3, 0.0, 1.0))
    assert run("fit", "weighted.npz", "-o", "m.safetensors", "--no-plot").exit_code == 0
    np.testing.assert_allclose(LinearModel.load("m.safetensors").coef, THETA, atol=5e-3)
    data["energies"][3] = np.nan
    np.savez("part.npz", **data)
    assert "the energy is nan" in run("fit", "part.npz", "-o", "n.safetensors").stderr
    assert run("fit", "part.npz", "-o", "n.safetensors", "--missing", "skip", "--no-plot").exit_code == 0


def test_species_give_a_baseline():
    data, rng = features(0), np.random.default_rng(5)
    species = np.where(rng.random(len(data["groups"])) < 0.5, "Si", "O")
    share = rg.reduce_rows((species == "Si").astype(float)[:, None], data["groups"])[1][:, 0]
    data["energies"] += -160.0 * share - 440.0 * (1 - share)
    np.savez("oxides.npz", **data, species=species)
    done = run("fit", "oxides.npz", "-o", "m.safetensors", "--no-plot")
    assert "O -4" in done.stdout
    assert errors_of("m.safetensors") < 2.0
    assert "an intercept is missing" not in done.stderr


# what is warned of --------------------------------------------------------------------------------


@pytest.mark.parametrize("per_row", [-300.0, -5.0, 20.0])
def test_a_missing_intercept_is_warned_of(per_row):
    np.savez("far.npz", **features(0, per_row=per_row))
    assert "an intercept is missing" in run("fit", "far.npz", "-o", "m.safetensors", "--no-plot").stderr
    done = run("fit", "far.npz", "-o", "m.safetensors", "--no-plot", "--baseline", "fit")
    assert "intercept" not in done.stderr


@pytest.mark.parametrize("change", [{}, {"column": 1.0}, {"per_row": 0.1}])
def test_no_false_alarm_for_an_intercept(change):
    for seed in range(3):
        data = features(seed, per_row=change.get("per_row", -30.0 if change else 0.0), noise=0.3)
        if "column" in change:
            data["features"] = np.hstack([data["features"], np.full((len(data["features"]), 1), 10.0)])
        np.savez("near.npz", **data)
        done = run("fit", "near.npz", "-o", "m.safetensors", "--no-plot", "--regularizer", "loo")
        assert "intercept" not in done.stderr


def test_total_energies_where_means_are_expected_are_warned_of():
    data = features(0, per_row=-20.0)
    sizes = np.unique(data["groups"], return_counts=True)[1]
    np.savez("total.npz", **data | {"energies": data["energies"] * sizes})
    done = run("fit", "total.npz", "-o", "m.safetensors", "--no-plot")
    assert "they look like totals" in done.stderr
    assert "pass --total" in done.stderr.lower()
    assert "look like totals" not in run("fit", "total.npz", "-o", "m.safetensors", "--no-plot", "--total").stderr
    covariance = rg.Covariance(P)
    with pytest.warns(rg.ImplausibleLabelsWarning, match='pass reduction="sum"'):
        covariance.update(data["features"], groups=data["groups"], targets=data["energies"] * sizes)


# what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "said"), [
    ({"energies": None}, "has no energies"),
    ({"energies": np.ones(3)}, "energies have shape (3,), expected one for each structure, (40,)"),
    ({"energies": np.full(40, "a")}, "energies has dtype <U1"),
    ({"weights": np.full(40, -1.0)}, "weight 'weight' is -1.0"),
    ({"labels": ["a", "b"]}, "labels have shape (2,), expected one for each structure, (40,)"),
    ({"labels": np.arange(1, 41)}, "labels and groups name other structures, first 1 and 0"),
    ({"species": ["bulk"] * 3}, "species have shape (3,)"),
])  # fmt: skip
def test_what_is_refused(change, said):
    np.savez("bad.npz", **{name: value for name, value in (features(0) | change).items() if value is not None})
    done = run("fit", "bad.npz", "-o", "m.safetensors")
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_unknown_species_and_models_of_another_kind():
    data = features(0)
    np.savez("odd.npz", **data, species=["bulk"] * len(data["groups"]))
    assert "'bulk' is no chemical symbol" in run("fit", "odd.npz", "-o", "m.safetensors").stderr
    np.save("rows.npy", data["features"])
    assert "has no energies" in run("fit", "rows.npy", "-o", "m.safetensors").stderr
    np.savez("wide.npz", **features(1) | {"features": np.ones((len(features(1)["features"]), 9))})
    np.savez("train.npz", **data)
    assert "features have 9 columns" in run("fit", "train.npz", "wide.npz", "-o", "m.safetensors").stderr


# other files --------------------------------------------------------------------------------------


def test_rows_alone_as_npy():
    data = features(0)
    np.save("rows.npy", data["features"])
    np.savez("train.npz", **data)
    assert run("fit", "train.npz", "-o", "m.safetensors", "--no-plot").exit_code == 0
    assert run("score", "m.safetensors", "rows.npy", "-o", "out.npz").exit_code == 0
    np.testing.assert_allclose(arrays.load("out.npz")["energies"], data["features"] @ THETA, atol=0.05)
    assert run("report", "rows.npy", "rows.npy", "-o", "report").exit_code == 0


def test_tensor_maps_as_mts():
    metatensor = pytest.importorskip("metatensor")
    data = features(0)
    atoms = np.column_stack([data["groups"], np.arange(len(data["groups"]))])
    block = metatensor.TensorBlock(
        data["features"], metatensor.Labels(["system", "atom"], atoms), [], metatensor.Labels.range("n", P)
    )
    metatensor.save("rows.mts", metatensor.TensorMap(metatensor.Labels.single(), [block]))
    read = read_features("rows.mts")
    np.testing.assert_array_equal(read.rows.values, data["features"])
    np.testing.assert_array_equal(read.groups, data["groups"])
    assert run("report", "rows.mts", "rows.mts", "-o", "report").exit_code == 0


# in Python ----------------------------------------------------------------------------------------


def test_a_model_of_rows_alone(tmp_path):
    data = features(0)
    sizes = np.unique(data["groups"], return_counts=True)[1]
    structures = structures_of_rows(rg.Rows(data["features"], data["groups"]), data["energies"] * sizes)
    loss = rg.Loss(energy=rg.Term(per_atom=True, target="energy"))
    model = LinearModel.fit(structures, GivenRows(P), loss, baseline=None, progress=False)
    covariance = rg.Covariance(P)
    covariance.update(data["features"], groups=data["groups"], targets=data["energies"])
    hessian = covariance.factorize()
    np.testing.assert_allclose(model.coef, hessian.coef, rtol=1e-8)
    model.save(tmp_path / "model")
    loaded = LinearModel.load(tmp_path / "model")
    assert loaded.soap == GivenRows(P)
    prediction = loaded.predict(structures, forces=False, progress=False)
    np.testing.assert_allclose(prediction.pr, hessian.rigidity(data["features"], groups=data["groups"]), rtol=1e-8)
    with pytest.raises(ValueError, match="rows as given have no derivatives"):
        loaded.predict(structures, progress=False)


def test_a_baseline_without_species_is_stored():
    np.savez("far.npz", **features(0, per_row=-300.0))
    assert run("fit", "far.npz", "-o", "m.safetensors", "--no-plot", "--baseline", "fit").exit_code == 0
    assert LinearModel.load("m.safetensors").baseline.species == (0,)
    assert run("score", "m.safetensors", "far.npz", "-o", "out.npz").exit_code == 0
    np.testing.assert_allclose(arrays.load("out.npz")["energies"], features(0, per_row=-300.0)["energies"], atol=2.0)
