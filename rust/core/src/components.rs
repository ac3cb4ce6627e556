//! The variance of each component of a prediction: v_c = g_cᵀ H⁻¹ g_c with g_c equal to g on the features of c and 0 elsewhere
//! (Faraday Discuss. 256 (2025) 322). Its inverse is the component-wise rigidity, CPR or LCPR.
//!
//! Two ways, whichever costs less for the rows at hand:
//! - by the block (H⁻¹)_cc = M_cᵀM_c with M_c the columns c of L⁻¹: once per component M_c = Q R, then ‖R g_c‖² at p_c²/2 a row. R keeps the
//!   digits that the product M_cᵀM_c would lose (its condition is that of H, that of R the root);
//! - by a solve with the masked row, at (p − s)²/2 a row with s the first feature of c.

use faer::Par;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::qr::no_pivoting::factor::{qr_in_place, qr_in_place_scratch, recommended_block_size};

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::hessian::{Hessian, SOLVE_ROWS, for_each_block, row_norms};
use crate::panel::Panel;
use crate::rows::{Element, RowBlock};
use crate::tiles;
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

/// How the variance of one component is computed, with the memory for a block of rows.
struct Way<'a> {
    features: &'a [usize],
    /// R of the diagonal block, where that is the way.
    factor: Option<Panel>,
    /// Rows with the features of the component alone, or zero elsewhere from the first of them on.
    gathered: Panel,
}

impl Hessian {
    /// Variances of all components of each target row: (n_targets, n_components), row-major.
    pub fn component_variance<T: Element>(
        &self,
        rows: &RowBlock<'_, T>,
        components: &Components,
        run: &Execution,
    ) -> Result<Vec<f64>> {
        let (n, n_components) = (rows.n_targets(), components.len());
        let mut ways = components.0.iter().map(|c| self.way(c, n, run)).collect::<Result<Vec<_>>>()?;
        let mut variances = zeros(n * n_components)?;
        for_each_block(rows, run, |targets, block| {
            for (c, way) in ways.iter_mut().enumerate() {
                run.check()?;
                way.gather(block, targets.len());
                let norms = self.component_norms(way, targets.len(), run);
                targets.clone().zip(norms).for_each(|(t, v)| variances[t * n_components + c] = v);
            }
            Ok(())
        })?;
        Ok(variances)
    }

    /// The cheaper way for `n` rows: operations counted as multiplications.
    fn way<'a>(&self, features: &'a [usize], n: usize, run: &Execution) -> Result<Way<'a>> {
        run.check()?;
        let tail = self.n_features() - features[0];
        let (size, height, rows) = (features.len() as f64, tail as f64, n as f64);
        let by_block = 0.5 * height * height * size + height * size * size + 0.5 * rows * size * size;
        let masked = 0.5 * rows * height * height <= by_block;
        let factor = if masked { None } else { Some(self.inverse_block_factor(features, run)?) };
        let at_once = SOLVE_ROWS.min(n);
        let gathered = Panel::zeros(at_once, if masked { tail } else { features.len() })?;
        Ok(Way { features, factor, gathered })
    }

    /// Upper triangular R with RᵀR = (H⁻¹)_cc, from M_c = L⁻¹E_c = Q R. The QR runs on one thread: on several its bits would
    /// depend on their number.
    fn inverse_block_factor(&self, features: &[usize], run: &Execution) -> Result<Panel> {
        let (start, size) = (features[0], features.len());
        let n = self.n_features() - start; // rows above are zero
        let mut m = Panel::zeros(size, n)?;
        features.iter().enumerate().for_each(|(column, &feature)| m.row_mut(column)[feature - start] = 1.0);
        let tail = self.lower().submatrix(start, start, n, n);
        tiles::solve_lower(tail, m.columns_mut(size), run);
        let block_size = recommended_block_size::<f64>(n, size);
        let mut householder = Panel::zeros(size, block_size)?;
        let scratch = qr_in_place_scratch::<f64>(n, size, block_size, Par::Seq, Default::default());
        let mut memory = MemBuffer::new(scratch);
        let (a, q) = (m.columns_mut(size), householder.columns_mut(size));
        qr_in_place(a, q, Par::Seq, MemStack::new(&mut memory), Default::default());
        let mut factor = Panel::zeros(size, size)?;
        factor.columns_mut(size).copy_from(m.columns(size).subrows(0, size));
        Ok(factor)
    }

    /// v_c of the first `n` gathered rows.
    fn component_norms(&self, way: &mut Way<'_>, n: usize, run: &Execution) -> Vec<f64> {
        let gathered = way.gathered.columns_mut(n);
        match &way.factor {
            Some(factor) => tiles::multiply_upper(factor.columns(way.features.len()), gathered, run),
            None => {
                let (start, height) = (way.features[0], self.n_features() - way.features[0]);
                tiles::solve_lower(self.lower().submatrix(start, start, height, height), gathered, run);
            }
        }
        row_norms(&way.gathered, n, run)
    }
}

impl Way<'_> {
    /// Take the component out of the first `n` rows of a block.
    fn gather(&mut self, block: &Panel, n: usize) {
        let masked = self.factor.is_none();
        for (out, row) in self.gathered.rows_mut(0..n).zip(block.rows(0..n)) {
            if masked {
                out.fill(0.0);
                self.features.iter().for_each(|&feature| out[feature - self.features[0]] = row[feature]);
            } else {
                out.iter_mut().zip(self.features).for_each(|(out, &feature)| *out = row[feature]);
            }
        }
    }
}
