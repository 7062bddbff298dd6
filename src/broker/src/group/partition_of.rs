//! Which partition of `__consumer_offsets` a group belongs to: Java's hash of its id, as in Kafka.

/// Java's `String.hashCode`, which counts UTF-16 code units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The partition that a group belongs to. Kafka's `Utils.abs` maps the least integer to 0.
pub(crate) fn partition_of(group: &str, partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has partitions");
    java_hash(group).checked_abs().unwrap_or(0) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_where_kafka_has_them() {
        // Java's own answers.
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("a"), 97);
        assert_eq!(java_hash("console-consumer"), -648_006_740);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash("\u{1f600}"), 1_772_899);
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        assert_eq!(partition_of("a", 50), 47);
    }
}
