//! Memory that the kernels run fastest on.
//!
//! A panel holds rows of equal width, each on a cache line of its own. Seen row-major it is a block
//! of feature rows; seen column-major a square array, or right-hand sides. Measured with faer's
//! kernels on one AVX2 core (p = 1024, depth 256): 30 Gmultiplications/s on an ordinary vector, 35
//! on cache lines, 37 to 40 with the stride off powers of two as well.

use std::ops::Range;

use faer::{MatMut, MatRef};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::pages::Pages;
use crate::real::Real;

/// Bytes of a cache line.
const LINE: usize = 64;

/// A stride of a multiple of so many cache lines is moved by one: columns 2048 bytes apart fall
/// into few sets of a cache.
const ALIASING_LINES: usize = 4;

/// Bytes from which memory comes in pages of the system's instead of from the allocator.
const LARGE: usize = 1 << 20;

enum Memory<T> {
    /// With the offset of the first number that lies on a cache line.
    Heap(Vec<T>, usize),
    Pages(Pages),
}

/// Rows of equal width.
pub(crate) struct Panel<T = f64> {
    memory: Memory<T>,
    n_rows: usize,
    width: usize,
    stride: usize,
}

impl<T: Real> Panel<T> {
    /// All zeros.
    pub fn zeros(n_rows: usize, width: usize) -> Result<Self> {
        let mut panel = Self::unset(n_rows, width)?;
        if let Memory::Pages(pages) = &mut panel.memory {
            pages.clear();
        }
        Ok(panel)
    }

    /// Numbers of no meaning, to be written before they are read.
    pub fn unset(n_rows: usize, width: usize) -> Result<Self> {
        let numbers = LINE / size_of::<T>();
        let lines = width.div_ceil(numbers).max(1);
        let stride = numbers.checked_mul(lines + usize::from(lines.is_multiple_of(ALIASING_LINES)));
        let (stride, len) = stride
            .and_then(|stride| Some((stride, n_rows.checked_mul(stride)?)))
            .ok_or(Error::OutOfMemory { bytes: usize::MAX })?;
        let bytes = len.saturating_mul(size_of::<T>());
        let memory = if bytes < LARGE { heap(len) } else { Pages::take(bytes).map(Memory::Pages) };
        Ok(Self { memory: memory.ok_or(Error::OutOfMemory { bytes })?, n_rows, width, stride })
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn values(&self) -> &[T] {
        match &self.memory {
            Memory::Heap(values, start) => &values[*start..*start + self.n_rows * self.stride],
            Memory::Pages(pages) => &bytemuck::cast_slice(pages.bytes())[..self.n_rows * self.stride],
        }
    }

    fn values_mut(&mut self) -> &mut [T] {
        let len = self.n_rows * self.stride;
        match &mut self.memory {
            Memory::Heap(values, start) => &mut values[*start..*start + len],
            Memory::Pages(pages) => &mut bytemuck::cast_slice_mut(pages.bytes_mut())[..len],
        }
    }

    pub fn row(&self, i: usize) -> &[T] {
        &self.values()[i * self.stride..i * self.stride + self.width]
    }

    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        let start = i * self.stride;
        let width = self.width;
        &mut self.values_mut()[start..start + width]
    }

    /// The rows of a range, one after the other.
    pub fn rows(&self, range: Range<usize>) -> impl Iterator<Item = &[T]> {
        self.values()[range.start * self.stride..range.end * self.stride]
            .chunks(self.stride)
            .map(|row| &row[..self.width])
    }

    /// The same, to write.
    pub fn rows_mut(&mut self, range: Range<usize>) -> impl Iterator<Item = &mut [T]> {
        let (stride, width) = (self.stride, self.width);
        self.values_mut()[range.start * stride..range.end * stride].chunks_mut(stride).map(move |row| &mut row[..width])
    }

    /// Call `f(i, row)` for every row of a range, on all threads.
    pub fn for_each_row(&mut self, range: Range<usize>, run: &Execution, f: impl Fn(usize, &mut [T]) + Sync) {
        let (stride, width, first) = (self.stride, self.width, range.start);
        let values = &mut self.values_mut()[range.start * stride..range.end * stride];
        if run.is_parallel() {
            values.par_chunks_mut(stride).enumerate().for_each(|(i, row)| f(first + i, &mut row[..width]));
        } else {
            values.chunks_mut(stride).enumerate().for_each(|(i, row)| f(first + i, &mut row[..width]));
        }
    }

    /// Some rows as a piece of memory that may be split between any two of them.
    pub fn strip_mut(&mut self, range: Range<usize>) -> Strip<'_, T> {
        let (stride, width) = (self.stride, self.width);
        Strip { values: &mut self.values_mut()[range.start * stride..range.end * stride], width, stride }
    }

    /// Rows as the rows of a matrix: (rows, width).
    pub fn matrix(&self, range: Range<usize>) -> MatRef<'_, T> {
        let values = &self.values()[range.start * self.stride..range.end * self.stride];
        MatRef::from_row_major_slice_with_stride(values, range.len(), self.width, self.stride)
    }

    /// The first `n` rows as the columns of a matrix: (width, n).
    pub fn columns(&self, n: usize) -> MatRef<'_, T> {
        self.matrix(0..n).transpose()
    }

    /// The same, to write.
    pub fn columns_mut(&mut self, n: usize) -> MatMut<'_, T> {
        let (width, stride) = (self.width, self.stride);
        MatMut::from_column_major_slice_with_stride_mut(&mut self.values_mut()[..n * stride], width, n, stride)
    }

    /// A copy, where memory allows.
    pub fn try_clone(&self) -> Result<Self> {
        let mut copy = Self::unset(self.n_rows, self.width)?;
        copy.values_mut().copy_from_slice(self.values());
        Ok(copy)
    }
}

/// Some rows of a panel, or the first columns of them.
pub(crate) struct Strip<'a, T = f64> {
    values: &'a mut [T],
    width: usize,
    stride: usize,
}

impl<'a, T: Real> Strip<'a, T> {
    /// Rows of an ordinary slice, one directly after the other.
    pub fn contiguous(values: &'a mut [T], width: usize) -> Self {
        Self { values, width, stride: width }
    }

    /// Some of the rows, of which only the first `width` columns.
    pub fn part(self, range: Range<usize>, width: usize) -> Self {
        Self { values: &mut self.values[range.start * self.stride..range.end * self.stride], width, ..self }
    }

    /// The rows, to write.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        self.values.chunks_mut(self.stride).map(|row| &mut row[..self.width])
    }

    /// Row `i`, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.values[i * self.stride..i * self.stride + self.width]
    }

    /// The rows as the columns of a matrix, to write: (width, rows).
    pub fn into_columns(self) -> MatMut<'a, T> {
        let n = self.values.len() / self.stride;
        MatMut::from_column_major_slice_with_stride_mut(self.values, self.width, n, self.stride)
    }

    /// Strips of `n` rows, one after the other.
    pub fn strips(self, n: usize) -> impl Iterator<Item = Strip<'a, T>> {
        let (width, stride) = (self.width, self.stride);
        self.values.chunks_mut((n * stride).max(1)).map(move |values| Strip { values, width, stride })
    }
}

fn heap<T: Real>(len: usize) -> Option<Memory<T>> {
    let numbers = LINE / size_of::<T>();
    Vec::<T>::new().try_reserve_exact(len + numbers).ok()?;
    let values = vec![T::zeroed(); len + numbers];
    let offset = values.as_ptr().align_offset(LINE);
    Some(Memory::Heap(values, if offset < numbers { offset } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_on_cache_lines_and_off_powers_of_two() -> Result<()> {
        for (n_rows, width) in [(3, 1), (7, 448), (600, 1024), (0, 5)] {
            let mut panel = Panel::<f64>::zeros(n_rows, width)?;
            for i in 0..n_rows {
                assert_eq!(panel.row(i).as_ptr().align_offset(64), 0);
                panel.row_mut(i).fill(i as f64);
            }
            assert!(!(panel.stride * size_of::<f64>()).is_multiple_of(256));
            let copy = panel.try_clone()?;
            assert!(
                copy.rows(0..n_rows)
                    .enumerate()
                    .all(|(i, row)| row.len() == width && row.iter().all(|x| *x == i as f64))
            );
            assert_eq!(panel.columns(n_rows).ncols(), n_rows);
        }
        Ok(())
    }

    #[test]
    fn zeros_are_zeros_on_pages_that_held_something() -> Result<()> {
        for _ in 0..20 {
            let mut spoilt = Panel::<f64>::unset(400, 500)?;
            spoilt.rows_mut(0..400).for_each(|row| row.fill(f64::NAN));
            drop(spoilt);
            let zeros = Panel::<f64>::zeros(400, 500)?;
            assert!(zeros.rows(0..400).flatten().all(|x| *x == 0.0));
        }
        Ok(())
    }
}
