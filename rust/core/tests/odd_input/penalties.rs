//! Penalties, λ and their reasons.

use super::*;

pub fn penalties() -> Vec<Case> {
    let shape = |got: &str| Err(Error::PenaltyShape { got: got.into(), expected: P });
    let diagonal = |values: Vec<f64>, regularizer| move || factorized(regularizer, Penalty::diagonal(values.clone())?);
    let matrix = |values: Array2<f64>, eps: f64| {
        move || factorized(Regularizer::Guaranteed, Penalty::matrix(values.view(), eps)?)
    };
    let plain = |regularizer| move || factorized(regularizer, Penalty::identity());
    let one = Regularizer::Value(1.0);
    let chosen = |value, jitter| Regularizer::Chosen { value, jitter, reason: Reason::EvidenceMaximum };
    let uneven = Array2::from_shape_fn((P, P), |(i, j)| if i > j { 1.0 } else { 2.0 });
    let mut nan = Array2::eye(P);
    nan[[1, 3]] = f64::NAN;
    vec![
        case("Penalty::identity", Ok(()), plain(one)),
        case("Penalty::diagonal", shape("(12,)"), diagonal(vec![1.0; 12], one)),
        case("Penalty::diagonal", shape("(5,)"), diagonal(vec![1.0; 5], one)),
        case("Penalty::diagonal", shape("(12,)"), diagonal(vec![1.0; 12], Regularizer::Guaranteed)),
        case("Penalty::diagonal", shape("(0,)"), diagonal(vec![], chosen(1.0, 1.0))),
        case("Penalty::diagonal", Err(Error::PenaltyZero), diagonal(vec![0.0; P], Regularizer::Guaranteed)),
        case(
            "Penalty::diagonal",
            Err(Error::PenaltyEntry { row: 1, column: 1, value: f64::NAN }),
            diagonal(vec![1.0, f64::NAN], one),
        ),
        case(
            "Penalty::diagonal",
            Err(Error::Regularizer(f64::INFINITY)),
            diagonal(vec![5e-324; P], Regularizer::Guaranteed),
        ),
        case("Penalty::matrix", Err(Error::PenaltySquare { rows: 3, columns: P }), matrix(Array2::ones((3, P)), 0.0)),
        case("Penalty::matrix", shape("(5, 5)"), matrix(Array2::eye(5), 0.0)),
        case("Penalty::matrix", shape("(12, 12)"), matrix(Array2::eye(12), 0.0)),
        case("Penalty::matrix", shape("(0, 0)"), matrix(Array2::eye(0), 0.0)),
        case("Penalty::matrix", Err(Error::PenaltyPrecision(f64::INFINITY)), matrix(Array2::eye(P), f64::INFINITY)),
        case("Penalty::matrix", Err(Error::PenaltyPrecision(f64::NAN)), matrix(Array2::eye(P), f64::NAN)),
        case("Penalty::matrix", Err(Error::PenaltyPrecision(-1.0)), matrix(Array2::eye(P), -1.0)),
        case("Penalty::matrix", Err(Error::PenaltyEntry { row: 1, column: 3, value: f64::NAN }), matrix(nan, 0.0)),
        case(
            "Penalty::matrix",
            Err(Error::PenaltyAsymmetric { row: 1, column: 0, lower: 1.0, upper: 2.0 }),
            matrix(uneven, 0.0),
        ),
        case("Penalty::matrix", Err(Error::PenaltyZero), matrix(Array2::zeros((P, P)), 0.0)),
        case("Covariance::factorize", Err(Error::Regularizer(f64::NAN)), plain(Regularizer::Value(f64::NAN))),
        case("Covariance::factorize", Err(Error::Regularizer(-1.0)), plain(chosen(-1.0, 0.0))),
        case("Covariance::factorize", Err(Error::Jitter(f64::NAN)), plain(chosen(1.0, f64::NAN))),
        case("Covariance::factorize", Err(Error::Jitter(-1.0)), plain(chosen(1.0, -1.0))),
        case("Covariance::factorize", Ok(()), plain(chosen(1.0, 1.0))),
        case(
            "Covariance::factorize",
            Err(Error::ReasonNeedsValue("given")),
            plain(Regularizer::GuaranteedBecause(Reason::Given)),
        ),
        case("Covariance::factorize", Ok(()), plain(Regularizer::GuaranteedBecause(Reason::EvidenceUnresolved))),
        case("Covariance::factorize", Err(Error::NothingSummed(0.0)), || {
            let mut empty = Covariance::new(P, Precision::Double)?;
            empty.factorize(Regularizer::Guaranteed, Penalty::identity(), false, &run()).map(drop)
        }),
        case(
            "Covariance::factorize",
            Err(Error::NotPositiveDefinite { pivot: 0, size: P, value: 0.0, regularizer: 0.0 }),
            || {
                let mut empty = Covariance::new(P, Precision::Double)?;
                empty.factorize(Regularizer::Value(0.0), Penalty::identity(), true, &run()).map(drop)
            },
        ),
        case("Covariance::factorize", Err(Error::Consumed), move || {
            consumed()?.factorize(one, Penalty::identity(), false, &run()).map(drop)
        }),
        case("Reason::of_name", Err(Error::UnknownReason("whim".into())), || Reason::of_name("whim").map(drop)),
        case("Reason::name", Ok(()), || {
            Reason::ALL.into_iter().try_for_each(|reason| {
                assert_eq!(Reason::of_name(reason.name())?, reason);
                Ok(())
            })
        }),
    ]
}
