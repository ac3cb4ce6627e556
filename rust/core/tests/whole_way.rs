//! The whole way from rows to variances against plain loops, on sizes at which every kernel and
//! every edge of a tile is in play.
//!
//! `make test-dispatch` runs this also where the processor seems to lack its widest vector unit:
//! the kernels choose at run time.

use std::sync::atomic::AtomicBool;

use ndarray::Array2;
use rigidities_core::{
    Batch, Covariance, Execution, Groups, Penalty, Precision, Reduction, Regularizer, Result, RowBlock,
};

static NEVER: AtomicBool = AtomicBool::new(false);

fn rows(n: usize, p: usize) -> Array2<f64> {
    Array2::from_shape_fn((n, p), |(i, j)| ((i * 7919 + j * 104_729 + i * j * 31) % 1009) as f64 / 504.5 - 1.0)
}

/// v = gᵀ(FᵀF + λ)⁻¹g by the textbook's loops.
fn textbook(f: &Array2<f64>, g: &Array2<f64>, lambda: f64) -> Vec<f64> {
    let p = f.ncols();
    let mut l = f.t().dot(f);
    (0..p).for_each(|j| l[[j, j]] += lambda);
    for j in 0..p {
        for k in 0..j {
            let factor = l[[j, k]];
            (j..p).for_each(|i| l[[i, j]] -= l[[i, k]] * factor);
        }
        let pivot = l[[j, j]].sqrt();
        (j..p).for_each(|i| l[[i, j]] /= pivot);
    }
    let solved = |row: ndarray::ArrayView1<'_, f64>| {
        let mut z = row.to_vec();
        for i in 0..p {
            let dot: f64 = (0..i).map(|k| l[[i, k]] * z[k]).sum();
            z[i] = (z[i] - dot) / l[[i, i]];
        }
        z.iter().map(|z| z * z).sum()
    };
    g.rows().into_iter().map(solved).collect()
}

fn variances(
    f: &Array2<f64>,
    g: &Array2<f64>,
    precision: Precision,
    single: bool,
    run: &Execution,
) -> Result<Vec<f64>> {
    let p = f.ncols();
    let mut covariance = Covariance::new(p, precision)?;
    for start in (0..f.nrows()).step_by(701) {
        let part = f.slice(ndarray::s![start..(start + 701).min(f.nrows()), ..]);
        let block = RowBlock::new(part, None, Reduction::Mean)?;
        covariance.update(&Batch::new(block, None, None)?, run)?;
    }
    let hessian = covariance.factorize(Regularizer::Value(1.0), Penalty::identity(), false, run)?;
    let block = RowBlock::new(g.view(), None, Reduction::Mean)?;
    if single { hessian.variance_single(&block, run) } else { hessian.variance(&block, run) }
}

#[test]
fn agrees_with_plain_loops() -> Result<()> {
    let parallel = Execution::new(true, &NEVER);
    for p in [1, 47, 193, 401] {
        let (f, g) = (rows(1500, p), rows(203, p));
        let expected = textbook(&f, &g, 1.0);
        for (precision, single, tolerance) in
            [(Precision::Double, false, 1e-11), (Precision::Single, false, 1e-4), (Precision::Double, true, 1e-4)]
        {
            for run in [Execution::sequential(), parallel] {
                let got = variances(&f, &g, precision, single, &run)?;
                assert_eq!(got.len(), expected.len());
                for (got, expected) in got.iter().zip(&expected) {
                    assert!((got - expected).abs() <= tolerance * expected, "p = {p}: {got} against {expected}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn groups_are_reduced_as_plain_loops_do() -> Result<()> {
    let x = rows(3000, 301);
    let labels: Vec<i64> = (0..3000).map(|i| (i * 7) % 90).collect();
    let groups = Groups::from_labels(&labels)?;
    let reduced = RowBlock::new(x.view(), Some(&groups), Reduction::Sum)?.reduce(&Execution::new(true, &NEVER))?;
    for (t, row) in reduced.chunks(301).enumerate() {
        for (j, got) in row.iter().enumerate() {
            let expected: f64 = (0..3000).filter(|i| labels[*i] == t as i64).map(|i| x[[i, j]]).sum();
            assert!((got - expected).abs() < 1e-11);
        }
    }
    Ok(())
}
