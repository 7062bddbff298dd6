//! One configuration: its type, its bounds, and whether it does anything here.

use super::ConfigType;
use crate::BrokerError;

/// The bounds of Kafka's type INT.
pub(super) const INT_MIN: i64 = i32::MIN as i64;
pub(super) const INT_MAX: i64 = i32::MAX as i64;

/// The largest size of a batch: a topic's, and the broker's default for it.
const BATCH_SIZES: [&str; 2] = ["max.message.bytes", "message.max.bytes"];

/// What is known of a configuration.
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// The type of its values.
    pub(super) kind: ConfigType,
    /// `None`: null.
    pub(super) default: Option<&'static str>,
    /// Which values of that type are allowed.
    pub(super) check: Check,
    /// Whether it does anything.
    pub(super) support: Support,
    /// Kafka's text.
    pub(super) doc: &'static str,
}

/// Which values of a type are allowed.
pub(super) enum Check {
    /// All.
    Any,
    /// From min to max.
    Range {
        /// The least.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// From min to max, or that one.
    RangeOr {
        /// The least.
        min: i64,
        /// The largest.
        max: i64,
        /// The other one.
        or: i64,
    },
    /// From 0 to 1.
    Ratio,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any number of these words.
    ListOf(&'static [&'static str]),
}

/// Whether a configuration does anything.
#[derive(PartialEq, Eq)]
pub(super) enum Support {
    /// It does what Kafka says.
    Works,
    /// The broker lives by the default, so nothing else is accepted.
    OnlyDefault,
}

impl Key {
    /// Checks a value and gives it in its one canonical form.
    ///
    /// # Errors
    /// `InvalidConfig` in Kafka's words; or, for a configuration that does nothing here and a
    /// value that is not the default, in ours.
    pub(super) fn parse(&self, raw: &str) -> Result<String, BrokerError> {
        let text = raw.trim();
        let value = match self.kind {
            ConfigType::Boolean => self.parse_boolean(text, raw)?,
            ConfigType::Int | ConfigType::Short | ConfigType::Long => {
                self.parse_number(text, raw)?
            }
            ConfigType::Double => self.parse_ratio(text, raw)?,
            ConfigType::List => self.parse_list(text)?,
            ConfigType::String | ConfigType::Class | ConfigType::Password => {
                self.parse_word(text)?
            }
        };
        if self.support == Support::OnlyDefault && Some(value.as_str()) != self.default {
            let lives_by = match self.default {
                None => "null",
                Some("") => "the empty list",
                Some(default) => default,
            };
            return Err(BrokerError::InvalidConfig(format!(
                "Invalid value {value} for configuration {}: this broker supports only {lives_by}",
                self.name
            )));
        }
        Ok(value)
    }

    /// As [`Key::parse`], and for the largest size of a batch: no more than storage can hold.
    ///
    /// # Errors
    /// As [`Key::parse`].
    pub(super) fn parse_within(
        &self,
        raw: &str,
        batch_bytes_max: i32,
    ) -> Result<String, BrokerError> {
        let value = self.parse(raw)?;
        if self.is_over(&value, batch_bytes_max) {
            let why = format!(
                "Value must be no more than {batch_bytes_max}: a batch must fit one file of the \
                 write-ahead log, whose size is a part of --wal-size"
            );
            return Err(self.invalid(&value, &why));
        }
        Ok(value)
    }

    /// Whether a value that was parsed is a size of batches larger than storage can hold.
    pub(super) fn is_over(&self, value: &str, batch_bytes_max: i32) -> bool {
        BATCH_SIZES.contains(&self.name)
            && value
                .parse::<i32>()
                .is_ok_and(|bytes| bytes > batch_bytes_max)
    }

    fn invalid(&self, value: &str, why: &str) -> BrokerError {
        BrokerError::InvalidConfig(format!(
            "Invalid value {value} for configuration {}: {why}",
            self.name
        ))
    }

    fn parse_boolean(&self, text: &str, raw: &str) -> Result<String, BrokerError> {
        if text.eq_ignore_ascii_case("true") {
            Ok("true".to_owned())
        } else if text.eq_ignore_ascii_case("false") {
            Ok("false".to_owned())
        } else {
            Err(self.invalid(raw, "Expected value to be either true or false"))
        }
    }

    fn parse_number(&self, text: &str, raw: &str) -> Result<String, BrokerError> {
        let (word, parsed) = match self.kind {
            ConfigType::Int => ("INT", text.parse::<i32>().map(i64::from)),
            ConfigType::Short => ("SHORT", text.parse::<i16>().map(i64::from)),
            _ => ("LONG", text.parse::<i64>()),
        };
        let Ok(number) = parsed else {
            return Err(self.invalid(raw, &format!("Not a number of type {word}")));
        };
        match self.check {
            Check::Range { min, .. } if number < min => Err(self.invalid(
                &number.to_string(),
                &format!("Value must be at least {min}"),
            )),
            Check::Range { max, .. } if number > max => Err(self.invalid(
                &number.to_string(),
                &format!("Value must be no more than {max}"),
            )),
            Check::RangeOr { min, max, or } if !(min..=max).contains(&number) && number != or => {
                Err(self.invalid(
                    &number.to_string(),
                    &format!("Value must be between {min} and {max} or equal to {or}"),
                ))
            }
            _ => Ok(number.to_string()),
        }
    }

    fn parse_ratio(&self, text: &str, raw: &str) -> Result<String, BrokerError> {
        let Ok(number) = text.parse::<f64>() else {
            return Err(self.invalid(raw, "Not a number of type DOUBLE"));
        };
        // Kafka prints a double with at least one digit after the point.
        let shown = format!("{number:?}");
        if number.is_nan() || number < 0.0 {
            return Err(self.invalid(&shown, "Value must be at least 0"));
        }
        if number > 1.0 {
            return Err(self.invalid(&shown, "Value must be no more than 1"));
        }
        Ok(shown)
    }

    fn parse_list(&self, text: &str) -> Result<String, BrokerError> {
        let mut words: Vec<&str> = if text.is_empty() {
            Vec::new()
        } else {
            text.split(',').map(str::trim).collect()
        };
        if let Check::ListOf(allowed) = self.check {
            for word in &words {
                if !allowed.contains(word) {
                    let why = format!("String must be one of: {}", allowed.join(", "));
                    return Err(self.invalid(word, &why));
                }
            }
        }
        // Kafka drops what a list has twice.
        let mut seen = std::collections::BTreeSet::new();
        words.retain(|word| seen.insert(*word));
        Ok(words.join(","))
    }

    fn parse_word(&self, text: &str) -> Result<String, BrokerError> {
        match self.check {
            Check::OneOf(allowed) if !allowed.contains(&text) => Err(self.invalid(
                text,
                &format!("String must be one of: {}", allowed.join(", ")),
            )),
            _ => Ok(text.to_owned()),
        }
    }
}
