//! The API table: which APIs and versions are advertised and served, and which of them are
//! flexible (compact lengths and tagged fields).
//!
//! A version is advertised when it works here, the codec encodes it, and a Kafka 4.3.0 broker
//! advertises it by default. Nothing here knows what an API does.

use crate::error::WireError;

/// The versions `min..=max` of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The lowest version.
    pub min: i16,
    /// The highest version.
    pub max: i16,
}

impl Versions {
    /// Whether `version` is one of these.
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// Each version, lowest first.
    pub fn iter(self) -> impl Iterator<Item = i16> {
        self.min..=self.max
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// Which API.
    pub key: ApiKey,
    /// What ApiVersions tells clients.
    pub advertised: Versions,
    /// What is decoded. Differs from `advertised` only for Produce: librdkafka takes a minimum
    /// above 0 for a broken broker, so 0-2 are advertised, and refused as a 4.3.0 broker does.
    pub served: Versions,
    /// The first version whose messages have compact lengths and tagged fields.
    pub flexible_from: i16,
}

macro_rules! api_table {
    ($($name:ident = $key:literal: $min:literal-$max:literal served from $served:literal, flexible from $flexible:literal;)*) => {
        /// The APIs that this broker serves, by Kafka's names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("API key ", stringify!($key), ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every API of the table, by ascending key.
            pub const ALL: &[ApiKey] = &[$(ApiKey::$name),*];

            /// The API with this key, if it is served.
            pub const fn from_key(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name of the API.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// The API's row of the table.
            pub const fn row(self) -> Api {
                match self {
                    $(ApiKey::$name => Api {
                        key: self,
                        advertised: Versions { min: $min, max: $max },
                        served: Versions { min: $served, max: $max },
                        flexible_from: $flexible,
                    },)*
                }
            }
        }
    };
}

api_table! {
    Produce = 0: 0-13 served from 3, flexible from 9;
    Fetch = 1: 4-18 served from 4, flexible from 12;
    ListOffsets = 2: 1-10 served from 1, flexible from 6;
    Metadata = 3: 0-13 served from 0, flexible from 9;
    OffsetCommit = 8: 2-10 served from 2, flexible from 8;
    OffsetFetch = 9: 1-10 served from 1, flexible from 6;
    FindCoordinator = 10: 0-6 served from 0, flexible from 3;
    JoinGroup = 11: 0-9 served from 0, flexible from 6;
    Heartbeat = 12: 0-4 served from 0, flexible from 4;
    LeaveGroup = 13: 0-5 served from 0, flexible from 4;
    SyncGroup = 14: 0-5 served from 0, flexible from 4;
    DescribeGroups = 15: 0-6 served from 0, flexible from 5;
    ListGroups = 16: 0-5 served from 0, flexible from 3;
    ApiVersions = 18: 0-4 served from 0, flexible from 3;
    CreateTopics = 19: 2-7 served from 2, flexible from 5;
    DeleteTopics = 20: 1-6 served from 1, flexible from 4;
    DeleteRecords = 21: 0-2 served from 0, flexible from 2;
    InitProducerId = 22: 0-5 served from 0, flexible from 2;
    OffsetForLeaderEpoch = 23: 2-4 served from 2, flexible from 4;
    DescribeConfigs = 32: 1-4 served from 1, flexible from 4;
    AlterConfigs = 33: 0-2 served from 0, flexible from 2;
    DescribeLogDirs = 35: 1-4 served from 1, flexible from 2;
    CreatePartitions = 37: 0-3 served from 0, flexible from 2;
    DeleteGroups = 42: 0-2 served from 0, flexible from 2;
    IncrementalAlterConfigs = 44: 0-1 served from 0, flexible from 1;
    OffsetDelete = 47: 0-0 served from 0, flexible from 1;
    DescribeCluster = 60: 0-2 served from 0, flexible from 0;
    ConsumerGroupHeartbeat = 68: 0-1 served from 0, flexible from 0;
    ConsumerGroupDescribe = 69: 0-1 served from 0, flexible from 0;
    DescribeTopicPartitions = 75: 0-0 served from 0, flexible from 0;
}

impl ApiKey {
    /// The key on the wire.
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// Whether messages of this version have compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.row().flexible_from
    }

    /// Whether the answer's header has tagged fields. ApiVersions never does: a client must be
    /// able to read the answer before it knows which versions the broker has.
    pub const fn response_header_is_flexible(self, version: i16) -> bool {
        self.is_flexible(version) && !matches!(self, ApiKey::ApiVersions)
    }
}

impl TryFrom<i16> for ApiKey {
    type Error = WireError;

    fn try_from(key: i16) -> Result<Self, WireError> {
        ApiKey::from_key(key).ok_or(WireError::UnknownApi { api_key: key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a running Kafka 4.3.0 broker advertises by default.
    const KAFKA: &[(i16, i16, i16)] = &[
        (0, 0, 13),
        (1, 4, 18),
        (2, 1, 11),
        (3, 0, 13),
        (8, 2, 10),
        (9, 1, 10),
        (10, 0, 6),
        (11, 0, 9),
        (12, 0, 4),
        (13, 0, 5),
        (14, 0, 5),
        (15, 0, 6),
        (16, 0, 5),
        (18, 0, 4),
        (19, 2, 7),
        (20, 1, 6),
        (21, 0, 2),
        (22, 0, 5),
        (23, 2, 4),
        (32, 1, 4),
        (33, 0, 2),
        (35, 1, 5),
        (37, 0, 3),
        (42, 0, 2),
        (44, 0, 1),
        (47, 0, 0),
        (60, 0, 2),
        (68, 0, 1),
        (69, 0, 1),
        (75, 0, 0),
    ];

    #[test]
    fn nothing_is_advertised_that_a_broker_does_not_advertise() {
        assert_eq!(KAFKA.len(), ApiKey::ALL.len());
        for (api, (key, min, max)) in ApiKey::ALL.iter().zip(KAFKA) {
            let row = api.row();
            assert_eq!(api.key(), *key);
            assert_eq!(row.advertised.min, *min, "{api:?}");
            assert!(row.advertised.max <= *max, "{api:?}");
            assert_eq!(row.served.max, row.advertised.max, "{api:?}");
        }
    }

    #[test]
    fn only_produce_is_advertised_below_what_is_served() {
        for api in ApiKey::ALL {
            let row = api.row();
            let expected = if *api == ApiKey::Produce {
                3
            } else {
                row.advertised.min
            };
            assert_eq!(row.served.min, expected, "{api:?}");
        }
    }

    #[test]
    fn keys_and_apis_map_both_ways() {
        for key in i16::MIN..=i16::MAX {
            match ApiKey::try_from(key) {
                Ok(api) => assert_eq!(api.key(), key),
                Err(error) => assert_eq!(error, WireError::UnknownApi { api_key: key }),
            }
        }
    }

    #[test]
    fn headers_are_as_the_codec_has_them() {
        for api in ApiKey::ALL {
            let codec = kafka_protocol::messages::ApiKey::try_from(api.key()).unwrap();
            let served = api.row().served;
            assert!(
                codec.valid_versions().min <= served.min
                    && served.max <= codec.valid_versions().max
            );
            for version in served.iter() {
                let request = if api.is_flexible(version) { 2 } else { 1 };
                let answer = i16::from(api.response_header_is_flexible(version));
                assert_eq!(
                    codec.request_header_version(version),
                    request,
                    "{api:?} {version}"
                );
                assert_eq!(
                    codec.response_header_version(version),
                    answer,
                    "{api:?} {version}"
                );
            }
        }
    }
}
