"""Run the benchmarks: each suite in a process of its own, with no variable that holds a library back.

    python benches/run.py [--short] [--suite NAME]... [--parts FOLDER]
    python benches/run.py --describe     # the machine and the kernels, as a suite finds them

Every suite writes its figures to FOLDER. Those of all suites are joined into a new file in
benches/results if they are from one day and one machine (processor, kernels, threads, versions).
Otherwise that is an error, which names the difference, and all figures stay in FOLDER; suites that
are missing there can be added by another call. `--short` shows that everything runs, and keeps
nothing.

Standard library only, so that nothing is loaded before the environment is clean.
"""

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import environment
import records
import table

HERE = Path(__file__).parent

#: Folders of figures that are not joined yet.
UNFINISHED = records.RESULTS / "unfinished"


def start(script, *arguments):
    """Run one script with a clean environment; return its exit status."""
    command = [sys.executable, str(HERE / script), *arguments]
    return subprocess.run(command, env=environment.cleaned(os.environ)).returncode


def run_suites(suites, folder, options):
    """Run suites whose figures are not in the folder yet; exit as the first one that fails does."""
    for name in suites:
        part = folder / f"{name}.json"
        if part.exists():
            print(f"{name}: figures are in {part} already")
            continue
        status = start(f"{name}.py", "--output", str(part), *options)
        if status or not part.exists():
            sys.exit(f"{name} failed with exit status {status}; {kept(folder)}")


def kept(folder):
    """Say which figures are there after a failure."""
    files = sorted(folder.glob("*.json"))
    return f"figures kept: {', '.join(map(str, files))}" if files else "there are no figures yet"


def joined(folder):
    """Join the parts in the folder; exit with the reason if they are incomplete or unlike."""
    parts = {path.stem: records.read(path) for path in folder.glob("*.json")}
    try:
        return records.join(parts)
    except records.RecordError as error:
        sys.exit(f"{error}\n{kept(folder)}")


def finish(folder):
    """Write the joined figures to a file of their own day and machine, and remove the parts."""
    content = joined(folder) | {"finished": datetime.datetime.now().isoformat(timespec="seconds")}
    path = records.place(content)
    print(f"{path}: {'replaces earlier figures of this day and machine' if path.exists() else 'new'}")
    records.write(path, content)
    shutil.rmtree(folder)
    return content


def main():
    """Run what is asked for, join what is complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument("--suite", action="append", choices=list(records.SUITES), help="only this one")
    parser.add_argument("--parts", type=Path, help="folder of an earlier call that is to be completed")
    parser.add_argument("--describe", action="store_true", help="print the machine and measure nothing")
    arguments = parser.parse_args()
    if arguments.short and arguments.parts:
        parser.error("--short keeps no figures, so that there is nothing to complete in --parts")
    for variable in environment.steering(os.environ):
        print(f"cleared: {variable}", flush=True)
    if arguments.describe:
        sys.exit(start("machine.py"))
    suites = arguments.suite or list(records.SUITES)
    now = datetime.datetime.now()
    options = ["--date", str(now.date())]
    if arguments.short:
        with tempfile.TemporaryDirectory() as folder:
            run_suites(suites, Path(folder), [*options, "--short"])
            if set(suites) == set(records.SUITES):
                content = joined(Path(folder))
                table.blocks(content | {"file": "a short run"})  # that tables can be made of it
                print(table.summary(content))
        return
    folder = arguments.parts or UNFINISHED / now.strftime("%Y-%m-%d-%H-%M-%S")
    run_suites(suites, folder, options)
    missing = [name for name in records.SUITES if not (folder / f"{name}.json").exists()]
    if missing:
        print(f"not joined, {', '.join(missing)} missing: python benches/run.py --parts {folder}")
    else:
        print(table.summary(finish(folder)))


if __name__ == "__main__":
    main()
