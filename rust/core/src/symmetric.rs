//! A symmetric array as the eigenvalue routines take it: n² numbers in one piece, of which the
//! lower triangle is read, column by column.
//!
//! Numbers near the ends of float64's range are moved to its middle first, by a power of two and so
//! without rounding, so that no square overflows or loses digits.

use std::ops::RangeInclusive;

use faer::{MatMut, MatRef};

use crate::error::{Error, Result};

/// Largest entries with which the array is left as it is. Squares of numbers down to 1e-16 times
/// these, and sums of many, are then far inside the range.
const MIDDLE: RangeInclusive<f64> = 1e-100..=1e100;

/// A symmetric array, n × n, checked and in the middle of the range.
pub(crate) struct Symmetric<'a> {
    values: &'a mut [f64],
    n: usize,
    /// What the entries were multiplied with.
    scale: f64,
}

impl<'a> Symmetric<'a> {
    /// Refuses numbers that are not finite, and a length that is no square.
    pub fn new(values: &'a mut [f64]) -> Result<Self> {
        let n = values.len().isqrt();
        if n * n != values.len() {
            let (got, expected) = (values.len(), n * n);
            return Err(Error::Length { what: "a symmetric array", got, expected, of: "entries of a square" });
        }
        let mut largest = 0.0_f64;
        for (j, column) in values.chunks(n.max(1)).enumerate() {
            if let Some(i) = (j..n).find(|&i| !column[i].is_finite()) {
                return Err(Error::NonFinite { what: "the matrix", row: i, column: j, value: column[i] });
            }
            largest = column[j..].iter().fold(largest, |largest, x| largest.max(x.abs()));
        }
        let scale = if largest == 0.0 || MIDDLE.contains(&largest) {
            1.0
        } else {
            2.0_f64.powi(-(largest.log2() as i32).clamp(-1000, 1000))
        };
        if scale != 1.0 {
            values.iter_mut().for_each(|x| *x *= scale);
        }
        Ok(Self { values, n, scale })
    }

    /// Number of rows and columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Eigenvalues of the array as they are of the array that was given.
    pub fn unscale(&self, values: &mut [f64]) {
        values.iter_mut().for_each(|x| *x /= self.scale);
    }

    /// Column `j` from the diagonal on.
    pub fn lower_column_mut(&mut self, j: usize) -> &mut [f64] {
        &mut self.values[j * self.n + j..(j + 1) * self.n]
    }

    /// All columns, one after the other.
    pub fn values(&self) -> &[f64] {
        self.values
    }

    /// The same, to write.
    pub fn values_mut(&mut self) -> &mut [f64] {
        self.values
    }

    pub fn as_ref(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(self.values, self.n, self.n)
    }

    pub fn as_mut(&mut self) -> MatMut<'_, f64> {
        MatMut::from_column_major_slice_mut(self.values, self.n, self.n)
    }
}
