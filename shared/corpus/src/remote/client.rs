//! The HTTP client of a run: what the environment says of the Hub and of proxies.
use std::time::Duration;

use reqwest::Url;
use stage::{Failure, Result, redact};

/// HTTP client, the Hub's address and the token that goes there and nowhere else.
pub(crate) struct Client {
    pub(super) http: reqwest::Client,
    pub(super) hub: Url,
    pub(super) token: Option<String>,
}

impl Client {
    /// Reads `HF_ENDPOINT` and `HF_TOKEN`; the client itself reads `http_proxy`, `https_proxy`, `no_proxy`.
    pub(crate) fn new() -> Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let hub = Url::parse(endpoint.trim().trim_end_matches('/')).map_err(|error| {
            Failure::usage(error).at(format_args!("HF_ENDPOINT={}", redact(&endpoint)))
        })?;
        if !matches!(hub.scheme(), "http" | "https") {
            return Err(Failure::usage("no http:// or https:// address")
                .at(format_args!("HF_ENDPOINT={}", redact(&endpoint))));
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("bedtime/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(20))
            .build()
            .map_err(|error| {
                Failure::usage(format_args!("the HTTP client cannot start: {}", causes(&error)))
                    .remedy("check the proxy settings")
            })?;
        Ok(Client { http, hub, token: set("HF_TOKEN") })
    }

    /// Whether the token may go there.
    pub(super) fn is_hub(&self, url: &Url) -> bool {
        url.origin() == self.hub.origin()
    }
}

/// The error with its causes: "error sending request" alone says nothing.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}
