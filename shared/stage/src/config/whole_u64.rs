//! Seeds are unsigned 64-bit numbers. TOML integers end at 2^63 - 1, so larger seeds are written as strings.
use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

pub(crate) fn serialize<S: Serializer>(seed: &u64, to: S) -> Result<S::Ok, S::Error> {
    match i64::try_from(*seed) {
        Ok(_) => to.serialize_u64(*seed),
        Err(_) => to.serialize_str(&seed.to_string()),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    struct Seed;
    impl Visitor<'_> for Seed {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an integer from 0 to 18446744073709551615 (2^64 - 1)")
        }

        fn visit_u64<E: Error>(self, seed: u64) -> Result<u64, E> {
            Ok(seed)
        }

        fn visit_i64<E: Error>(self, seed: i64) -> Result<u64, E> {
            let wrong = |_| E::invalid_value(serde::de::Unexpected::Signed(seed), &self);
            u64::try_from(seed).map_err(wrong)
        }

        fn visit_str<E: Error>(self, seed: &str) -> Result<u64, E> {
            let digits = seed.trim().replace('_', "");
            let wrong = |_| E::invalid_value(serde::de::Unexpected::Str(seed), &self);
            digits.parse().map_err(wrong)
        }
    }
    from.deserialize_any(Seed)
}
