//! Eigenvalues and eigenvectors of a tridiagonal matrix, by divide and conquer.
//!
//! T is cut into two halves and a term of rank one, T = diag(T₁, T₂) + ϱ u uᵀ. With the
//! decompositions of the halves that is Q(D + ϱ z zᵀ)Qᵀ, whose eigenvalues the secular equation
//! gives (`secular`). Where z is zero to rounding, or two eigenvalues of the halves are equal, a
//! column of Q stays as it is (deflation); the others are multiplied by the eigenvectors of D + ϱ z
//! zᵀ. That product is nearly all of the work (Cuppen, Numer. Math. 36 (1981) 177; LAPACK's
//! dstedc).
//!
//! Everything runs in strips of columns or a root at a time, each by one thread: the same bits on
//! any number of threads.

use faer::diag::{DiagMut, DiagRef};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd_scratch, tridiagonal_self_adjoint_evd};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::secular::{Root, Secular};
use crate::tiles::{self, TILE};

/// Rows up to which T is not cut: QR iterations of faer's.
const LEAF: usize = 32;

/// Columns of a strip of the product: as half a tile, so that the last strips do not wait long for
/// one another.
const STRIP: usize = TILE / 2;

/// Rows up to which a merge is left to one thread: 1e6 multiplications, 30 µs.
const ALONE: usize = 128;

/// Replace the diagonal of T by its eigenvalues, and `u` by their eigenvectors, in the same order.
/// Returns the order in which the eigenvalues rise. `work` is as large as `u`, and both may have
/// any contents. After a stop, all is spoilt.
pub(crate) fn decompose(
    diagonal: &mut [f64],
    beside: &mut [f64],
    u: MatMut<'_, f64>,
    work: MatMut<'_, f64>,
    run: &Execution,
) -> Result<Vec<usize>> {
    let largest = diagonal.iter().chain(&*beside).fold(0.0_f64, |largest, x| largest.max(x.abs()));
    divide(diagonal, beside, u, work, &Run { tolerance: 8.0 * (0.5 * f64::EPSILON) * largest, run })
}

/// How to run, and what is zero to rounding.
struct Run<'a, 'r> {
    tolerance: f64,
    run: &'r Execution<'a>,
}

fn divide(
    d: &mut [f64],
    e: &mut [f64],
    mut u: MatMut<'_, f64>,
    mut work: MatMut<'_, f64>,
    run: &Run<'_, '_>,
) -> Result<Vec<usize>> {
    let n = d.len();
    if n <= LEAF {
        return iterate(d, e, u);
    }
    run.run.check()?;
    let cut = n / 2;
    let between = e[cut - 1];
    d[cut - 1] -= between.abs();
    d[cut] -= between.abs();
    let order = halves(d, e, cut, u.as_mut(), work.as_mut(), run)?;
    // ‖z‖ = 1, so that ϱ is twice the entry between the halves
    let sign = std::f64::consts::FRAC_1_SQRT_2.copysign(between);
    let top = (0..cut).map(|j| u[(cut - 1, j)] * sign.abs());
    let z = top.chain((cut..n).map(|j| u[(cut, j)] * sign)).collect();
    let deflated = Deflation { z, rho: 2.0 * between.abs(), cut, tolerance: run.tolerance }.run(d, &order, u.as_mut());
    merge(d, deflated, u, work, run.run)
}

/// Both halves, side by side. Returns the order in which the eigenvalues of both rise.
fn halves(
    d: &mut [f64],
    e: &mut [f64],
    cut: usize,
    u: MatMut<'_, f64>,
    work: MatMut<'_, f64>,
    run: &Run<'_, '_>,
) -> Result<Vec<usize>> {
    let (d_top, d_bottom) = d.split_at_mut(cut);
    let (e_top, e_bottom) = e.split_at_mut(cut - 1);
    let (u_top, mut right, mut left, u_bottom) = u.split_at_mut(cut, cut);
    let (work_top, _, _, work_bottom) = work.split_at_mut(cut, cut);
    let (mut top, mut bottom) = (Ok(vec![]), Ok(vec![]));
    tiles::join(
        run.run,
        || top = divide(d_top, e_top, u_top, work_top, run),
        || bottom = divide(d_bottom, &mut e_bottom[1..], u_bottom, work_bottom, run),
    );
    right.fill(0.0);
    left.fill(0.0);
    let bottom: Vec<usize> = bottom?.into_iter().map(|j| cut + j).collect();
    Ok(merged(&top?, &bottom, d))
}

/// Two lists of indices of rising numbers as one.
fn merged(a: &[usize], b: &[usize], numbers: &[f64]) -> Vec<usize> {
    let mut all = [a, b].concat();
    all.sort_by(|&i, &j| numbers[i].total_cmp(&numbers[j]));
    all
}

/// QR iterations on a small T.
fn iterate(d: &mut [f64], e: &[f64], u: MatMut<'_, f64>) -> Result<Vec<usize>> {
    let n = d.len();
    let (diagonal, mut beside) = (d.to_vec(), e[..n - 1].to_vec());
    beside.push(0.0);
    let scratch = self_adjoint_evd_scratch::<f64>(n, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    tridiagonal_self_adjoint_evd(
        DiagRef::from_slice(&diagonal),
        DiagRef::from_slice(&beside),
        DiagMut::from_slice_mut(d),
        Some(u),
        Par::Seq,
        MemStack::new(&mut memory),
        Default::default(),
    )
    .map_err(|_| Error::NotConverged)?;
    Ok((0..n).collect())
}

/// D + ϱ z zᵀ in the eigenvectors of both halves, of which the first has `cut` rows.
struct Deflation {
    z: Vec<f64>,
    rho: f64,
    cut: usize,
    /// What is added to D when a number below it is taken for 0.
    tolerance: f64,
}

/// The columns that stay as they are, and the problem in the others.
struct Deflated {
    /// Columns of the problem, by rising d.
    kept: Vec<usize>,
    /// Those that stay.
    done: Vec<usize>,
    /// For each column whether it is zero in the rows of the first half, and in those of the
    /// second.
    zero: Vec<(bool, bool)>,
    problem: Secular,
    cut: usize,
}

impl Deflation {
    /// Take out columns whose z is zero. Of two with equal d, turn them so that one z becomes zero.
    fn run(self, d: &mut [f64], order: &[usize], mut u: MatMut<'_, f64>) -> Deflated {
        let Self { mut z, rho, cut, tolerance } = self;
        let mut zero: Vec<(bool, bool)> = (0..d.len()).map(|j| (j >= cut, j < cut)).collect();
        let (mut kept, mut done): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
        for &j in order {
            if rho * z[j].abs() <= tolerance {
                done.push(j);
                continue;
            }
            if let Some(&i) = kept.last() {
                let length = z[i].hypot(z[j]);
                let (c, s) = (z[j] / length, -z[i] / length);
                if ((d[j] - d[i]) * c * s).abs() <= tolerance {
                    (z[i], z[j]) = (0.0, length);
                    rotate(u.as_mut(), (i, j), (c, s));
                    (d[i], d[j]) = (d[i] * c * c + d[j] * s * s, d[i] * s * s + d[j] * c * c);
                    zero[j] = (zero[i].0 && zero[j].0, zero[i].1 && zero[j].1);
                    kept.pop();
                    done.push(i);
                }
            }
            kept.push(j);
        }
        let of = |numbers: &[f64]| kept.iter().map(|&j| numbers[j]).collect();
        Deflated { problem: Secular { d: of(d), z: of(&z), rho }, kept, done, zero, cut }
    }
}

/// Columns i and j, i < j or i > j: x, y ← cx + sy, cy − sx.
fn rotate(u: MatMut<'_, f64>, (i, j): (usize, usize), (c, s): (f64, f64)) {
    let (left, right) = u.split_at_col_mut(i.max(j));
    let (first, second) = (left.col_mut(i.min(j)), right.col_mut(0));
    let (x, y) = if i < j { (first, second) } else { (second, first) };
    if let (Some(x), Some(y)) = (x.try_as_col_major_mut(), y.try_as_col_major_mut()) {
        for (x, y) in x.as_slice_mut().iter_mut().zip(y.as_slice_mut()) {
            (*x, *y) = (c * *x + s * *y, c * *y - s * *x);
        }
    }
}

/// Solve the problem that is left, and multiply the columns by its eigenvectors. Columns of the
/// problem come first, then those that stay.
fn merge(
    d: &mut [f64],
    deflated: Deflated,
    mut u: MatMut<'_, f64>,
    mut work: MatMut<'_, f64>,
    run: &Execution,
) -> Result<Vec<usize>> {
    let (n, k) = (d.len(), deflated.kept.len());
    let run = if n > ALONE { *run } else { run.alone() };
    let (roots, exact_z) = solve(&deflated.problem, &run)?;
    let halves = deflated.gather(u.as_ref(), work.as_mut(), &run);
    let values: Vec<f64> = roots.iter().map(Root::value).chain(deflated.done.iter().map(|&j| d[j])).collect();
    d.copy_from_slice(&values);
    let (product, rest) = u.as_mut().split_at_col_mut(k);
    let work = work.as_ref();
    copy_columns(rest, work.subcols(k, n - k), &run);
    tiles::for_each_strip(product, STRIP, &run, &|first, strip| {
        if !run.is_stopped() {
            let width = strip.ncols();
            let vectors = halves.vectors(&deflated.problem, &exact_z, &roots[first..first + width]);
            let (top, bottom) = strip.split_at_row_mut(deflated.cut);
            for (half, rows, vectors) in [(top, 0, &vectors[0]), (bottom, deflated.cut, &vectors[1])] {
                let columns = work.submatrix(rows, 0, half.nrows(), vectors.nrows());
                matmul(half, Accum::Replace, columns, vectors.as_ref(), 1.0, Par::Seq);
            }
        }
    });
    run.check()?;
    let done: Vec<usize> = (k..n).collect();
    Ok(merged(&(0..k).collect::<Vec<_>>(), &done, d))
}

/// Roots, and the z of which they are exact.
fn solve(problem: &Secular, run: &Execution) -> Result<(Vec<Root>, Vec<f64>)> {
    let root = |j: usize| run.check().and_then(|()| problem.root(j));
    let k = problem.len();
    let roots: Vec<Root> = if run.is_parallel() {
        (0..k).into_par_iter().map(root).collect()
    } else {
        (0..k).map(root).collect::<Result<_>>()
    }?;
    let exact = |i: usize| if run.is_stopped() { 0.0 } else { problem.exact_z(i, &roots) };
    let exact_z =
        if run.is_parallel() { (0..k).into_par_iter().map(exact).collect() } else { (0..k).map(exact).collect() };
    Ok((roots, exact_z))
}

/// For each half the columns that are not zero in its rows, as indices into the problem.
struct Halves([Vec<usize>; 2]);

impl Deflated {
    /// Copy what the product needs: in the rows of each half the columns that are not zero there;
    /// and behind them all of the columns that stay.
    fn gather(&self, u: MatRef<'_, f64>, work: MatMut<'_, f64>, run: &Execution) -> Halves {
        let used = |half: fn(&(bool, bool)) -> bool| -> Vec<usize> {
            (0..self.kept.len()).filter(|&i| !half(&self.zero[self.kept[i]])).collect()
        };
        let halves = Halves([used(|zero| zero.0), used(|zero| zero.1)]);
        let (product, rest) = work.split_at_col_mut(self.kept.len());
        let (top, bottom) = product.split_at_row_mut(self.cut);
        let (u_top, u_bottom) = u.split_at_row(self.cut);
        for (to, u, used) in [(top, u_top, &halves.0[0]), (bottom, u_bottom, &halves.0[1])] {
            let columns: Vec<usize> = used.iter().map(|&i| self.kept[i]).collect();
            copy_some(to, u, &columns, run);
        }
        copy_some(rest, u, &self.done, run);
        halves
    }
}

impl Halves {
    /// Eigenvectors of some roots: for each half the rows that it uses.
    fn vectors(&self, problem: &Secular, exact_z: &[f64], roots: &[Root]) -> [Mat<f64>; 2] {
        let mut vectors = [0, 1].map(|half| Mat::zeros(self.0[half].len(), roots.len()));
        let mut vector = vec![0.0; problem.len()];
        for (j, root) in roots.iter().enumerate() {
            problem.vector(exact_z, *root, &mut vector);
            for (to, used) in vectors.iter_mut().zip(&self.0) {
                used.iter().enumerate().for_each(|(row, &i)| to[(row, j)] = vector[i]);
            }
        }
        vectors
    }
}

/// The first columns of `to` ← those columns of `from`.
fn copy_some(to: MatMut<'_, f64>, from: MatRef<'_, f64>, columns: &[usize], run: &Execution) {
    tiles::for_each_strip(to.subcols_mut(0, columns.len()), STRIP, run, &|first, mut strip| {
        for (j, mut column) in strip.as_mut().col_iter_mut().enumerate() {
            column.copy_from(from.col(columns[first + j]));
        }
    });
}

fn copy_columns(to: MatMut<'_, f64>, from: MatRef<'_, f64>, run: &Execution) {
    copy_some(to, from, &(0..from.ncols()).collect::<Vec<_>>(), run);
}
