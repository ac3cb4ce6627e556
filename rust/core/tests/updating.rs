//! Factors that rows are added to and removed from, against L Lᵀ by plain loops, at every edge of a
//! block, and with the same bits on any number of threads.

use std::sync::atomic::AtomicBool;

use ndarray::Array2;
use rigidities_core::{
    Batch, Change, Covariance, Error, Execution, Hessian, Penalty, Precision, Reduction, Regularizer, Result, RowBlock,
};

static NEVER: AtomicBool = AtomicBool::new(false);

fn rows(n: usize, p: usize, seed: usize) -> Array2<f64> {
    Array2::from_shape_fn((n, p), |(i, j)| {
        (((i + seed) * 7919 + j * 104_729 + (i + seed) * j * 31) % 1009) as f64 / 504.5 - 1.0
    })
}

fn factor(x: &Array2<f64>, as_rows: bool) -> Result<Hessian> {
    let (p, run) = (x.ncols(), Execution::sequential());
    let mut covariance = if as_rows { Covariance::of_factor(p)? } else { Covariance::new(p, Precision::Double)? };
    covariance.update(&Batch::new(RowBlock::new(x.view(), None, Reduction::Sum)?, None, None)?, &run)?;
    covariance.factorize(Regularizer::Value(0.5), Penalty::identity(), false, &run)
}

fn changed(hessian: &Hessian, x: &Array2<f64>, change: Change, run: &Execution) -> Result<Hessian> {
    hessian.updated(&Batch::new(RowBlock::new(x.view(), None, Reduction::Sum)?, None, None)?, change, run)
}

/// L Lᵀ by the textbook's loops.
fn product(hessian: &Hessian) -> Result<Array2<f64>> {
    let (p, packed) = (hessian.n_features(), hessian.snapshot()?.lower);
    let mut lower = Array2::zeros((p, p));
    let mut entries = packed.into_iter();
    for j in 0..p {
        for i in j..p {
            lower[[i, j]] = entries.next().unwrap_or(f64::NAN);
        }
        assert!(lower[[j, j]] > 0.0);
    }
    Ok(lower.dot(&lower.t()))
}

fn assert_close(a: &Array2<f64>, b: &Array2<f64>, case: (usize, usize)) {
    let (p, largest) = (a.nrows() as f64, b.iter().fold(0.0_f64, |largest, x| largest.max(x.abs())));
    let error = a.iter().zip(b).fold(0.0_f64, |error, (a, b)| error.max((a - b).abs()));
    assert!(error < 4.0 * (p + 8.0) * f64::EPSILON * largest, "{case:?}: {error:e} of {largest}");
}

#[test]
fn rows_are_in_the_product_of_the_factor() -> Result<()> {
    let run = Execution::sequential();
    for p in [1, 5, 63, 64, 65, 130, 192, 193, 260] {
        let base = rows(2 * p + 3, p, 0);
        for (k, as_rows) in
            [(1, false), (7, true), (8, false), (9, true), (63, false), (64, true), (65, false), (140, true)]
        {
            let x = rows(k, p, 5000);
            let hessian = factor(&base, as_rows)?;
            let mut expected = product(&hessian)?;
            let more = changed(&hessian, &x, Change::Add, &run)?;
            expected += &x.t().dot(&x);
            assert_close(&product(&more)?, &expected, (p, k));
            let less = changed(&more, &x, Change::Remove, &run)?;
            expected -= &x.t().dot(&x);
            assert_close(&product(&less)?, &expected, (p, k));
        }
    }
    Ok(())
}

#[test]
fn many_rows_are_factorised_anew() -> Result<()> {
    let (p, run) = (96, Execution::sequential());
    let (base, x) = (rows(300, p, 0), rows(700, p, 5000));
    let hessian = factor(&base, false)?;
    let more = changed(&hessian, &x, Change::Add, &run)?;
    assert_close(&product(&more)?, &(product(&hessian)? + x.t().dot(&x)), (p, 700));
    let less = changed(&more, &x, Change::Remove, &run)?;
    assert_close(&product(&less)?, &(product(&more)? - x.t().dot(&x)), (p, 700));
    Ok(())
}

#[test]
fn the_bits_do_not_depend_on_threads() -> Result<()> {
    let (p, run) = (421, Execution::sequential());
    let hessian = factor(&rows(1200, p, 0), false)?;
    for (k, change) in
        [(5, Change::Add), (50, Change::Remove), (100, Change::Add), (100, Change::Remove), (900, Change::Add)]
    {
        let x = rows(k, p, 300);
        let expected = changed(&hessian, &x, change, &run)?.snapshot()?;
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|_| Error::NotConverged)?;
            let parallel = Execution::new(true, &NEVER);
            let got = pool.install(|| changed(&hessian, &x, change, &parallel)?.snapshot())?;
            assert!(got == expected, "{k} rows, {change:?}, {threads} threads");
        }
    }
    Ok(())
}

#[test]
fn the_last_row_but_the_regularizer_can_be_removed() -> Result<()> {
    let (p, run) = (70, Execution::sequential());
    let x = rows(40, p, 0);
    let left = changed(&factor(&x, false)?, &x, Change::Remove, &run)?;
    assert_close(&product(&left)?, &(Array2::eye(p) * 0.5), (p, 40));
    Ok(())
}

#[test]
fn rows_far_below_the_others_do_no_harm() -> Result<()> {
    let (p, run) = (20, Execution::sequential());
    let hessian = factor(&(rows(60, p, 0) * 1e12), false)?;
    let before = product(&hessian)?;
    for exponent in [-160, -145, -144, -143, -100, -17] {
        let x = rows(9, p, 5000) * 10.0_f64.powi(exponent);
        for change in [Change::Add, Change::Remove] {
            assert_close(&product(&changed(&hessian, &x, change, &run)?)?, &before, (p, 9));
        }
    }
    Ok(())
}
