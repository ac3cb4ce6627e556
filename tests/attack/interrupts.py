"""Ctrl-C at any moment: either a call has done its work, or it raises KeyboardInterrupt and nothing has changed.

A timer raises KeyboardInterrupt in the main thread, as Ctrl-C does. After each call the object is compared with what it
was before and with what the whole call makes of it, to the bit. Python raises KeyboardInterrupt in the caller, too,
just before the call or when it has returned. The traceback shows where it came.
"""

import contextlib
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from attack import things
from attack.processes import bits

import rigidities as rg
from rigidities.leave_one_out import leave_one_out

#: Interrupts of one seed.
TRIES = 20

PACKAGE = str(Path(rg.__file__).parent)


def interrupted(call, delay):
    """Call it, with Ctrl-C after `delay` seconds; return where that came ("call", "caller", None), and the result."""
    armed = True

    def interrupt(*_):
        if armed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        result = call()
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt as stop:
        files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(stop.__traceback__)]
        return "call" if any(file.startswith(PACKAGE) for file in files) else "caller", None
    return None, result


def strike(rng, make, call, tries=TRIES):
    """Interrupt `call(thing)` at random moments, with a new thing from `make()` each time."""
    thing = make()
    before = bits(thing)
    start = time.perf_counter()
    expected = bits(call(thing))
    length, after = time.perf_counter() - start, bits(thing)
    counts = Counter()
    for _ in range(tries):
        thing = make()
        share = rng.uniform(0, 1.1) if rng.random() < 0.5 else rng.normal(1, 0.05)
        start = time.perf_counter()
        came, result = interrupted(lambda thing=thing: call(thing), max(share * length, 1e-5))
        now = bits(thing)
        if came:
            assert now in (before, after), "an interrupted call has left the object neither as it was nor done"
            assert came == "caller" or now == before, "a call has raised KeyboardInterrupt and done its work"
            counts["refused"] += 1
        else:
            length += 0.3 * (time.perf_counter() - start - length)
            assert now == after
            assert bits(result) == expected, "a call that was not interrupted returned something else"
            counts["right"] += 1
    thing = make()
    assert bits(call(thing)) == expected
    assert bits(thing) == after
    return counts


def changes(rng, folder):
    """Calls that change a covariance, or that make another of it."""
    p = int(rng.choice([3, 60, 256, 300, 700, 1100]))
    base = things.covariance(rng, p, n_outputs=1)
    other = things.covariance(rng, p, n_outputs=1)
    rows = things.batch(rng, int(min(2e9 / p**2, 20_000)), p, n_outputs=1)
    penalty = rng.uniform(0.5, 2, p)
    calls = {
        "update": lambda c: c.update(**rows),
        "merge": lambda c: c.merge(other),
        "scale": lambda c: 0.5 * c,
        "consume": lambda c: c.factorize(1.0, penalty=penalty, consume=True),
        "factorize": lambda c: c.factorize(1.0, penalty=penalty),
    }
    return strike(rng, base.copy, calls[str(rng.choice(list(calls)))])


def answers(rng, folder):
    """Calls that only ask: the object stays as it is and answers again."""
    p = int(rng.choice([5, 200, 500]))
    X, y = rng.normal(size=(400, p)), rng.normal(size=400)
    base = rg.Covariance(p)
    base.update(X, targets=y)
    hessian = base.factorize(1.0)
    G = rng.normal(size=(2000, p))
    groups, C = rng.integers(0, 50, size=2000), rng.normal(size=(300, 2000))
    calls = [
        (base, lambda c: c.matrix()),
        (base, lambda c: _path(c).log_evidence),
        (base, lambda c: _path(c).score(X, y, "loo")),
        (base, lambda c: c.factorize("auto")),
        (base, lambda c: vars(c.moments())),
        (hessian, lambda h: h.variance(G)),
        (hessian, lambda h: h.variance(G, groups=groups, precision="float32")),
        (hessian, lambda h: h.component_rigidity(G, [slice(0, 2), slice(2, p)])),
        (hessian, lambda h: h.prediction_covariance(G[:300], G)),
        (hessian, lambda h: h.solve(G.T)),
        (hessian, lambda h: _fresh(h).effective_dimension),
        (hessian, lambda h: _fresh(h).coef),
        (hessian, lambda h: vars(leave_one_out(h, X, y))),
        (hessian, lambda h: rg.contrast(h, G, C)),
        (hessian, lambda h: rg.force_covariance(h, G[:1998])),
        (hessian, lambda h: rg.variance_shares(h, G, groups)),
        (hessian, lambda h: rg.component_covariance(h, G, [slice(0, 2), slice(2, p)])),
        (hessian, lambda h: rg.reduce_rows(G, groups)),
    ]
    thing, call = calls[rng.integers(len(calls))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rg.UnresolvedEvidenceWarning)
        return strike(rng, lambda: thing, call)


def _path(covariance):
    return rg.regularizer_path(covariance, np.logspace(-6, 2, 20))


def _fresh(hessian):
    """The same factor without the answers that it keeps."""
    again = type(hessian).__new__(type(hessian))
    again.__setstate__(hessian.__getstate__())
    return again


def files(rng, folder):
    """`save` and `load`: the file is the old one or the new one, and the next save leaves no other file."""
    p = int(rng.choice([4, 100, 600]))
    path = folder / "c.safetensors"
    old, new = (things.covariance(rng, p) for _ in range(2))
    new.save(path)
    start = time.perf_counter()
    new.save(path)
    length = time.perf_counter() - start
    held, counts = bits(new), Counter()
    for _ in range(TRIES):
        thing = (old, new)[rng.integers(2)]
        came, _ = interrupted(lambda thing=thing: thing.save(path), max(rng.uniform(0, 1.2) * length, 1e-5))
        found = bits(rg.Covariance.load(path))
        assert found == bits(thing) or (came and found == held), "the file is neither the old one nor the new one"
        held = found
        counts["refused" if came else "right"] += 1
    new.save(path)
    assert [file.name for file in folder.iterdir()] == [path.name]
    return counts + strike(rng, lambda: new, lambda _: rg.Covariance.load(path))


def descriptors(rng, folder):
    """Rows of structures: featomic calls Python back, and a signal in there must not be lost."""
    from ase.build import bulk

    from rigidities.interop.featomic import Soap, soap_rows

    frames = [bulk("Si", cubic=True) for _ in range(24)]
    for frame in frames:
        frame.rattle(0.1, seed=int(rng.integers(1000)))
    soap = Soap("Si", cutoff=3.5, max_radial=2, max_angular=2)
    return strike(rng, lambda: None, lambda _: soap_rows(frames, soap, progress=False).values, tries=100)


_EXIT = """
import signal, sys, warnings
import numpy as np, rigidities as rg
warnings.simplefilter("ignore")
signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
covariance = rg.Covariance(1800)
covariance.update(rng.normal(size=(2000, 1800)), targets=rng.normal(size=2000))
print("ready", flush=True)
try:
    while True:
        if sys.argv[1] == "path":
            rg.regularizer_path(covariance, penalty=np.ones(1800))
        covariance.factorize("auto")
except KeyboardInterrupt:
    sys.exit(7)
"""


def exits(rng, folder):
    """A process that ends after Ctrl-C in LAPACK ends, and soon."""
    what = str(rng.choice(["path", "auto"]))
    with subprocess.Popen([sys.executable, "-c", _EXIT, what], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0, 1.0))
            process.send_signal(signal.SIGINT)
            if rng.random() < 0.3:  # an impatient user
                time.sleep(rng.uniform(0, 0.3))
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT)
            status = process.wait(25)
        finally:
            process.kill()
    assert status in (7, 1, 120, -signal.SIGINT), f"exit status {status}"
    return Counter(refused=1)
