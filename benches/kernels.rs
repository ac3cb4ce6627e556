//! The core alone, in multiplications a second over p: `cargo bench --package rigidities-core`.
//!
//! A multiplication and addition of a triangle counts once: n p²/2 of an accumulation or a solve,
//! p³/6 of a factorisation.

use std::sync::atomic::AtomicBool;

use divan::Bencher;
use divan::counter::ItemsCount;
use ndarray::Array2;
use rigidities_core::{
    Batch, Covariance, Execution, Hessian, Penalty, Precision, Reduction, Regularizer, Result, RowBlock,
};

const SIZES: [usize; 7] = [128, 256, 512, 1024, 2048, 4096, 8192];
const ROWS: usize = 2048;

static NEVER: AtomicBool = AtomicBool::new(false);

fn main() {
    divan::main();
}

fn parallel() -> Execution<'static> {
    Execution::new(true, &NEVER)
}

fn features(p: usize) -> Array2<f64> {
    Array2::from_shape_fn((ROWS, p), |(i, j)| (((i * 7919 + j * 104_729) % 1000) as f64 - 499.5) / 500.0)
}

fn accumulate(x: &Array2<f64>) -> Result<Covariance> {
    let mut covariance = Covariance::new(x.ncols(), Precision::Double)?;
    let rows = RowBlock::new(x.view(), None, Reduction::Mean)?;
    covariance.update(&Batch::new(rows, None, None)?, &parallel())?;
    Ok(covariance)
}

fn factorize(covariance: &mut Covariance) -> Result<Hessian> {
    covariance.factorize(Regularizer::Value(1.0), Penalty::identity(), false, &parallel())
}

#[divan::bench(args = SIZES)]
fn update(bencher: Bencher<'_, '_>, p: usize) {
    let x = features(p);
    bencher.counter(ItemsCount::new(ROWS * p * p / 2)).bench_local(|| accumulate(&x).map(|c| c.n_rows()));
}

#[divan::bench(args = SIZES)]
fn factor(bencher: Bencher<'_, '_>, p: usize) {
    let mut covariance = accumulate(&features(p)).ok();
    let count = ItemsCount::new(p * p * p / 6);
    bencher.counter(count).bench_local(|| covariance.as_mut().map(|c| factorize(c).map(|h| h.log_determinant())));
}

#[divan::bench(args = SIZES)]
fn variance(bencher: Bencher<'_, '_>, p: usize) {
    let x = features(p);
    let hessian = accumulate(&x).and_then(|mut c| factorize(&mut c)).ok();
    bencher.counter(ItemsCount::new(ROWS * p * p / 2)).bench_local(|| {
        let rows = RowBlock::new(x.view(), None, Reduction::Mean);
        rows.and_then(|rows| hessian.as_ref().map_or(Ok(vec![]), |h| h.variance(&rows, &parallel())))
    });
}
