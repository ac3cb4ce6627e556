//! Rows that are added to a factor, or removed from it.

use super::*;
use rigidities_core::Change::{self, Add, Remove};

type Update = fn(&mut Hessian, &Batch<'_, f64>, Change, &Execution) -> Result<()>;

/// Every way to a change.
const UPDATES: [(&str, Update); 3] = [
    ("Hessian::update", |h, batch, change, run| h.update(batch, change, run)),
    ("Hessian::updated", |h, batch, change, run| h.updated(batch, change, run).map(drop)),
    ("Hessian::prepare_update", |h, batch, change, run| h.prepare_update(batch, change, run).map(drop)),
];

/// Call a change that is refused, and see that H is as before.
fn refused(
    update: Update,
    rows: &Array2<f64>,
    targets: Option<&Array2<f64>>,
    change: Change,
    run: &Execution,
) -> Result<()> {
    let mut hessian = hessian()?;
    let before = hessian.snapshot()?;
    let outcome = update(&mut hessian, &Batch::new(block(rows)?, None, targets.map(|y| y.view()))?, change, run);
    assert!(outcome.is_err() && hessian.snapshot()? == before && hessian.revision() == 0, "H has changed");
    outcome
}

pub fn updates() -> Vec<Case> {
    let mut cases = vec![];
    for (function, update) in UPDATES {
        for change in [Add, Remove] {
            for (n, width) in [(3, 1), (3, 12), (300, 7)] {
                cases.push(case(function, columns(width, P), move || {
                    refused(update, &rows(n, width), None, change, &Execution::new(true, &NEVER))
                }));
            }
            for (n, row) in [(3, 1), (100, 99), (290, 270)] {
                let nan = Error::NonFinite { what: "features", row, column: 2, value: f64::NAN };
                cases.push(case(function, Err(nan), move || {
                    let mut x = rows(n, P);
                    x.mapv_inplace(|x| 1e-3 * x); // little enough to be removed
                    x[[row, 2]] = f64::NAN;
                    refused(update, &x, None, change, &run())
                }));
            }
            for n in [3, 100, 290] {
                cases.push(case(function, Err(Error::Interrupted), move || {
                    refused(update, &rows(n, P), None, change, &stopped())
                }));
            }
            for got in [0, 2] {
                cases.push(case(function, Err(Error::OutputCount { got, expected: 1 }), move || {
                    refused(update, &rows(3, P), Some(&rows(3, got)), change, &run())
                }));
            }
        }
        cases.push(case(function, Err(Error::Unremovable(Unremovable::Rows { got: 301, left: 300 })), move || {
            refused(update, &rows(301, P), None, Remove, &run())
        }));
        cases.push(case(function, Err(Error::Unremovable(Unremovable::Rows { got: 1 << 40, left: 300 })), move || {
            let x = RowBlock::new(broadcast(1 << 40, P)?, None, Reduction::Sum)?;
            update(&mut hessian()?, &Batch::new(x, None, None)?, Remove, &run())
        }));
        cases.push(case(function, Err(Error::Overflow { target: 0 }), move || {
            refused(update, &Array2::from_elem((1, P), 1e155), None, Add, &run())
        }));
        cases.push(case(function, Err(Error::TargetOverflow { output: 0, sum: 1e308 }), move || {
            refused(update, &rows(1, P), Some(&Array2::from_elem((1, 1), 1e154)), Add, &run())
        }));
        cases.push(case(function, Ok(()), move || {
            let outcome = refused(update, &Array2::from_elem((3, P), 1e3), None, Remove, &run());
            assert!(matches!(
                outcome,
                Err(Error::Unremovable(Unremovable::Pivot { pivot: 0, size: P, regularizer: 1.0, .. }))
            ));
            let y = Array2::from_elem((3, 1), 1e3);
            let outcome = refused(update, &rows(3, P), Some(&y), Remove, &run());
            assert!(matches!(outcome, Err(Error::Unremovable(Unremovable::Targets { output: 0, .. }))));
            Ok(())
        }));
    }
    cases.extend([
        case("Revision::commit", Ok(()), || {
            let (mut hessian, x) = (hessian()?, rows(3, P));
            let batch = Batch::new(block(&x)?, None, None)?;
            hessian.prepare_update(&batch, Add, &run())?.commit(&stopped()); // a commit is not stopped
            assert_eq!((hessian.revision(), hessian.moments().n_rows), (1, 303));
            Ok(())
        }),
        case("Hessian::revision", Ok(()), || hessian().map(|h| assert_eq!(h.revision(), 0))),
        case("Hessian::update_work", Ok(()), || {
            hessian().map(|h| assert!(h.update_work(usize::MAX, usize::MAX).is_finite()))
        }),
        case("Hessian::shared", Ok(()), || {
            let (hessian, x) = (hessian()?, rows(3, P));
            let before = hessian.snapshot()?;
            hessian.shared()?.update(&Batch::new(block(&x)?, None, None)?, Add, &run())?;
            assert!(hessian.snapshot()? == before);
            Ok(())
        }),
        case("Hessian::norm", Err(Error::Interrupted), || hessian()?.norm(&stopped()).map(drop)),
        case("Hessian::norm", Ok(()), || hessian()?.norm(&run()).map(|norm| assert!(norm > 0.0))),
    ]);
    cases
}
