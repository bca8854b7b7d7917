//! Objects on S3 and Google Cloud Storage, through crate `object_store`; credentials, region and endpoint come from the
//! environment (`AWS_*`, `GOOGLE_*`) as its documentation says.
use std::error::Error as _;
use std::sync::Arc;

use futures::StreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as Key;
use object_store::{
    ClientConfigKey, Error, GetOptions, GetRange, ObjectMeta, ObjectStore, RetryConfig,
};
use stage::config::Fetch;
use stage::{Failure, Result, redact};

use super::client::causes;
use super::documents::{Endless, Limited, of_object};
use super::{Body, MOST_FILES, Network, Published, RemoteFile, Trouble};
use crate::splits::{Names, Splits, tell_apart};

/// The parquet file or files at `s3://BUCKET/PATH` or `gs://BUCKET/PATH`, told apart by their names.
pub fn list(
    network: &Arc<Network>,
    place: &str,
    settings: &Fetch,
) -> Result<Splits<Arc<dyn RemoteFile>>> {
    let usage = |error: Error| {
        Failure::usage(causes(&error))
            .at(place)
            .remedy("set the credentials and the endpoint in the environment")
    };
    check_endpoints()?;
    // The network's own patience does the trying again, and bodies may take as long as they need.
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let timeout = (ClientConfigKey::Timeout, "7 days");
    let store: Arc<dyn ObjectStore> = match place.starts_with("s3:") {
        true => Arc::new(
            AmazonS3Builder::from_env()
                .with_url(place)
                .with_retry(retry)
                .with_config(AmazonS3ConfigKey::Client(timeout.0), timeout.1)
                .with_http_connector(Limited)
                .build()
                .map_err(usage)?,
        ),
        false => Arc::new(
            GoogleCloudStorageBuilder::from_env()
                .with_url(place)
                .with_retry(retry)
                .with_config(GoogleConfigKey::Client(timeout.0), timeout.1)
                .with_http_connector(Limited)
                .build()
                .map_err(usage)?,
        ),
    };
    let (scheme, rest) = place.split_once("://").unwrap_or_default();
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    let key = Key::from_url_path(path).map_err(|error| Failure::usage(error).at(place))?;
    let object = |key: Key, bytes: Option<u64>| -> Arc<dyn RemoteFile> {
        let address = format!("{scheme}://{bucket}/{key}");
        Arc::new(Object { network: network.clone(), store: store.clone(), key, address, bytes })
    };
    let files: Vec<Arc<dyn RemoteFile>> = if path.ends_with(".parquet") {
        vec![object(key, None)]
    } else {
        let mut found: Vec<ObjectMeta> = network.persist(place, || {
            let (mut listing, mut found) = (store.list(Some(&key)), Vec::new());
            while let Some(object) = network.wait(place, listing.next())? {
                found.push(object.map_err(|error| trouble(place, error))?);
                if found.len() > MOST_FILES {
                    return Err(Trouble::Stop(
                        Failure::bad_input(format_args!("more than {MOST_FILES} objects"))
                            .at(place)
                            .expected("at most that number below one prefix")
                            .remedy("name a longer prefix in fetch.source"),
                    ));
                }
            }
            Ok(found)
        })?;
        found.retain(|object| object.location.as_ref().ends_with(".parquet"));
        found.sort_by(|a, b| a.location.cmp(&b.location));
        found.into_iter().map(|found| object(found.location, Some(found.size))).collect()
    };
    if files.is_empty() {
        return Err(Failure::bad_input("no .parquet object")
            .at(place)
            .expected("at least one below this prefix")
            .remedy("check fetch.source"));
    }
    let names = if path.ends_with(".parquet") { Names::Single } else { Names::Paths };
    let folder = format!("{}/", place.trim_end_matches('/'));
    tell_apart(place, files, settings, names, |file| {
        let address = file.address();
        address.strip_prefix(&folder).unwrap_or(address).to_owned()
    })
}

/// Crate `object_store` takes an endpoint for granted.
fn check_endpoints() -> Result<()> {
    for name in ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let Ok(text) = std::env::var(name) else { continue };
        let fits = reqwest::Url::parse(&text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !fits {
            return Err(Failure::usage("not an address")
                .at(format_args!("{name}={}", redact(&text)))
                .expected("https://HOST[:PORT], or http:// with AWS_ALLOW_HTTP=true")
                .remedy("set it so, or unset it"));
        }
    }
    Ok(())
}

struct Object {
    network: Arc<Network>,
    store: Arc<dyn ObjectStore>,
    key: Key,
    address: String,
    bytes: Option<u64>,
}

impl RemoteFile for Object {
    fn address(&self) -> &str {
        &self.address
    }

    fn published(&self) -> Published {
        Published { bytes: self.bytes, sha256: None }
    }

    fn get(&self, from: u64, to: Option<u64>, etag: Option<&str>) -> Result<Body, Trouble> {
        let range = match to {
            Some(to) => Some(GetRange::Bounded(from..to)),
            None => (from > 0).then_some(GetRange::Offset(from)),
        };
        let if_match = etag.map(str::to_owned);
        let options =
            GetOptions { range, if_match, extensions: of_object(), ..GetOptions::default() };
        let answer = self
            .network
            .wait(&self.address, self.store.get_opts(&self.key, options))?
            .map_err(|error| trouble(&self.address, error))?;
        let (start, total, etag) =
            (answer.range.start, answer.meta.size, answer.meta.e_tag.clone());
        let (network, address) = (self.network.clone(), self.address.clone());
        let mut stream = answer.into_stream();
        let next = move || {
            network
                .wait(&address, stream.next())?
                .transpose()
                .map_err(|error| trouble(&address, error))
        };
        Ok(Body { from: start, total: Some(total), etag, sha256: None, next: Box::new(next) })
    }
}

fn is_endless(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause.filter(|inner| !inner.is::<Endless>()) {
        cause = inner.source();
    }
    cause.is_some()
}

fn trouble(address: &str, error: Error) -> Trouble {
    let text = causes(&error);
    let remedy = match error {
        _ if is_endless(&error) => {
            "check the endpoint in the environment, or name one object in fetch.source"
        }
        Error::NotFound { .. } | Error::InvalidPath { .. } => "check fetch.source: bucket and path",
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            "check the credentials in the environment (AWS_*, GOOGLE_*)"
        }
        Error::Precondition { .. } | Error::NotModified { .. } => {
            return Trouble::Changed("the object has changed".into());
        }
        Error::UnknownConfigurationKey { .. } => {
            "check the settings in the environment (AWS_*, GOOGLE_*)"
        }
        _ => return Trouble::Again(text, None),
    };
    Trouble::Stop(
        Failure::bad_input(text).at(address).expected("an object that can be read").remedy(remedy),
    )
}
