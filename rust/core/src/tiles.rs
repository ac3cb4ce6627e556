//! Products and solves, cut into tiles.
//!
//! The output is halved until a tile is small enough for one core, and the halves are computed side
//! by side. Each tile is a few calls of faer's sequential kernels, so that its bits depend on
//! neither the number of threads nor on which of them took it. rayon hands the tiles out without
//! spinning. A stop is looked at before each tile of a product or of a solve by L, so that it is
//! answered within a millisecond (a solve by Lᵀ: before each strip); whoever may be stopped throws
//! the result away.

use std::cell::RefCell;

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Accum, MatMut, MatRef, Par};

use crate::execution::Execution;
use crate::real::Real;

/// Edge of a tile of a product, and width of a strip of a slab. 192 is a multiple of the rows that
/// a kernel takes at once (12 and 24 in float64 and float32 with AVX2, 48 and 96 with AVX-512),
/// 192² × 8 bytes of output and its two operands fit into L2 (512 kB), and packing one operand
/// costs 1/192 of the multiplications. One AVX2 core, p = 1024, 2048, 4096, depth 128: 43, 41, 41.5
/// Gflop/s against 43, 40, 40 with 128 and 41.5, 40, 41 with 256.
pub(crate) const TILE: usize = 192;

/// Edge of a tile where there would be too few of `TILE` to go round: half as much.
const SMALL_TILE: usize = TILE / 2;

/// Tiles that each thread should find, so that the last one does not wait long for the others. With
/// AVX-512 small tiles are as fast as large ones (two Zen 4 cores, depth 256: 112 Gflop/s with 96,
/// 113 with 192), and a block of rows ends with less waiting: a whole `update` made 81 and 85
/// Gflop/s at p = 1024 and 2048, against 62 and 73 where 192 was kept. 128: tiles of 96 up to p =
/// 4096 on two threads. With AVX2 packing costs more for small tiles.
fn tiles_per_thread() -> usize {
    if has_avx512() { 128 } else { 4 }
}

/// Edge of the tiles in which a triangle is transposed: 64² × 8 bytes are 32 kB a side, which stays
/// in L1 and L2.
const TRANSPOSE_TILE: usize = 64;

/// Greatest depth of a product on a tile; deeper ones are cut into equal steps. On AVX2 a panel of
/// the kernel (12 × 128 × 8 bytes = 12 kB) and the other operand's then stay in L1: 42 to 43, 40 to
/// 41, 41.5 Gflop/s at depths of 128 to 192 against 39.5, 38, 39 at 256. With AVX-512 the kernel's
/// panel is larger than L1 at either depth, and a deeper product stores its output less often. In
/// float32 the same depth halves the error of 342.
fn max_depth() -> usize {
    if has_avx512() { 256 } else { 192 }
}

/// Whether faer's kernels use AVX-512 on this processor.
fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Have faer's kernels take the workspace of this thread, as they do at the first product that is
/// not small: about twice the third-level cache. They end the process where it is lacking.
pub fn take_workspace() {
    const EDGE: usize = 32;
    let (zeros, mut product) = ([0.0; EDGE * EDGE], [0.0; EDGE * EDGE]);
    let a = MatRef::from_column_major_slice(&zeros, EDGE, EDGE);
    let c = MatMut::from_column_major_slice_mut(&mut product, EDGE, EDGE);
    matmul(c, Accum::Replace, a, a, 1.0, Par::Seq);
}

/// What a product reads: a matrix of (depth, columns), some columns at a time.
pub(crate) trait Operand<T>: Sync {
    /// Rows.
    fn depth(&self) -> usize;

    /// `n` columns from `start` on; never across a multiple of `TILE`.
    fn columns(&self, start: usize, n: usize) -> MatRef<'_, T>;
}

impl<T: Real> Operand<T> for MatRef<'_, T> {
    fn depth(&self) -> usize {
        self.nrows()
    }

    fn columns(&self, start: usize, n: usize) -> MatRef<'_, T> {
        self.subcols(start, n)
    }
}

/// Which part of a tile is wanted.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Part {
    Whole,
    Lower,
}

/// What becomes of a product: the part that is wanted, added or in place of what was there.
#[derive(Clone, Copy)]
pub(crate) struct To {
    part: Part,
    accum: Accum,
}

/// Numbers that can be multiplied into sums in float64.
pub(crate) trait Factor: Real {
    /// C ← (C +) α AᵀB on one tile, A of (depth, m) and B of (depth, n).
    fn product(c: MatMut<'_, f64>, to: To, a: MatRef<'_, Self>, b: MatRef<'_, Self>, alpha: f64);
}

impl Factor for f64 {
    fn product(c: MatMut<'_, f64>, to: To, a: MatRef<'_, f64>, b: MatRef<'_, f64>, alpha: f64) {
        multiply(c, to, a, b, alpha);
    }
}

impl Factor for f32 {
    /// The product over all rows in float32, then added in float64.
    fn product(mut c: MatMut<'_, f64>, to: To, a: MatRef<'_, f32>, b: MatRef<'_, f32>, alpha: f64) {
        /// Columns of the product are apart by an odd number of cache lines.
        const STRIDE: usize = TILE + 16;
        thread_local! {
            static PRODUCT: RefCell<Vec<f32>> = RefCell::new(vec![0.0; STRIDE * TILE]);
        }
        let (m, n) = (c.nrows(), c.ncols());
        PRODUCT.with_borrow_mut(|memory| {
            let product = MatMut::from_column_major_slice_with_stride_mut(&mut memory[..STRIDE * n], m, n, STRIDE);
            multiply(product, To { accum: Accum::Replace, ..to }, a, b, 1.0);
            for (j, sums) in c.as_mut().col_iter_mut().enumerate() {
                let first = if to.part == Part::Lower { j } else { 0 };
                let column = &memory[j * STRIDE + first..j * STRIDE + m];
                if let Some(sums) = sums.try_as_col_major_mut() {
                    let sums = &mut sums.as_slice_mut()[first..];
                    if to.accum == Accum::Replace {
                        sums.fill(0.0);
                    }
                    sums.iter_mut().zip(column).for_each(|(c, x)| *c += alpha * f64::from(*x));
                }
            }
        });
    }
}

/// C ← (C +) α AᵀB on one tile, some depth at a time.
fn multiply<T: Real>(mut c: MatMut<'_, T>, to: To, a: MatRef<'_, T>, b: MatRef<'_, T>, alpha: T) {
    let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    let steps = a.nrows().div_ceil(max_depth());
    let step = a.nrows().div_ceil(steps.max(1)).max(1);
    for start in (0..a.nrows()).step_by(step) {
        let n = step.min(a.nrows() - start);
        let accum = if start == 0 { to.accum } else { Accum::Add };
        let (a, b) = (a.subrows(start, n).transpose(), b.subrows(start, n));
        match to.part {
            Part::Whole => matmul(c.as_mut(), accum, a, b, alpha, Par::Seq),
            Part::Lower => triangular::matmul(c.as_mut(), lower, accum, a, full, b, full, alpha, Par::Seq),
        }
    }
}

/// Where to cut `n` into two, at a multiple of `edge`.
fn half(n: usize, edge: usize) -> usize {
    (n / 2).next_multiple_of(edge)
}

/// Edge of the tiles of an output that has `tiles` of the usual size.
fn edge(tiles: usize, run: &Execution) -> usize {
    if run.is_parallel() && tiles < tiles_per_thread() * rayon::current_num_threads() { SMALL_TILE } else { TILE }
}

/// Both, side by side if the work may be split.
pub(crate) fn join(run: &Execution, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    if run.is_parallel() {
        rayon::join(a, b);
    } else {
        a();
        b();
    }
}

/// lower(C) += α AᵀA
pub(crate) fn gram<T: Factor>(c: MatMut<'_, f64>, a: &impl Operand<T>, alpha: f64, run: &Execution) {
    gram_from(c, a, 0, alpha, run);
}

/// lower(C) = AᵀA for a matrix A that has rows.
pub(crate) fn gram_anew<T: Factor>(c: MatMut<'_, f64>, a: &impl Operand<T>, run: &Execution) {
    let tiles = c.nrows().div_ceil(TILE);
    Cut { edge: edge(tiles * (tiles + 1) / 2, run), accum: Accum::Replace, alpha: 1.0, run }.triangle(c, (a, a), 0);
}

/// lower(C) += α AᵀA with the columns of A from `i` on, a multiple of `TILE` or such that no tile
/// crosses one.
pub(crate) fn gram_from<T: Factor>(c: MatMut<'_, f64>, a: &impl Operand<T>, i: usize, alpha: f64, run: &Execution) {
    symmetric_product(c, (a, a), i, alpha, run);
}

/// lower(C) += α AᵀB, where AᵀB is symmetric, with the columns of A and B from `i` on.
pub(crate) fn symmetric_product<T: Factor>(
    c: MatMut<'_, f64>,
    operands: (&impl Operand<T>, &impl Operand<T>),
    i: usize,
    alpha: f64,
    run: &Execution,
) {
    let tiles = c.nrows().div_ceil(TILE);
    let cut = Cut { edge: edge(tiles * (tiles + 1) / 2, run), accum: Accum::Add, alpha, run };
    if operands.0.depth() > 0 && c.nrows() > 0 {
        cut.triangle(c, operands, i);
    }
}

/// C += α AᵀB, A of (depth, m) and B of (depth, n).
pub(crate) fn product<T: Factor>(
    c: MatMut<'_, f64>,
    a: &impl Operand<T>,
    b: &impl Operand<T>,
    alpha: f64,
    run: &Execution,
) {
    rectangle_from(c, (a, 0), (b, 0), alpha, run);
}

/// The same with the columns of A from `i` on and of B from `j` on.
pub(crate) fn rectangle_from<T: Factor>(
    c: MatMut<'_, f64>,
    a: (&impl Operand<T>, usize),
    b: (&impl Operand<T>, usize),
    alpha: f64,
    run: &Execution,
) {
    let edge = edge(c.nrows().div_ceil(TILE) * c.ncols().div_ceil(TILE), run);
    let cut = Cut { edge, accum: Accum::Add, alpha, run };
    if a.0.depth() > 0 && c.nrows() > 0 && c.ncols() > 0 {
        cut.rectangle(c, a, b);
    }
}

/// How a product is cut.
struct Cut<'a, 'r> {
    edge: usize,
    accum: Accum,
    alpha: f64,
    run: &'r Execution<'a>,
}

impl Cut<'_, '_> {
    /// Columns of both operands from `i` on belong to `c`.
    fn triangle<T: Factor>(&self, c: MatMut<'_, f64>, (a, b): (&impl Operand<T>, &impl Operand<T>), i: usize) {
        let n = c.nrows();
        if n <= self.edge {
            return self.tile(c, Part::Lower, a.columns(i, n), b.columns(i, n));
        }
        let cut = half(n, self.edge);
        let (top, _, below, bottom) = c.split_at_mut(cut, cut);
        let triangles = || join(self.run, || self.triangle(top, (a, b), i), || self.triangle(bottom, (a, b), i + cut));
        join(self.run, || self.rectangle(below, (a, i + cut), (b, i)), triangles);
    }

    fn rectangle<T: Factor>(
        &self,
        c: MatMut<'_, f64>,
        (a, i): (&impl Operand<T>, usize),
        (b, j): (&impl Operand<T>, usize),
    ) {
        let (m, n) = (c.nrows(), c.ncols());
        if m.max(n) <= self.edge {
            self.tile(c, Part::Whole, a.columns(i, m), b.columns(j, n));
        } else if m >= n {
            let cut = half(m, self.edge);
            let (top, bottom) = c.split_at_row_mut(cut);
            join(self.run, || self.rectangle(top, (a, i), (b, j)), || self.rectangle(bottom, (a, i + cut), (b, j)));
        } else {
            let cut = half(n, self.edge);
            let (left, right) = c.split_at_col_mut(cut);
            join(self.run, || self.rectangle(left, (a, i), (b, j)), || self.rectangle(right, (a, i), (b, j + cut)));
        }
    }

    fn tile<T: Factor>(&self, c: MatMut<'_, f64>, part: Part, a: MatRef<'_, T>, b: MatRef<'_, T>) {
        if !self.run.is_stopped() {
            T::product(c, To { part, accum: self.accum }, a, b, self.alpha);
        }
    }
}

/// Call `f` on strips of the columns of `b`: of `TILE` columns, or as many fewer as gives every
/// thread one.
fn by_strips<T: Real>(b: MatMut<'_, T>, run: &Execution, f: &(impl Fn(MatMut<'_, T>) + Sync)) {
    let threads = if run.is_parallel() { rayon::current_num_threads() } else { 1 };
    let n_strips = b.ncols().div_ceil(TILE).next_multiple_of(threads);
    if n_strips > 0 {
        let width = b.ncols().div_ceil(n_strips);
        for_each_strip(b, width, run, &|_, strip| f(strip));
    }
}

/// Call `f(first column, strip)` on strips of `width` columns.
pub(crate) fn for_each_strip<T: Real>(
    b: MatMut<'_, T>,
    width: usize,
    run: &Execution,
    f: &(impl Fn(usize, MatMut<'_, T>) + Sync),
) {
    strips_from(0, b, width, run, f);
}

fn strips_from<T: Real>(
    start: usize,
    b: MatMut<'_, T>,
    width: usize,
    run: &Execution,
    f: &(impl Fn(usize, MatMut<'_, T>) + Sync),
) {
    if b.ncols() <= width {
        f(start, b);
    } else {
        let cut = half(b.ncols(), width);
        let (left, right) = b.split_at_col_mut(cut);
        join(run, || strips_from(start, left, width, run, f), || strips_from(start + cut, right, width, run, f));
    }
}

/// B ← L⁻¹ B
pub(crate) fn solve_lower<T: Real>(l: MatRef<'_, T>, b: MatMut<'_, T>, run: &Execution) {
    by_strips(b, run, &|b| solve_strip(l, b, run));
}

/// Tile after tile: what is above is multiplied and subtracted, then a small triangle solved.
/// Measured on one AVX2 core with strips of 192 columns: 38, 39, 40 Gflop/s at p = 1024, 2048,
/// 4096, against 34, 32, 32 by faer's solve on strips of 64, and 38, 38, 37 on 192.
pub(crate) fn solve_strip<T: Real>(l: MatRef<'_, T>, mut b: MatMut<'_, T>, run: &Execution) {
    let p = l.nrows();
    for start in (0..p).step_by(TILE) {
        if run.is_stopped() {
            return;
        }
        let n = TILE.min(p - start);
        let (above, below) = b.as_mut().split_at_row_mut(start);
        let mut tile = below.subrows_mut(0, n);
        for k in (0..start).step_by(TILE) {
            let factor = l.submatrix(start, k, n, TILE);
            matmul(
                tile.as_mut(),
                Accum::Add,
                factor,
                above.as_ref().subrows(k, TILE),
                -faer::traits::math_utils::one::<T>(),
                Par::Seq,
            );
        }
        solve_lower_triangular_in_place(l.submatrix(start, start, n, n), tile, Par::Seq);
    }
}

/// B ← L⁻ᵀ B
pub(crate) fn solve_lower_transposed(l: MatRef<'_, f64>, b: MatMut<'_, f64>, run: &Execution) {
    by_strips(b, run, &|b| {
        if !run.is_stopped() {
            solve_upper_triangular_in_place(l.transpose(), b, Par::Seq);
        }
    });
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
    let run = if n > 2 * TRANSPOSE_TILE { *run } else { run.alone() };
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
