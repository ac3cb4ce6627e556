"""What the machine can do at most for given work, and how much of that was reached.

The limit is the roofline (S. Williams, A. Waterman, D. Patterson, Commun. ACM 52(4), 65 (2009)):
work of f flop on b bytes takes no less than max(f / peak, b / bandwidth). The peak is the rate of
OpenBLAS's square matrix product, the bandwidth that of reading memory on all threads; `machine.py`
measures both. Standard library only.
"""


def peak(row, roof):
    """Return the best rate of a matrix product in the row's precision, GF/s."""
    return roof[f"{row['precision']}_gigaflops"]


def limits(row, roof):
    """Return the least milliseconds that arithmetic and reading take, each None where it is unknown."""
    flops, read = row.get("flops"), row.get("read_bytes")
    arithmetic = None if flops is None else flops / peak(row, roof) / 1e6
    memory = None if read is None else read / roof["read_gigabytes"] / 1e6
    return arithmetic, memory


def share(row, roof):
    """Return the part of the roofline that we reach, or None where the work has no count."""
    known = [limit for limit in limits(row, roof) if limit is not None]
    return max(known) / row["ours_ms"] if known else None


def explanation(row, roof):
    """Say how near the roofline we are: "72.3 GF/s, 90 % of 80.3"."""
    reached = share(row, roof)
    if reached is None:
        return "no count of flop or bytes"
    arithmetic, memory = limits(row, roof)
    if memory is None or (arithmetic is not None and arithmetic >= memory):
        rate, bound, unit = row["flops"] / row["ours_ms"] / 1e6, peak(row, roof), "GF/s"
    else:
        rate, bound, unit = row["read_bytes"] / row["ours_ms"] / 1e6, roof["read_gigabytes"], "GB/s"
    return f"{rate:.1f} {unit}, {100 * reached:.0f} % of {bound:.1f}"


def bound(stage, p, roof):
    """Return the roofline of a pipeline's stage, GF/s: a row has p² flop on 8p bytes, a factorisation no rows."""
    most = roof["float64_gigaflops"]
    return most if stage == "factorize" else min(most, roof["read_gigabytes"] * p / 8)


def best(roofs):
    """Join what several suites measured: the highest rates, and the most that others used meanwhile."""
    rates = {name: max(roof[name] for roof in roofs) for name in roofs[0] if name != "busy"}
    busy = [roof["busy"] for roof in roofs if roof["busy"] is not None]
    return rates | {"busy": max(busy, default=None)}
