"""What every suite does around its measurements: it refuses an unclean environment and writes its figures."""

import argparse
import datetime
import sys
from pathlib import Path

import environment
import machine
import records


def run(name, text, measure):
    """Measure and write; `measure(short, roof)` returns the suite's own figures."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument("--output", type=Path, help="new JSON file for the figures")
    parser.add_argument("--date", default=str(datetime.date.today()), help="day that the figures belong to")
    arguments = parser.parse_args()
    environment.refuse()
    if arguments.output and arguments.output.exists():
        sys.exit(f"{arguments.output} is there already, and no figures are overwritten: name another file")
    if not arguments.short:
        machine.require_equal_threads()
    this = machine.description()
    print(f"{name}: {this['processor']}, {this['vector']}; {'; '.join(this['blas'])}", flush=True)
    roof = machine.roofline(arguments.short)
    print(", ".join(f"{key} {value:.3g}" for key, value in roof.items() if value is not None), flush=True)
    figures = measure(arguments.short, roof)
    if arguments.output:
        content = {"date": arguments.date, "machine": this, "roofline": roof, **figures}
        records.write(arguments.output, content)
