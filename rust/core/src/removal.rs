//! L ← the factor of L Lᵀ − FᵀF: rows are taken out by orthogonal transformations.
//!
//! With Z = L⁻¹Fᵀ the difference is L (I − ZZᵀ) Lᵀ. So it is positive definite if and only if the
//! small matrix I − ZᵀZ is, which is known before L is touched (Saunders, as in LINPACK's dchdd; Stewart,
//! J. Inst. Maths Applics 23 (1979) 203). Block j of the columns of L then needs the roots of
//!
//! > G_j = I − Σ_{l<j} Z_lᵀZ_l = K_j K_jᵀ,
//!
//! from the last block to the first by reflections: G_j = G_{j+1} + Z_jᵀZ_j is a sum, not a difference.
//! With Y = K_j⁻¹Z_jᵀ, CCᵀ = I − YᵀY, D = K_j⁻¹K_{j+1} and X = CᵀYᵀD⁻ᵀ, the transformation
//!
//! > [L' W] [Cᵀ −X; Y D] = [L W']
//!
//! is orthogonal. It is solved for L' and W', row by row of L, with W = Fᵀ at first (the mixed form:
//! Bojanczyk, Brent, Van Dooren & de Hoog, SIAM J. Sci. Stat. Comput. 8 (1987) 210). Its error is that of
//! a small change of L and F. Rows of L do not depend on one another: threads share them.

use std::cell::RefCell;

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::absorb::{BLOCK, LANES, reflect_block};
use crate::cholesky::{self, Pivot};
use crate::error::Result;
use crate::execution::Execution;
use crate::few_columns::Sign;
use crate::panel::Panel;
use crate::tiles::{self, TILE, join};

/// Rows that are taken out together: K is as wide as a block of reflections at most.
pub(crate) const TOGETHER: usize = BLOCK;

/// Rows F, and the transformations that take them out of a factor.
pub(crate) struct Removal {
    /// F, times √w: (k, p).
    rows: Panel,
    turns: Vec<Turn>,
}

/// The transformation of a block of n columns.
struct Turn {
    /// (k, n)
    y: Mat<f64>,
    /// (n, n), lower triangular
    c: Mat<f64>,
    /// (k, k), lower triangular
    d: Mat<f64>,
    /// (n, k)
    x: Mat<f64>,
}

/// A removal and what it leaves of the targets, or the pivot that would be lost.
type Outcome = std::result::Result<(Removal, Mat<f64>), Pivot>;

impl Removal {
    /// Prepare to take rows, at most `TOGETHER`, out of L. Nothing is changed. With `targets`, (k,
    /// n_outputs), and `z` = L⁻¹b, (p, n_outputs), also return (Y − Zᵀz)ᵀK⁻ᵀ with KKᵀ = I − ZᵀZ: its
    /// squares are what the rows leave unexplained.
    pub fn of(
        rows: Panel,
        l: MatRef<'_, f64>,
        (targets, fit): (MatRef<'_, f64>, MatRef<'_, f64>),
        run: &Execution,
    ) -> Result<Outcome> {
        let (k, p) = (rows.n_rows(), l.nrows());
        let mut whitened = rows.try_clone()?;
        // a strip for each of four threads, and no narrower than the kernel
        let width = k.div_ceil(4).next_multiple_of(LANES);
        tiles::for_each_strip(whitened.columns_mut(k), width, run, &|_, strip| tiles::solve_strip(l, strip, run));
        run.check()?;
        let z = whitened.columns(k);
        let Ok(last) = remainder(z, p) else { return Ok(Err(lost_pivot(l, z))) };
        let mut left = targets.transpose().to_owned();
        matmul(left.as_mut(), Accum::Add, fit.transpose(), z, -1.0, Par::Seq);
        solve_lower_triangular_in_place(last.as_ref(), left.as_mut().transpose_mut(), Par::Seq);
        let roots = roots(z, last)?;
        let turn = |j: usize| Turn::new(&roots[j], &roots[j + 1], z.subrows(j * BLOCK, BLOCK.min(p - j * BLOCK)));
        let n = roots.len() - 1;
        let turns: Option<Vec<Turn>> =
            if run.is_parallel() { (0..n).into_par_iter().map(turn).collect() } else { (0..n).map(turn).collect() };
        run.check()?;
        Ok(match turns {
            Some(turns) => Ok((Self { rows, turns }, left)),
            None => Err(lost_pivot(l, z)),
        })
    }

    /// Take the rows out. After a stop L is spoilt.
    pub fn apply(&self, lower: MatMut<'_, f64>, run: &Execution) {
        self.apply_from(0, lower, self.rows.columns(self.rows.n_rows()), run);
    }

    /// The same for z = L⁻¹b, (p, n_outputs), of targets (k, n_outputs).
    pub fn apply_to_fit(&self, fit: MatMut<'_, f64>, targets: MatRef<'_, f64>) {
        if fit.ncols() > 0 {
            self.turn(fit.nrows(), fit.transpose_mut(), targets.transpose());
        }
    }

    fn apply_from(&self, first: usize, l: MatMut<'_, f64>, w: MatRef<'_, f64>, run: &Execution) {
        let n = l.nrows();
        if n <= TILE {
            if !run.is_stopped() {
                self.turn(first, l, w);
            }
            return;
        }
        let cut = (n / 2).next_multiple_of(TILE);
        let (above, below) = l.split_at_row_mut(cut);
        let (w_above, w_below) = w.split_at_row(cut);
        let last = || self.apply_from(first + cut, below, w_below, run);
        join(run, last, || self.apply_from(first, above, w_above, run));
    }

    /// Turn some rows of L, the first of them `first`, with their rows of W.
    fn turn(&self, first: usize, mut l: MatMut<'_, f64>, w: MatRef<'_, f64>) {
        thread_local! {
            static MEMORY: RefCell<Vec<f64>> = const { RefCell::new(vec![]) };
        }
        let (m, k) = (l.nrows(), w.ncols());
        MEMORY.with_borrow_mut(|memory| {
            memory.resize(memory.len().max(2 * m * k), 0.0);
            let (now, next) = memory[..2 * m * k].split_at_mut(m * k);
            let (mut now, mut next) = (now, next);
            MatMut::from_column_major_slice_mut(now, m, k).copy_from(w);
            for (turn, start) in self.turns.iter().zip((0..first + m).step_by(BLOCK)) {
                let n = turn.c.nrows();
                let mut top = start.saturating_sub(first);
                let w = MatRef::from_column_major_slice(&*now, m, k);
                if start >= first {
                    turn.triangle(l.as_mut().submatrix_mut(top, start, n, n), w.subrows(top, n));
                    top += n;
                }
                let w_next = MatMut::from_column_major_slice_mut(next, m, k).subrows_mut(top, m - top);
                turn.rectangle(l.as_mut().submatrix_mut(top, start, m - top, n), w.subrows(top, m - top), w_next);
                std::mem::swap(&mut now, &mut next);
            }
        });
    }
}

impl Turn {
    /// From K_j, K_{j+1} and Z_j, (n, k). Nothing where rounding leaves no C.
    fn new(k: &Mat<f64>, k_next: &Mat<f64>, z: MatRef<'_, f64>) -> Option<Self> {
        let n = z.nrows();
        let mut y = z.transpose().to_owned();
        solve_lower_triangular_in_place(k.as_ref(), y.as_mut(), Par::Seq);
        let mut d = k_next.clone();
        solve_lower_triangular_in_place(k.as_ref(), d.as_mut(), Par::Seq);
        let mut c = Mat::identity(n, n);
        matmul(c.as_mut(), Accum::Add, y.as_ref().transpose(), y.as_ref(), -1.0, Par::Seq);
        let c = lower_root(c)?;
        let mut x = Mat::zeros(n, k.nrows());
        matmul(x.as_mut(), Accum::Replace, c.as_ref().transpose(), y.as_ref().transpose(), 1.0, Par::Seq);
        solve_lower_triangular_in_place(d.as_ref(), x.as_mut().transpose_mut(), Par::Seq);
        Some(Self { y, c, d, x })
    }

    /// L' = (L − WY) C⁻ᵀ of a block on the diagonal.
    fn triangle(&self, mut l: MatMut<'_, f64>, w: MatRef<'_, f64>) {
        let n = l.nrows();
        let mut block = Mat::from_fn(n, n, |i, j| if i < j { 0.0 } else { l[(i, j)] });
        self.solve(block.as_mut(), w);
        l.copy_from_triangular_lower(block);
    }

    /// The same below the diagonal, and W' = W D − L' X.
    fn rectangle(&self, mut l: MatMut<'_, f64>, w: MatRef<'_, f64>, mut w_next: MatMut<'_, f64>) {
        if l.nrows() == 0 {
            return;
        }
        self.solve(l.as_mut(), w);
        let (full, lower) = (BlockStructure::Rectangular, BlockStructure::TriangularLower);
        triangular::matmul(w_next.as_mut(), full, Accum::Replace, w, full, self.d.as_ref(), lower, 1.0, Par::Seq);
        matmul(w_next, Accum::Add, l.as_ref(), self.x.as_ref(), -1.0, Par::Seq);
    }

    fn solve(&self, mut l: MatMut<'_, f64>, w: MatRef<'_, f64>) {
        matmul(l.as_mut(), Accum::Add, w, self.y.as_ref(), -1.0, Par::Seq);
        solve_lower_triangular_in_place(self.c.as_ref(), l.transpose_mut(), Par::Seq);
    }
}

/// K with KKᵀ = I − ZᵀZ, if its pivots are more than rounding of Z, (p, k).
fn remainder(z: MatRef<'_, f64>, p: usize) -> std::result::Result<Mat<f64>, ()> {
    let k = z.ncols();
    let mut g = Mat::identity(k, k);
    tiles::gram(g.as_mut(), &z, -1.0, &Execution::sequential());
    let room = p as f64 * f64::EPSILON;
    lower_root(g).filter(|root| (0..k).all(|i| root[(i, i)] * root[(i, i)] > room)).ok_or(())
}

/// The Cholesky factor, zeros above its diagonal.
fn lower_root(mut a: Mat<f64>) -> Option<Mat<f64>> {
    let done = cholesky::factorize(a.as_mut(), &Execution::sequential()).ok()?;
    done.ok()?;
    let n = a.nrows();
    (0..n).for_each(|j| (0..j).for_each(|i| a[(i, j)] = 0.0));
    Some(a)
}

/// K_j of every block of rows of Z, and K of none.
fn roots(z: MatRef<'_, f64>, last: Mat<f64>) -> Result<Vec<Mat<f64>>> {
    let (p, k) = (z.nrows(), z.ncols());
    let (mut block, mut t) = (Panel::zeros(k, BLOCK)?, Panel::zeros(BLOCK, BLOCK)?);
    let mut roots = vec![last.clone()];
    let mut root = last;
    for start in (0..p).step_by(BLOCK).rev() {
        let n = BLOCK.min(p - start);
        let mut b = block.columns_mut(k).subrows_mut(0, n.next_multiple_of(LANES));
        b.fill(0.0);
        b.as_mut().subrows_mut(0, n).copy_from(z.subrows(start, n));
        reflect_block(root.as_mut(), b, &mut t, Sign::Same);
        roots.push(root.clone());
    }
    roots.reverse();
    Ok(roots)
}

/// The first pivot of L Lᵀ − FᵀF that is lost: L_jj² (1 − z_j G_j⁻¹ z_jᵀ). G falls with every row of Z.
fn lost_pivot(l: MatRef<'_, f64>, z: MatRef<'_, f64>) -> Pivot {
    let p = z.nrows();
    let (mut sound, mut lost) = (0, p);
    while lost - sound > 1 {
        let middle = sound.midpoint(lost);
        if remainder(z.subrows(0, middle), p).is_ok() { sound = middle } else { lost = middle }
    }
    let share = remainder(z.subrows(0, sound), p).map_or(f64::NAN, |root| {
        let mut y = z.subrows(sound, 1).transpose().to_owned();
        solve_lower_triangular_in_place(root.as_ref(), y.as_mut(), Par::Seq);
        1.0 - y.squared_norm_l2()
    });
    Pivot { index: sound, value: l[(sound, sound)] * l[(sound, sound)] * share }
}
