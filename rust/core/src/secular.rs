//! Eigenvalues and eigenvectors of diag(d) + ϱ z zᵀ: the secular equation
//!
//! > f(λ) = 1/ϱ + Σ zᵢ²/(dᵢ − λ) = 0
//!
//! It has one root between any two neighbours dⱼ < λⱼ < dⱼ₊₁, and one above the last. A root is
//! kept as its distance from the nearer neighbour, so that dᵢ − λⱼ has all its digits.
//!
//! Roots that are off by rounding are exact roots for a vector ẑ close to z. Eigenvectors from ẑ
//! are orthogonal to rounding however close the roots lie (Gu, Eisenstat, SIAM J. Matrix Anal.
//! Appl. 15 (1994) 1266).

use pulp::{Arch, Simd, WithSimd};

use crate::error::{Error, Result};

/// Steps after which a root is given up. Five or six are usual; bisection alone takes 60 to 100.
const MAX_STEPS: usize = 200;

/// A step of bisection after so many others, should these ever be slow.
const BISECT_EVERY: usize = 8;

/// diag(d) + ϱ z zᵀ with d rising, no two equal, no z zero, and ϱ > 0.
pub(crate) struct Secular {
    pub d: Vec<f64>,
    pub z: Vec<f64>,
    pub rho: f64,
}

/// λ = pole + mu.
#[derive(Clone, Copy)]
pub(crate) struct Root {
    pole: f64,
    mu: f64,
}

impl Root {
    pub fn value(&self) -> f64 {
        self.pole + self.mu
    }

    /// d − λ
    #[inline(always)]
    fn below(&self, d: f64) -> f64 {
        (d - self.pole) - self.mu
    }
}

/// Where a root is known to lie, seen from its pole.
struct Bracket {
    low: f64,
    high: f64,
}

/// f at a point, and the derivatives of its terms with poles on either side.
struct Value {
    f: f64,
    left: f64,
    right: f64,
    /// Bound of the error of f.
    error: f64,
}

impl Secular {
    pub fn len(&self) -> usize {
        self.d.len()
    }

    /// λⱼ
    pub fn root(&self, j: usize) -> Result<Root> {
        let (mut root, mut bracket, mut value) = self.start(j);
        for step in 0..MAX_STEPS {
            if value.f.abs() <= value.error {
                return Ok(root);
            }
            if value.f > 0.0 {
                bracket.high = root.mu;
            } else {
                bracket.low = root.mu;
            }
            let mut mu = root.mu + self.step(j, root, &value);
            if !(bracket.low < mu && mu < bracket.high) || step % BISECT_EVERY == BISECT_EVERY - 1 {
                mu = 0.5 * (bracket.low + bracket.high);
            }
            if mu == root.mu || mu == bracket.low || mu == bracket.high {
                return Ok(root); // neighbours among floating-point numbers
            }
            root.mu = mu;
            value = self.value(j, root);
        }
        Err(Error::NotConverged)
    }

    /// The middle of the interval, seen from the end that is nearer to the root.
    fn start(&self, j: usize) -> (Root, Bracket, Value) {
        let Some(&next) = self.d.get(j + 1) else {
            let norm: f64 = self.z.iter().map(|z| z * z).sum();
            let high = self.rho * norm * (1.0 + 16.0 * f64::EPSILON);
            let root = Root { pole: self.d[j], mu: 0.5 * high };
            return (root, Bracket { low: 0.0, high }, self.value(j, root));
        };
        let half = 0.5 * (next - self.d[j]);
        let root = Root { pole: self.d[j], mu: half };
        let value = self.value(j, root);
        if value.f > 0.0 {
            (root, Bracket { low: 0.0, high: half }, value)
        } else {
            (Root { pole: next, mu: -half }, Bracket { low: -half, high: 0.0 }, value)
        }
    }

    fn value(&self, j: usize, root: Root) -> Value {
        let (d, z) = (self.d.split_at(j + 1), self.z.split_at(j + 1));
        let [left, right] = [(d.0, z.0), (d.1, z.1)].map(|(d, z)| Arch::new().dispatch(Terms { d, z, root }));
        let size = 1.0 / self.rho + left.sum.abs() + right.sum.abs();
        // at most one chain of additions, and a few roundings a term: enough for orthogonal vectors
        let error = 0.5 * (self.len() as f64 + 8.0) * f64::EPSILON * size;
        Value { f: 1.0 / self.rho + left.sum + right.sum, left: left.derivative, right: right.derivative, error }
    }

    /// To the root of a + b/(dⱼ − λ) + c/(dⱼ₊₁ − λ), which has the value and the derivatives of f's
    /// terms on either side (the middle way of Li, LAPACK working note 89).
    fn step(&self, j: usize, root: Root, value: &Value) -> f64 {
        let left = root.below(self.d[j]);
        let Some(&next) = self.d.get(j + 1) else {
            return left + value.left * left * left / (value.f - left * value.left);
        };
        let right = root.below(next);
        let a = (left + right) * value.f - left * right * (value.left + value.right);
        let b = left * right * value.f;
        let c = value.f - left * value.left - right * value.right;
        let discriminant = (a * a - 4.0 * b * c).max(0.0).sqrt();
        if a <= 0.0 { (a - discriminant) / (2.0 * c) } else { 2.0 * b / (a + discriminant) }
    }

    /// ẑᵢ, for which the roots are exact, times √ϱ: ϱzᵢ² = Π (λⱼ − dᵢ) / Π (dⱼ − dᵢ), the second
    /// product over j ≠ i.
    pub fn exact_z(&self, i: usize, roots: &[Root]) -> f64 {
        let product = Arch::new().dispatch(Ratios { d: &self.d, roots, i });
        product.abs().sqrt().copysign(self.z[i])
    }

    /// Write ẑᵢ/(dᵢ − λ), normalised.
    pub fn vector(&self, exact_z: &[f64], root: Root, out: &mut [f64]) {
        Arch::new().dispatch(Vector { d: &self.d, z: exact_z, root, out });
    }
}

/// Σ z²/(d − λ), and its derivative.
struct Terms<'a> {
    d: &'a [f64],
    z: &'a [f64],
    root: Root,
}

struct Sums {
    sum: f64,
    derivative: f64,
}

impl WithSimd for Terms<'_> {
    type Output = Sums;

    #[inline(always)] // so that it is compiled for the processor's vector units
    fn with_simd<S: Simd>(self, simd: S) -> Sums {
        let ((d, d_rest), (z, z_rest)) = (S::as_simd_f64s(self.d), S::as_simd_f64s(self.z));
        let (pole, mu) = (simd.splat_f64s(self.root.pole), simd.splat_f64s(self.root.mu));
        let (mut sum, mut derivative) = (simd.splat_f64s(0.0), simd.splat_f64s(0.0));
        for (&d, &z) in d.iter().zip(z) {
            let ratio = simd.div_f64s(z, simd.sub_f64s(simd.sub_f64s(d, pole), mu));
            sum = simd.mul_add_e_f64s(z, ratio, sum);
            derivative = simd.mul_add_e_f64s(ratio, ratio, derivative);
        }
        let (mut sum, mut derivative) = (simd.reduce_sum_f64s(sum), simd.reduce_sum_f64s(derivative));
        for (&d, z) in d_rest.iter().zip(z_rest) {
            let ratio = z / self.root.below(d);
            sum += z * ratio;
            derivative += ratio * ratio;
        }
        Sums { sum, derivative }
    }
}

/// (dᵢ − λᵢ) Π (dᵢ − λⱼ)/(dᵢ − dⱼ) over j ≠ i.
struct Ratios<'a> {
    d: &'a [f64],
    roots: &'a [Root],
    i: usize,
}

impl WithSimd for Ratios<'_> {
    type Output = f64;

    #[inline(always)] // as above
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let di = self.d[self.i];
        // eight chains of multiplications
        let mut products = [1.0; 8];
        for part in [0..self.i, self.i + 1..self.d.len()] {
            for (d, roots) in self.d[part.clone()].chunks(8).zip(self.roots[part].chunks(8)) {
                for ((d, root), product) in d.iter().zip(roots).zip(&mut products) {
                    *product *= root.below(di) / (di - d);
                }
            }
        }
        products.iter().product::<f64>() * self.roots[self.i].below(di)
    }
}

/// See `Secular::vector`.
struct Vector<'a> {
    d: &'a [f64],
    z: &'a [f64],
    root: Root,
    out: &'a mut [f64],
}

impl WithSimd for Vector<'_> {
    type Output = ();

    #[inline(always)] // as above
    fn with_simd<S: Simd>(self, _: S) {
        let Self { d, z, root, out } = self;
        out.iter_mut().zip(d).zip(z).for_each(|((out, &d), z)| *out = z / root.below(d));
        let inverse = 1.0 / crate::real::squared_norm(out).sqrt();
        out.iter_mut().for_each(|out| *out *= inverse);
    }
}
