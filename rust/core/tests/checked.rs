//! `make test` runs the tests of this crate as `cargo test` builds them: with debug assertions and with checks for
//! overflow, which a release build lacks.

use std::hint::black_box;
use std::panic::catch_unwind;

#[test]
fn tests_run_with_debug_assertions_and_overflow_checks() {
    assert!(catch_unwind(|| debug_assert!(black_box(false))).is_err(), "no debug assertions: run without --release");
    let largest = black_box(usize::MAX);
    assert!(catch_unwind(|| black_box(largest + 1)).is_err(), "no overflow checks: run without --release");
}
