//! Scalars of Go's JSON: texts, maps, time stamps, bytes, and what counts as empty.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{DecodeError, Engine};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skep_model::WallTime;

/// A string.
pub(crate) type Text<'a> = Cow<'a, str>;
/// A list of strings.
pub(crate) type Texts<'a> = Cow<'a, [String]>;
/// Labels, options.
pub(crate) type Map<'a> = Cow<'a, BTreeMap<String, String>>;

/// What Go's `omitempty` leaves out.
pub(crate) trait Empty {
    /// Whether it is Go's zero value (structs never are).
    fn is_empty(&self) -> bool;
}

/// For `skip_serializing_if`.
pub(crate) fn empty<T: Empty>(value: &T) -> bool {
    value.is_empty()
}

impl Empty for Cow<'_, str> {
    fn is_empty(&self) -> bool {
        str::is_empty(self)
    }
}

impl Empty for Cow<'_, [String]> {
    fn is_empty(&self) -> bool {
        <[String]>::is_empty(self)
    }
}

impl Empty for Cow<'_, BTreeMap<String, String>> {
    fn is_empty(&self) -> bool {
        BTreeMap::is_empty(self)
    }
}

impl<T> Empty for Vec<T> {
    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }
}

impl<K, V> Empty for BTreeMap<K, V> {
    fn is_empty(&self) -> bool {
        BTreeMap::is_empty(self)
    }
}

impl<T> Empty for Option<T> {
    fn is_empty(&self) -> bool {
        self.is_none()
    }
}

impl Empty for bool {
    fn is_empty(&self) -> bool {
        !self
    }
}

macro_rules! empty_numbers {
    ($($type:ty),*) => { $(impl Empty for $type { fn is_empty(&self) -> bool { *self == 0 } })* };
}
empty_numbers!(i32, i64, u32, u64, usize);

const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Go's `[]byte`: base64.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Base64(pub(crate) Bytes);

impl Empty for Base64 {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        // As Go: line ends are passed over, and what is left of the last digit.
        let text: Cow<'_, str> = if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "").into() } else { text };
        let bytes = LENIENT.decode(text.as_bytes()).map_err(|error| {
            // Go's words, on which clients match, with its place: of what is no digit, else of the last group.
            let place = match error {
                DecodeError::InvalidByte(place, _) => place,
                _ => text.len() / 4 * 4,
            };
            serde::de::Error::custom(format!("illegal base64 data at input byte {place}"))
        })?;
        Ok(Self(bytes.into()))
    }
}

/// Go's `float32`: whole numbers are written without a fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Float(pub(crate) f32);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Ratios: what is whole is small.
        if self.0.fract() == 0.0 && self.0.abs() < 1e6 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f32(self.0)
        }
    }
}

/// Go's `time.Time`; `None` is its zero, the year 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Stamp(pub(crate) Option<WallTime>);

impl From<Option<&prost_types::Timestamp>> for Stamp {
    fn from(stamp: Option<&prost_types::Timestamp>) -> Self {
        Self(stamp.map(WallTime::from))
    }
}

impl From<Option<WallTime>> for Stamp {
    fn from(time: Option<WallTime>) -> Self {
        Self(time)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(time) => serializer.serialize_str(&rfc3339(time, Fraction::Trimmed)),
            None => serializer.serialize_str("0001-01-01T00:00:00Z"),
        }
    }
}

/// Stamps are never an input of ours: what a client echoes back is ignored.
impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer)?;
        Ok(Self(None))
    }
}

/// How the part below a second is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fraction {
    /// Without trailing zeros, as Go's RFC3339Nano.
    Trimmed,
    /// Always nine digits, as in logs.
    Nine,
}

/// RFC 3339 in UTC.
pub(crate) fn rfc3339(time: WallTime, fraction: Fraction) -> String {
    let seconds = time.0.div_euclid(1_000_000_000);
    let nanos = time.0.rem_euclid(1_000_000_000);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second_of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let mut text = String::with_capacity(32);
    // Writing to a string cannot fail.
    let _ = write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if nanos != 0 || fraction == Fraction::Nine {
        let _ = write!(text, ".{nanos:09}");
        while fraction == Fraction::Trimmed && text.ends_with('0') {
            text.pop();
        }
    }
    text.push('Z');
    text
}

/// Year, month and day of a count of days since 1970-01-01 (Gregorian; eras of 400 years that start in March).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_floats_have_no_fraction() {
        let written = |number| serde_json::to_string(&Float(number)).unwrap();
        assert_eq!([0.0, 1.0, 0.25, 0.1].map(written), ["0", "1", "0.25", "0.1"]);
        assert_eq!(serde_json::from_str::<Float>("1").unwrap(), Float(1.0));
    }

    #[test]
    fn base64_reads_as_go_reads_it() {
        let read = |text: &str| serde_json::from_str::<Base64>(text).map(|bytes| bytes.0).ok();
        for text in [r#""aGk=""#, r#""aGk=\n""#, r#""aG\r\nk=""#, r#""aGl=""#] {
            assert_eq!(read(text).as_deref(), Some(&b"hi"[..]), "{text}");
        }
        for text in [r#""aGk""#, r#"" aGk=""#, r#""a""#, r#""_-8=""#, "[1]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn stamps_read_as_go_writes_them() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_709_210_096_120_000_000, "2024-02-29T12:34:56.12Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (4_102_444_799_000_000_001, "2099-12-31T23:59:59.000000001Z"),
        ] {
            assert_eq!(rfc3339(WallTime(nanos), Fraction::Trimmed), text);
        }
        assert_eq!(rfc3339(WallTime(1_500_000_000), Fraction::Nine), "1970-01-01T00:00:01.500000000Z");
    }
}
