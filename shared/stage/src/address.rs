//! Addresses that may carry a secret: a password, a signature, a token. Only [`Address::reveal`] gives the real one.
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

const HIDDEN: &str = "***";
/// Query fields that are not secret. Any other value may be.
const HARMLESS: [&str; 6] = ["recursive", "limit", "page", "list-type", "prefix", "delimiter"];

/// Where something is. Display, Debug and Serialize leave out user, password and query values.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Address(String);

impl Address {
    /// The full address: to connect to, and to parse.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Address {
    fn from(text: T) -> Self {
        Address(text.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&redact_one(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Debug::fmt(&redact_one(&self.0), f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&redact_one(&self.0))
    }
}

/// The text with the secrets removed from all addresses in it.
pub fn redact(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
    text.split_inclusive(ends).map(redact_one).collect()
}

/// Removes user and password, query values and the fragment. Punctuation that follows the address in prose stays.
fn redact_one(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("//") else { return word.to_owned() };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority);
    let shown = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}//{HIDDEN}@{host}"),
        None => format!("{scheme}//{authority}"),
    };
    let Some(at) = path.find(['?', '#']) else { return shown + path };
    let (path, query) = path.split_at(at);
    let prose =
        |c: char| c.is_whitespace() || matches!(c, ':' | ',' | ')' | ';' | '"' | '\'' | '`');
    let fields = query.trim_end_matches(prose);
    let fields_shown: String = fields.split_inclusive(['?', '#', '&', ';']).map(field).collect();
    format!("{shown}{path}{fields_shown}{}", query.get(fields.len()..).unwrap_or_default())
}

fn field(text: &str) -> String {
    let (text, end) = match text.chars().next_back().filter(|c| "?#&;".contains(*c)) {
        Some(end) => (text.strip_suffix(end).unwrap_or(text), end.to_string()),
        None => (text, String::new()),
    };
    match text.split_once('=') {
        Some((name, _)) if !HARMLESS.contains(&name) => format!("{name}={HIDDEN}{end}"),
        None if !text.is_empty() => format!("{HIDDEN}{end}"),
        _ => format!("{text}{end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_an_address_is_shown_and_the_rest_is() {
        for (real, shown) in [
            ("https://user:PW@host:8/a.parquet", "https://***@host:8/a.parquet"),
            ("https://TOKEN@host/a", "https://***@host/a"),
            ("http//user:PW@host", "http//***@host"),
            (
                "https://h/a?X-Amz-Signature=PW&X-Amz-Date=1",
                "https://h/a?X-Amz-Signature=***&X-Amz-Date=***",
            ),
            ("https://h/a?sv=1&sig=P%20W", "https://h/a?sv=***&sig=***"),
            ("https://h/a?PW", "https://h/a?***"),
            ("https://h/a#access_token=PW", "https://h/a#access_token=***"),
            ("https://h/t?recursive=true", "https://h/t?recursive=true"),
            ("hf://datasets/a/b@refs/convert/parquet", "hf://datasets/a/b@refs/convert/parquet"),
            ("s3://KEY:PW@bucket/x", "s3://***@bucket/x"),
            ("/home/a/b*.parquet", "/home/a/b*.parquet"),
        ] {
            let address = Address::from(real);
            assert_eq!((address.to_string(), address.reveal()), (shown.to_owned(), real));
            assert_eq!(format!("{address:?}"), format!("{shown:?}"));
            assert_eq!(serde_json::to_value(&address).unwrap(), shown);
            assert_eq!(
                redact(&format!("x \"{real}\": {real}: y")),
                format!("x \"{shown}\": {shown}: y")
            );
        }
    }
}
