//! Q of A = Q T Qᵀ, as the blocks of reflections that `tridiagonal` left below the diagonal.
//!
//! A block of reflections H₁H₂… = I − V F⁻¹ Vᵀ is applied as two products of matrices. F is upper
//! triangular, with 1/τ on its diagonal and VᵀV above it (Puglisi, SIAM J. Sci. Stat. Comput. 13
//! (1992) 723).

use std::ops::Range;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::householder::{
    apply_block_householder_on_the_left_in_place_scratch, apply_block_householder_on_the_left_in_place_with_conj,
    apply_block_householder_transpose_on_the_left_in_place_with_conj, upgrade_householder_factor,
};
use faer::{Conj, Mat, MatMut, MatRef, Par};

use crate::execution::Execution;
use crate::tiles::{self, TILE};

/// Reflections that are applied together.
const BLOCK: usize = 64;

/// Q of a tridiagonalised array.
pub(crate) struct Reflectors<'a> {
    /// The array from its second row on: column k has v of reflection k, from row k on.
    array: MatRef<'a, f64>,
    /// F of each block.
    factors: Vec<Mat<f64>>,
    n_reflections: usize,
}

impl<'a> Reflectors<'a> {
    /// Reflections with these τ, in a tridiagonalised array.
    pub fn new(a: MatRef<'a, f64>, tau: &[f64]) -> Self {
        let n_reflections = tau.len();
        let mut q = Self {
            array: a.submatrix(1.min(a.nrows()), 0, a.nrows().max(1) - 1, n_reflections),
            factors: vec![],
            n_reflections,
        };
        for block in q.blocks() {
            let mut factor = Mat::zeros(block.len(), block.len());
            block.clone().enumerate().for_each(|(k, reflection)| factor[(k, k)] = 1.0 / tau[reflection]);
            upgrade_householder_factor(factor.as_mut(), q.vectors(&block), block.len(), 1, Par::Seq);
            q.factors.push(factor);
        }
        q
    }

    fn blocks(&self) -> Vec<Range<usize>> {
        let n = self.n_reflections;
        (0..n).step_by(BLOCK).map(|start| start..n.min(start + BLOCK)).collect()
    }

    /// V of a block, from the first row on that is not zero.
    fn vectors(&self, block: &Range<usize>) -> MatRef<'a, f64> {
        let rows = self.array.nrows() - block.start;
        self.array.submatrix(block.start, block.start, rows, block.len())
    }

    /// B ← Q B. After a stop B is spoilt.
    pub fn apply(&self, b: MatMut<'_, f64>, run: &Execution) {
        tiles::for_each_strip(b, TILE, run, &|_, mut strip| {
            for (block, factor) in self.blocks().into_iter().zip(&self.factors).rev() {
                if run.is_stopped() {
                    return;
                }
                self.reflect(&block, factor, strip.as_mut(), false);
            }
        });
    }

    /// B ← Qᵀ B. After a stop B is spoilt.
    pub fn apply_transposed(&self, mut b: MatMut<'_, f64>, run: &Execution) {
        for (block, factor) in self.blocks().into_iter().zip(&self.factors) {
            if run.is_stopped() {
                return;
            }
            self.reflect(&block, factor, b.as_mut(), true);
        }
    }

    /// Apply a block, or its transpose.
    fn reflect(&self, block: &Range<usize>, factor: &Mat<f64>, b: MatMut<'_, f64>, transposed: bool) {
        let vectors = self.vectors(block);
        let scratch =
            apply_block_householder_on_the_left_in_place_scratch::<f64>(vectors.nrows(), block.len(), b.ncols());
        let mut memory = MemBuffer::new(scratch);
        let stack = MemStack::new(&mut memory);
        let b = b.split_at_row_mut(block.start + 1).1;
        let apply = if transposed {
            apply_block_householder_transpose_on_the_left_in_place_with_conj
        } else {
            apply_block_householder_on_the_left_in_place_with_conj
        };
        apply(vectors, factor.as_ref(), Conj::No, b, Par::Seq, stack);
    }
}
