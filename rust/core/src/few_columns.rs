//! Few columns, reflected one by one: the innermost step of `absorb`, in registers and L1.
//!
//! Column x below the diagonal entry α of R is annihilated by I − τ v vᵀ with v = [1; x/(α − β)], β =
//! −sign(α)·√(α² + ‖x‖²) and τ = (β − α)/β (Golub & Van Loan, Matrix Computations, 5.1). The products
//! of x with all other columns are taken in one pass: those behind it give their reflection, those
//! before it their share of T. Where the sign of α is to be kept, β = +sign(α)·√(α² + ‖x‖²), and α − β =
//! −‖x‖²/(α + β) is computed without cancellation (Parlett, Linear Algebra Appl. 4 (1971) 197).

use faer::MatMut;
use pulp::{Arch, Simd, WithSimd};

/// Columns that are reflected one by one: so many sums and vectors stay in registers, and with 256
/// rows the columns (16 kB) in L1.
pub(crate) const FEW: usize = 8;

/// Squared norms below this are taken for 0: the squares of smaller numbers have lost digits.
const TINY: f64 = 1e-290;

/// Columns of a squared norm below this part of α² are taken for 0 where the sign of α is kept: less than
/// a tenth of its rounding. So v, 2α/‖x‖ long, cannot overflow.
const NEGLIGIBLE: f64 = 1e-34;

/// The sign of what a reflection leaves on the diagonal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sign {
    /// The other one than before.
    Other,
    /// The same: a positive diagonal stays positive, and a small row changes R little.
    Same,
}

/// Annihilate columns B, (rows, n), by reflections that change the rows of R above them, (n, n) as Rᵀ.
/// In place of B: v. In the upper triangle of `t`: T. Rows are a multiple of all numbers of lanes.
pub(crate) fn reflect_few(r: MatMut<'_, f64>, b: MatMut<'_, f64>, t: MatMut<'_, f64>, sign: Sign) {
    match b.ncols() {
        1 => reflect_each::<1>(r, b, t, sign),
        2 => reflect_each::<2>(r, b, t, sign),
        3 => reflect_each::<3>(r, b, t, sign),
        4 => reflect_each::<4>(r, b, t, sign),
        5 => reflect_each::<5>(r, b, t, sign),
        6 => reflect_each::<6>(r, b, t, sign),
        7 => reflect_each::<7>(r, b, t, sign),
        FEW => reflect_each::<FEW>(r, b, t, sign),
        _ => {}
    }
}

fn reflect_each<const N: usize>(mut r: MatMut<'_, f64>, b: MatMut<'_, f64>, mut t: MatMut<'_, f64>, sign: Sign) {
    let mut columns = b.col_iter_mut().filter_map(|column| column.try_as_col_major_mut()).map(|c| c.as_slice_mut());
    let columns: [&mut [f64]; N] = std::array::from_fn(|_| columns.next().unwrap_or_default());
    let mut few = Few { columns, r: [[0.0; N]; N], t: [[0.0; N]; N], sign };
    for (i, j) in (0..N).flat_map(|i| (i..N).map(move |j| (i, j))) {
        few.r[i][j] = r[(j, i)];
    }
    Arch::new().dispatch(&mut few);
    for (i, j) in (0..N).flat_map(|i| (i..N).map(move |j| (i, j))) {
        r[(j, i)] = few.r[i][j];
        t[(i, j)] = few.t[i][j];
    }
}

/// N columns, with the rows of R above them, and T.
struct Few<'a, const N: usize> {
    columns: [&'a mut [f64]; N],
    r: [[f64; N]; N],
    t: [[f64; N]; N],
    sign: Sign,
}

impl<const N: usize> WithSimd for &mut Few<'_, N> {
    type Output = ();

    #[inline(always)] // so that it is compiled for the processor's vector units
    fn with_simd<S: Simd>(self, simd: S) {
        for i in 0..N {
            let dots = self.products(simd, i);
            let alpha = self.r[i][i];
            let negligible = self.sign == Sign::Same && dots[i] < NEGLIGIBLE * alpha * alpha;
            if dots[i] < TINY || negligible {
                self.columns[i].fill(0.0);
                continue; // annihilated as it is: τ = 0
            }
            let norm = (alpha * alpha + dots[i]).sqrt().copysign(alpha);
            let (onto, difference) = match self.sign {
                Sign::Other => (-norm, alpha + norm),
                Sign::Same => (norm, -dots[i] / (alpha + norm)),
            };
            let (tau, inverse) = (-difference / onto, 1.0 / difference);
            self.r[i][i] = onto;
            let mut factors = [0.0; N];
            for j in i + 1..N {
                let product = tau * (self.r[i][j] + inverse * dots[j]);
                self.r[i][j] -= product;
                factors[j] = -product * inverse;
            }
            self.subtract(simd, i, inverse, factors);
            for k in 0..i {
                self.t[k][i] = -tau * inverse * (k..i).map(|l| self.t[k][l] * dots[l]).sum::<f64>();
            }
            self.t[i][i] = tau;
        }
    }
}

impl<const N: usize> Few<'_, N> {
    /// Products of all columns with column `i`.
    #[inline(always)]
    fn products<S: Simd>(&self, simd: S, i: usize) -> [f64; N] {
        let columns: [&[S::f64s]; N] = std::array::from_fn(|j| S::as_simd_f64s(&*self.columns[j]).0);
        let n = columns[i].len();
        let columns = columns.map(|column| &column[..n]);
        let mut sums = [simd.splat_f64s(0.0); N];
        for (row, &x) in columns[i].iter().enumerate() {
            sums.iter_mut().zip(&columns).for_each(|(sum, y)| *sum = simd.mul_add_e_f64s(y[row], x, *sum));
        }
        sums.map(|sum| simd.reduce_sum_f64s(sum))
    }

    /// Add `factors` times column `i` to the columns behind it, and scale it.
    #[inline(always)]
    fn subtract<S: Simd>(&mut self, simd: S, i: usize, scale: f64, factors: [f64; N]) {
        let (before, behind) = self.columns.split_at_mut(i + 1);
        let x = S::as_mut_simd_f64s(&mut *before[i]).0;
        for (column, factor) in behind.iter_mut().zip(&factors[i + 1..]) {
            let factor = simd.splat_f64s(*factor);
            let column = S::as_mut_simd_f64s(column).0;
            column.iter_mut().zip(&*x).for_each(|(y, &x)| *y = simd.mul_add_e_f64s(x, factor, *y));
        }
        let scale = simd.splat_f64s(scale);
        x.iter_mut().for_each(|x| *x = simd.mul_f64s(*x, scale));
    }
}
