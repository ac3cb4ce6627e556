//! The two kinds of numbers that products run in: f64, and f32 where the caller asks for speed.

use faer::traits::RealField;

use crate::rows::Element;

/// Numbers of a panel and of the kernels.
pub(crate) trait Real: Element + RealField + bytemuck::Pod {
    /// Rounded to the nearest.
    fn round(x: f64) -> Self;
}

impl Real for f64 {
    #[inline(always)]
    fn round(x: f64) -> Self {
        x
    }
}

impl Real for f32 {
    #[inline(always)]
    fn round(x: f64) -> Self {
        x as Self
    }
}

/// ‖z‖² in float64.
#[inline(always)]
pub(crate) fn squared_norm<T: Element>(z: &[T]) -> f64 {
    squared_norm_by(z, Into::into)
}

/// Σ f(z)², in eight chains of additions: the compiler may not reorder additions, and in a single
/// chain each would wait for the one before.
#[inline(always)]
pub(crate) fn squared_norm_by<T: Element>(z: &[T], f: impl Fn(T) -> f64) -> f64 {
    let mut sums = [0.0; 8];
    let (chunks, rest) = z.as_chunks::<8>();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| {
            let x = f(x);
            *sum += x * x;
        });
    }
    let rest: f64 = rest.iter().map(|&x| f(x) * f(x)).sum();
    sums.iter().sum::<f64>() + rest
}

/// aᵀb in the same way.
#[inline(always)]
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for k in 0..8 {
            sums[k] += a[k] * b[k];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}
