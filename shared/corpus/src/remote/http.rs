//! Files over HTTP. Redirects are followed by hand: the Hub publishes a file's hash on the answer that redirects to
//! where its bytes are, and its token must not travel there.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LINK, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Response, StatusCode, Url};
use stage::{Failure, Result, redact};

use super::client::causes;
use super::{Body, Network, Pace, Published, RemoteFile, Trouble};

const REDIRECTS: usize = 10;
/// Of a listing's page: as JSON in memory it takes some fifty times this at the worst.
pub(crate) const LONGEST_DOCUMENT: usize = 8 << 20;

fn header(headers: &HeaderMap, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The SHA-256 in an entity tag, if it is one.
fn sha256_of(etag: &str) -> Option<String> {
    let digits = etag.trim_start_matches("W/").trim_matches('"');
    (digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| digits.to_ascii_lowercase())
}

/// What may not work again, in words; None for what may.
fn refusal(status: StatusCode, url: &Url, hub: bool) -> Option<Failure> {
    let url = redact(url.as_str());
    let remedy = match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => return None,
        status if status.is_server_error() => return None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if hub => {
            "check the name; for a private or gated dataset accept its terms and set HF_TOKEN"
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "take an address that may be read without a password"
        }
        _ => "check fetch.source: owner, name, revision and path",
    };
    Some(
        Failure::bad_input(format_args!("HTTP {status}"))
            .at(url)
            .expected("a file that can be read")
            .remedy(remedy),
    )
}

/// An answer that is no redirect, with what was published on the way to it.
struct Answer {
    response: Response,
    published: Published,
}

impl Network {
    /// One request, its redirects followed. Answers other than 2xx and 416 are troubles.
    fn request(
        &self,
        url: &Url,
        range: Option<&str>,
        etag: Option<&str>,
    ) -> Result<Answer, Trouble> {
        let mut url = url.clone();
        let mut published = Published::default();
        for _ in 0..=REDIRECTS {
            // Lengths and hashes are those of the bytes as published, so nothing may compress them on the way.
            let mut request = self.client.http.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some(range) = range {
                request = request.header(RANGE, range);
            }
            if let Some(etag) = etag {
                request = request.header(IF_RANGE, etag);
            }
            let hub = self.client.is_hub(&url);
            if let Some(token) = self.client.token.as_ref().filter(|_| hub) {
                request = request.bearer_auth(token);
            }
            let response =
                self.wait("HTTP", request.send())?.map_err(|error| match error.is_builder() {
                    true => Trouble::Stop(
                        Failure::usage(causes(&error.without_url())).at(redact(url.as_str())),
                    ),
                    false => Trouble::Again(
                        format!("no connection: {}", causes(&error.without_url())),
                        None,
                    ),
                })?;
            let headers = response.headers();
            // The bytes' own server may tag them with a hash of another kind; only the Hub's tag is known to be SHA-256.
            let tag =
                header(headers, "x-linked-etag").or_else(|| header(headers, ETAG).filter(|_| hub));
            published.sha256 = published.sha256.or_else(|| tag.and_then(sha256_of));
            published.bytes = published
                .bytes
                .or_else(|| header(headers, "x-linked-size").and_then(|size| size.parse().ok()));
            let status = response.status();
            if status.is_redirection() {
                let location =
                    header(headers, LOCATION).and_then(|location| url.join(location).ok());
                url = location.ok_or_else(|| {
                    Trouble::Again(format!("HTTP {status} without a usable Location"), None)
                })?;
            } else if status.is_success() {
                return Ok(Answer { response, published });
            } else if status == StatusCode::RANGE_NOT_SATISFIABLE {
                return Err(Trouble::Changed("the file is shorter than it was".into()));
            } else if let Some(failure) = refusal(status, &url, hub) {
                return Err(Trouble::Stop(failure));
            } else {
                let after = header(headers, RETRY_AFTER)
                    .and_then(|seconds| seconds.trim().parse().ok())
                    .map(Duration::from_secs);
                return Err(Trouble::Again(format!("HTTP {status}"), after));
            }
        }
        Err(Trouble::Stop(
            Failure::bad_input(format_args!("more than {REDIRECTS} redirects"))
                .at(redact(url.as_str()))
                .remedy("check fetch.source"),
        ))
    }

    /// A small document, and the address of its next page.
    pub(crate) fn document(&self, url: &Url) -> Result<(Bytes, Option<Url>), Trouble> {
        let answer = self.request(url, None, None)?;
        let next = header(answer.response.headers(), LINK).and_then(|links| {
            let link = links.split(',').find(|link| link.contains("rel=\"next\""))?;
            url.join(link.split_once('<')?.1.split_once('>')?.0).ok()
        });
        let (mut response, mut bytes, mut pace) = (answer.response, Vec::new(), Pace::default());
        while let Some(piece) = self
            .receive("HTTP", &mut pace, response.chunk(), piece_length)?
            .map_err(|error| Trouble::Again(causes(&error.without_url()), None))?
        {
            bytes.extend_from_slice(&piece);
            if bytes.len() > LONGEST_DOCUMENT {
                return Err(Trouble::Stop(
                    Failure::bad_input("a listing without an end")
                        .at(redact(url.as_str()))
                        .expected(format_args!("at most {LONGEST_DOCUMENT} bytes"))
                        .remedy("check HF_ENDPOINT, or name one file in fetch.source"),
                ));
            }
        }
        Ok((bytes.into(), next))
    }

    pub(crate) fn hub_url(&self) -> &Url {
        &self.client.hub
    }
}

type Piece = reqwest::Result<Option<Bytes>>;

fn piece_length(piece: &Piece) -> usize {
    piece.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len)
}

/// One file at an address.
pub struct HttpFile {
    network: Arc<Network>,
    url: Url,
    /// Without its secrets.
    shown: String,
    published: Published,
}

impl HttpFile {
    /// # Errors
    /// Exit code 2 for an address that cannot be read; its secrets are not shown.
    pub fn new(network: &Arc<Network>, url: &str, published: Published) -> Result<Self> {
        let url = Url::parse(url).map_err(|error| {
            Failure::usage(error).at(redact(url)).expected("https://HOST/FILE.parquet")
        })?;
        let shown = redact(url.as_str());
        Ok(HttpFile { network: network.clone(), url, shown, published })
    }
}

impl RemoteFile for HttpFile {
    fn address(&self) -> &str {
        &self.shown
    }

    fn published(&self) -> Published {
        self.published.clone()
    }

    fn get(&self, from: u64, to: Option<u64>, etag: Option<&str>) -> Result<Body, Trouble> {
        let range = match to {
            Some(to) => Some(format!("bytes={from}-{}", to.saturating_sub(1))),
            None => (from > 0).then(|| format!("bytes={from}-")),
        };
        let answer = self.network.request(&self.url, range.as_deref(), etag)?;
        let (mut response, found) = (answer.response, answer.published);
        let headers = response.headers();
        let (start, total) = match response.status() {
            StatusCode::PARTIAL_CONTENT => header(headers, CONTENT_RANGE)
                .and_then(|text| text.strip_prefix("bytes ")?.split_once('/'))
                .and_then(|(range, total)| {
                    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
                })
                .ok_or_else(|| {
                    Trouble::Again("HTTP 206 without a usable Content-Range".into(), None)
                })?,
            _ => (0, response.content_length()),
        };
        // A weak tag names an equivalent file, not the same bytes.
        let etag = header(headers, ETAG).filter(|etag| !etag.starts_with("W/")).map(str::to_owned);
        let (network, mut pace) = (self.network.clone(), Pace::default());
        let next = move || {
            let piece = network.receive("HTTP", &mut pace, response.chunk(), piece_length)?;
            piece.map_err(|error| {
                Trouble::Again(
                    format!("the connection broke: {}", causes(&error.without_url())),
                    None,
                )
            })
        };
        let sha256 = self.published.sha256.clone().or(found.sha256);
        Ok(Body {
            from: start,
            total: total.or(self.published.bytes).or(found.bytes),
            etag,
            sha256,
            next: Box::new(next),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_hex_digits_are_a_sha256() {
        let digest = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        assert_eq!(sha256_of(&format!("\"{digest}\"")).unwrap(), digest.to_lowercase());
        assert_eq!(sha256_of("\"d41d8cd98f00b204e9800998ecf8427e\""), None);
    }
}
