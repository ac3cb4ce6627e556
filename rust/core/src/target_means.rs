//! The mean rigidity, or the mean variance, of targets, and how far falling variances change it.

use crate::error::{Error, Result};
use crate::selection_error::SelectionError;

/// Part of a variance below which v − s counts as rough: rounding of s, mostly 1e-15 v, is 1e-10 of it
/// then.
const ROUGH: f64 = 1e-5;

/// Rounding of s at most, as a part of v.
const ROUNDING: f64 = 1e-10;

/// What a candidate would gain.
pub(crate) struct Gain {
    pub gain: f64,
    /// Whether it is an upper bound.
    pub is_rough: bool,
}

impl Gain {
    pub fn parts(self) -> (f64, bool) {
        (self.gain, self.is_rough)
    }
}

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
    /// variance falls below the part `least` of itself. Where one falls so far that rounding is seen in
    /// v − s, the gain is an upper bound, and `is_rough`.
    pub fn gain(&self, falls: &[f64], least: f64) -> Gain {
        if !self.of_rigidity {
            let gain = self.weights.iter().zip(falls).map(|(w, s)| w * s).sum();
            return Gain { gain, is_rough: false };
        }
        // eight sums: in one, each addition would wait for the one before
        let (mut sums, mut smallest) = ([0.0; 8], [f64::INFINITY; 8]);
        let (v, v_rest) = self.variances.as_chunks::<8>();
        let (over, over_rest) = self.over.as_chunks::<8>();
        let (s, s_rest) = falls.as_chunks::<8>();
        let term = |s: f64, v: f64, over: f64, sum: &mut f64, smallest: &mut f64| {
            let left = v - s;
            *smallest = smallest.min(left - ROUGH * v);
            let rounding = if left < ROUGH * v { ROUNDING * v } else { 0.0 };
            *sum += over * s / (left - rounding).max(v * least);
        };
        for ((s, v), over) in s.iter().zip(v).zip(over) {
            for k in 0..8 {
                term(s[k], v[k], over[k], &mut sums[k], &mut smallest[k]);
            }
        }
        for ((s, v), over) in s_rest.iter().zip(v_rest).zip(over_rest) {
            term(*s, *v, *over, &mut sums[0], &mut smallest[0]);
        }
        Gain { gain: sums.iter().sum(), is_rough: smallest.iter().any(|x| *x < 0.0) }
    }

    /// Gain if the variances fall to these.
    pub fn gain_to(&self, variances: impl Iterator<Item = f64>) -> f64 {
        let targets = self.variances.iter().zip(variances);
        match self.of_rigidity {
            true => targets.zip(&self.over).map(|((v, left), over)| over * (v - left) / left).sum(),
            false => targets.zip(&self.weights).map(|((v, left), w)| w * (v - left)).sum(),
        }
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
    fn a_variance_that_nearly_vanishes_makes_a_gain_rough() -> Result<()> {
        let means = Means::new(vec![1.0; 9], &[], true)?;
        for place in 0..9 {
            let mut falls = [0.5; 9];
            assert!(!means.gain(&falls, 0.0).is_rough);
            falls[place] = 1.0 - 1e-6;
            let Gain { gain, is_rough } = means.gain(&falls, 0.0);
            assert!(is_rough);
            assert!(gain >= means.gain_to(falls.iter().map(|s| 1.0 - s)));
            falls[place] = 1.0 + 1e-9; // by rounding
            assert!(means.gain(&falls, 1e-7).gain <= 1e7);
        }
        Ok(())
    }

    #[test]
    fn gains_are_differences_of_the_mean() -> Result<()> {
        for of_rigidity in [true, false] {
            for m in [1, 3, 8, 21] {
                let v: Vec<f64> = (0..m).map(|t| 1.0 + t as f64).collect();
                let weights: Vec<f64> = (0..m).map(|t| 0.5 + t as f64).collect();
                let falls: Vec<f64> = v.iter().map(|v| 0.3 * v).collect();
                let left: Vec<f64> = v.iter().zip(&falls).map(|(v, s)| v - s).collect();
                let mut means = Means::new(v, &weights, of_rigidity)?;
                let (before, gain) = (means.value(), means.gain(&falls, 0.0).gain);
                assert!((gain - means.gain_to(left.iter().copied())).abs() < 1e-14 * before);
                let taken = means.fall(&falls, left);
                let change = if of_rigidity { means.value() - before } else { before - means.value() };
                assert!((gain - change).abs() < 1e-14 * before);
                assert!((taken - change).abs() < 1e-14 * before);
            }
        }
        Ok(())
    }
}
