//! No public function panics: each is called with wrong widths, wrong lengths and odd numbers, and
//! returns the error that says so. The last test reads the sources, so that no public function is
//! forgotten here.

mod answers;
mod eigen;
mod penalties;
mod selections;
mod sizes;
mod stored;
mod sums;
mod updates;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use ndarray::{Array2, ArrayView2};
use rigidities_core::{
    Batch, Components, Covariance, Error, Execution, Groups, Hessian, HessianSnapshot, Objective, Penalty,
    PenaltySnapshot, Pool, Precision, Reason, Reduction, Regularizer, Result, RowBlock, Selection, SelectionError,
    Snapshot, Targets, Unremovable, eigenvectors, require, singular_vectors, take_workspace, tridiagonalise, zeros,
};

const P: usize = 8;
const HUGE: Error = Error::OutOfMemory { bytes: usize::MAX };
static NEVER: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicBool = AtomicBool::new(true);

/// A call of a public function, and the outcome that is expected of it.
struct Case {
    function: &'static str,
    expected: Result<()>,
    call: Box<dyn Fn() -> Result<()>>,
}

fn case(function: &'static str, expected: Result<()>, call: impl Fn() -> Result<()> + 'static) -> Case {
    Case { function, expected, call: Box::new(call) }
}

fn run() -> Execution<'static> {
    Execution::sequential()
}

fn stopped() -> Execution<'static> {
    Execution::new(false, &STOPPED)
}

fn rows(n: usize, p: usize) -> Array2<f64> {
    Array2::from_shape_fn((n, p), |(i, j)| ((i * 7919 + j * 104_729 + i * j * 31) % 101) as f64 / 50.0 - 1.0)
}

fn block(x: &Array2<f64>) -> Result<RowBlock<'_, f64>> {
    RowBlock::new(x.view(), None, Reduction::Sum)
}

/// A view of one number as many rows of many columns.
fn broadcast(n: usize, p: usize) -> Result<ArrayView2<'static, f64>> {
    static ONE: LazyLock<Array2<f64>> = LazyLock::new(|| Array2::ones((1, 1)));
    ONE.broadcast((n, p)).ok_or(HUGE)
}

fn covariance(p: usize) -> Result<Covariance> {
    let mut covariance = Covariance::new(p, Precision::Double)?;
    covariance.update(&Batch::new(block(&rows(300, p))?, None, None)?, &run())?;
    Ok(covariance)
}

fn with_targets(p: usize, n_outputs: usize) -> Result<Covariance> {
    let (mut covariance, y) = (Covariance::new(p, Precision::Double)?, rows(300, n_outputs));
    covariance.update(&Batch::new(block(&rows(300, p))?, None, Some(y.view()))?, &run())?;
    Ok(covariance)
}

fn consumed() -> Result<Covariance> {
    let mut covariance = covariance(P)?;
    covariance.factorize(Regularizer::Value(1.0), Penalty::identity(), true, &run())?;
    Ok(covariance)
}

fn hessian() -> Result<Hessian> {
    with_targets(P, 1)?.factorize(Regularizer::Value(1.0), Penalty::identity(), false, &run())
}

fn factorized(regularizer: Regularizer, penalty: Penalty) -> Result<()> {
    let mut covariance = covariance(P)?;
    let before = covariance.snapshot()?;
    let outcome = covariance.factorize(regularizer, penalty, true, &run());
    assert!(outcome.is_ok() || covariance.snapshot()? == before, "a refused penalty or λ has consumed C");
    outcome.map(|hessian| assert!(hessian.log_determinant().is_finite()))
}

fn length(what: &'static str, got: usize, expected: usize, of: &'static str) -> Result<()> {
    Err(Error::Length { what, got, expected, of })
}

fn columns(got: usize, expected: usize) -> Result<()> {
    Err(Error::ColumnCount { got, expected })
}

fn all() -> Vec<Case> {
    [
        sizes::sizes(),
        sizes::rows_and_batches(),
        sums::sums(),
        penalties::penalties(),
        answers::answers(),
        eigen::eigen(),
        selections::selections(),
        stored::stored_sums(),
        stored::stored_factors(),
        updates::updates(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_odd_call_returns_its_error() {
    for (i, Case { function, expected, call }) in all().iter().enumerate() {
        let outcome = catch_unwind(AssertUnwindSafe(call));
        // by their text: NaN equals nothing
        let got = outcome.map_or_else(|_| "a panic".to_owned(), |outcome| format!("{outcome:?}"));
        assert_eq!(got, format!("{expected:?}"), "case {i}, {function}");
    }
}

#[test]
fn every_error_can_be_shown() {
    for error in all().into_iter().filter_map(|case| case.expected.err()) {
        assert!(!error.to_string().is_empty());
    }
    let empty = Error::ComponentRange { component: 0, feature: 3, n_features: 0 };
    assert!(empty.to_string().contains("there are 0 features"));
}

/// What follows the leading `<…>` of an `impl`.
fn without_generics(header: &str) -> &str {
    let mut depth = 0;
    for (i, c) in header.char_indices() {
        depth += i32::from(c == '<') - i32::from(c == '>');
        if depth == 0 {
            return &header[i + 1..];
        }
    }
    header
}

/// Names of the public functions: `pub fn` in an `impl` of what lib.rs exports, and exported
/// functions.
fn public_functions() -> std::io::Result<BTreeSet<String>> {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = std::fs::read_to_string(sources.join("lib.rs"))?;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let exported: BTreeSet<&str> =
        lib.lines().filter(|line| line.starts_with("pub use")).flat_map(|line| line.split(|c| !is_word(c))).collect();
    let mut functions = BTreeSet::new();
    for entry in std::fs::read_dir(sources)? {
        let text = std::fs::read_to_string(entry?.path())?;
        let mut owner = None;
        for line in text.lines() {
            if let Some(header) = line.strip_prefix("impl") {
                let target = without_generics(header).rsplit(" for ").next().unwrap_or_default();
                owner = target.split(|c| !is_word(c)).find(|word| !word.is_empty());
                owner = owner.filter(|word| exported.contains(word));
            } else if let (Some(owner), Some(rest)) = (owner, line.strip_prefix("    pub fn ")) {
                functions.insert(format!("{owner}::{}", rest.split(|c| !is_word(c)).next().unwrap_or_default()));
            } else if let Some(rest) = line.strip_prefix("pub fn ") {
                let name = rest.split(|c| !is_word(c)).next().unwrap_or_default();
                functions.extend(exported.contains(name).then(|| name.to_owned()));
            }
        }
    }
    Ok(functions)
}

#[test]
fn every_public_function_is_called_here() -> std::io::Result<()> {
    let called: BTreeSet<String> = all().iter().map(|case| case.function.to_owned()).collect();
    assert_eq!(called, public_functions()?);
    Ok(())
}
