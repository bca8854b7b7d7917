//! Crate `object_store` reads listings, errors and credentials whole, however long they are: here they get a limit.
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use futures::StreamExt;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, Extensions};

use super::http::LONGEST_DOCUMENT;

/// What is not the content of an object was longer than any such document is.
#[derive(Debug)]
pub(crate) struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an answer without an end: more than {LONGEST_DOCUMENT} bytes")
    }
}

impl std::error::Error for Endless {}

/// Marks the request for an object, whose content is read piece by piece and may be of any length.
#[derive(Clone, Copy)]
struct Object;

/// For the request of an object's content.
pub(crate) fn of_object() -> Extensions {
    let mut extensions = Extensions::new();
    extensions.insert(Object);
    extensions
}

/// Connects as the crate does by itself, with a limit on documents.
#[derive(Debug)]
pub(crate) struct Limited;

impl HttpConnector for Limited {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct Service(HttpClient);

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Service {
    // What `#[async_trait]` makes of an asynchronous function.
    fn call<'own, 'all>(&'own self, request: HttpRequest) -> Answer<'all>
    where
        'own: 'all,
        Self: 'all,
    {
        let is_object = request.extensions().get::<Object>().is_some();
        Box::pin(async move {
            let (head, body) = self.0.execute(request).await?.into_parts();
            if is_object && head.status.is_success() {
                return Ok(HttpResponse::from_parts(head, body));
            }
            let (mut pieces, mut document) = (body.bytes_stream(), Vec::new());
            while let Some(piece) = pieces.next().await {
                document.extend_from_slice(&piece?);
                if document.len() > LONGEST_DOCUMENT {
                    return Err(HttpError::new(HttpErrorKind::Decode, Endless));
                }
            }
            Ok(HttpResponse::from_parts(head, HttpResponseBody::from(document)))
        })
    }
}
