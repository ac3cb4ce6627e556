//! Eigenvalues and eigenvectors of symmetric arrays, and their tridiagonal form.
//!
//! A = Q T Qᵀ (`tridiagonal`), T = U diag(τ) Uᵀ (`divide`), and so A = (QU) diag(τ) (QU)ᵀ
//! (`reflectors`). Why not LAPACK: what runs in a foreign library cannot be stopped, and may keep a
//! process from ending.

use rayon::prelude::*;

use crate::divide;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::reflectors::Reflectors;
use crate::symmetric::Symmetric;
use crate::triangle::Square;
use crate::tridiagonal;

/// The tridiagonal form of a symmetric array.
#[derive(Debug, Clone, PartialEq)]
pub struct Tridiagonal {
    /// Diagonal of T.
    pub diagonal: Vec<f64>,
    /// Its off-diagonal, one entry fewer.
    pub beside: Vec<f64>,
}

/// T = QᵀAQ of a symmetric array of n², and B ← QᵀB for B of n rows, column by column. The array is
/// spoilt.
pub fn tridiagonalise(a: &mut [f64], b: &mut [f64], run: &Execution) -> Result<Tridiagonal> {
    let mut a = Symmetric::new(a)?;
    let n = a.n();
    if !b.len().is_multiple_of(n.max(1)) {
        return Err(Error::RightHandSide { got: b.len(), expected: n });
    }
    let mut t = tridiagonal::tridiagonalise(&mut a, run)?;
    let columns = b.len() / n.max(1);
    let b = faer::MatMut::from_column_major_slice_mut(b, n, columns);
    Reflectors::new(a.as_ref(), &t.tau).apply_transposed(b, run);
    run.check()?;
    a.unscale(&mut t.diagonal);
    a.unscale(&mut t.beside);
    Ok(Tridiagonal { diagonal: t.diagonal, beside: t.beside })
}

/// Rising eigenvalues of a symmetric array of n², which is overwritten by the eigenvectors, one
/// after the other.
pub fn eigenvectors(a: &mut [f64], run: &Execution) -> Result<Vec<f64>> {
    let mut a = Symmetric::new(a)?;
    let n = a.n();
    if n == 0 {
        return Ok(vec![]);
    }
    let mut t = tridiagonal::tridiagonalise(&mut a, run)?;
    let (mut u, mut work) = (Square::unset(n)?, Square::unset(n)?);
    let order = divide::decompose(&mut t.diagonal, &mut t.beside, u.as_mut(), work.as_mut(), run)?;
    drop(work);
    Reflectors::new(a.as_ref(), &t.tau).apply(u.as_mut(), run);
    run.check()?;
    let copy = |(column, &j): (&mut [f64], &usize)| column.copy_from_slice(u.column(j));
    if run.is_parallel() {
        a.values_mut().par_chunks_mut(n).zip(&order).for_each(copy);
    } else {
        a.values_mut().chunks_mut(n).zip(&order).for_each(copy);
    }
    let mut values: Vec<f64> = order.iter().map(|&j| t.diagonal[j]).collect();
    a.unscale(&mut values);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use faer::{Mat, MatRef};

    use super::*;

    const SIZES: [usize; 7] = [1, 2, 3, 32, 33, 65, 130];

    /// Pseudorandom numbers in [−1, 1).
    fn noise(n: usize, mut seed: u64) -> Vec<f64> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    fn mat(a: &[f64], n: usize) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(a, n, n)
    }

    /// V diag(values) Vᵀ with V the product of two reflections.
    fn rotated(values: &[f64]) -> Vec<f64> {
        let n = values.len();
        let mut v = Mat::<f64>::identity(n, n);
        for seed in [1, 2] {
            let x = Mat::from_fn(n, 1, |i, _| noise(n, seed)[i] + 1e-3);
            v = &v - (2.0 / x.squared_norm_l2()) * (&v * &x) * x.transpose();
        }
        let scaled = Mat::from_fn(n, n, |i, j| v[(i, j)] * values[j]);
        let a = &scaled * v.transpose();
        (0..n * n).map(|k| 0.5 * (a[(k % n, k / n)] + a[(k / n, k % n)])).collect()
    }

    /// Spectra of many kinds: what a covariance may have, and what divides or iterates badly.
    fn spectra(n: usize) -> Vec<Vec<f64>> {
        let along = |i: usize| i as f64 / n.max(2).saturating_sub(1) as f64;
        vec![
            vec![0.0; n],
            vec![3.0; n],
            (0..n).map(|i| 10.0_f64.powf(-16.0 * along(i))).collect(),
            (0..n).map(|i| (i % 3) as f64).collect(),
            (0..n).map(|i| if i == 0 { 1.0 } else { 1e-12 * along(i) }).collect(),
            (0..n).map(|i| 1.0 + 1e-14 * along(i)).collect(),
            noise(n, 7),
        ]
    }

    fn arrays(n: usize) -> Vec<Vec<f64>> {
        let square = |f: &dyn Fn(usize, usize) -> f64| (0..n * n).map(|k| f(k % n, k / n)).collect::<Vec<f64>>();
        let random = noise(n * n, 3);
        let mut all: Vec<Vec<f64>> = spectra(n).iter().map(|values| rotated(values)).collect();
        all.push(square(&|i, j| random[i.max(j) * n + i.min(j)]));
        all.push(square(&|i, j| if i == j { (i % 5) as f64 } else { 0.0 }));
        all.push(square(&|i, j| if i.abs_diff(j) == 1 { 1.0 } else { 0.0 }));
        // Wilkinson's: pairs of eigenvalues that agree to rounding
        all.push(square(&|i, j| match i.abs_diff(j) {
            0 => (n as f64 / 2.0 - i as f64).abs(),
            1 => 1.0,
            _ => 0.0,
        }));
        all.push(square(&|i, j| random[i.max(j) * n + i.min(j)] * 10.0_f64.powf(-((i + j) as f64) / 8.0)));
        all
    }

    fn eigenvalues_of(t: &Tridiagonal, n: usize) -> Result<Vec<f64>> {
        let mut a = vec![0.0; n * n];
        (0..n).for_each(|i| a[i * n + i] = t.diagonal[i]);
        (1..n).for_each(|i| (a[i * n + i - 1], a[(i - 1) * n + i]) = (t.beside[i - 1], t.beside[i - 1]));
        eigenvectors(&mut a, &Execution::sequential())
    }

    #[test]
    fn vectors_are_orthogonal_and_give_the_array_back() -> Result<()> {
        for n in SIZES {
            for (kind, a) in arrays(n).into_iter().enumerate() {
                let scales: &[f64] = if n < 50 { &[1.0, 1e-300, 1e140] } else { &[1.0] };
                for &scale in scales {
                    let a: Vec<f64> = a.iter().map(|x| x * scale).collect();
                    let mut v = a.clone();
                    let values = eigenvectors(&mut v, &Execution::sequential())?;
                    assert!(values.is_sorted(), "{n} {kind}");
                    let (a, v) = (mat(&a, n), mat(&v, n));
                    let size = a.norm_max() * n as f64;
                    let scaled = Mat::from_fn(n, n, |i, j| v[(i, j)] * (values[j] / size.max(f64::MIN_POSITIVE)));
                    let given = Mat::from_fn(n, n, |i, j| a[(i, j)] / size.max(f64::MIN_POSITIVE));
                    // a few u a step
                    let bound = 2.0 * (n as f64 + 8.0) * f64::EPSILON;
                    assert!((&scaled * v.transpose() - given).norm_l2() <= bound, "{n} {kind} {scale}");
                    let off = v.transpose() * v - Mat::<f64>::identity(n, n);
                    assert!(off.norm_max() <= bound, "{n} {kind} {scale}: {}", off.norm_max() / f64::EPSILON);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_tridiagonal_form_has_the_same_eigenvalues_and_projections() -> Result<()> {
        for n in SIZES {
            for (kind, a) in arrays(n).into_iter().enumerate() {
                let (b, size) = (noise(2 * n, 5), mat(&a, n).norm_l2());
                let (mut spoilt, mut projected, mut v) = (a.clone(), b.clone(), a.clone());
                let t = tridiagonalise(&mut spoilt, &mut projected, &Execution::sequential())?;
                let values = eigenvectors(&mut v, &Execution::sequential())?;
                let bound = 4.0 * (n as f64 + 8.0) * f64::EPSILON * size;
                let same = eigenvalues_of(&t, n)?.iter().zip(&values).all(|(x, y)| (x - y).abs() <= bound);
                assert!(same, "{n} {kind}");
                // bᵀAb = (Qᵀb)ᵀT(Qᵀb)
                for (b, q) in b.chunks(n).zip(projected.chunks(n)) {
                    let column = |x: &[f64]| Mat::from_fn(n, 1, |i, _| x[i]);
                    let whole = (column(b).transpose() * mat(&a, n) * column(b))[(0, 0)];
                    let mut sum: f64 = q.iter().zip(&t.diagonal).map(|(q, d)| q * q * d).sum();
                    sum += (1..n).map(|i| 2.0 * q[i] * q[i - 1] * t.beside[i - 1]).sum::<f64>();
                    assert!((whole - sum).abs() <= bound * column(b).squared_norm_l2(), "{n} {kind}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() -> std::result::Result<(), Box<dyn std::error::Error>> {
        static NEVER: AtomicBool = AtomicBool::new(false);
        let n = 530;
        let a = rotated(&(0..n).map(|i| 10.0_f64.powf(-10.0 * i as f64 / n as f64)).collect::<Vec<_>>());
        let mut whole = a.clone();
        let values = eigenvectors(&mut whole, &Execution::sequential())?;
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            let mut v = a.clone();
            assert!(pool.install(|| eigenvectors(&mut v, &Execution::new(true, &NEVER)))? == values);
            assert!(v == whole);
        }
        Ok(())
    }

    #[test]
    fn a_stop_is_answered() {
        static STOPPED: AtomicBool = AtomicBool::new(true);
        let run = Execution::new(false, &STOPPED);
        assert_eq!(eigenvectors(&mut noise(90_000, 1), &run), Err(Error::Interrupted));
        assert_eq!(tridiagonalise(&mut noise(90_000, 1), &mut [], &run), Err(Error::Interrupted));
    }
}
