//! States of accumulators and factors.

use super::*;

pub fn stored_sums() -> Vec<Case> {
    /// A state that is changed, restored, and used if it was taken.
    fn restored(expected: Result<()>, change: impl Fn(&mut Snapshot) + 'static) -> Case {
        case("Covariance::from_snapshot", expected, move || {
            let mut state = with_targets(P, 1)?.snapshot()?;
            change(&mut state);
            let mut covariance = Covariance::from_snapshot(state)?;
            let (x, y) = (rows(600, P), rows(600, 1));
            covariance.update(&Batch::new(block(&x)?, None, Some(y.view()))?, &run())?;
            covariance.factorize(Regularizer::Value(1.0), Penalty::identity(), false, &run())?.coef(&run()).map(drop)
        })
    }
    let wrong = |what, got, expected| length(what, got, expected, "in a state of this size");
    let odd = |what, index| Err(Error::StoredNumber { what, index, value: f64::NAN });
    vec![
        restored(Ok(()), |_| {}),
        restored(Ok(()), |s| s.moments.n_rows = usize::MAX),
        restored(Err(Error::NoFeatures), |s| s.n_features = 0),
        restored(wrong("cross", P, usize::MAX), |s| s.n_features = usize::MAX),
        restored(wrong("lower triangle", 36, usize::MAX), |s| {
            (s.n_features, s.moments) = (usize::MAX, Default::default());
        }),
        restored(wrong("lower triangle", 36, usize::MAX), |s| {
            (s.n_features, s.moments) = (1 << 32, Default::default());
        }),
        restored(wrong("lower triangle", 36, 15), |s| (s.n_features, s.moments) = (5, Default::default())),
        restored(wrong("lower triangle", 3, 36), |s| s.lower.truncate(3)),
        restored(wrong("cross", 3, P), |s| s.moments.cross.truncate(3)),
        restored(wrong("cross", P, usize::MAX), |s| s.moments.n_outputs = usize::MAX),
        restored(wrong("squares", 0, 1), |s| s.moments.squares.clear()),
        restored(wrong("waiting rows", 9, 8), |s| s.waiting_rows.truncate(9)),
        restored(wrong("waiting rows", 4800, 2040), |s| s.waiting_rows = vec![1.0; 600 * P]),
        restored(wrong("waiting targets", 0, 44), |s| s.waiting_targets.clear()),
        restored(odd("lower triangle", 3), |s| s.lower[3] = f64::NAN),
        restored(odd("cross", 7), |s| s.moments.cross[7] = f64::NAN),
        restored(odd("squares", 0), |s| s.moments.squares[0] = f64::NAN),
        restored(odd("log_weight", 0), |s| s.moments.log_weight = f64::NAN),
        restored(odd("waiting rows", 1), |s| s.waiting_rows[1] = f64::NAN),
        restored(odd("waiting targets", 2), |s| s.waiting_targets[2] = f64::NAN),
        restored(Err(Error::StoredState("it has targets, but no update was counted")), |s| s.decided = false),
    ]
}

pub fn stored_factors() -> Vec<Case> {
    /// A state that is changed, restored, and used if it was taken.
    fn restored(expected: Result<()>, change: impl Fn(&mut HessianSnapshot) + 'static) -> Case {
        case("Hessian::from_snapshot", expected, move || {
            let mut state = hessian()?.snapshot()?;
            change(&mut state);
            let hessian = Hessian::from_snapshot(state)?;
            let v = hessian.variance(&block(&rows(300, P))?, &run())?;
            assert!(v.iter().all(|v| v.is_finite()));
            assert!((0.0..=P as f64).contains(&hessian.effective_dimension(&run())?));
            Ok(())
        })
    }
    let wrong = |what, got, expected| length(what, got, expected, "in a state of this size");
    let matrix = |lower: Vec<f64>, eps| PenaltySnapshot::Matrix(lower, eps);
    vec![
        restored(Ok(()), |_| {}),
        restored(Err(Error::NoFeatures), |s| s.n_features = 0),
        restored(wrong("cross", P, usize::MAX), |s| s.n_features = usize::MAX),
        restored(wrong("lower triangle", 36, usize::MAX), |s| {
            (s.n_features, s.moments) = (1 << 32, Default::default());
        }),
        restored(wrong("lower triangle", 35, 36), |s| s.lower.truncate(35)),
        restored(wrong("cross", P, usize::MAX), |s| s.moments.n_outputs = usize::MAX / 4),
        restored(Err(Error::StoredNumber { what: "lower triangle", index: 1, value: f64::NAN }), |s| {
            s.lower[1] = f64::NAN;
        }),
        restored(Err(Error::StoredFactor { index: 0, value: 0.0 }), |s| s.lower[0] = 0.0),
        restored(Err(Error::Regularizer(f64::NAN)), |s| s.regularizer = f64::NAN),
        restored(Err(Error::Jitter(f64::NAN)), |s| s.jitter = f64::NAN),
        restored(Err(Error::Jitter(-1.0)), |s| s.penalty_jitter = -1.0),
        restored(Err(Error::PenaltyShape { got: "(5,)".into(), expected: P }), |s| {
            s.penalty = PenaltySnapshot::Diagonal(vec![1.0; 5]);
        }),
        restored(wrong("penalty", 5, 36), move |s| s.penalty = matrix(vec![1.0; 5], 1e-16)),
        restored(Err(Error::StoredNumber { what: "penalty", index: 0, value: f64::INFINITY }), move |s| {
            s.penalty = matrix(vec![f64::INFINITY; 36], 1e-16);
        }),
        restored(Err(Error::PenaltyEntry { row: 0, column: 0, value: -1.0 }), move |s| {
            s.penalty = matrix(vec![-1.0; 36], 1e-16);
        }),
        restored(Err(Error::PenaltyPrecision(f64::NAN)), move |s| s.penalty = matrix(vec![1.0; 36], f64::NAN)),
    ]
}
