//! Eigenvalues and singular values of no array, of arrays that are not square, and of odd numbers.

use super::*;

fn bad(value: f64) -> Result<()> {
    Err(Error::NonFinite { what: "the matrix", row: 2, column: 1, value })
}

/// A diagonal array of 3 × 3 with a number below its diagonal.
fn with(value: f64) -> Vec<f64> {
    let mut a = vec![1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0];
    a[5] = value;
    a
}

pub fn eigen() -> Vec<Case> {
    let square = || length("a symmetric array", 8, 4, "entries of a square");
    let mut cases = vec![
        case("eigenvectors", square(), || eigenvectors(&mut [1.0; 8], &run()).map(drop)),
        case("eigenvectors", Ok(()), || eigenvectors(&mut [], &run()).map(drop)),
        case("eigenvectors", Err(Error::Interrupted), || eigenvectors(&mut [1.0; 16], &stopped()).map(drop)),
        case("eigenvectors", Ok(()), || {
            let (mut a, mut whole) = (with(1e308), with(f64::MIN_POSITIVE));
            assert!(eigenvectors(&mut a, &run())?.iter().all(|x| x.is_finite()));
            assert_eq!(eigenvectors(&mut whole, &run())?, [1.0, 2.0, 3.0]);
            Ok(())
        }),
        case("tridiagonalise", square(), || tridiagonalise(&mut [1.0; 8], &mut [], &run()).map(drop)),
        case("tridiagonalise", Ok(()), || tridiagonalise(&mut [], &mut [], &run()).map(drop)),
        case("tridiagonalise", Err(Error::RightHandSide { got: 4, expected: 3 }), || {
            tridiagonalise(&mut with(0.0), &mut [1.0; 4], &run()).map(drop)
        }),
        case("tridiagonalise", Err(Error::Interrupted), || {
            tridiagonalise(&mut with(0.0), &mut [1.0; 3], &stopped()).map(drop)
        }),
        case("singular_vectors", length("the array", 8, 4, "entries of a square"), || {
            singular_vectors(&mut [1.0; 8], &mut [], &run()).map(drop)
        }),
        case("singular_vectors", Ok(()), || singular_vectors(&mut [], &mut [], &run()).map(drop)),
        case("singular_vectors", Err(Error::RightHandSide { got: 4, expected: 3 }), || {
            singular_vectors(&mut with(0.0), &mut [1.0; 4], &run()).map(drop)
        }),
        case("singular_vectors", Err(Error::Interrupted), || {
            singular_vectors(&mut with(0.0), &mut [1.0; 3], &stopped()).map(drop)
        }),
        case("singular_vectors", Ok(()), || {
            let (mut a, mut whole) = (with(1e300), with(f64::MIN_POSITIVE));
            assert!(singular_vectors(&mut a, &mut [], &run())?.iter().all(|x| x.is_finite()));
            assert_eq!(singular_vectors(&mut whole, &mut [], &run())?, [3.0, 2.0, 1.0]);
            Ok(())
        }),
    ];
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        cases.push(case("eigenvectors", bad(value), move || eigenvectors(&mut with(value), &run()).map(drop)));
        let call = move || tridiagonalise(&mut with(value), &mut [], &run()).map(drop);
        cases.push(case("tridiagonalise", bad(value), call));
        let bad = Err(Error::NonFinite { what: "the array", row: 2, column: 1, value });
        let call = move || singular_vectors(&mut with(value), &mut [], &run()).map(drop);
        cases.push(case("singular_vectors", bad, call));
    }
    cases
}
