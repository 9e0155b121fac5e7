//! What the types of settings cannot say: ranges, and how settings fit together.

/// A setting that cannot work. Reads as `section.setting must …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{section}.{rule}")]
pub struct SettingError {
    section: &'static str,
    rule: &'static str,
}

/// Checks the rules of a section: whether each holds, and its words, "setting must …". Gives the
/// first that does not hold. To be called before a port is bound.
pub fn check(section: &'static str, rules: &[(bool, &'static str)]) -> Result<(), SettingError> {
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(SettingError { section, rule }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_broken_rule_is_named() {
        let rules = [
            (true, "a must not be 0"),
            (false, "b must not be 0"),
            (false, "c must not be 0"),
        ];
        assert_eq!(check("net", &rules[..1]), Ok(()));
        let error = check("net", &rules).expect_err("a broken rule");
        assert_eq!(error.to_string(), "net.b must not be 0");
    }
}
