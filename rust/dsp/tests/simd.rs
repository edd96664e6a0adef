//! The choice of instruction set, and what the vectors of each do.

use asd_dsp::simd::{Isa, Kernel, MAX_WINDOW, Simd, Vector, Wide};

#[test]
fn the_best_comes_first_and_plain_rust_last() {
    let available = Isa::available();
    assert_eq!(available.last().map(|isa| isa.name()), Some("scalar"));
    assert_eq!(Isa::choose(None), Ok(available[0]));
    assert_eq!(Isa::choose(Some("auto")), Ok(available[0]));
    for isa in available {
        assert_eq!(Isa::choose(Some(isa.name())), Ok(isa));
    }
}

#[test]
fn what_the_cpu_lacks_is_refused_with_the_choices() {
    for name in ["sse9", "", "AVX2", if cfg!(target_arch = "x86_64") { "neon" } else { "avx512" }] {
        let message = Isa::choose(Some(name)).expect_err("no such instructions").to_string();
        assert!(message.contains("auto") && message.contains("scalar"), "{message}");
        assert!(message.ends_with(&format!("got {name:?}")), "{message}");
    }
}

/// Runs a check, which panics where it fails, on every instruction set.
fn on_all(check: impl Kernel<Output = ()> + Copy) {
    Isa::available().into_iter().for_each(|isa| isa.run(check));
}

/// The values of a vector.
#[inline(always)]
fn values<V: Vector>(v: V, lanes: usize) -> Vec<f32> {
    let mut values = vec![f32::NAN; lanes];
    v.store(&mut values);
    values
}

#[derive(Clone, Copy)]
struct Operations;

impl Kernel for Operations {
    type Output = ();

    #[inline(always)]
    fn run<I: Simd>(self, isa: I) {
        // Quarters, so that every result is exact, with halves among them, where rounding has its ties.
        let a: Vec<f32> = (0..I::LANES).map(|i| (i * 7 % 16) as f32 * 0.5 - 3.75).collect();
        let b: Vec<f32> = (0..I::LANES).map(|i| (i * 5 % 16) as f32 * 0.5 - 3.5).collect();
        let (x, y) = (isa.load(&a), isa.load(&b));
        let lanes =
            |f: &dyn Fn(f32, f32) -> f32| -> Vec<f32> { (0..I::LANES).map(|i| f(a[i], b[i])).collect() };
        let read = |v: I::V| values(v, I::LANES);
        assert_eq!(read(x + y), lanes(&|a, b| a + b));
        assert_eq!(read(x - y), lanes(&|a, b| a - b));
        assert_eq!(read(x * y), lanes(&|a, b| a * b));
        assert_eq!(read(x.mul_add(y, x)), lanes(&|a, b| a * b + a));
        assert_eq!(read(x.neg_mul_add(y, x)), lanes(&|a, b| a - a * b));
        assert_eq!(read(x.min(y)), lanes(&f32::min));
        assert_eq!(read(x.max(y)), lanes(&f32::max));
        assert_eq!(read(y.round()), lanes(&|_, b| b.round_ties_even()));
        assert_eq!(read(y.floor()), lanes(&|_, b| b.floor()));
        assert_eq!(read(x.times_power_of_two(y.floor())), lanes(&|a, b| a * b.floor().exp2()));
        assert_eq!(read(isa.splat(1.0).times_power_of_two(isa.splat(128.0))), lanes(&|_, _| f32::INFINITY));
        assert_eq!(
            read(isa.splat(1.0).times_power_of_two(isa.splat(-126.0))),
            lanes(&|_, _| f32::MIN_POSITIVE)
        );

        let nan = isa.splat(f32::NAN);
        for chosen in [nan.min(y), nan.max(y)] {
            assert_eq!(read(chosen), b, "`other` where either is NaN");
        }
        assert!(read(y.min(nan)).iter().chain(&read(y.max(nan))).all(|x| x.is_nan()));

        let (m, e) = (y * y + isa.splat(0.1)).split();
        let within = std::f32::consts::FRAC_1_SQRT_2..std::f32::consts::SQRT_2;
        assert!(read(m).iter().all(|m| within.contains(m)));
        assert_eq!(read(m.times_power_of_two(e)), read(y * y + isa.splat(0.1)));

        let sum = |f: &dyn Fn(f32) -> f32| a.iter().map(|&a| f64::from(f(a))).sum::<f64>();
        assert_eq!(isa.zero().plus(x).plus(x).total(), sum(&|a| 2.0 * a));
        assert_eq!(isa.zero().plus_square(x).plus(x).total(), sum(&|a| a * a + a));
    }
}

#[test]
fn every_operation_is_that_of_plain_numbers() {
    on_all(Operations);
}

#[derive(Clone, Copy)]
struct Moves;

impl Kernel for Moves {
    type Output = ();

    #[inline(always)]
    fn run<I: Simd>(self, isa: I) {
        let numbers: Vec<f32> = (1..=4 * MAX_WINDOW).map(|i| i as f32).collect();
        for count in 0..I::LANES + 3 {
            let within = count.min(I::LANES);
            let mut expected = numbers[..within].to_vec();
            expected.resize(I::LANES, 0.0);
            let part = isa.load(&numbers[..count]);
            assert_eq!(values(part, I::LANES), expected, "{count} loaded");
            let mut stored = vec![-1.0; count];
            isa.load(&numbers).store(&mut stored);
            assert_eq!(stored[..within], numbers[..within], "{count} stored");
            assert!(stored[within..].iter().all(|&x| x == -1.0), "nothing past the lanes");
        }

        let shifted = isa.load(&numbers).shift_in(-1.0);
        assert_eq!(values(shifted, I::LANES)[..I::LANES - 1], numbers[1..I::LANES]);
        assert_eq!(values(shifted, I::LANES)[I::LANES - 1], -1.0);

        let rows: [&[f32]; 4] = std::array::from_fn(|r| &numbers[r * I::LANES..][..I::LANES]);
        let columns = I::V::transpose_fours(rows.map(|row| isa.load(row)));
        for (i, column) in columns.into_iter().enumerate() {
            for (lane, value) in values(column, I::LANES).into_iter().enumerate() {
                assert_eq!(value, rows[lane % 4][lane / 4 * 4 + i]);
            }
        }

        // The farthest apart that the taps of neighbouring outputs lie.
        let places: Vec<f32> = (0..I::LANES).map(|i| (1.6 * i as f32).floor()).collect();
        for shift in 0..4 {
            let picked = isa.pick(isa.window(&numbers), isa.places(isa.load(&places), shift));
            let expected: Vec<f32> = places.iter().map(|&p| numbers[p as usize + shift as usize]).collect();
            assert_eq!(values(picked, I::LANES), expected, "shift {shift}");
        }
    }
}

#[test]
fn values_move_where_they_should() {
    on_all(Moves);
}
