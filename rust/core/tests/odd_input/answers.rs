//! What a factor is asked.

use super::*;

pub fn answers() -> Vec<Case> {
    type Answer = fn(&Hessian, &RowBlock<'_, f64>, &Execution) -> Result<Vec<f64>>;
    let component: Answer = |h, x, run| h.component_variance(x, &Components::new(&[vec![0, 1], vec![4]])?, run);
    let answers: [(&'static str, Answer); 7] = [
        ("Hessian::variance", |h, x, run| h.variance(x, run)),
        ("Hessian::variance_single", |h, x, run| h.variance_single(x, run)),
        ("Hessian::whiten", |h, x, run| h.whiten(x, run)),
        ("Hessian::prediction_covariance", |h, x, run| h.prediction_covariance(x, run)),
        ("Hessian::prediction_cross_covariance", |h, x, run| {
            h.prediction_cross_covariance(x, &block(&rows(3, P))?, run)
        }),
        ("Hessian::prediction_cross_covariance", |h, x, run| {
            h.prediction_cross_covariance(&block(&rows(3, P))?, x, run)
        }),
        ("Hessian::component_variance", component),
    ];
    let mut cases = vec![];
    for (function, answer) in answers {
        for width in [1, 5, 12, 300] {
            cases.push(case(function, columns(width, P), move || {
                answer(&hessian()?, &block(&rows(300, width))?, &Execution::new(true, &NEVER)).map(drop)
            }));
        }
        let nan = Error::NonFinite { what: "features", row: 1, column: 2, value: f64::NAN };
        cases.push(case(function, Err(nan), move || {
            let mut x = rows(3, P);
            x[[1, 2]] = f64::NAN;
            answer(&hessian()?, &block(&x)?, &run()).map(drop)
        }));
        cases.push(case(function, Err(Error::Interrupted), move || {
            answer(&hessian()?, &block(&rows(3, P))?, &stopped()).map(drop)
        }));
    }
    let component = |indices: &'static [i64]| {
        move || {
            let components = Components::new(&[vec![0], indices.to_vec()])?;
            hessian()?.component_variance(&block(&rows(3, P))?, &components, &run()).map(drop)
        }
    };
    let range = |feature| Err(Error::ComponentRange { component: 1, feature, n_features: P });
    let solve = |b: &'static [f64]| move || hessian()?.solve_in_place(&mut b.to_vec(), &run());
    let height = |got| Err(Error::RightHandSide { got, expected: P });
    cases.extend([
        case("Hessian::component_variance", range(11), component(&[0, 11])),
        case("Hessian::component_variance", range(8), component(&[8])),
        case("Hessian::component_variance", range(i64::MAX as usize), component(&[3, i64::MAX])),
        case("Hessian::prediction_covariance", Err(HUGE), || {
            let x = RowBlock::new(broadcast(1 << 40, P)?, None, Reduction::Sum)?;
            hessian()?.prediction_covariance(&x, &run()).map(drop)
        }),
        case("Hessian::prediction_cross_covariance", Err(HUGE), || {
            let x = RowBlock::new(broadcast(1 << 40, P)?, None, Reduction::Sum)?;
            hessian()?.prediction_cross_covariance(&x, &x, &run()).map(drop)
        }),
        case("Hessian::variance_single", Err(Error::SingleFactor), || {
            let mut large = covariance(P)?.scaled(1e100, &run())?;
            let hessian = large.factorize(Regularizer::Guaranteed, Penalty::identity(), false, &run())?;
            hessian.variance_single(&block(&rows(3, P))?, &run()).map(drop)
        }),
        case("Hessian::solve_in_place", height(9), solve(&[0.0; 9])),
        case("Hessian::solve_in_place", height(7), solve(&[0.0; 7])),
        case("Hessian::solve_in_place", height(0), solve(&[])),
        case(
            "Hessian::solve_in_place",
            Err(Error::NonFinite { what: "B", row: 2, column: 1, value: f64::NEG_INFINITY }),
            || {
                let mut b = [0.0; 2 * P];
                b[P + 2] = f64::NEG_INFINITY;
                hessian()?.solve_in_place(&mut b, &run())
            },
        ),
        case("Hessian::solve_in_place", Err(Error::Interrupted), || {
            hessian()?.solve_in_place(&mut [1.0; P], &stopped())
        }),
        case("Hessian::colour_in_place", height(9), || hessian()?.colour_in_place(&mut [0.0; 9], &run())),
        case("Hessian::colour_in_place", Ok(()), || hessian()?.colour_in_place(&mut [1.0; 2 * P], &run())),
        case(
            "Hessian::colour_in_place",
            Err(Error::NonFinite { what: "B", row: 1, column: 0, value: f64::INFINITY }),
            || {
                let mut z = [0.0; P];
                z[1] = f64::INFINITY;
                hessian()?.colour_in_place(&mut z, &run())
            },
        ),
        case("Hessian::colour_in_place", Err(Error::Interrupted), || {
            hessian()?.colour_in_place(&mut [1.0; P], &stopped())
        }),
        case("Hessian::coef", Err(Error::NotFitted), || {
            let hessian = covariance(P)?.factorize(Regularizer::Value(1.0), Penalty::identity(), true, &run())?;
            hessian.coef(&run()).map(drop)
        }),
        case("Hessian::rcond", Err(Error::Interrupted), || hessian()?.rcond(&stopped()).map(drop)),
        case("Hessian::effective_dimension", Err(Error::Interrupted), || {
            hessian()?.effective_dimension(&stopped()).map(drop)
        }),
    ]);
    cases.extend(
        [
            "Hessian::n_features",
            "Hessian::regularizer",
            "Hessian::reason",
            "Hessian::jitter",
            "Hessian::moments",
            "Hessian::diagonal",
            "Hessian::log_determinant",
            "Hessian::snapshot",
        ]
        .map(|function| {
            case(function, Ok(()), || {
                let h = Hessian::from_snapshot(hessian()?.snapshot()?)?;
                assert_eq!((h.n_features(), h.diagonal().len(), h.moments().cross.len()), (P, P, P));
                assert_eq!((h.regularizer(), h.reason(), h.jitter()), (1.0, Reason::Given, 0.0));
                assert!(h.log_determinant().is_finite());
                Ok(())
            })
        }),
    );
    cases
}
