//! A = Q T Qᵀ with T tridiagonal: half of an eigenvalue decomposition, and all that ln|A + λ| and
//! bᵀ(A + λ)⁻¹b need.
//!
//! Column after column is reflected onto its first two entries (Householder). A reflection of the
//! rest of A is an update of rank two, A ← A − vwᵀ − wvᵀ, with w from the product Av. Updates are
//! collected over a panel of columns and subtracted together, as a product of matrices (Dongarra,
//! Sorensen, Hammarling, J. Comput. Appl. Math. 27 (1989) 215; LAPACK's dsytrd). The other half of
//! the operations is the products Av, which read one triangle of A from memory.
//!
//! The triangle is cut into strips of columns of a fixed width. Each gives its share of Av, and the
//! shares are added in their order: the same bits on any number of threads.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::{Arch, Simd, WithSimd};

use crate::error::Result;
use crate::execution::Execution;
use crate::pages::zeros;
use crate::panel::Panel;
use crate::real::squared_norm;
use crate::symmetric::Symmetric;
use crate::tiles;

/// Columns of a panel. An update of rank 64 runs near the peak of the product, and the vectors of
/// the panel (n × 64 × 8 bytes, 1 MB at n = 2048) stay in L2 while each column reads them.
const BLOCK: usize = 32;

/// Columns that one task multiplies: at most 2 MB of A at n = 2048, 50 µs. Adding the shares costs
/// 1/128 of the product.
const STRIP: usize = 128;

/// Columns up to which the product is left to one thread: 1 MB, 30 µs.
const ALONE: usize = 512;

/// Squared norms below this are taken for 0. Beside entries of 1e-100 (see `symmetric`) that
/// changes A by 1e-40, relative; the squares of smaller numbers have lost digits.
const TINY: f64 = 1e-280;

/// T, and the factors of the reflections whose product is Q.
pub(crate) struct Tridiagonal {
    pub diagonal: Vec<f64>,
    pub beside: Vec<f64>,
    /// Reflection k is I − τ v vᵀ with v = (0, …, 0, 1, column k of the array from row k + 2 on).
    pub tau: Vec<f64>,
}

/// Tridiagonalise in place: the reflections are left below the diagonal of `a`.
pub(crate) fn tridiagonalise(a: &mut Symmetric<'_>, run: &Execution) -> Result<Tridiagonal> {
    let n = a.n();
    let mut work = Workspace::new(n)?;
    let reflected = n.saturating_sub(2);
    let mut t =
        Tridiagonal { diagonal: vec![0.0; n], beside: vec![0.0; n.saturating_sub(1)], tau: vec![0.0; reflected] };
    for start in (0..reflected).step_by(BLOCK) {
        let size = BLOCK.min(reflected - start);
        work.size = size;
        for j in start..start + size {
            run.check()?;
            reduce_column(a, (start, j), &mut work, &mut t, run);
        }
        let end = start + size;
        work.repeat_reflections(end);
        let rest = a.as_mut().submatrix_mut(end, end, n - end, n - end);
        let (left, right) = work.updates(end);
        tiles::symmetric_product(rest, (&left, &right), 0, -1.0, run);
    }
    for j in reflected..n {
        let column = a.lower_column_mut(j);
        t.diagonal[j] = column[0];
        column.get(1).into_iter().for_each(|x| t.beside[j] = *x);
    }
    run.check()?;
    Ok(t)
}

/// Vectors of a panel, and shares of a product.
struct Workspace {
    /// v of each column, then w of each, then v again: rows 0.. and rows `size`.. are [v w] and
    /// [w v].
    vectors: Panel,
    /// The share of each strip; in one more row the products of the panel's vectors with v.
    shares: Panel,
    /// w while it is computed.
    w: Vec<f64>,
    /// Columns of the panel.
    size: usize,
}

impl Workspace {
    fn new(n: usize) -> Result<Self> {
        let vectors = Panel::unset(3 * BLOCK, n)?;
        let shares = Panel::unset(n.div_ceil(STRIP) + 1, n.max(2 * BLOCK))?;
        Ok(Self { vectors, shares, w: zeros(n)?, size: 0 })
    }

    /// v of the first `i` columns, and their w, as columns from row `first` of A on.
    fn so_far(&self, i: usize, first: usize) -> (MatRef<'_, f64>, MatRef<'_, f64>) {
        let columns = |range| rows(&self.vectors, range, first).transpose();
        (columns(0..i), columns(self.size..self.size + i))
    }

    /// [v w] and [w v] of the whole panel, as rows, from row `first` of A on.
    fn updates(&self, first: usize) -> (MatRef<'_, f64>, MatRef<'_, f64>) {
        let vectors = |range| rows(&self.vectors, range, first);
        (vectors(0..2 * self.size), vectors(self.size..3 * self.size))
    }

    /// Keep v and w of column `i` of the panel, from row `first` of A on.
    fn keep_w(&mut self, i: usize, first: usize) {
        self.vectors.row_mut(self.size + i)[first..].copy_from_slice(&self.w[first..]);
    }

    /// Write v of every column again, behind w.
    fn repeat_reflections(&mut self, first: usize) {
        for k in 0..self.size {
            self.w[first..].copy_from_slice(&self.vectors.row(k)[first..]);
            self.vectors.row_mut(2 * self.size + k)[first..].copy_from_slice(&self.w[first..]);
        }
    }
}

/// Bring column `j` up to date, reflect it, and find the w that belongs to its v.
fn reduce_column(
    a: &mut Symmetric<'_>,
    (start, j): (usize, usize),
    work: &mut Workspace,
    t: &mut Tridiagonal,
    run: &Execution,
) {
    let (i, first) = (j - start, j + 1);
    let column = a.lower_column_mut(j);
    let (v, w) = work.so_far(i, j);
    subtract(column, v, w.subrows(0, 1).transpose());
    subtract(column, w, v.subrows(0, 1).transpose());
    t.diagonal[j] = column[0];
    let (beside, tau) = reflect(&mut column[1..]);
    (t.beside[j], t.tau[j]) = (beside, tau);
    let v = &mut work.vectors.row_mut(i)[first..];
    v.copy_from_slice(&column[1..]);
    v[0] = 1.0;
    work.w[first..].fill(0.0);
    if tau != 0.0 {
        multiply(a, i, first, work, run);
        let Workspace { vectors, w, .. } = &mut *work;
        let (v, w) = (&vectors.row(i)[first..], &mut w[first..]);
        w.iter_mut().for_each(|w| *w *= tau);
        let half = 0.5 * tau * v.iter().zip(&*w).map(|(v, w)| v * w).sum::<f64>();
        w.iter_mut().zip(v).for_each(|(w, v)| *w -= half * v);
    }
    work.keep_w(i, first);
}

/// Reflect x onto its first entry. In its place: the entry that x then has, and v without its first
/// entry, which is 1. Returns that entry and τ, 0 if x was there already.
fn reflect(x: &mut [f64]) -> (f64, f64) {
    let Some((&mut head, tail)) = x.split_first_mut() else { return (0.0, 0.0) };
    let rest = squared_norm(tail);
    if rest < TINY {
        tail.fill(0.0);
        return (head, 0.0);
    }
    let onto = -(head * head + rest).sqrt().copysign(head);
    let inverse = 1.0 / (head - onto);
    tail.iter_mut().for_each(|x| *x *= inverse);
    x[0] = onto;
    (onto, (onto - head) / onto)
}

/// x −= A c
fn subtract(x: &mut [f64], a: MatRef<'_, f64>, c: MatRef<'_, f64>) {
    let n = x.len();
    matmul(MatMut::from_column_major_slice_mut(x, n, 1), Accum::Add, a, c, -1.0, Par::Seq);
}

/// w = A v from row `first` on, for v of column `i` of the panel and A with the updates of the
/// columns before it.
fn multiply(a: &Symmetric<'_>, i: usize, first: usize, work: &mut Workspace, run: &Execution) {
    let (n, size) = (a.n(), work.size);
    let Workspace { vectors, shares, w, .. } = work;
    let n_strips = (n - first).div_ceil(STRIP);
    let strip = |s: usize| first + s * STRIP..n.min(first + (s + 1) * STRIP);
    let (v, w) = (vectors.row(i), &mut w[first..]);
    let run = if n - first > ALONE { *run } else { run.alone() };
    let (reflections, updates) = (rows(vectors, 0..i, first), rows(vectors, size..size + i, first));
    shares.for_each_row(0..n_strips + 1, &run, |s, share| {
        if s < n_strips {
            let columns = strip(s);
            Arch::new().dispatch(StripProduct { a: a.values(), n, columns, v, share });
        } else {
            let v = MatRef::from_column_major_slice(&v[first..], n - first, 1);
            let (of_v, of_w) = MatMut::from_column_major_slice_mut(&mut share[..2 * i], 2 * i, 1).split_at_row_mut(i);
            matmul(of_v, Accum::Replace, reflections, v, 1.0, Par::Seq);
            matmul(of_w, Accum::Replace, updates, v, 1.0, Par::Seq);
        }
    });
    for s in 0..n_strips {
        let start = strip(s).start;
        w[start - first..].iter_mut().zip(&shares.row(s)[start..n]).for_each(|(w, share)| *w += share);
    }
    let products = MatRef::from_column_major_slice(&shares.row(n_strips)[..2 * i], 2 * i, 1);
    let (of_v, of_w) = products.split_at_row(i);
    subtract(w, reflections.transpose(), of_w);
    subtract(w, updates.transpose(), of_v);
}

/// Some of the panel's vectors, as rows, from row `first` of A on.
fn rows(vectors: &Panel, range: Range<usize>, first: usize) -> MatRef<'_, f64> {
    let rows = vectors.matrix(range);
    rows.subcols(first, rows.ncols() - first)
}

/// The share of some columns in A v: of their entries on and below the diagonal, and of these
/// entries' mirror images. Four columns at a time: the share is read and written once for them.
struct StripProduct<'a> {
    a: &'a [f64],
    n: usize,
    columns: Range<usize>,
    v: &'a [f64],
    share: &'a mut [f64],
}

impl WithSimd for StripProduct<'_> {
    type Output = ();

    #[inline(always)] // so that it is compiled for the processor's vector units
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, n, columns, v, share } = self;
        share[columns.start..n].fill(0.0);
        for first in columns.clone().step_by(4) {
            let end = columns.end.min(first + 4);
            for j in first..end {
                share[j] += a[j * n + j] * v[j];
                for i in j + 1..end {
                    share[i] += a[j * n + i] * v[j];
                    share[j] += a[j * n + i] * v[i];
                }
            }
            if end < n {
                let below = |k: usize| &a[(first + k) * n + end..(first + k + 1) * n];
                let (head, rest) = share.split_at_mut(end);
                let four =
                    FourColumns { columns: [0, 1, 2, 3].map(below), factors: [0, 1, 2, 3].map(|k| v[first + k]) };
                let sums = four.multiply(simd, &v[end..n], &mut rest[..n - end]);
                head[first..].iter_mut().zip(sums).for_each(|(share, sum)| *share += sum);
            }
        }
    }
}

/// Columns that are read together, and what each is multiplied by.
struct FourColumns<'a> {
    columns: [&'a [f64]; 4],
    factors: [f64; 4],
}

impl FourColumns<'_> {
    /// Add the columns, each times its factor, to `to`; return the product of each with `v`.
    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, v: &[f64], to: &mut [f64]) -> [f64; 4] {
        let [(a, a_rest), (b, b_rest), (c, c_rest), (d, d_rest)] = self.columns.map(S::as_simd_f64s);
        let ((v, v_rest), (to, to_rest)) = (S::as_simd_f64s(v), S::as_mut_simd_f64s(to));
        let factors = self.factors.map(|factor| simd.splat_f64s(factor));
        let mut sums = [simd.splat_f64s(0.0); 4];
        for (((((&a, &b), &c), &d), &v), to) in a.iter().zip(b).zip(c).zip(d).zip(v).zip(to) {
            for (column, (factor, sum)) in [a, b, c, d].into_iter().zip(factors.into_iter().zip(&mut sums)) {
                *to = simd.mul_add_e_f64s(column, factor, *to);
                *sum = simd.mul_add_e_f64s(column, v, *sum);
            }
        }
        let mut sums = sums.map(|sum| simd.reduce_sum_f64s(sum));
        for (column, (factor, sum)) in
            [a_rest, b_rest, c_rest, d_rest].into_iter().zip(self.factors.iter().zip(&mut sums))
        {
            column.iter().zip(&mut *to_rest).for_each(|(x, to)| *to += x * factor);
            *sum += column.iter().zip(v_rest).map(|(x, v)| x * v).sum::<f64>();
        }
        sums
    }
}
