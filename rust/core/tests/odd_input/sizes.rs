//! Sizes that no memory holds; rows, groups, weights, targets and components that do not fit
//! together.

use super::*;

pub fn sizes() -> Vec<Case> {
    vec![
        case("zeros", Err(HUGE), || zeros(usize::MAX).map(drop)),
        case("zeros", Err(Error::OutOfMemory { bytes: usize::MAX - 7 }), || zeros(usize::MAX / 8).map(drop)),
        case("zeros", Ok(()), || zeros(0).map(drop)),
        case("require", Err(HUGE), || require(usize::MAX)),
        case("require", Ok(()), || require(0)),
        case("take_workspace", Ok(()), || {
            take_workspace();
            Ok(())
        }),
        case("Covariance::new", Err(Error::NoFeatures), || Covariance::new(0, Precision::Double).map(drop)),
        case("Covariance::new", Err(HUGE), || Covariance::new(usize::MAX, Precision::Double).map(drop)),
        case("Covariance::new", Err(HUGE), || Covariance::new(usize::MAX / 2, Precision::Single).map(drop)),
        case("Covariance::new", Err(HUGE), || Covariance::new(1 << 32, Precision::Double).map(drop)),
        case("Covariance::work", Ok(()), || {
            assert!(covariance(P)?.work(usize::MAX, usize::MAX) > 1e19);
            Ok(())
        }),
    ]
}

pub fn rows_and_batches() -> Vec<Case> {
    let weights = |weights: &'static [f64]| move || Batch::new(block(&rows(3, P))?, Some(weights), None).map(drop);
    let targets = |n: usize| move || Batch::new(block(&rows(3, P))?, None, Some(rows(n, 1).view())).map(drop);
    vec![
        case("Groups::from_labels", Ok(()), || {
            let extremes = Groups::from_labels(&[i64::MAX, i64::MIN, 0, i64::MAX])?;
            assert_eq!((extremes.len(), extremes.is_empty()), (3, false));
            Ok(())
        }),
        case("Groups::len", Ok(()), || {
            assert_eq!(Groups::from_labels(&[])?.len(), 0);
            Ok(())
        }),
        case("Groups::is_empty", Ok(()), || {
            assert!(Groups::from_labels(&[])?.is_empty());
            Ok(())
        }),
        case("RowBlock::new", Err(Error::NoRows), || block(&rows(0, P)).map(drop)),
        case("RowBlock::new", Err(Error::NoColumns), || block(&rows(3, 0)).map(drop)),
        case("RowBlock::new", length("groups", 2, 3, "rows"), || {
            RowBlock::new(rows(3, P).view(), Some(&Groups::from_labels(&[1, 0])?), Reduction::Mean).map(drop)
        }),
        case("RowBlock::new", length("groups", 0, 3, "rows"), || {
            RowBlock::new(rows(3, P).view(), Some(&Groups::from_labels(&[])?), Reduction::Mean).map(drop)
        }),
        case("RowBlock::n_targets", Ok(()), || {
            let (x, groups) = (rows(3, P), Groups::from_labels(&[5, 5, -1])?);
            let block = RowBlock::new(x.view(), Some(&groups), Reduction::Mean)?;
            assert_eq!((block.n_targets(), block.n_features()), (2, P));
            Ok(())
        }),
        case("RowBlock::n_features", Ok(()), || {
            assert_eq!(RowBlock::new(broadcast(1, 1 << 50)?, None, Reduction::Sum)?.n_features(), 1 << 50);
            Ok(())
        }),
        case("RowBlock::require_features", columns(P, 5), || block(&rows(3, P))?.require_features(5)),
        case("RowBlock::reduce", Err(HUGE), || {
            RowBlock::new(broadcast(1 << 40, 1 << 22)?, None, Reduction::Sum)?.reduce(&run()).map(drop)
        }),
        case("RowBlock::reduce", Err(Error::Overflow { target: 0 }), || {
            block(&Array2::from_elem((1, P), 1e200))?.reduce(&run()).map(drop)
        }),
        case("Batch::new", length("weights", 2, 3, "target rows"), weights(&[1.0, 1.0])),
        case("Batch::new", length("weights", 0, 3, "target rows"), weights(&[])),
        case("Batch::new", Err(Error::Weight { index: 1, value: -1.0 }), weights(&[1.0, -1.0, 1.0])),
        case("Batch::new", Err(Error::Weight { index: 2, value: f64::NAN }), weights(&[1.0, 1.0, f64::NAN])),
        case("Batch::new", length("targets", 4, 3, "target rows"), targets(4)),
        case("Batch::new", length("targets", 0, 3, "target rows"), targets(0)),
        case("Batch::new", Err(Error::Target { row: 2, output: 1, value: f64::INFINITY }), || {
            let mut y = Array2::zeros((3, 2));
            y[[2, 1]] = f64::INFINITY;
            Batch::new(block(&rows(3, P))?, None, Some(y.view())).map(drop)
        }),
        case("Components::new", Err(Error::NoComponents), || Components::new(&[]).map(drop)),
        case("Components::new", Err(Error::EmptyComponent(1)), || Components::new(&[vec![0], vec![]]).map(drop)),
        case("Components::new", Err(Error::ComponentRepeats { component: 0, feature: 3 }), || {
            Components::new(&[vec![3, 1, 3]]).map(drop)
        }),
        case("Components::new", Err(Error::ComponentNegative { component: 1, feature: i64::MIN }), || {
            Components::new(&[vec![0], vec![i64::MIN]]).map(drop)
        }),
        case("Components::len", Ok(()), || {
            assert_eq!(Components::new(&[vec![i64::MAX], vec![0]])?.len(), 2);
            Ok(())
        }),
        case("Components::is_empty", Ok(()), || {
            assert!(!Components::new(&[vec![0]])?.is_empty());
            Ok(())
        }),
    ]
}
