"""Children of an attack, and the bits of what they hand over."""

import contextlib
import hashlib
import os
import signal
import time
import traceback
import warnings

import numpy as np

from rigidities.calibration.scale import Calibration, Kind
from rigidities.files import Stored
from rigidities.model.training_set import TrainingSet


def forked(work):
    """Fork a child that calls `work` and exits with the number it returns, or with 99 where it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: other threads run
        child = os.fork()
    if child:
        return child
    status = 99
    try:
        status = work() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended(child, patience=20.0):
    """Wait for a child and return its exit status, or minus the signal that ended it."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    kill(child)
    raise AssertionError(f"a child has not ended after {patience:g} s")


def kill(child):
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def bits(value):
    """What an object holds, to the last bit, as something to compare and to show."""
    if isinstance(value, Stored):
        try:
            return bits(value.__getstate__())
        except ValueError as error:
            return "consumed" if "consumed" in str(error) else repr(error)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, (TrainingSet, Calibration, Kind)):
        return bits(vars(value))
    if isinstance(value, dict):
        return {name: bits(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(part) for part in value]
    return value.hex() if isinstance(value, float) else value
