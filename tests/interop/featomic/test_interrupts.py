"""Ctrl-C in featomic and metatensor: the right rows or `KeyboardInterrupt`; no foreign code on the main thread."""

import _thread
import random
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

ase = pytest.importorskip("ase")
featomic = pytest.importorskip("featomic")

import metatensor  # noqa: E402
from ase.build import bulk  # noqa: E402
from crystals import SMALL, rattled, with_emt  # noqa: E402

import rigidities as rg  # noqa: E402
from rigidities.interop.featomic import LossRows, Soap, iter_soap_rows, soap_rows  # noqa: E402
from rigidities.interop.featomic.calculators import Calculators, _require_convention  # noqa: E402
from rigidities.interop.featomic.pair_expansion import pair_expansion  # noqa: E402
from rigidities.interop.featomic.spectra import properties  # noqa: E402
from rigidities.interop.metatensor import tensor_rows  # noqa: E402
from rigidities.model import LinearModel  # noqa: E402
from rigidities.sources import Structures  # noqa: E402

SILICON = [rattled(bulk("Si", cubic=True), seed) for seed in range(24)]
SOAP = Soap("Si", cutoff=3.5, max_radial=2, max_angular=2)
LOSS = rg.Loss(energy=rg.Term(), forces=rg.Term())


def of_soap_rows():
    return soap_rows(SILICON, SOAP, progress=False).values


def of_iter_soap_rows():
    return np.concatenate([rows.values for rows in iter_soap_rows(SILICON, SOAP, batch_size=16, progress=False)])


def of_loss_rows():
    rows = LossRows(SILICON, SOAP, LOSS, targets=False, batch_size=16, progress=False)
    return np.concatenate([part.values for batch in rows for part in batch.values()])


def of_descriptor():
    properties.cache_clear()
    return np.array([Soap("Si", cutoff=3.5, max_radial=2, max_angular=2).n_features])


def tensor():
    labels = metatensor.Labels.range("system", 200)
    keys = metatensor.Labels(["center_type"], np.array([[6], [8]]))
    values = np.random.default_rng(0).normal(size=(2, 200, 30))
    properties = metatensor.Labels.range("n", 30)
    return metatensor.TensorMap(keys, [metatensor.TensorBlock(part, labels, [], properties) for part in values])


TENSOR = tensor()


def of_tensor_rows():
    return tensor_rows(TENSOR).values


def of_predictions():
    frames = [with_emt(rattled(bulk("Cu", cubic=True), seed)) for seed in range(4)]
    model = LinearModel.fit(frames, Soap("Cu", **SMALL), LOSS, regularizer=1e-3, progress=False)
    structures = Structures("copper", [bulk("Cu")], model.soap)
    parts = [rows.values for rows in structures.batches()] + [structures.sample(5)]
    return np.concatenate([model.predict(bulk("Cu"), progress=False).forces, *[part[:, :3] for part in parts]])


def of_purified_rows():
    _require_convention.cache_clear()
    pair_expansion.cache_clear()
    soap = Soap("Cu", **SMALL, body_orders=(2, 3), purified=True)
    frames = [rattled(bulk("Cu", cubic=True), seed) for seed in range(4)]
    (found,) = soap.term_rows([frames], ["energy", "forces"])
    return np.concatenate([soap_rows(frames, soap, progress=False).values, found["forces"][:, 0]])


WORK = [of_soap_rows, of_iter_soap_rows, of_loss_rows, of_descriptor, of_tensor_rows, of_predictions, of_purified_rows]

FILES = "calculators", "spectra", "systems", "pair_expansion", "purified"


@pytest.fixture
def calls(monkeypatch):
    """Threads that were in foreign code: in featomic, its calculators' ends, or making labels and blocks."""
    threads = []

    def spy(owner, name):
        function = getattr(owner, name)

        def spied(*arguments, **options):
            threads.append(threading.get_ident())
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, spied)

    for owner, name in (
        (featomic.calculator_base.CalculatorBase, "compute"),
        (featomic.calculator_base.CalculatorBase, "__init__"),
        (featomic.calculator_base.CalculatorBase, "__del__"),
        (metatensor.Labels, "__init__"),
        (metatensor.TensorBlock, "__init__"),
        (metatensor.TensorMap, "keys_to_properties"),
    ):
        spy(owner, name)
    return threads


@pytest.mark.parametrize("work", WORK)
def test_foreign_code_runs_on_a_thread_that_takes_no_signals(work, calls):
    work()
    assert calls
    assert threading.main_thread().ident not in calls


def test_featomic_is_called_in_few_files_only():
    """Elsewhere only `wrap_system` is taken from it, which is Python."""
    package = Path(rg.__file__).parent
    found = {path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")}
    callers = {name for name, text in found.items() if re.search(r"^(import|from) featomic", text, re.MULTILINE)}
    assert callers == {f"interop/featomic/{name}.py" for name in FILES}
    assert "from featomic.systems import wrap_system\n" in found["interop/featomic/systems.py"]


@pytest.mark.parametrize("work", WORK[:4])
def test_ctrl_c_in_a_callback_is_not_lost(work, monkeypatch):
    """It comes while featomic asks for positions: the exception must not end up in featomic's callback."""
    of_descriptor()  # the calculators themselves ask for an atom's positions
    positions = featomic.systems.AseSystem.positions

    def interrupted(self):
        _thread.interrupt_main()
        time.sleep(0.02)
        return positions(self)

    monkeypatch.setattr(featomic.systems.AseSystem, "positions", interrupted)
    monkeypatch.setattr("rigidities.interop.featomic.systems.Lists.add", lambda *arguments: None)
    with pytest.raises(KeyboardInterrupt):
        work()


def test_a_missing_row_is_an_error(monkeypatch):
    of_descriptor()  # asks for a lone atom
    compute = featomic.SoapPowerSpectrum.compute
    monkeypatch.setattr(
        featomic.SoapPowerSpectrum, "compute", lambda self, systems, **options: compute(self, systems[1:], **options)
    )
    with pytest.raises(RuntimeError, match="featomic gave rows of 184 atoms, but 192 were asked for"):
        of_soap_rows()


@pytest.mark.parametrize("body_orders", [(2,), (3,), (2, 3)])
def test_every_kind_of_structure_has_its_rows(body_orders, mixed):
    """Lone atoms, several species, centres that are chosen: the count of rows holds for all."""
    frames = [*mixed, ase.Atoms("H"), ase.Atoms("HeNe", positions=[[0, 0, 0], [0, 0, 50]])]
    soap = Soap(
        sorted({*np.concatenate([frame.numbers for frame in frames]).tolist()}), **SMALL, body_orders=body_orders
    )
    assert len(soap_rows(frames, soap, progress=False)) == sum(map(len, frames))
    large = rattled(bulk("Si", cubic=True) * (3, 3, 1))
    assert len(large) > 64
    rows = LossRows([*frames, large], soap, LOSS, targets=False, progress=False)
    assert sum(len(batch["forces"]) for batch in rows) == 3 * sum(map(len, [*frames, large]))


def test_a_fault_of_featomic_is_a_value_error(monkeypatch):
    def fails(self, *arguments, **options):
        raise featomic.FeatomicError("attempt to divide by zero")

    soap = Soap("Si", **SMALL)
    monkeypatch.setattr(featomic.SoapPowerSpectrum, "compute", fails)
    with pytest.raises(ValueError, match="featomic cannot compute the rows of these structures: attempt to divide"):
        soap_rows(SILICON, soap, progress=False)


def test_calculators_end_with_the_pass():
    with Calculators(SOAP.columns) as calculators:
        assert calculators._of_order
    assert not calculators._of_order


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ctrl-C in a `__del__`, rare
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer that sends signals")
@pytest.mark.parametrize("work", WORK[:5])
def test_ctrl_c_at_any_time_gives_the_right_rows_or_an_interrupt(work):
    """Hundreds of calls, each interrupted at a random time; before, one in a hundred returned wrong rows."""

    def interrupt(*arguments):
        raise KeyboardInterrupt

    right, start = work(), time.perf_counter()
    work()
    length = time.perf_counter() - start
    choose, before = random.Random(0), signal.signal(signal.SIGALRM, interrupt)
    n_interrupts, slowest, end = 0, 0.0, time.monotonic() + 4
    try:
        while time.monotonic() < end:
            delay, begin = choose.uniform(0.0003, max(length, 0.002)), time.perf_counter()
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                found = work()
                signal.setitimer(signal.ITIMER_REAL, 0)
                np.testing.assert_array_equal(found, right)
            except KeyboardInterrupt:
                n_interrupts += 1
                slowest = max(slowest, time.perf_counter() - begin - delay)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert n_interrupts > 20
    assert slowest < 1
    np.testing.assert_array_equal(work(), right)
