//! One JSON object of a story: the text in one of its fields. Of the others no value is kept, so that memory does not grow
//! with what they hold.
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Names of fields that a message lists.
const MOST_SHOWN: usize = 12;

/// Characters of an error, which may hold a value, that a message shows.
const MOST_CHARS: usize = 300;

/// Reads the string in the field of this name.
#[derive(Clone, Copy)]
pub(crate) struct TextOf<'a>(pub &'a str);

impl<'de> DeserializeSeed<'de> for TextOf<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TextOf<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an object with a string in {:?}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let (mut text, mut others) = (None, Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            if name == self.0 {
                if text.replace(map.next_value_seed(Text(self.0))?).is_some() {
                    return Err(A::Error::custom(format!("the field {name:?} twice")));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
                if others.len() < MOST_SHOWN {
                    others.push(name);
                }
            }
        }
        text.ok_or_else(|| {
            let others = others.join(", ");
            A::Error::custom(format!("no field {:?}; its fields are {others}", self.0))
        })
    }
}

/// A string; another value is told with the field's name.
struct Text<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        from.deserialize_string(self)
    }
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a string in {:?}", self.0)
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E>(self, text: String) -> Result<String, E> {
        Ok(text)
    }
}

/// What serde_json says, without the place that it adds.
pub(crate) fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let words = text.rsplit_once(" at line ").map_or(text.as_str(), |(words, _)| words);
    let words: String = words.chars().take(MOST_CHARS).collect();
    match error.is_data() {
        true => words,
        false => format!("not JSON: {words}"),
    }
}
