//! The variance of each component of a prediction: v_c = g_cᵀ H⁻¹ g_c, with g_c equal to g on the
//! features of c and 0 elsewhere (Faraday Discuss. 256 (2025) 322). Its inverse is the
//! component-wise rigidity, CPR or LCPR.
//!
//! There are two ways, and the cheaper one for the rows at hand is taken:
//! - by the block (H⁻¹)_cc = M_cᵀM_c, with M_c the columns c of L⁻¹: once per component M_c = Q R,
//!   then ‖R g_c‖² at p_c²/2 a row. R keeps the digits that the product M_cᵀM_c would lose: the
//!   condition of the product is that of H, the condition of R its root;
//! - by a solve with the masked row, at (p − s)²/2 a row, where s is the first feature of c.

use std::sync::Arc;

use faer::Par;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::qr::no_pivoting::factor::{qr_in_place, qr_in_place_scratch, recommended_block_size};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::hessian::Hessian;
use crate::panel::Panel;
use crate::real::squared_norm;
use crate::rows::{Element, RowBlock};
use crate::strips::{by_strips, finite, joined};
use crate::tiles;

/// Sets of features: at least one, none of them empty, each sorted and without repetition.
pub struct Components(Vec<Vec<usize>>);

impl Components {
    /// Components may overlap. None may be empty, name a feature twice or have a negative index.
    pub fn new(components: &[Vec<i64>]) -> Result<Self> {
        if components.is_empty() {
            return Err(Error::NoComponents);
        }
        let sorted = components.iter().enumerate().map(|(c, features)| sorted_features(c, features));
        Ok(Self(sorted.collect::<Result<_>>()?))
    }

    /// Number of components.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Always false: `new` refuses an empty set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuse a feature that is none of the `n_features`.
    fn require_features(&self, n_features: usize) -> Result<()> {
        for (component, features) in self.0.iter().enumerate() {
            if let Some(&feature) = features.last().filter(|feature| **feature >= n_features) {
                return Err(Error::ComponentRange { component, feature, n_features });
            }
        }
        Ok(())
    }
}

fn sorted_features(component: usize, features: &[i64]) -> Result<Vec<usize>> {
    let index = |&feature: &i64| usize::try_from(feature).map_err(|_| Error::ComponentNegative { component, feature });
    let mut sorted = features.iter().map(index).collect::<Result<Vec<_>>>()?;
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
struct Way<'a> {
    features: &'a [usize],
    /// R of the diagonal block, where that is the way.
    factor: Option<Arc<Panel>>,
}

/// Memory of one thread: a strip of rows, and the part of them that is a component.
struct Strip {
    rows: Panel,
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
        let (p, n_targets) = (self.n_features(), rows.n_targets());
        rows.require_features(p)?;
        components.require_features(p)?;
        let ways = if run.is_parallel() && components.len() > 1 {
            components.0.par_iter().map(|c| self.way(c, n_targets, &run.alone())).collect::<Result<Vec<_>>>()?
        } else {
            components.0.iter().map(|c| self.way(c, n_targets, run)).collect::<Result<Vec<_>>>()?
        };
        let memory = |n| Ok(Strip { rows: Panel::unset(n, p)?, gathered: Panel::unset(n, p)? });
        let strips = by_strips(n_targets, run, memory, |strip: &mut Strip, targets, run| {
            let n = targets.len();
            rows.reduce_into(targets, |_| 1.0, vec![(0, strip.rows.strip_mut(0..n))], run)?;
            let mut variances = vec![0.0; n * ways.len()];
            for (c, way) in ways.iter().enumerate() {
                run.check()?;
                let norms = self.component_norms(way, strip, n, run);
                variances.iter_mut().skip(c).step_by(ways.len()).zip(norms).for_each(|(out, v)| *out = v);
            }
            Ok(variances)
        })?;
        finite(joined(&strips)?, components.len(), "the variance")
    }

    /// The cheaper way for `n` rows, by the number of multiplications.
    fn way<'a>(&self, features: &'a [usize], n: usize, run: &Execution) -> Result<Way<'a>> {
        run.check()?;
        let tail = self.n_features() - features[0];
        let (size, height, rows) = (features.len() as f64, tail as f64, n as f64);
        let by_block = 0.5 * height * height * size + height * size * size + 0.5 * rows * size * size;
        let masked = 0.5 * rows * height * height <= by_block;
        let factor = if masked { None } else { Some(self.block_factor(features, run)?) };
        Ok(Way { features, factor })
    }

    /// The factor of a diagonal block, kept for the next call. All kept factors together take at
    /// most half as much memory as L.
    fn block_factor(&self, features: &[usize], run: &Execution) -> Result<Arc<Panel>> {
        if let Some(factor) = self.derived.block_factors.get(features) {
            return Ok(factor);
        }
        let factor = Arc::new(self.inverse_block_factor(features, run)?);
        run.check()?; // a stop leaves the factor unfinished
        self.derived.block_factors.keep(features, &factor, self.n_features().pow(2) / 2);
        Ok(factor)
    }

    /// Upper triangular R with RᵀR = (H⁻¹)_cc, from M_c = L⁻¹E_c = Q R. The QR runs on one thread:
    /// on several, its bits would depend on their number.
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
        let mut factor = Panel::unset(size, size)?;
        factor.columns_mut(size).copy_from(m.columns(size).subrows(0, size));
        Ok(factor)
    }

    /// v_c of the first `n` rows of a strip.
    fn component_norms(&self, way: &Way<'_>, strip: &mut Strip, n: usize, run: &Execution) -> Vec<f64> {
        let size = way.gather(strip, n);
        let gathered = strip.gathered.columns_mut(n).subrows_mut(0, size);
        match &way.factor {
            Some(factor) => tiles::multiply_upper(factor.columns(size), gathered, run),
            None => {
                let start = way.features[0];
                tiles::solve_lower(self.lower().submatrix(start, start, size, size), gathered, run);
            }
        }
        strip.gathered.rows(0..n).map(|row| squared_norm(&row[..size])).collect()
    }
}

impl Way<'_> {
    /// Copy the component out of the first `n` rows of a strip: its features alone, or all entries
    /// from its first feature on with zeros between its features. Returns the number of entries of
    /// a row.
    fn gather(&self, strip: &mut Strip, n: usize) -> usize {
        let masked = self.factor.is_none();
        let first = self.features[0];
        for (out, row) in strip.gathered.rows_mut(0..n).zip(strip.rows.rows(0..n)) {
            if masked {
                out[..row.len() - first].fill(0.0);
                self.features.iter().for_each(|&feature| out[feature - first] = row[feature]);
            } else {
                out.iter_mut().zip(self.features).for_each(|(out, &feature)| *out = row[feature]);
            }
        }
        if masked { strip.rows.row(0).len() - first } else { self.features.len() }
    }
}
