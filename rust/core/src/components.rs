//! The variance of each component of a prediction: v_c = g_cᵀ H⁻¹ g_c with g_c equal to g on the features of c and 0 elsewhere
//! (Faraday Discuss. 256 (2025) 322). Its inverse is the component-wise rigidity, CPR or LCPR.
//!
//! Two ways, whichever costs less for the rows at hand:
//! - by the block (H⁻¹)_cc = M_cᵀM_c with M_c the columns c of L⁻¹: once per component M_c = Q R, then ‖R g_c‖² at p_c²/2 a row. R keeps the
//!   digits that the product M_cᵀM_c would lose (its condition is that of H, that of R the root);
//! - by a solve with the masked row, at (p − s)²/2 a row with s the first feature of c.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::qr::no_pivoting::factor::{qr_in_place, qr_in_place_scratch, recommended_block_size};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatMut, MatRef};

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::hessian::{Hessian, SOLVE_ROWS, column_norms, for_each_block};
use crate::rows::{Element, RowBlock};
use crate::triangle::zeros;

/// Sets of features, checked.
pub struct Components(Vec<Vec<usize>>);

impl Components {
    /// Overlap between components is allowed; an empty one, a repeated or an impossible feature is not.
    pub fn new(components: &[Vec<i64>], n_features: usize) -> Result<Self> {
        if components.is_empty() {
            return Err(Error::NoComponents);
        }
        let sorted = components.iter().enumerate().map(|(c, features)| sorted_features(c, features, n_features));
        Ok(Self(sorted.collect::<Result<_>>()?))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: `new` refuses that.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn sorted_features(component: usize, features: &[i64], n_features: usize) -> Result<Vec<usize>> {
    let within = |&feature: &i64| match usize::try_from(feature) {
        Ok(index) if index < n_features => Ok(index),
        _ => Err(Error::ComponentRange { component, feature, n_features }),
    };
    let mut sorted = features.iter().map(within).collect::<Result<Vec<_>>>()?;
    if sorted.is_empty() {
        return Err(Error::EmptyComponent(component));
    }
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::ComponentRepeats { component, feature: pair[0] }),
        None => Ok(sorted),
    }
}

/// How the variance of one component is computed.
enum Way<'a> {
    Block { features: &'a [usize], factor: Mat<f64> },
    Masked { features: &'a [usize] },
}

impl Hessian {
    /// Variances of all components of each target row: (n_targets, n_components), row-major.
    pub fn component_variance<T: Element>(
        &self,
        rows: &RowBlock<'_, T>,
        components: &Components,
        run: &Execution,
    ) -> Result<Vec<f64>> {
        let (n, p, n_components) = (rows.n_targets(), self.n_features(), components.len());
        let ways = components.0.iter().map(|c| self.way(c, n, run)).collect::<Result<Vec<_>>>()?;
        let mut variances = zeros(n * n_components)?;
        let mut masked = zeros(SOLVE_ROWS.min(n) * p)?;
        let mut product = zeros(SOLVE_ROWS.min(n) * p)?;
        for_each_block(rows, run, |targets, block| {
            for (c, way) in ways.iter().enumerate() {
                let norms = self.component_norms(way, block, &mut masked, &mut product, run);
                for (t, v) in targets.clone().zip(norms) {
                    variances[t * n_components + c] = v;
                }
            }
            run.check()
        })?;
        Ok(variances)
    }

    /// The cheaper way for `n` rows: operations counted as multiplications.
    fn way<'a>(&self, features: &'a [usize], n: usize, run: &Execution) -> Result<Way<'a>> {
        run.check()?;
        let (size, tail) = (features.len() as f64, (self.n_features() - features[0]) as f64);
        let by_block = 0.5 * tail * tail * size + tail * size * size + 0.5 * n as f64 * size * size;
        let by_mask = 0.5 * n as f64 * tail * tail;
        if by_mask <= by_block {
            return Ok(Way::Masked { features });
        }
        Ok(Way::Block { features, factor: self.inverse_block_factor(features, run) })
    }

    /// Upper triangular R with RᵀR = (H⁻¹)_cc, from M_c = L⁻¹E_c = Q R.
    fn inverse_block_factor(&self, features: &[usize], run: &Execution) -> Mat<f64> {
        let (start, size) = (features[0], features.len());
        let n = self.n_features() - start; // rows above are zero
        let mut m = Mat::<f64>::zeros(n, size);
        features.iter().enumerate().for_each(|(column, &feature)| m[(feature - start, column)] = 1.0);
        let tail = self.lower().submatrix(start, start, n, n);
        solve_lower_triangular_in_place(tail, m.as_mut(), run.par_for(size));
        let block_size = recommended_block_size::<f64>(n, size);
        let mut householder = Mat::<f64>::zeros(block_size, size);
        let scratch = qr_in_place_scratch::<f64>(n, size, block_size, run.par, Default::default());
        let mut memory = MemBuffer::new(scratch);
        qr_in_place(m.as_mut(), householder.as_mut(), run.par, MemStack::new(&mut memory), Default::default());
        m.submatrix(0, 0, size, size).to_owned()
    }

    /// v_c of the rows of a block (row-major).
    fn component_norms(
        &self,
        way: &Way<'_>,
        block: &[f64],
        masked: &mut [f64],
        product: &mut [f64],
        run: &Execution,
    ) -> Vec<f64> {
        let p = self.n_features();
        let n = block.len() / p;
        match way {
            Way::Masked { features } => {
                let (start, height) = (features[0], p - features[0]);
                let masked = &mut masked[..n * height];
                masked.fill(0.0);
                for (out, row) in masked.chunks_mut(height).zip(block.chunks(p)) {
                    features.iter().for_each(|&feature| out[feature - start] = row[feature]);
                }
                let tail = self.lower().submatrix(start, start, height, height);
                let z = MatMut::from_column_major_slice_mut(masked, height, n);
                solve_lower_triangular_in_place(tail, z, run.par_for(n));
                column_norms(masked, height, run)
            }
            Way::Block { features, factor } => {
                let size = features.len();
                let (masked, product) = (&mut masked[..n * size], &mut product[..n * size]);
                for (out, row) in masked.chunks_mut(size).zip(block.chunks(p)) {
                    out.iter_mut().zip(*features).for_each(|(out, &feature)| *out = row[feature]);
                }
                let g = MatRef::from_column_major_slice(&*masked, size, n);
                let z = MatMut::from_column_major_slice_mut(product, size, n);
                let (upper, full) = (BlockStructure::TriangularUpper, BlockStructure::Rectangular);
                let par = run.par_for(n.min(size));
                triangular::matmul(z, full, Accum::Replace, factor, upper, g, full, 1.0, par);
                column_norms(product, size, run)
            }
        }
    }
}
