//! Datasets of the Hugging Face Hub: which parquet files a split has, where they are, how long, with which SHA-256.
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use stage::config::Fetch;
use stage::{Failure, FailureKind, Result, redact};

use super::http::HttpFile;
use super::{Network, Published, RemoteFile, Trouble};
use crate::remote::{MOST_FILES, MOST_PAGES};
use crate::splits::{Names, Splits, tell_apart};

/// A parquet file of a dataset with the split it belongs to, where the listing says so.
pub struct HubFile {
    /// Where its bytes are.
    pub file: Arc<dyn RemoteFile>,
    split: Option<String>,
    path: String,
}

/// The branch with the Hub's own parquet conversion: CONFIG/SPLIT/0000.parquet.
const CONVERTED: &str = "refs/convert/parquet";

/// A state of a dataset that does not move: what a branch, or a tag, was resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// What was asked for: a branch, a tag, or the commit itself.
    pub branch: String,
    /// 40 digits.
    pub commit: String,
}

/// The files of a dataset, and the state that they are of.
pub struct Listing {
    /// Told apart.
    pub splits: Splits<HubFile>,
    /// None where the server tells no commits.
    pub commit: Option<Commit>,
}

/// The dataset's files, told apart. Without a revision the Hub's own parquet conversion is asked first: it has every
/// dataset of a supported kind. With one, or where there is no conversion, the parquet files in the repository count.
/// The branch is resolved once, unless `known` says what it was resolved to before.
pub fn list(
    network: &Arc<Network>,
    dataset: &str,
    revision: Option<&str>,
    known: Option<Commit>,
    settings: &Fetch,
) -> Result<Listing> {
    let mut commit = known;
    if commit.is_none() {
        commit = resolve(network, dataset, revision.unwrap_or(CONVERTED))?;
    }
    let mut files = match &commit {
        Some(commit) => in_repository(network, dataset, &commit.commit)?,
        None if revision.is_none() => converted(network, dataset)?,
        None => Vec::new(),
    };
    if commit.as_ref().is_some_and(|commit| commit.branch == CONVERTED) {
        files = of_conversion(network, dataset, files);
    }
    if files.is_empty() {
        let revision = revision.unwrap_or("main");
        commit = resolve(network, dataset, revision)?;
        let revision = commit.as_ref().map_or(revision, |commit| &commit.commit);
        files = in_repository(network, dataset, revision)?;
    }
    let place = format!("hf://datasets/{dataset}");
    let splits = files.iter().all(|file| file.split.is_some());
    let names = if splits { Names::Splits } else { Names::Paths };
    let splits = tell_apart(&place, files, settings, names, |file| {
        file.split.clone().unwrap_or_else(|| file.path.clone())
    })?;
    Ok(Listing { splits, commit })
}

/// `api/datasets/NAME/revision/BRANCH`: what a branch is now. None where there is none, or the server does not say.
fn resolve(network: &Arc<Network>, dataset: &str, branch: &str) -> Result<Option<Commit>> {
    let of = |commit: &str| Commit { branch: branch.to_owned(), commit: commit.to_owned() };
    if is_commit(branch) {
        return Ok(Some(of(branch)));
    }
    let path = format!("api/datasets/{dataset}/revision/{}?expand=sha", escaped(branch));
    let url = address(network, &path)?;
    let answer = network.persist(url.as_str(), || document_if_any(network, &url))?;
    let answer = answer.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    Ok(answer
        .as_ref()
        .and_then(|answer| answer.get("sha")?.as_str())
        .filter(|sha| is_commit(sha))
        .map(of))
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn escaped(revision: &str) -> String {
    revision.replace('%', "%25").replace('/', "%2F").replace('?', "%3F").replace('#', "%23")
}

/// Of a conversion's files those of one config, with their splits. Of what is large only a part is converted.
fn of_conversion(network: &Arc<Network>, dataset: &str, files: Vec<HubFile>) -> Vec<HubFile> {
    let place = |file: &HubFile| {
        let (config, rest) = file.path.split_once('/')?;
        let (split, _) = rest.split_once('/')?;
        let split = split.strip_prefix("partial-").unwrap_or(split);
        Some((config.to_owned(), split.to_owned()))
    };
    let configs: BTreeSet<String> = files.iter().filter_map(|file| Some(place(file)?.0)).collect();
    let Some(config) = config_of(network, dataset, configs.iter().map(String::as_str).collect())
    else {
        return Vec::new();
    };
    let of_config = |mut file: HubFile| {
        let (_, split) = place(&file).filter(|(other, _)| *other == config)?;
        file.split = Some(split);
        Some(file)
    };
    files.into_iter().filter_map(of_config).collect()
}

/// The config that is taken of several.
fn config_of(network: &Arc<Network>, dataset: &str, names: Vec<&str>) -> Option<String> {
    let config = names.iter().find(|name| **name == "default").or(names.first())?;
    if names.len() > 1 {
        network
            .log
            .warn(format!("{dataset} has the configs {}; {config:?} is taken", names.join(", ")));
    }
    Some((*config).to_owned())
}

/// `api/datasets/NAME/parquet`: { config: { split: [address] } }, of the branch refs/convert/parquet.
fn converted(network: &Arc<Network>, dataset: &str) -> Result<Vec<HubFile>> {
    let url = address(network, &format!("api/datasets/{dataset}/parquet"))?;
    // A dataset without a conversion answers 404 or 400: then its repository is asked, and errors come from there.
    let listing: Map<String, Value> =
        match network.persist(url.as_str(), || document_if_any(network, &url))? {
            Some(bytes) => parse(url.as_str(), &bytes)?,
            None => Map::new(),
        };
    let Some(config) = config_of(network, dataset, listing.keys().map(String::as_str).collect())
    else {
        return Ok(Vec::new());
    };
    let splits = listing.get(&config).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut files = Vec::new();
    for (split, addresses) in splits {
        let count = addresses.as_array().map_or(0, Vec::len);
        if files.len() + count > MOST_FILES {
            return Err(Failure::bad_input(format_args!("more than {MOST_FILES} files"))
                .at(format_args!("hf://datasets/{dataset}"))
                .expected("at most that number")
                .remedy("check HF_ENDPOINT, or name one file in fetch.source"));
        }
        for text in addresses.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let mirrored = text
                .strip_prefix("https://huggingface.co/")
                .map(|path| address(network, path).map(String::from));
            let file = HttpFile::new(
                network,
                &mirrored.unwrap_or_else(|| Ok(text.to_owned()))?,
                Published::default(),
            )?;
            files.push(HubFile {
                file: Arc::new(file),
                split: Some(split.clone()),
                path: String::new(),
            });
        }
    }
    Ok(files)
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: Option<String>,
}

/// `api/datasets/NAME/tree/REVISION?recursive=true`, page by page.
fn in_repository(network: &Arc<Network>, dataset: &str, revision: &str) -> Result<Vec<HubFile>> {
    let revision = escaped(revision);
    let mut page =
        Some(address(network, &format!("api/datasets/{dataset}/tree/{revision}?recursive=true"))?);
    let (mut files, mut others) = (Vec::new(), Vec::new());
    let mut pages = BTreeSet::new();
    while let Some(url) = page {
        if !pages.insert(url.to_string()) || pages.len() > MOST_PAGES || files.len() > MOST_FILES {
            return Err(Failure::bad_input(format_args!(
                "a listing without an end: page {} names {}",
                pages.len(),
                redact(url.as_str())
            ))
            .at(format_args!("hf://datasets/{dataset}"))
            .expected(format_args!("at most {MOST_PAGES} different pages and {MOST_FILES} files"))
            .remedy("check HF_ENDPOINT, or name one file in fetch.source"));
        }
        let (bytes, next) = network.persist(url.as_str(), || network.document(&url))?;
        for entry in parse::<Vec<Entry>>(url.as_str(), &bytes)? {
            if !entry.path.ends_with(".parquet") {
                others.push(entry.path);
                continue;
            }
            let mut place = address(network, &format!("datasets/{dataset}/resolve/{revision}"))?;
            if let Ok(mut segments) = place.path_segments_mut() {
                segments.extend(entry.path.split('/'));
            }
            let published = Published {
                bytes: entry.size,
                sha256: entry
                    .lfs
                    .and_then(|lfs| lfs.oid)
                    .map(|oid| oid.trim_start_matches("sha256:").to_ascii_lowercase()),
            };
            files.push(HubFile {
                file: Arc::new(HttpFile::new(network, place.as_str(), published)?),
                split: None,
                path: entry.path,
            });
        }
        page = next;
    }
    if files.is_empty() {
        others.truncate(8);
        let found = format!("no parquet file at revision {revision}; it has {}", others.join(", "));
        return Err(Failure::bad_input(found).at(format_args!("hf://datasets/{dataset}")).expected("parquet files").remedy("take another dataset or revision, or download its files and name them in fetch.source"));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn document_if_any(network: &Network, url: &reqwest::Url) -> Result<Option<bytes::Bytes>, Trouble> {
    match network.document(url) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(Trouble::Stop(Failure { kind: FailureKind::BadInput, .. })) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

fn address(network: &Network, path: &str) -> Result<reqwest::Url> {
    let text = format!("{}/{path}", network.hub_url().as_str().trim_end_matches('/'));
    reqwest::Url::parse(&text).map_err(|error| Failure::usage(error).at(redact(&text)))
}

fn parse<T: for<'a> Deserialize<'a>>(url: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::bad_input(format_args!("not the listing of a dataset: {error}"))
            .at(redact(url))
            .expected("the Hub's JSON")
            .remedy("check HF_ENDPOINT and the proxy settings")
    })
}
