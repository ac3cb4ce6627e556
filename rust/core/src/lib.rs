//! Prediction rigidities: how far do the training data pin down a prediction?
//!
//! A model fitted by minimising ½ Σ w (y − fᵀθ)² + ½ λ θᵀΛθ has the Hessian H = C + λΛ with C = Σ w f fᵀ. Forcing the
//! prediction with gradient g away by ε and letting all weights relax raises the loss by ½ R ε², and
//!
//! > R = 1 / (gᵀ H⁻¹ g) = 1 / ‖L⁻¹ g‖²,  H = L Lᵀ
//!
//! is its prediction rigidity (J. Chem. Theory Comput. 19 (2023) 8020; Faraday Discuss. 256 (2025) 322).
//!
//! | step | file | enters → leaves |
//! |---|---|---|
//! | rows at the door | `rows` | strided f32/f64 rows, groups, weights, targets → what forms which target |
//! | reduction | `reduce` | those → reduced, weighted rows, a small block at a time |
//! | memory | `pages`, `panel`, `slab` | rows on cache lines: blocks of feature rows, square arrays; the same in strips, to be multiplied |
//! | kernels | `tiles` | products and solves in tiles, side by side, the same bits on any number of threads |
//! | waiting room | `stage` | reduced rows in any number → blocks of one size |
//! | sums over the data | `covariance` | blocks of rows → C, b = Σ w f yᵀ, Σ w y², n, Σ ln w |
//! | penalty, λ | `penalty` | Λ, λ or "guaranteed" → H in place of C |
//! | factor | `cholesky` | H → L, or the pivot that failed |
//! | answers | `hessian`, `condition` | rows → H⁻¹B, variances, joint covariances; log-determinant, condition |
//! | components | `components` | rows → the variance of each component |
//! | storage | `snapshot` | accumulators and factors → plain vectors, and back |
//!
//! Every result is the same to the bit for any number of threads: parallel work partitions the output, never a sum.

mod cholesky;
mod components;
mod condition;
mod covariance;
mod error;
mod execution;
mod hessian;
mod pages;
mod panel;
mod penalty;
mod prefetch;
mod real;
mod reduce;
mod rows;
mod slab;
mod snapshot;
mod stage;
mod tiles;
mod triangle;

pub use components::Components;
pub use covariance::Covariance;
pub use error::{Error, Result};
pub use execution::Execution;
pub use hessian::Hessian;
pub use penalty::{Penalty, Reason, Regularizer};
pub use rows::{Batch, Element, Groups, Reduction, RowBlock};
pub use snapshot::{HessianSnapshot, PenaltySnapshot, Snapshot};
pub use stage::Precision;
pub use triangle::{Moments, Square, zeros};
