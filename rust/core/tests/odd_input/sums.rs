//! Accumulators.

use super::*;

fn factor_of_rows(n: usize) -> Result<Covariance> {
    let (mut factor, x, y) = (Covariance::of_factor(P)?, rows(n, P), rows(n, 1));
    factor.update(&Batch::new(block(&x)?, None, Some(y.view()))?, &run())?;
    Ok(factor)
}

pub fn sums() -> Vec<Case> {
    let update = |n_outputs: Option<usize>, p: usize, x: Array2<f64>, y: Option<Array2<f64>>| {
        move || {
            let mut covariance = n_outputs.map_or_else(|| covariance(p), |k| with_targets(p, k))?;
            let before = covariance.snapshot()?;
            let batch = Batch::new(block(&x)?, None, y.as_ref().map(|y| y.view()))?;
            let outcome = covariance.update(&batch, &run());
            assert!(outcome.is_ok() || covariance.snapshot()? == before, "a refused batch has left a trace");
            outcome
        }
    };
    let outputs = |got, expected| Err(Error::OutputCount { got, expected });
    let nan = || {
        let mut x = rows(600, P);
        x[[599, 7]] = f64::NAN;
        x
    };
    vec![
        case("Covariance::update", columns(5, P), update(None, P, rows(3, 5), None)),
        case("Covariance::update", columns(12, P), update(None, P, rows(900, 12), None)),
        case("Covariance::update", outputs(2, 1), update(Some(1), P, rows(3, P), Some(rows(3, 2)))),
        case("Covariance::update", outputs(0, 1), update(Some(1), P, rows(3, P), Some(rows(3, 0)))),
        case("Covariance::update", outputs(0, 1), || {
            let (x, y) = (rows(3, P), rows(3, 0));
            Covariance::new(P, Precision::Double)?.update(&Batch::new(block(&x)?, None, Some(y.view()))?, &run())
        }),
        case(
            "Covariance::update",
            Err(Error::TargetsMixed("they came before but not now")),
            update(Some(2), P, rows(3, P), None),
        ),
        case(
            "Covariance::update",
            Err(Error::TargetsMixed("they came now but not before")),
            update(None, P, rows(3, P), Some(rows(3, 0))),
        ),
        case(
            "Covariance::update",
            Err(Error::NonFinite { what: "features", row: 599, column: 7, value: f64::NAN }),
            update(None, P, nan(), None),
        ),
        case("Covariance::update", Err(Error::Consumed), || {
            consumed()?.update(&Batch::new(block(&rows(3, P))?, None, None)?, &run())
        }),
        case("Covariance::update", Err(Error::Interrupted), || {
            covariance(P)?.update(&Batch::new(block(&rows(300, P))?, None, None)?, &stopped())
        }),
        case("Covariance::prepare", columns(5, P), || {
            covariance(P)?.prepare(&Batch::new(block(&rows(3, 5))?, None, None)?, &run()).map(drop)
        }),
        case("Covariance::prepare", Err(Error::SumOverflow(f64::INFINITY)), || {
            let x = Array2::from_elem((600, P), 3e153);
            covariance(P)?.prepare(&Batch::new(block(&x)?, None, None)?, &run()).map(drop)
        }),
        case("Covariance::settle", Ok(()), || {
            for (p, n) in [(P, 3), (P, 700), (P, 20_000), (300, 3), (300, 250), (300, 2000)] {
                let mut covariance = with_targets(p, 2)?;
                let before = covariance.snapshot()?;
                let (x, y) = (rows(n, p), rows(n, 2));
                covariance.prepare(&Batch::new(block(&x)?, None, Some(y.view()))?, &run())?;
                covariance.settle(&run());
                assert!(covariance.snapshot()? == before, "a batch that was not committed has left a trace");
                let hessian = covariance.factorize(Regularizer::Value(1.0), Penalty::identity(), true, &run())?;
                covariance.settle(&run());
                assert_eq!(covariance.trace(), Err(Error::Consumed));
                drop(hessian);
                covariance.settle(&run());
                assert!(covariance.snapshot()? == before, "C has not come back");
            }
            Ok(())
        }),
        case("Covariance::commit", Ok(()), || {
            for n in [3, 700, 20_000] {
                let (mut one, mut other) = (covariance(P)?, covariance(P)?);
                let x = rows(n, P);
                let batch = Batch::new(block(&x)?, None, None)?;
                one.update(&batch, &run())?;
                let prepared = other.prepare(&batch, &run())?;
                other.commit(prepared, &stopped());
                other.settle(&run());
                assert!(one.snapshot()? == other.snapshot()?);
            }
            Ok(())
        }),
        case("Covariance::renounce", Err(Error::Consumed), || {
            let mut consumed = consumed()?;
            consumed.renounce();
            consumed.settle(&run());
            consumed.trace().map(drop)
        }),
        case("Covariance::is_consumed", Ok(()), || {
            let mut consumed = consumed()?;
            assert!(!consumed.is_consumed());
            consumed.renounce();
            assert!(consumed.is_consumed());
            Ok(())
        }),
        case("Covariance::prepare_merge", Err(Error::MergeSize { got: 5, expected: P }), || {
            covariance(P)?.prepare_merge(&covariance(5)?, &run()).map(drop)
        }),
        case("Covariance::prepare_merge", Err(Error::SumOverflow(1e300)), || {
            let scale = 5e299 / covariance(P)?.trace()?;
            let mut half = covariance(P)?.scaled(scale, &run())?;
            let outcome = half.prepare_merge(&covariance(P)?.scaled(1.1 * scale, &run())?, &run()).map(drop);
            outcome
                .map_err(|error| if matches!(error, Error::SumOverflow(_)) { Error::SumOverflow(1e300) } else { error })
        }),
        case("Covariance::commit_merge", Ok(()), || {
            let (mut one, other) = (with_targets(P, 1)?, with_targets(P, 1)?);
            let merge = one.prepare_merge(&other, &run())?;
            one.commit_merge(merge, &stopped());
            assert_eq!(one.n_rows(), 600);
            Ok(())
        }),
        case("Covariance::of_factor", Err(Error::NoFeatures), || Covariance::of_factor(0).map(drop)),
        case("Covariance::of_factor", Err(Error::OutOfMemory { bytes: usize::MAX }), || {
            Covariance::of_factor(usize::MAX).map(drop)
        }),
        case("Covariance::is_factor", Err(Error::MergeAccumulation), || {
            let mut factor = Covariance::of_factor(P)?;
            assert!(factor.is_factor() && !covariance(P)?.is_factor());
            factor.merge(&covariance(P)?, &run())
        }),
        case("Covariance::merge", Err(Error::Interrupted), || {
            let (mut one, other) = (factor_of_rows(700)?, factor_of_rows(300)?);
            let before = one.snapshot()?;
            let outcome = one.merge(&other, &stopped());
            assert!(one.snapshot()? == before, "a merge that was stopped has left a trace");
            outcome
        }),
        case("Covariance::row_factor", Err(Error::Interrupted), || {
            let (lower, moments) = factor_of_rows(300)?.row_factor(&run())?;
            assert!(lower.len() == P * P && moments.cross.len() == P);
            factor_of_rows(300)?.row_factor(&stopped()).map(drop)
        }),
        case("Covariance::merge", Err(Error::MergeSize { got: 5, expected: P }), || {
            covariance(P)?.merge(&covariance(5)?, &run())
        }),
        case("Covariance::merge", outputs(3, 1), || with_targets(P, 1)?.merge(&with_targets(P, 3)?, &run())),
        case("Covariance::merge", Err(Error::Consumed), || covariance(P)?.merge(&consumed()?, &run())),
        case("Covariance::merge", Err(Error::Consumed), || consumed()?.merge(&covariance(P)?, &run())),
        case("Covariance::merge", Ok(()), || Covariance::new(P, Precision::Single)?.merge(&covariance(P)?, &run())),
        case("Covariance::scaled", Err(Error::TermWeight(f64::NAN)), || {
            covariance(P)?.scaled(f64::NAN, &run()).map(drop)
        }),
        case("Covariance::scaled", Err(Error::TermWeight(-1.0)), || covariance(P)?.scaled(-1.0, &run()).map(drop)),
        case("Covariance::scaled", Err(Error::SumOverflow(f64::INFINITY)), || {
            let mut scaled = covariance(P)?.scaled(f64::MAX, &run())?;
            scaled.factorize(Regularizer::Guaranteed, Penalty::identity(), false, &run()).map(drop)
        }),
        case("Covariance::write_matrix", length("the array", 63, 64, "entries of C"), || {
            covariance(P)?.write_matrix(&mut [0.0; 63], &run())
        }),
        case("Covariance::write_matrix", length("the array", 72, 64, "entries of C"), || {
            covariance(P)?.write_matrix(&mut [0.0; 72], &run())
        }),
        case("Covariance::write_matrix", length("the array", 0, 64, "entries of C"), || {
            covariance(P)?.write_matrix(&mut [], &run())
        }),
        case("Covariance::write_matrix", Err(Error::Consumed), || consumed()?.write_matrix(&mut [0.0; 64], &run())),
        case("Covariance::trace", Err(Error::Consumed), || consumed()?.trace().map(drop)),
        case("Covariance::snapshot", Err(Error::Consumed), || consumed()?.snapshot().map(drop)),
        case("Covariance::all_moments", Ok(()), || {
            assert_eq!(with_targets(P, 3)?.all_moments(&stopped())?.cross.len(), 3 * P);
            Ok(())
        }),
        case("Covariance::n_features", Ok(()), || {
            assert_eq!(consumed()?.n_features(), P);
            Ok(())
        }),
        case("Covariance::n_rows", Ok(()), || {
            assert_eq!(consumed()?.n_rows(), 300);
            Ok(())
        }),
        case("Covariance::n_outputs", Ok(()), || {
            assert_eq!(with_targets(P, 3)?.n_outputs(), 3);
            Ok(())
        }),
        case("Covariance::least_precision", Ok(()), || {
            assert_eq!(consumed()?.least_precision(), Precision::Double);
            Ok(())
        }),
        case("Execution::new", Err(Error::Interrupted), || {
            let parallel = Execution::new(true, &STOPPED);
            covariance(P)?.factorize(Regularizer::Value(1.0), Penalty::identity(), false, &parallel).map(drop)
        }),
        case("Execution::sequential", Ok(()), || {
            let _ = Execution::sequential();
            Ok(())
        }),
    ]
}
