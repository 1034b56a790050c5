//! Decoding with keys in any letter case.
//!
//! The Go plugins take `"isdefaultgateway"` for `isDefaultGateway`, so configurations in the
//! field have such keys; a plugin in their place that ignored them would attach pods differently
//! without a word. An exact key wins over a folded one.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// A document whose object keys match field names in any case.
#[derive(Clone, Copy)]
pub(crate) struct Folded<'de>(pub(crate) &'de Value);

impl<'de> Deserializer<'de> for Folded<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(list) => visitor.visit_seq(Elements(list.iter())),
            Value::Object(map) => visitor.visit_map(Members::new(map, &[])),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(map) => visitor.visit_map(Members::new(map, fields)),
            // Not one value after another in the order of the fields, which no Go plugin takes.
            Value::Array(_) => Err(serde::de::Error::invalid_type(Unexpected::Seq, &visitor)),
            other => other.deserialize_struct(name, fields, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Elements<'de>(std::slice::Iter<'de, Value>);

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|value| seed.deserialize(Folded(value))).transpose()
    }
}

/// The members of one object, each under the name of the field that it is for.
struct Members<'de> {
    rest: std::vec::IntoIter<(&'de str, &'de Value)>,
    value: Option<&'de Value>,
}

impl<'de> Members<'de> {
    fn new(map: &'de Map<String, Value>, fields: &[&'static str]) -> Members<'de> {
        let mut taken: Vec<(&'de str, &'de Value)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            let exact = fields.contains(&key.as_str());
            let field = fields.iter().copied().find(|f| f.eq_ignore_ascii_case(key));
            match field {
                Some(field)
                    if !exact
                        && (map.contains_key(field) || taken.iter().any(|(k, _)| *k == field)) => {}
                Some(field) if !exact => taken.push((field, value)),
                _ => taken.push((key, value)),
            }
        }
        Members { rest: taken.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        let key: StrDeserializer<'_, Error> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(Folded(value)),
            None => Err(serde::de::Error::custom("a value was asked for before its key")),
        }
    }
}

/// The member `key` of `map`, exact or in another letter case.
pub(crate) fn member<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    map.get(key).or_else(|| map.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v))
}

#[cfg(test)]
mod tests {
    use crate::decode;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Wire {
        is_gateway: bool,
        mtu: Option<u32>,
        inner: Vec<Inner>,
        sysctl: BTreeMap<String, String>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Inner {
        range_start: String,
    }

    #[test]
    fn keys_match_in_any_case_and_an_exact_one_wins() {
        let wire: Wire = decode(&json!({
            "ISGATEWAY": true, "MTU": 1400, "Inner": [{"rangestart": "a"}], "sysctl": {"A.b": "1"}
        }))
        .expect("wire");
        assert!(wire.is_gateway);
        assert_eq!(wire.mtu, Some(1400));
        assert_eq!(wire.inner[0].range_start, "a");
        assert_eq!(wire.sysctl.get("A.b").map(String::as_str), Some("1"));
        let both: Wire = decode(&json!({"MTU": 1, "mtu": 2, "Mtu": 3})).expect("wire");
        assert_eq!(both.mtu, Some(2));
        let folded: Wire = decode(&json!({"MTU": 1, "Mtu": 3})).expect("wire");
        assert!(folded.mtu.is_some());
    }

    #[test]
    fn a_list_is_no_object() {
        let error = decode::<Wire>(&json!({"Inner": [["a"]]})).expect_err("type");
        assert!(error.msg.starts_with("inner[0]: "), "{error}");
    }

    #[test]
    fn a_wrong_type_is_still_named_by_its_path() {
        let error = decode::<Wire>(&json!({"Inner": [{"RangeStart": 1}]})).expect_err("type");
        assert!(error.msg.starts_with("inner[0].rangeStart: "), "{error}");
        let error = decode::<Wire>(&json!({"mtu": "1400"})).expect_err("type");
        assert!(error.msg.starts_with("mtu: "), "{error}");
    }
}
