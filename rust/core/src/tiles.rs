//! Products and solves, cut into tiles.
//!
//! The output is halved until a tile is small enough for one core, and the halves are computed side by side. Each tile is one call of
//! faer's sequential kernels, so that its bits depend on neither the number of threads nor on which of them took it. rayon hands the
//! tiles out without spinning: measured on two AVX2 cores, float64, 74 Gmult/s for the triangular product at p = 1024 and 72 at 4096,
//! against 61 and 72 with faer's own threads (OpenBLAS: 72); 64 against 59 for the factorisation at p = 1024.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Accum, MatMut, MatRef, Par};

use crate::execution::Execution;

/// Edge of a tile of a product: 128² × 8 bytes of output stay in L2, and small systems still have tiles for many cores.
const TILE: usize = 128;

/// Right-hand sides that one core solves for together. 64 or 128 measured alike; 64 gives more cores something to do.
const STRIP: usize = 64;

/// Edge of the tiles in which a triangle is transposed: 64² × 8 bytes are 32 kB a side, which stays in L1 and L2.
const TRANSPOSE_TILE: usize = 64;

/// Where to cut `n`: in the middle, on a cache line.
fn half(n: usize) -> usize {
    (n / 2).next_multiple_of(8)
}

fn join(run: &Execution, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    if run.is_parallel() {
        rayon::join(a, b);
    } else {
        a();
        b();
    }
}

/// lower(C) += α F Fᵀ
pub(crate) fn gram(c: MatMut<'_, f64>, f: MatRef<'_, f64>, alpha: f64, run: &Execution) {
    let p = c.nrows();
    if f.ncols() == 0 {
        return;
    }
    if p <= TILE {
        let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
        triangular::matmul(c, lower, Accum::Add, f, full, f.transpose(), full, alpha, Par::Seq);
        return;
    }
    let (top, _, below, bottom) = c.split_at_mut(half(p), half(p));
    let (upper, lower) = f.split_at_row(half(p));
    let triangles = || join(run, || gram(top, upper, alpha, run), || gram(bottom, lower, alpha, run));
    join(run, || product(below, lower, upper.transpose(), alpha, run), triangles);
}

/// C += α A B
pub(crate) fn product(c: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>, alpha: f64, run: &Execution) {
    let (m, n) = (c.nrows(), c.ncols());
    if m.max(n) <= TILE {
        matmul(c, Accum::Add, a, b, alpha, Par::Seq);
    } else if m >= n {
        let (top, bottom) = c.split_at_row_mut(half(m));
        let (upper, lower) = a.split_at_row(half(m));
        join(run, || product(top, upper, b, alpha, run), || product(bottom, lower, b, alpha, run));
    } else {
        let (left, right) = c.split_at_col_mut(half(n));
        let (first, second) = b.split_at_col(half(n));
        join(run, || product(left, a, first, alpha, run), || product(right, a, second, alpha, run));
    }
}

/// Call `f` on strips of the columns of `b`.
fn by_strips(b: MatMut<'_, f64>, run: &Execution, f: &(impl Fn(MatMut<'_, f64>) + Sync)) {
    let n = b.ncols();
    if n <= STRIP {
        f(b);
    } else {
        let (left, right) = b.split_at_col_mut(half(n));
        join(run, || by_strips(left, run, f), || by_strips(right, run, f));
    }
}

/// B ← L⁻¹ B
pub(crate) fn solve_lower(l: MatRef<'_, f64>, b: MatMut<'_, f64>, run: &Execution) {
    by_strips(b, run, &|b| solve_lower_triangular_in_place(l, b, Par::Seq));
}

/// B ← L⁻ᵀ B
pub(crate) fn solve_lower_transposed(l: MatRef<'_, f64>, b: MatMut<'_, f64>, run: &Execution) {
    by_strips(b, run, &|b| solve_upper_triangular_in_place(l.transpose(), b, Par::Seq));
}

/// B ← R B for upper triangular R, through memory for each strip.
pub(crate) fn multiply_upper(r: MatRef<'_, f64>, b: MatMut<'_, f64>, run: &Execution) {
    let (upper, full) = (BlockStructure::TriangularUpper, BlockStructure::Rectangular);
    by_strips(b, run, &|mut b| {
        let copy = b.to_owned();
        triangular::matmul(b.as_mut(), full, Accum::Replace, r, upper, copy.as_ref(), full, 1.0, Par::Seq);
    });
}

/// Copy the lower triangle onto the upper one.
pub(crate) fn mirror(a: MatMut<'_, f64>, run: &Execution) {
    let n = a.nrows();
    if n < 2 {
        return;
    }
    let cut = n / 2;
    let (top, right, below, bottom) = a.split_at_mut(cut, cut);
    let run = if n > 2 * TRANSPOSE_TILE { *run } else { Execution::sequential() };
    let triangles = || join(&run, || mirror(top, &run), || mirror(bottom, &run));
    join(&run, || transpose_into(right, below.as_ref(), &run), triangles);
}

/// dst = srcᵀ
fn transpose_into(mut dst: MatMut<'_, f64>, src: MatRef<'_, f64>, run: &Execution) {
    let (m, n) = (dst.nrows(), dst.ncols());
    if m.max(n) <= TRANSPOSE_TILE {
        dst.copy_from(src.transpose());
    } else if m >= n {
        let (top, bottom) = dst.split_at_row_mut(m / 2);
        let (left, right) = src.split_at_col(m / 2);
        join(run, || transpose_into(top, left, run), || transpose_into(bottom, right, run));
    } else {
        let (left, right) = dst.split_at_col_mut(n / 2);
        let (top, bottom) = src.split_at_row(n / 2);
        join(run, || transpose_into(left, top, run), || transpose_into(right, bottom, run));
    }
}
