//! Selections from pools that do not fit, of candidates that are not there, and after a stop.

use super::*;

fn pool_of<'a>(rows: &'a [f64], starts: Option<&'a [usize]>) -> Result<Pool<'a>> {
    Pool::new(rows, 2, starts)
}

/// Four rows of two numbers.
const ROWS: [f64; 8] = [1.0, 0.0, 0.0, 2.0, 1.0, 1.0, 0.5, 0.0];
const STARTS: [usize; 3] = [0, 3, 4];

fn selection(objective: Objective<'_>) -> Result<Selection> {
    Selection::new(&pool_of(&ROWS, None)?, objective, vec![], f64::INFINITY, &run())
}

fn objectives<'a>(targets: Targets<'a>) -> [Objective<'a>; 4] {
    let (rigidity, variance) = (Objective::TargetRigidity(targets), Objective::TargetVariance(targets));
    [Objective::Determinant, Objective::Variance, rigidity, variance]
}

const TARGETS: Targets<'static> = Targets { rows: &[1.0, 1.0], weights: &[] };

fn with_rows(rows: &[f64], costs: Vec<f64>, budget: f64) -> Result<()> {
    Selection::new(&pool_of(rows, None)?, Objective::Determinant, costs, budget, &run()).map(drop)
}

fn for_targets(rows: &[f64], weights: &[f64]) -> Result<()> {
    selection(Objective::TargetRigidity(Targets { rows, weights })).map(drop)
}

/// Every selection stops, and makes no more picks then.
fn spoilt() -> Result<()> {
    for objective in objectives(TARGETS) {
        let pool = pool_of(&ROWS, None)?;
        let mut selection = selection(objective)?;
        assert_eq!(selection.advance(&pool, 1, f64::NEG_INFINITY, &run())?, 1);
        let outcome = selection.advance(&pool, 3, f64::NEG_INFINITY, &stopped());
        if objective != Objective::Variance {
            assert_eq!(outcome, Err(Error::Interrupted));
            assert_eq!(selection.picks().len(), 1);
            assert_eq!(selection.advance(&pool, 1, f64::NEG_INFINITY, &run()), Err(Error::Interrupted));
            assert_eq!(selection.gains(&pool, &run()), Err(Error::Interrupted));
        }
    }
    Err(Error::Interrupted)
}

/// All picks of all objectives, by rows and by blocks, at any scale: gains are numbers.
fn to_the_end(scale: f64, starts: Option<&[usize]>) -> Result<()> {
    let rows = ROWS.map(|x| x * scale);
    for objective in objectives(TARGETS) {
        let pool = pool_of(&rows, starts)?;
        let n = starts.map_or(4, |starts| starts.len() - 1);
        let mut selection = Selection::new(&pool, objective, vec![], f64::INFINITY, &run())?;
        assert_eq!(selection.gains(&pool, &run())?.len(), n);
        assert_eq!(selection.advance(&pool, 100, f64::NEG_INFINITY, &run())?, n);
        assert!(selection.picks().iter().all(|pick| pick.gain.is_finite() && pick.value.is_finite()));
        assert!(selection.value().is_finite());
    }
    Ok(())
}

pub fn selections() -> Vec<Case> {
    let begin = || Err(SelectionError::CandidateRows { n_rows: 4 }.into());
    let closed = || Err(SelectionError::CandidateClosed(1).into());
    let range = || Err(SelectionError::CandidateRange { index: 4, n: 4 }.into());
    let mut cases = vec![
        case("Pool::new", Err(Error::NoFeatures), || Pool::new(&ROWS, 0, None).map(drop)),
        case("Pool::new", Err(Error::NoRows), || pool_of(&[], None).map(drop)),
        case("Pool::new", Err(Error::RightHandSide { got: 3, expected: 2 }), || pool_of(&[1.0; 3], None).map(drop)),
        case("Pool::new", begin(), || pool_of(&ROWS, Some(&[])).map(drop)),
        case("Pool::new", begin(), || pool_of(&ROWS, Some(&[0, 2, 2, 4])).map(drop)),
        case("Pool::new", begin(), || pool_of(&ROWS, Some(&[1, 4])).map(drop)),
        case("Pool::new", begin(), || pool_of(&ROWS, Some(&[0, usize::MAX])).map(drop)),
        case("Selection::new", length("costs", 3, 4, "candidates"), || with_rows(&ROWS, vec![1.0; 3], 1.0)),
        case("Selection::new", Err(SelectionError::Cost { index: 1, value: 0.0 }.into()), || {
            with_rows(&ROWS, vec![1.0, 0.0, 1.0, 1.0], 1.0)
        }),
        case("Selection::new", Err(SelectionError::Budget(f64::NAN).into()), || with_rows(&ROWS, vec![], f64::NAN)),
        case("Selection::new", Err(Error::Overflow { target: 1 }), || with_rows(&[1.0, 0.0, 1e200, 0.0], vec![], 1.0)),
        case("Selection::new", Err(Error::RightHandSide { got: 3, expected: 2 }), || for_targets(&[1.0; 3], &[])),
        case("Selection::new", Err(Error::RightHandSide { got: 0, expected: 2 }), || for_targets(&[], &[])),
        case("Selection::new", Err(SelectionError::TargetVariance { index: 1, value: 0.0 }.into()), || {
            for_targets(&[1.0, 0.0, 0.0, 0.0], &[])
        }),
        case("Selection::new", Err(SelectionError::TargetVariance { index: 0, value: f64::INFINITY }.into()), || {
            for_targets(&[1e200, 0.0], &[])
        }),
        case("Selection::new", length("target weights", 2, 1, "targets"), || for_targets(&[1.0; 2], &[1.0; 2])),
        case("Selection::new", Err(Error::Weight { index: 0, value: -1.0 }), || for_targets(&[1.0; 2], &[-1.0])),
        case("Selection::new", Err(SelectionError::TargetWeights(0.0).into()), || for_targets(&[1.0; 2], &[0.0])),
        case("Selection::sample", Err(SelectionError::NoSampling.into()), || {
            selection(Objective::Variance)?.sample(&pool_of(&ROWS, None)?, 1, 0)
        }),
        case("Selection::sample", Ok(()), || {
            let (mut selection, pool) = (selection(Objective::Determinant)?, pool_of(&ROWS, None)?);
            selection.sample(&pool, 0, 7)?;
            assert_eq!(selection.advance(&pool, 9, f64::NEG_INFINITY, &run())?, 4);
            assert_eq!(selection.sample(&pool, 1, 0), Err(SelectionError::NoSampling.into()));
            Ok(())
        }),
        case("Selection::forbid", range(), || selection(Objective::Determinant)?.forbid(4)),
        case("Selection::forbid", closed(), || {
            let mut selection = selection(Objective::Determinant)?;
            selection.forbid(1)?;
            selection.forbid(1)
        }),
        case("Selection::force", closed(), || {
            let mut selection = selection(Objective::TargetRigidity(TARGETS))?;
            selection.force(&pool_of(&ROWS, None)?, 1, &run())?;
            selection.force(&pool_of(&ROWS, None)?, 1, &run())
        }),
        case("Selection::add_present", range(), || {
            selection(Objective::Determinant)?.add_present(&pool_of(&ROWS, None)?, 4, &run())
        }),
        case("Selection::advance", length("the pool", 2, 4, "candidates at the start"), || {
            selection(Objective::Determinant)?
                .advance(&pool_of(&ROWS, Some(&STARTS))?, 1, f64::NEG_INFINITY, &run())
                .map(drop)
        }),
        case("Selection::advance", Err(Error::ColumnCount { got: 4, expected: 2 }), || {
            let mut selection = selection(Objective::Determinant)?;
            let wide = [1.0; 16];
            selection.advance(&Pool::new(&wide, 4, None)?, 1, f64::NEG_INFINITY, &run()).map(drop)
        }),
        case("Selection::gains", length("the pool", 1, 4, "candidates at the start"), || {
            selection(Objective::Variance)?.gains(&pool_of(&[1.0, 2.0], None)?, &run()).map(drop)
        }),
        case("Selection::picks", Err(Error::Interrupted), spoilt),
        case("Selection::value", Ok(()), || {
            assert_eq!(selection(Objective::TargetVariance(TARGETS))?.value(), 2.0);
            Ok(())
        }),
    ];
    for scale in [1e-160, 1e-8, 1.0, 1e7, 1e140] {
        cases.push(case("Selection::advance", Ok(()), move || to_the_end(scale, None)));
        cases.push(case("Selection::advance", Ok(()), move || to_the_end(scale, Some(&STARTS))));
    }
    for value in [f64::NAN, f64::NEG_INFINITY] {
        let bad = Err(Error::NonFinite { what: "whitened rows", row: 1, column: 0, value });
        cases.push(case("Selection::new", bad, move || with_rows(&[1.0, 0.0, value, 0.0], vec![], 1.0)));
    }
    cases
}
