//! Prediction rigidities: how far do the training data pin down a prediction?
//!
//! A model fitted by minimising ½ Σ w (y − fᵀθ)² + ½ λ θᵀΛθ has the Hessian H = C + λΛ with C = Σ w
//! f fᵀ. Forcing the prediction with gradient g away by ε and letting all weights relax raises the
//! loss by ½ R ε², and
//!
//! > R = 1 / (gᵀ H⁻¹ g) = 1 / ‖L⁻¹ g‖²,  H = L Lᵀ
//!
//! is its prediction rigidity (J. Chem. Theory Comput. 19 (2023) 8020; Faraday Discuss. 256 (2025)
//! 322).
//!
//! Data flow through these files from top to bottom:
//!
//! | step | file | what it does |
//! |---|---|---|
//! | input | `rows` | checks feature rows, groups, weights and targets |
//! | reduction | `reduce`, `prefetch` | reduces and weights the rows of each target, block by block |
//! | memory | `pages`, `panel`, `slab` | blocks of rows, aligned to cache lines |
//! | square arrays | `triangle` | arrays of which one triangle is in use |
//! | numbers | `real`, `tiles` | float32 and float64; products and solves in tiles |
//! | few features | `narrow` | multiplies blocks of rows side by side, adds the products in order |
//! | waiting rows | `stage` | collects reduced rows until a block is full |
//! | one batch | `addition` | prepares it, then commits it to the sums |
//! | two parts of the data | `merging` | adds the sums of one to the other |
//! | sums over the data | `covariance`, `moments` | C; b = Σ w f yᵀ, Σ w y², n, Σ ln w |
//! | or the factor of the rows | `row_factor`, `absorb`, `few_columns` | R with RᵀR = C, by reflections |
//! | penalty | `penalty` | checks Λ, adds λΛ to C |
//! | strength λ | `regularizer` | settles λ, and keeps why |
//! | factor | `cholesky` | H = L Lᵀ, or the pivot that failed |
//! | rows added later, or removed | `updating`, `removal`, `revision` | L of H ± Σ w f fᵀ in O(k p²) |
//! | answers | `hessian`, `strips` | H⁻¹B, L⁻¹g, variances, joint covariances, ln\|H\| |
//! | diagnostics | `condition` | reciprocal condition, effective dimension |
//! | components | `components`, `block_factors` | the variance of each component of a prediction |
//! | eigenvalues | `eigen`, `symmetric`, `tridiagonal`, `divide`, `secular`, `reflectors` | A = V diag(τ) Vᵀ, for paths over λ |
//! | singular values | `singular` | R = U diag(σ) Vᵀ, for paths over λ |
//! | selection | `selection`, `choice`, `sampling` | picks the next candidates for the training set |
//! | its candidates | `pool`, `posterior` | whitened rows, and what picks leave of their variances |
//! | its gains | `shortlist`, `variances`, `block_gains`, `information` | of ln\|H\|, by rows and by blocks |
//! | and for targets | `target_gains`, `target_means`, `near_targets`, `kernels` | of their mean rigidity or variance |
//! | storage | `snapshot` | accumulators and factors as plain vectors, and back |
//!
//! `execution` says on how many threads, and until when; `error` (with `selection_error`, `unremovable`) lists what can go
//! wrong.
//!
//! Every result is the same to the bit on any number of threads. Parallel work partitions the
//! output, not a sum. Where C is too small to be shared out (`narrow`), blocks of a fixed size are
//! multiplied side by side and added in their order. No public function panics, whatever it is
//! given: `tests/odd_input` calls them all.

mod absorb;
mod addition;
mod block_factors;
mod block_gains;
mod choice;
mod cholesky;
mod components;
mod condition;
mod covariance;
mod divide;
mod eigen;
mod error;
mod execution;
mod few_columns;
mod hessian;
mod information;
mod kernels;
mod merging;
mod moments;
mod narrow;
mod near_targets;
mod pages;
mod panel;
mod penalty;
mod pool;
mod posterior;
mod prefetch;
mod real;
mod reduce;
mod reflectors;
mod regularizer;
mod removal;
mod revision;
mod row_factor;
mod rows;
mod sampling;
mod secular;
mod selection;
mod selection_error;
mod shortlist;
mod singular;
mod slab;
mod snapshot;
mod stage;
mod strips;
mod symmetric;
mod target_gains;
mod target_means;
mod tiles;
mod triangle;
mod tridiagonal;
mod unremovable;
mod updating;
mod variances;

pub use addition::Prepared;
pub use components::Components;
pub use covariance::{Covariance, SCALES};
pub use eigen::{Tridiagonal, eigenvectors, tridiagonalise};
pub use error::{Error, Result};
pub use execution::Execution;
pub use hessian::Hessian;
pub use merging::Merge;
pub use moments::Moments;
pub use pages::{require, zeros};
pub use penalty::Penalty;
pub use pool::Pool;
pub use regularizer::{Reason, Regularizer};
pub use revision::{Change, Revision};
pub use rows::{Batch, Element, Groups, Reduction, RowBlock};
pub use selection::{Objective, Pick, Selection, Targets};
pub use selection_error::SelectionError;
pub use singular::singular_vectors;
pub use snapshot::{HessianSnapshot, PenaltySnapshot, Snapshot};
pub use stage::Precision;
pub use tiles::take_workspace;
pub use unremovable::Unremovable;
pub use updating::ROWS_IN_PLACE;
