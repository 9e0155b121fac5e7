//! What the whole system does on this machine, in figures: real processes, real clients. What
//! needs no processes is measured in `services/store/benches/figures`.

pub mod failover;
pub mod idle;
pub mod mailbox;
#[path = "../../../services/store/benches/figures/report.rs"]
mod report;
#[path = "../../../services/store/benches/figures/space.rs"]
mod space;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::report::{quantile, rounded};

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = || (1..=20).rev().map(f64::from);
        let found = [0.0, 0.5, 0.51, 0.95, 0.99, 1.0].map(|share| quantile(values(), share));
        assert_eq!(found, [1.0, 10.0, 11.0, 19.0, 20.0, 20.0]);
        assert!(quantile([], 0.5).is_nan());
    }

    #[test]
    fn numbers_keep_the_digits_that_count() {
        let found = [1234.5, 12.345, 1.2345, 0.012345].map(rounded);
        assert_eq!(
            found,
            [json!(1235), json!(12.3), json!(1.23), json!(0.0123)]
        );
        assert_eq!(rounded(f64::NAN), Value::Null);
    }
}
