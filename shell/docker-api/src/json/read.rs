//! How shapes are read out of JSON: as Go's decoder does it, on which clients rely.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A shape that takes one field after the other.
pub(crate) trait Fields: Default {
    /// Reads the value of the field with this name, in any case; false where there is none of that name.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;
}

/// Reads a shape; `null` is one in which everything is left out.
pub(crate) struct Reader<T>(PhantomData<T>);

impl<T> Default for Reader<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Fields> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut shape = T::default();
        while let Some(Name(name)) = map.next_key()? {
            if !shape.read(&name, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(shape)
    }
}

/// The name of a field, copied only where it is written with escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not as a newtype: errors would no longer name the field.
        deserializer.deserialize_identifier(NameReader)
    }
}

struct NameReader;

impl<'de> Visitor<'de> for NameReader {
    type Value = Name<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use crate::json::ServiceSpec;

    fn read(json: &str) -> Result<ServiceSpec<'static>, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn names_of_fields_are_read_in_any_case_and_those_of_maps_as_they_are() {
        let spec = read(
            r#"{"name":"web","LABELS":{"Tier":"x","tier":"y"},"taskTemplate":{"containerspec":{"IMAGE":"a","env":["A=1"]}},
                "mode":{"replicated":{"replicas":2}},"endpointSpec":{"ports":[{"targetport":80,"publishmode":"host"}]}}"#,
        );
        let exact = read(
            r#"{"Name":"web","Labels":{"Tier":"x","tier":"y"},"TaskTemplate":{"ContainerSpec":{"Image":"a","Env":["A=1"]}},
                "Mode":{"Replicated":{"Replicas":2}},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishMode":"host"}]}}"#,
        );
        let spec = spec.expect("it reads");
        assert_eq!(spec.name, "web");
        assert_eq!(spec.labels.len(), 2);
        assert_eq!(spec, exact.expect("it reads"));
    }

    #[test]
    fn the_last_of_several_counts_and_unknown_ones_do_not() {
        let spec =
            read(r#"{"Name":"a","nAmE":"b","Nam\u0065":"c","Other":[{"Name":"d"}],"Naïve":1}"#).expect("it reads");
        assert_eq!(spec.name, "c");
        assert!(read(r#"{"TaskTemplate":[1]}"#).unwrap_err().to_string().contains("expected an object"));
    }
}
