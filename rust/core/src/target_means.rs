//! The mean rigidity, or the mean variance, of targets, and how far falling variances change it.

use crate::error::{Error, Result};
use crate::selection_error::SelectionError;

/// Targets of a selection: their variances now, and what their mean is taken of.
pub(crate) struct Means {
    variances: Vec<f64>,
    /// Weights, of sum 1.
    weights: Vec<f64>,
    /// Weight over variance, which a fall of a variance is multiplied with.
    over: Vec<f64>,
    of_rigidity: bool,
}

impl Means {
    /// Of variances above 0, with weights (none: equal ones).
    pub fn new(variances: Vec<f64>, weights: &[f64], of_rigidity: bool) -> Result<Self> {
        let m = variances.len();
        if !weights.is_empty() && weights.len() != m {
            return Err(Error::Length { what: "target weights", got: weights.len(), expected: m, of: "targets" });
        }
        if let Some(index) = weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            return Err(Error::Weight { index, value: weights[index] });
        }
        if let Some(index) = variances.iter().position(|v| !(v.is_normal() && *v > 0.0 && v.recip().is_normal())) {
            return Err(SelectionError::TargetVariance { index, value: variances[index] }.into());
        }
        let weights = if weights.is_empty() { vec![1.0; m] } else { weights.to_vec() };
        let sum: f64 = weights.iter().sum();
        if !(sum.is_normal() && sum > 0.0) {
            return Err(SelectionError::TargetWeights(sum).into());
        }
        let weights: Vec<f64> = weights.iter().map(|w| w / sum).collect();
        let mut means = Self { over: vec![0.0; m], variances, weights, of_rigidity };
        means.divide();
        Ok(means)
    }

    fn divide(&mut self) {
        let weights = self.weights.iter().zip(&self.variances);
        self.over.iter_mut().zip(weights).for_each(|(over, (w, v))| *over = w / v);
    }

    /// Number of targets.
    pub fn len(&self) -> usize {
        self.variances.len()
    }

    /// v of each target.
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// Σ τ/v, or Σ τ v, with weights τ of sum 1.
    pub fn value(&self) -> f64 {
        match self.of_rigidity {
            true => self.over.iter().sum(),
            false => self.weights.iter().zip(&self.variances).map(|(w, v)| w * v).sum(),
        }
    }

    /// Gain if the variances fall so far: Σ τ (1/(v − s) − 1/v) = Σ (τ/v) s/(v − s), or Σ τ s. No
    /// variance falls below the part `least` of itself: beyond, v − s is rounding.
    pub fn gain(&self, falls: &[f64], least: f64) -> f64 {
        if !self.of_rigidity {
            return self.weights.iter().zip(falls).map(|(w, s)| w * s).sum();
        }
        // eight sums: in one, each addition would wait for the one before
        let mut sums = [0.0; 8];
        let (v, v_rest) = self.variances.as_chunks::<8>();
        let (over, over_rest) = self.over.as_chunks::<8>();
        let (s, s_rest) = falls.as_chunks::<8>();
        let term = |s: f64, v: f64, over: f64| over * s / (v - s).max(v * least);
        for ((s, v), over) in s.iter().zip(v).zip(over) {
            for k in 0..8 {
                sums[k] += term(s[k], v[k], over[k]);
            }
        }
        let rest = s_rest.iter().zip(v_rest).zip(over_rest);
        sums.iter().sum::<f64>() + rest.map(|((s, v), over)| term(*s, *v, *over)).sum::<f64>()
    }

    /// Let the variances fall by `falls`, to `variances`; the gain.
    pub fn fall(&mut self, falls: &[f64], variances: Vec<f64>) -> f64 {
        let terms = falls.iter().zip(&variances);
        let gain = match self.of_rigidity {
            true => terms.zip(&self.over).map(|((s, v), over)| over * s / v).sum(),
            false => terms.zip(&self.weights).map(|((s, _), w)| w * s).sum(),
        };
        self.variances = variances;
        self.divide();
        gain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_are_differences_of_the_mean() -> Result<()> {
        for of_rigidity in [true, false] {
            for m in [1, 3, 8, 21] {
                let v: Vec<f64> = (0..m).map(|t| 1.0 + t as f64).collect();
                let weights: Vec<f64> = (0..m).map(|t| 0.5 + t as f64).collect();
                let falls: Vec<f64> = v.iter().map(|v| 0.3 * v).collect();
                let left: Vec<f64> = v.iter().zip(&falls).map(|(v, s)| v - s).collect();
                let mut means = Means::new(v, &weights, of_rigidity)?;
                let (before, gain) = (means.value(), means.gain(&falls, 0.0));
                let taken = means.fall(&falls, left);
                let change = if of_rigidity { means.value() - before } else { before - means.value() };
                assert!((gain - change).abs() < 1e-14 * before);
                assert!((taken - change).abs() < 1e-14 * before);
            }
        }
        Ok(())
    }
}
