//! Kafka's rules for topic names.

use crate::BrokerError;

/// The longest name.
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Checks a name by Kafka's rules.
///
/// # Errors
/// `InvalidTopic` in Kafka's words.
pub fn check_topic_name(name: &str) -> Result<(), BrokerError> {
    let fault = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.encode_utf16().count() > TOPIC_NAME_BYTES_MAX {
        format!(
            "the length of '{name}' is longer than the max allowed length {TOPIC_NAME_BYTES_MAX}"
        )
    } else if !name.bytes().all(is_legal) {
        format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        )
    } else {
        return Ok(());
    };
    Err(BrokerError::InvalidTopic(format!(
        "Topic name is invalid: {fault}"
    )))
}

fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// What names have in common that Kafka holds for colliding: its metrics write '.' as '_'.
pub(crate) fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

/// Names that can collide with others at all.
pub(crate) fn can_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_kafka_judges_them() {
        for good in ["a", "A-b_c.9", "...", &"x".repeat(249)] {
            check_topic_name(good).unwrap();
        }
        let sentence = |name: &str| check_topic_name(name).unwrap_err().to_string();
        assert_eq!(
            sentence(""),
            "Topic name is invalid: the empty string is not allowed"
        );
        assert_eq!(sentence("."), "Topic name is invalid: '.' is not allowed");
        assert_eq!(sentence(".."), "Topic name is invalid: '..' is not allowed");
        assert!(sentence(&"x".repeat(250)).ends_with("is longer than the max allowed length 249"));
        for bad in ["a b", "ä", "a/b", "a\0"] {
            assert!(sentence(bad).contains("contains one or more characters other than"));
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert_ne!(collision_key("a.b"), collision_key("a-b"));
    }
}
