//! R ← the triangular factor of [R; B]: rows B are taken up by Householder reflections.
//!
//! RᵀR grows by BᵀB, but neither product is formed: rounding changes R and B by a part u of their
//! columns, and so a singular value σ by u‖R‖ where that of RᵀR would be known to u‖R‖² (Higham,
//! Accuracy and Stability of Numerical Algorithms, theorem 19.4).
//!
//! A reflection that annihilates column j of B changes row j of R alone: I − τ v vᵀ with v = [e_j;
//! x]. Those of a block of columns are applied together, Q = I − V T Vᵀ with T upper triangular
//! (compact WY; Schreiber & Van Loan, SIAM J. Sci. Stat. Comput. 10 (1989) 53), V in the place of
//! the columns that it annihilates. Blocks are halved until a few columns are left, which are
//! reflected one by one (Elmroth & Gustavson, IBM J. Res. Dev. 44 (2000) 605). The next block is
//! finished while the columns behind it are still being reflected, as in `cholesky`. Columns are cut
//! into tiles of a fixed width: the same bits on any number of threads.

use std::cell::RefCell;

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};

use crate::error::Result;
use crate::execution::Execution;
use crate::few_columns::{FEW, Sign, reflect_few};
use crate::panel::Panel;
use crate::real::squared_norm;
use crate::stage::ROWS;
use crate::tiles::join;

/// Columns whose reflections are applied together. T costs 64/1024 of the products with 256 rows, and
/// a product of depth 64 runs near its peak.
pub(crate) const BLOCK: usize = 64;

/// Columns behind a block that one task reflects: with 256 rows 0.26 MB, which stay in L2 beside V.
/// One Zen 4 core, processor time over that of `update` with sums: 2.25, 2.16, 2.2 at p = 512, 1024,
/// 2048 (2.3, 2.1, 2.25 with 64).
const WIDTH: usize = 128;

/// Rᵀ, in the lower triangle of an array, and z = Qᵀy of each output: (p, k).
pub(crate) struct Triangle<'a> {
    pub lower: MatMut<'a, f64>,
    pub z: MatMut<'a, f64>,
}

/// Rows to be taken up, in columns.
pub(crate) struct Columns {
    /// (`ROWS`, p)
    features: Panel,
    /// (`ROWS`, k)
    targets: Panel,
    /// Rows that are in use, zeros among them: a multiple of `LANES`.
    n: usize,
    /// T of two blocks of columns.
    coefficients: [Panel; 2],
    sign: Sign,
}

/// Rows are filled up with zeros to a multiple of this: no vector unit has more lanes.
pub(crate) const LANES: usize = 8;

impl Columns {
    /// Memory for `ROWS` rows of `p` features and `k` outputs.
    pub fn new(p: usize, k: usize) -> Result<Self> {
        Self::with_room(ROWS, p, k, Sign::Other)
    }

    /// Memory for so many rows, and the sign that their reflections leave on the diagonal of R.
    pub fn with_room(rows: usize, p: usize, k: usize, sign: Sign) -> Result<Self> {
        let rows = rows.next_multiple_of(LANES);
        let coefficients = [Panel::zeros(BLOCK, BLOCK)?, Panel::zeros(BLOCK, BLOCK)?];
        Ok(Self { features: Panel::unset(p, rows)?, targets: Panel::unset(k, rows)?, n: 0, coefficients, sign })
    }

    /// The features, (n, p), and the targets, (n, k), of the next rows, to write; as many as there
    /// is room for.
    pub fn next_mut(&mut self, n: usize) -> (MatMut<'_, f64>, MatMut<'_, f64>) {
        self.n = n.next_multiple_of(LANES);
        let used = n..self.n;
        let (p, k) = (self.features.n_rows(), self.targets.n_rows());
        self.features
            .rows_mut(0..p)
            .chain(self.targets.rows_mut(0..k))
            .for_each(|column| column[used.clone()].fill(0.0));
        (self.features.columns_mut(p).subrows_mut(0, n), self.targets.columns_mut(k).subrows_mut(0, n))
    }

    /// Take the rows up into a triangle, and add the squares of what it leaves of their targets to
    /// `unexplained`. Their features are zero before column `first`. After a stop all is spoilt.
    pub fn absorb(&mut self, into: Triangle<'_>, unexplained: &mut [f64], first: usize, run: &Execution) {
        let Triangle { mut lower, mut z } = into;
        let p = lower.ncols();
        let Self { features, targets, n: rows, coefficients: [now, next], sign } = self;
        let sign = *sign;
        let k = targets.n_rows();
        let mut b = features.columns_mut(p).subrows_mut(0, *rows);
        let mut y = targets.columns_mut(k).subrows_mut(0, *rows);
        let size = |start: usize| BLOCK.min(p - start);
        let (mut now, mut next) = (now, next);
        reflect_block(
            square(lower.as_mut(), first, size(first)),
            b.as_mut().subcols_mut(first, size(first)),
            now,
            sign,
        );
        for start in (first..p).step_by(BLOCK) {
            if run.is_stopped() {
                return;
            }
            let (n, end) = (size(start), start + size(start));
            let (done, behind) = b.as_mut().split_at_col_mut(end);
            let (done_lower, behind_lower) = lower.as_mut().split_at_col_mut(end);
            let block = Block { v: done.as_ref().subcols(start, n), t: now.columns(n).subrows(0, n) };
            let (mut near, far) = behind.split_at_col_mut(size(end));
            let below = done_lower.submatrix_mut(end, start, p - end, n);
            let (below_near, below_far) = below.split_at_row_mut(size(end));
            let following = square(behind_lower.subrows_mut(end, p - end), 0, size(end));
            let (z, y) = (z.as_mut().subrows_mut(start, n), y.as_mut());
            let finish_next = || {
                block.apply(below_near, near.as_mut());
                reflect_block(following, near, next, sign);
            };
            let others = || {
                block.apply(z.transpose_mut(), y);
                block.apply_to_all(below_far, far, run);
            };
            join(run, finish_next, others);
            std::mem::swap(&mut now, &mut next);
        }
        let left = targets.rows(0..k).map(|column| squared_norm(&column[..*rows]));
        unexplained.iter_mut().zip(left).for_each(|(sum, left)| *sum += left);
    }
}

/// The square of size `n` on the diagonal that begins at row and column `start`.
fn square(a: MatMut<'_, f64>, start: usize, n: usize) -> MatMut<'_, f64> {
    a.submatrix_mut(start, start, n, n)
}

/// Reflections of a block of columns: I − V T Vᵀ, V = [1; v].
#[derive(Clone, Copy)]
struct Block<'a> {
    v: MatRef<'a, f64>,
    t: MatRef<'a, f64>,
}

impl Block<'_> {
    /// Reflect columns B, (rows, w), and the rows of R above them, (w, n) as columns of Rᵀ:
    /// [R; B] ← [R; B] − [1; v] Tᵀ (R + vᵀB).
    fn apply(&self, mut r: MatMut<'_, f64>, b: MatMut<'_, f64>) {
        let (w, n) = (r.nrows(), r.ncols());
        if w == 0 {
            return;
        }
        thread_local! {
            static PRODUCTS: RefCell<Vec<f64>> = const { RefCell::new(vec![]) };
        }
        let (full, upper) = (BlockStructure::Rectangular, BlockStructure::TriangularUpper);
        PRODUCTS.with_borrow_mut(|memory| {
            memory.resize(memory.len().max(2 * w * n), 0.0);
            let (x, y) = memory[..2 * w * n].split_at_mut(w * n);
            let mut x = MatMut::from_column_major_slice_mut(x, w, n);
            let mut y = MatMut::from_column_major_slice_mut(y, w, n);
            x.copy_from(&r);
            matmul(x.as_mut(), Accum::Add, b.as_ref().transpose(), self.v, 1.0, Par::Seq);
            triangular::matmul(y.as_mut(), full, Accum::Replace, x.as_ref(), full, self.t, upper, 1.0, Par::Seq);
            r -= &y;
            matmul(b, Accum::Add, self.v, y.as_ref().transpose(), -1.0, Par::Seq);
        });
    }

    /// The same, tile by tile.
    fn apply_to_all(&self, r: MatMut<'_, f64>, b: MatMut<'_, f64>, run: &Execution) {
        let w = b.ncols();
        if w <= WIDTH {
            if !run.is_stopped() {
                self.apply(r, b);
            }
            return;
        }
        let cut = (w / 2).next_multiple_of(WIDTH);
        let (r_left, r_right) = r.split_at_row_mut(cut);
        let (b_left, b_right) = b.split_at_col_mut(cut);
        join(run, || self.apply_to_all(r_left, b_left, run), || self.apply_to_all(r_right, b_right, run));
    }
}

/// Annihilate columns B, (rows, n), by reflections that change the rows of R above them, (n, n) as
/// Rᵀ. In place of B: v. In the upper triangle of the first n columns of `t`: T.
pub(crate) fn reflect_block(r: MatMut<'_, f64>, b: MatMut<'_, f64>, t: &mut Panel, sign: Sign) {
    let n = b.ncols();
    reflect(r, b, t.columns_mut(n).subrows_mut(0, n), sign);
}

/// Half of the columns, the other half, and what couples both in T: −T₁ v₁ᵀv₂ T₂.
fn reflect(mut r: MatMut<'_, f64>, b: MatMut<'_, f64>, t: MatMut<'_, f64>, sign: Sign) {
    let n = b.ncols();
    if n <= FEW {
        reflect_few(r, b, t, sign);
        return;
    }
    let half = (n / 2).next_multiple_of(FEW);
    let (mut left, mut right) = { b }.split_at_col_mut(half);
    let (mut t_left, mut coupling, _, mut t_right) = t.split_at_mut(half, half);
    reflect(r.as_mut().submatrix_mut(0, 0, half, half), left.as_mut(), t_left.as_mut(), sign);
    Block { v: left.as_ref(), t: t_left.as_ref() }
        .apply(r.as_mut().submatrix_mut(half, 0, n - half, half), right.as_mut());
    reflect(r.submatrix_mut(half, half, n - half, n - half), right.as_mut(), t_right.as_mut(), sign);
    let (full, upper) = (BlockStructure::Rectangular, BlockStructure::TriangularUpper);
    let mut memory = [0.0; BLOCK * BLOCK / 4];
    let mut product = MatMut::from_column_major_slice_mut(&mut memory[..half * (n - half)], half, n - half);
    matmul(coupling.as_mut(), Accum::Replace, left.as_ref().transpose(), right.as_ref(), 1.0, Par::Seq);
    triangular::matmul(
        product.as_mut(),
        full,
        Accum::Replace,
        t_left.as_ref(),
        upper,
        coupling.as_ref(),
        full,
        -1.0,
        Par::Seq,
    );
    triangular::matmul(coupling, full, Accum::Replace, product.as_ref(), full, t_right.as_ref(), upper, 1.0, Par::Seq);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use faer::Mat;

    use super::*;

    fn noise(rows: usize, columns: usize, mut seed: u64) -> Mat<f64> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        };
        Mat::from_fn(rows, columns, |_, _| next())
    }

    type Factored = (Mat<f64>, Mat<f64>, Vec<f64>);

    fn take_up(
        into: &mut Factored,
        f: MatRef<'_, f64>,
        y: MatRef<'_, f64>,
        first: usize,
        run: &Execution,
    ) -> Result<()> {
        let (lower, z, unexplained) = into;
        let mut columns = Columns::new(f.ncols(), y.ncols())?;
        let (b, t) = columns.next_mut(f.nrows());
        { b }.copy_from(f);
        { t }.copy_from(y);
        columns.absorb(Triangle { lower: lower.as_mut(), z: z.as_mut() }, unexplained, first, run);
        Ok(())
    }

    /// Rᵀ, z and what is left of targets, of rows in blocks.
    fn factor(f: &Mat<f64>, y: &Mat<f64>, run: &Execution) -> Result<Factored> {
        let (p, k) = (f.ncols(), y.ncols());
        let mut factored = (Mat::zeros(p, p), Mat::zeros(p, k), vec![0.0; k]);
        for start in (0..f.nrows()).step_by(ROWS) {
            let n = ROWS.min(f.nrows() - start);
            take_up(&mut factored, f.subrows(start, n), y.subrows(start, n), 0, run)?;
        }
        Ok(factored)
    }

    #[test]
    fn products_are_those_of_the_rows() -> Result<()> {
        for (n, p, k) in [(1, 1, 0), (5, 3, 2), (30, 9, 1), (300, 70, 3), (700, 200, 1), (100, 130, 2)] {
            let (f, y) = (noise(n, p, 1), noise(n, k, 2));
            let (lower, z, left) = factor(&f, &y, &Execution::sequential())?;
            let close = |a: Mat<f64>, b: Mat<f64>| assert!((a - b).norm_max() < 1e-13 * (n as f64 + p as f64));
            close(&lower * lower.transpose(), f.transpose() * &f);
            close(&lower * &z, f.transpose() * &y);
            for (j, left) in left.iter().enumerate() {
                let total = z.col(j).squared_norm_l2() + left;
                assert!((total - y.col(j).squared_norm_l2()).abs() < 1e-12 * n as f64);
            }
            assert!((0..p).all(|j| (0..j).all(|i| lower[(i, j)] == 0.0)));
        }
        Ok(())
    }

    #[test]
    fn the_bits_do_not_depend_on_threads() -> Result<()> {
        let (f, y, stop) = (noise(600, 777, 3), noise(600, 2, 4), AtomicBool::new(false));
        let expected = factor(&f, &y, &Execution::sequential())?;
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let got = pool.map_err(|_| crate::error::Error::NotConverged)?;
            let got = got.install(|| factor(&f, &y, &Execution::new(true, &stop)))?;
            assert_eq!(got, expected);
        }
        Ok(())
    }

    #[test]
    fn rows_with_zeros_in_front_are_taken_up_from_their_first_column() -> Result<()> {
        let (p, first) = (150, 70);
        let mut f = noise(40, p, 5);
        f.as_mut().subcols_mut(0, first).fill(0.0);
        let (run, y) = (Execution::sequential(), noise(40, 1, 6));
        let start = factor(&noise(256, p, 7), &noise(256, 1, 8), &run)?;
        let (mut from_first, mut from_zero) = (start.clone(), start);
        take_up(&mut from_first, f.as_ref(), y.as_ref(), first, &run)?;
        take_up(&mut from_zero, f.as_ref(), y.as_ref(), 0, &run)?;
        let close = |a: Mat<f64>, b: Mat<f64>| assert!((a - b).norm_max() < 1e-13);
        close(from_first.0, from_zero.0);
        close(from_first.1, from_zero.1);
        assert!((from_first.2[0] - from_zero.2[0]).abs() < 1e-12);
        Ok(())
    }
}
