"""Tensor maps against rows written by hand, and against the SOAP rows of the sister module."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("metatensor")

from metatensor import Labels, TensorBlock, TensorMap

from rigidities.interop.metatensor import TensorRows, tensor_rows
from rigidities.rows import Rows


def block(values, samples, names=("system", "atom"), components=(), properties="n", dtype=np.float64):
    values = np.array(values, dtype=dtype)
    labels = Labels(list(names), np.array(samples).reshape(-1, len(names)))
    return TensorBlock(values, labels, list(components), Labels.range(properties, values.shape[-1]))


def tensor(keys, blocks, names=("center_type",)):
    return TensorMap(Labels(list(names), np.array(keys).reshape(-1, len(names))), blocks)


@pytest.fixture
def two_species():
    silicon = block([[1, 2], [3, 4]], [[0, 0], [1, 1]])
    carbon = block([[5, 6]], [[0, 1]])
    return tensor([6, 14], [carbon, silicon])


# ---- values and labels


def test_keys_become_columns(two_species):
    rows = tensor_rows(two_species)
    assert isinstance(rows, TensorRows)
    assert isinstance(rows, Rows)
    np.testing.assert_array_equal(rows.values, [[0, 0, 1, 2], [5, 6, 0, 0], [0, 0, 3, 4]])
    np.testing.assert_array_equal(rows.groups, [0, 0, 1])
    assert rows.groups.dtype == np.int64
    assert rows.samples == Labels(["system", "atom"], np.array([[0, 0], [0, 1], [1, 1]]))
    assert rows.properties == Labels(["center_type", "n"], np.array([[6, 0], [6, 1], [14, 0], [14, 1]]))


@pytest.mark.parametrize("keys", ["center_type", ["center_type"]])
def test_keys_become_samples_on_request(two_species, keys):
    rows = tensor_rows(two_species, keys_to_samples=keys)
    np.testing.assert_array_equal(rows.values, [[1, 2], [5, 6], [3, 4]])
    np.testing.assert_array_equal(rows.groups, [0, 0, 1])
    np.testing.assert_array_equal(rows.samples["center_type"], [14, 6, 14])
    assert rows.properties == Labels.range("n", 2)


def test_some_keys_become_samples_and_others_columns():
    parts = [block([[value]], [[0, centre]]) for value, centre in ((1, 0), (2, 0), (3, 1))]
    keys = [[6, 1], [6, 8], [14, 8]]
    rows = tensor_rows(tensor(keys, parts, ("center_type", "neighbor_type")), keys_to_samples="center_type")
    np.testing.assert_array_equal(rows.values, [[1, 2], [0, 3]])
    assert rows.properties == Labels(["neighbor_type", "n"], np.array([[1, 0], [8, 0]]))


@pytest.mark.parametrize(("name", "groups"), [("system", [4, 2]), ("atom", [7, 9]), (None, None)])
def test_groups_are_the_dimension_asked_for(name, groups):
    rows = tensor_rows(tensor([1], [block([[1], [2]], [[4, 7], [2, 9]])], ("_",)), samples=name)
    np.testing.assert_array_equal(rows.values, [[1], [2]])
    np.testing.assert_array_equal(rows.groups, groups)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("key", ["_", "center_type"])
def test_precision_is_kept(dtype, key):
    rows = tensor_rows(tensor([0], [block([[1, 2]], [[0, 0]], dtype=dtype)], (key,)))
    assert rows.values.dtype == dtype
    assert type(rows.values) is np.ndarray


def test_a_lone_block_is_not_copied():
    values = np.ones((2, 3))
    part = TensorBlock(values, Labels.range("system", 2), [], Labels.range("n", 3))
    assert np.shares_memory(tensor_rows(TensorMap(Labels.single(), [part])).values, values)


def test_gradients_are_left_out_and_the_tensor_is_left_alone():
    part = block([[1, 2]], [[0, 0]])
    samples = Labels(["sample", "atom"], np.array([[0, 0]]))
    gradient = TensorBlock(np.ones((1, 3, 2)), samples, [Labels.range("xyz", 3)], part.properties)
    part.add_gradient("positions", gradient)
    given = tensor([14], [part])
    rows = tensor_rows(given)
    np.testing.assert_array_equal(rows.values, [[1, 2]])
    assert given.block().has_gradient("positions")
    assert given.keys.names == ["center_type"]


def test_components_become_columns_on_request():
    scalar = block([[[1, 2]]], [[0, 0]], components=[Labels.range("o3_mu", 1)])
    vector = block([[[3, 4], [5, 6], [7, 8]]], [[0, 0]], components=[Labels(["o3_mu"], np.array([[-1], [0], [1]]))])
    given = tensor([0, 1], [scalar, vector], ("o3_lambda",))
    rows = tensor_rows(given, components="properties")
    np.testing.assert_array_equal(rows.values, [[1, 2, 3, 4, 5, 6, 7, 8]])
    assert rows.properties.names == ["o3_lambda", "o3_mu", "n"]
    np.testing.assert_array_equal(rows.properties["o3_mu"], [0, 0, -1, -1, 0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"components, 'o3_mu'.*components='properties'"):
        tensor_rows(given)
    with pytest.raises(ValueError, match="components is 'drop': expected"):
        tensor_rows(given, components="drop")


def test_two_components_keep_their_order():
    values = np.arange(12.0).reshape(1, 2, 3, 2)
    part = block(values, [[0, 0]], components=[Labels.range("a", 2), Labels.range("b", 3)])
    rows = tensor_rows(tensor([0], [part], ("_",)), components="properties")
    np.testing.assert_array_equal(rows.values, values.reshape(1, -1))
    assert rows.properties.names == ["a", "b", "n"]


def test_rows_can_be_pickled(two_species):
    rows = tensor_rows(two_species)
    again = pickle.loads(pickle.dumps(rows))
    np.testing.assert_array_equal(again.values, rows.values)
    assert again.samples == rows.samples


def test_soap_through_a_tensor_is_soap():
    featomic = pytest.importorskip("featomic")
    build = pytest.importorskip("ase.build")
    from rigidities.interop.featomic import Soap, soap_rows

    salt = build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    salt.rattle(0.1, seed=1)
    structures = [salt, salt * (2, 1, 1)]
    soap = Soap(["Na", "Cl"], cutoff=3.5, max_radial=2, max_angular=2, compact=False)
    direct = soap_rows(structures, soap=soap, progress=False)
    descriptor = featomic.SoapPowerSpectrum(**direct.soap.hyperparameters).compute(structures)
    rows = tensor_rows(descriptor)
    np.testing.assert_array_equal(rows.values, direct.values)
    np.testing.assert_array_equal(rows.groups, direct.groups)
    np.testing.assert_array_equal(rows.samples["atom"], direct.atoms)


# ---- the feature space


def test_feature_space_follows_the_properties(two_species):
    space = tensor_rows(two_species).feature_space
    others = [
        tensor_rows(two_species, keys_to_samples="center_type"),
        tensor_rows(tensor([6, 32], [b.copy() for b in two_species.blocks()])),
        tensor_rows(tensor([6, 14], [b.copy() for b in two_species.blocks()], ("neighbor_type",))),
        tensor_rows(tensor([14, 6], [b.copy() for b in two_species.blocks()])),
    ]
    assert len({space, *(rows.feature_space for rows in others)}) == 5
    fewer_rows = [block([[7, 8]], [[5, 0]]), block([[9, 9]], [[6, 1]])]
    assert tensor_rows(tensor([6, 14], fewer_rows)).feature_space == space


def test_feature_space_is_stored(two_species):
    """Files carry this name: who changes it makes the rows in them unreadable."""
    assert tensor_rows(two_species).feature_space == "metatensor-913a7e32acdd567a"


def test_feature_space_can_be_named(two_species):
    assert tensor_rows(two_species, feature_space="mine").feature_space == "mine"


# ---- PyTorch


class Tensor:
    """As much of a torch.Tensor as is asked for: no conversion to NumPy before detach and cpu."""

    def __init__(self, values, steps=("detach", "cpu", "numpy")):
        self.values, self.steps = values, steps

    def __array__(self, *args, **kwargs):
        raise RuntimeError("can't call numpy() on a tensor that requires grad")

    def __getattr__(self, name):
        if name != self.steps[0]:
            raise AttributeError(name)
        return lambda: self.values if len(self.steps) == 1 else Tensor(self.values, self.steps[1:])


class Twin:
    """A metatensor object as metatensor-torch has it: same methods, other class, tensors inside."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def __getattr__(self, name):
        value = getattr(self.inner, name)
        if name == "block_by_id":
            return lambda index: Twin(value(index))
        if name == "components":
            return [Twin(labels) for labels in value]
        if name == "values":
            return Tensor(value)
        return Twin(value) if isinstance(value, Labels) else value


def test_tensors_of_torch_are_converted(two_species):
    rows, expected = tensor_rows(Twin(two_species)), tensor_rows(two_species)
    np.testing.assert_array_equal(rows.values, expected.values)
    assert rows.samples == expected.samples
    assert rows.feature_space == expected.feature_space


def test_tensors_of_real_torch_are_converted(two_species):
    torch = pytest.importorskip("torch")
    mts = pytest.importorskip("metatensor.torch")

    def labels(given):
        return mts.Labels(given.names, torch.tensor(np.array(given.values)))

    blocks = [
        mts.TensorBlock(
            torch.tensor(part.values, dtype=torch.float32, requires_grad=True),
            labels(part.samples),
            [],
            labels(part.properties),
        )
        for part in two_species.blocks()
    ]
    rows, expected = tensor_rows(mts.TensorMap(labels(two_species.keys), blocks)), tensor_rows(two_species)
    assert rows.values.dtype == np.float32
    np.testing.assert_array_equal(rows.values, expected.values)
    assert rows.samples == expected.samples
    assert rows.feature_space == expected.feature_space


# ---- what is refused


@pytest.mark.parametrize("given", [np.ones((2, 3)), None, {"keys": 1}, block([[1]], [[0, 0]])])
def test_what_is_no_tensor_map(given):
    with pytest.raises(TypeError, match=r"expected a metatensor\.TensorMap"):
        tensor_rows(given)


def test_a_tensor_without_blocks():
    with pytest.raises(ValueError, match="the tensor is empty: it has no blocks"):
        tensor_rows(TensorMap(Labels.empty("_"), []))


@pytest.mark.parametrize("shape", [(0, 2), (1, 0)])
def test_a_tensor_without_values(shape):
    part = block(np.ones(shape), np.zeros((shape[0], 2), dtype=int))
    with pytest.raises(ValueError, match=f"empty: {shape[0]} samples with {shape[1]} properties"):
        tensor_rows(tensor([1], [part]))


def test_a_dimension_of_samples_that_is_missing(two_species):
    with pytest.raises(ValueError, match="'structure': the tensor's samples have 'system', 'atom'"):
        tensor_rows(two_species, samples="structure")


def test_a_key_that_is_missing(two_species):
    with pytest.raises(ValueError, match="has 'species': the tensor's keys have 'center_type'"):
        tensor_rows(two_species, keys_to_samples=["center_type", "species"])


@pytest.mark.parametrize(
    ("key", "arguments", "place"), [("n", {}, "properties"), ("atom", {"keys_to_samples": "atom"}, "samples")]
)
def test_names_that_would_come_twice(key, arguments, place):
    given = tensor([1, 2], [block([[1]], [[0, 0]]), block([[2]], [[0, 1]])], (key,))
    with pytest.raises(ValueError, match=f"'{key}' would occur twice in the {place}"):
        tensor_rows(given, **arguments)


@pytest.mark.parametrize("dtype", [np.int64, np.complex128, np.float16])
def test_values_that_are_no_floats(dtype):
    with pytest.raises(TypeError, match=r"values are .*: expected float32 or float64"):
        tensor_rows(tensor([1], [block([[1]], [[0, 0]], dtype=dtype)]))


def test_without_metatensor_the_error_says_what_to_install():
    code = """
import sys
sys.modules["metatensor"] = None
try:
    import rigidities.interop.metatensor
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 'pip install "rigidities[atoms]"' in done.stdout


@pytest.mark.parametrize("dtype", [">f8", ">f4", "<f8"])
def test_values_in_either_byte_order(dtype):
    values = np.arange(6.0).reshape(2, 3)
    block = TensorBlock(values.astype(dtype), Labels(["system"], np.array([[0], [1]])), [], Labels.range("feature", 3))
    rows = tensor_rows(TensorMap(Labels.single(), [block]))
    assert rows.values.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(rows.values, values)
