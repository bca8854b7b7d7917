//! An HTTP server on loopback with faults on demand: what it is asked is written down, what it answers is scripted.
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Path and query, or the whole address where this server is asked as a proxy.
    pub target: String,
    headers: HashMap<String, String>,
    /// How often this target was asked for before.
    pub earlier: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An answer, with what goes wrong in it.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<[u8]>,
    /// What is sent of it.
    range: Range<usize>,
    cut: Option<usize>,
    pause: Option<Duration>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Reply::whole(status, body.into().into())
    }

    fn whole(status: u16, body: Arc<[u8]>) -> Self {
        Reply { status, headers: Vec::new(), range: 0..body.len(), body, cut: None, pause: None }
    }

    pub(crate) fn redirect(to: String) -> Self {
        Reply::new(302, "").header("Location", to)
    }

    /// The file, or the range of it that is asked for; `If-Range` decides as RFC 9110 says.
    pub(crate) fn file(request: &Request, bytes: &[u8], etag: &str) -> Self {
        Reply::shared(request, &bytes.into(), etag)
    }

    /// Like [`file`](Self::file), without a copy of the file.
    pub(crate) fn shared(request: &Request, bytes: &Arc<[u8]>, etag: &str) -> Self {
        let same = request.header("if-range").is_none_or(|condition| condition == etag);
        let range = request
            .header("range")
            .filter(|_| same)
            .and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let reply = match range {
            None => Reply::whole(200, bytes.clone()),
            Some((from, to)) => {
                let from: usize = from.parse().expect("a range from a number");
                let to = to.parse().map_or(bytes.len(), |last: usize| (last + 1).min(bytes.len()));
                if from >= bytes.len() {
                    return Reply::new(416, "");
                }
                let reply = Reply { range: from..to, ..Reply::whole(206, bytes.clone()) };
                reply.header("Content-Range", format!("bytes {from}-{}/{}", to - 1, bytes.len()))
            }
        };
        reply.header("ETag", etag)
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Announces the whole body and ends the connection after this number of bytes.
    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }

    /// Pauses after every 4 KiB.
    pub(crate) fn slowly(mut self, pause: Duration) -> Self {
        self.pause = Some(pause);
        self
    }
}

pub(crate) struct Server {
    pub address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    served: Arc<AtomicU64>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address =
            format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let (seen, served) =
            (Arc::new(Mutex::new(Vec::<Request>::new())), Arc::new(AtomicU64::new(0)));
        let (log, count, answer) = (seen.clone(), served.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, count, answer) = (log.clone(), count.clone(), answer.clone());
                thread::spawn(move || {
                    let Some(mut request) = read(&stream) else { return };
                    {
                        let mut log = log.lock().unwrap();
                        request.earlier =
                            log.iter().filter(|other| other.target == request.target).count();
                        log.push(request.clone());
                    }
                    let _ = write(&stream, &answer(&request), &count); // the client may hang up
                });
            }
        });
        Server { address, seen, served }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// What was asked for so far whose target contains the text.
    pub(crate) fn seen(&self, target: &str) -> Vec<Request> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|request| request.target.contains(target))
            .cloned()
            .collect()
    }

    /// Bytes of bodies sent so far.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let target = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let headers = lines.map_while(|line| line.ok().filter(|line| !line.is_empty()));
    let headers = headers.filter_map(|line| {
        line.split_once(':')
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Request { target, headers: headers.collect(), earlier: 0 })
}

fn write(mut stream: &TcpStream, reply: &Reply, served: &AtomicU64) -> std::io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {} Scripted\r\nConnection: close\r\nContent-Length: {}\r\n",
        reply.status,
        reply.range.len()
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let body = &reply.body[reply.range.clone()];
    for piece in body[..reply.cut.unwrap_or(body.len())].chunks(if reply.pause.is_some() {
        4096
    } else {
        1 << 16
    }) {
        stream.write_all(piece)?;
        stream.flush()?;
        served.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if let Some(pause) = reply.pause {
            thread::sleep(pause);
        }
    }
    Ok(())
}
