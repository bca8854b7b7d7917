//! The stage programs: finding, starting and waiting for them.
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use shared_child::SharedChild;
use stage::{Failure, Result, interrupt};

/// A stage program with its arguments.
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Looks beside this program, then along PATH.
    ///
    /// # Errors
    /// Exit code 2, naming the places searched, if it is in none of them.
    pub(crate) fn find(name: &str, arguments: Vec<OsString>) -> Result<Self> {
        let file = format!("{name}{}", env::consts::EXE_SUFFIX);
        let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
        let path = env::var_os("PATH").unwrap_or_default();
        let places = || beside.iter().cloned().chain(env::split_paths(&path));
        let found = places().map(|folder| folder.join(&file)).find(|path| path.is_file());
        let path = found.ok_or_else(|| {
            let beside = beside.as_deref().unwrap_or("the folder of bedtime".as_ref());
            Failure::usage("no such program")
                .at(name)
                .note("looked in", format_args!("{}, then along PATH", beside.display()))
                .remedy("put it beside bedtime; in a checkout `make build` makes all of them")
        })?;
        Ok(Program { path, arguments })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it and parses the JSON that it prints.
    ///
    /// # Errors
    /// The program's own message and exit code if it has failed.
    pub(crate) fn json(&self) -> Result<Value> {
        let output = Command::new(&self.path).args(&self.arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|error| self.unstartable(&error))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.split_once("error: ").map_or(&*said, |(_, words)| words).trim().to_owned();
        match output.status.code() {
            Some(0) => {}
            Some(2) => return Err(Failure::usage(said)),
            Some(3) => return Err(Failure::bad_input(said)),
            Some(130) => return Err(Failure::interrupted(said)),
            _ => {
                return Err(
                    Failure::try_again(format_args!("{}: {said}", output.status)).file(&self.path)
                );
            }
        }
        serde_json::from_slice(&output.stdout).map_err(|error| {
            Failure::usage(format_args!("{error} in what it prints"))
                .file(&self.path)
                .expected(format_args!("a program of version {}", env!("CARGO_PKG_VERSION")))
                .remedy("put one of the same version beside bedtime")
        })
    }

    fn unstartable(&self, error: &std::io::Error) -> Failure {
        Failure::usage(format_args!("cannot be started: {error}"))
            .file(&self.path)
            .expected("a program for this machine")
            .remedy("put one of the same version beside bedtime")
    }

    /// The command as typed into a shell.
    pub(crate) fn line(&self) -> String {
        let words = [self.path.as_os_str()].into_iter().chain(self.arguments.iter().map(|a| &**a));
        shell_words(words)
    }

    /// Runs it to its end. Signals to this program are passed on to it.
    ///
    /// # Errors
    /// Exit code 2 if it cannot be started; 4 if a signal ended it.
    pub(crate) fn run(&self, running: &Running) -> Result<u8> {
        let failed = |error| self.unstartable(&error);
        let child =
            SharedChild::spawn(Command::new(&self.path).args(&self.arguments)).map_err(failed)?;
        let status = running.wait(Arc::new(child)).map_err(failed)?;
        match status.code() {
            Some(code) => Ok(u8::try_from(code).unwrap_or(1)),
            None => {
                Err(Failure::try_again(format_args!("{} was ended: {status}", self.path.display()))
                    .kept("every file already under its final name")
                    .remedy("the same command goes on; signal 9 may mean that memory ran out"))
            }
        }
    }
}

/// Words as a shell takes them.
pub(crate) fn shell_words<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> String {
    let quoted = words.into_iter().map(|word| {
        let word = word.as_ref().to_string_lossy();
        match shlex::try_quote(&word) {
            Ok(quoted) => quoted.into_owned(),
            Err(_) => word.into_owned(), // has a zero byte: no program can be given it
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The running stage, to which signals are passed on.
pub(crate) struct Running(Arc<Mutex<Option<Arc<SharedChild>>>>);

impl Running {
    pub(crate) fn new() -> Result<Self> {
        let running = Running(Arc::default());
        let child = running.0.clone();
        interrupt::pass_on(move |signal| {
            if let Some(child) = &*child.lock() {
                send(child, signal);
            }
        })?;
        Ok(running)
    }

    fn wait(&self, child: Arc<SharedChild>) -> std::io::Result<ExitStatus> {
        let set = |child| *self.0.lock() = child;
        set(Some(child.clone()));
        // A signal that arrived while the stage was being started was passed on to nobody.
        if interrupt::requested() {
            ask_to_end(&child);
        }
        let status = child.wait();
        set(None);
        status
    }
}

/// Does nothing if the child has ended meanwhile.
#[cfg(unix)]
fn send(child: &SharedChild, signal: i32) {
    let _ = shared_child::unix::SharedChildExt::send_signal(child, signal);
}

#[cfg(unix)]
fn ask_to_end(child: &SharedChild) {
    send(child, libc::SIGTERM);
}

/// The console sends Ctrl-C to all its programs.
#[cfg(not(unix))]
fn send(_child: &SharedChild, _signal: i32) {}

#[cfg(not(unix))]
fn ask_to_end(_child: &SharedChild) {}
