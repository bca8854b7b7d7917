//! The command line that all stages share.
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Failure, Log, LogFormat, Pipeline, Result, redact};

/// More threads than any machine has cores. Each takes memory for its stack.
const MOST_THREADS: usize = 4096;

/// Options of every stage. A stage adds flags of its own, each short for the key of the same name in its section.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Pipeline file with the settings of every stage, or the name of one that comes with the program (quickstart,
    /// tinystories-3m, tinystories-10m)
    #[arg(long, visible_alias = "pipeline", value_name = "FILE", default_value = crate::shipped::DEFAULT)]
    pub config: PathBuf,
    /// Override one setting of the pipeline file, for example train.lr=3e-4 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Folder of all inputs and outputs [default: the file's `out`, or out/NAME for NAME.toml]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Do the work again even if it is up to date
    #[arg(long)]
    pub force: bool,
    /// Threads to use, at most four for each core or 16; the result does not depend on it [default: all cores that this
    /// process may use]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// How progress is reported on stderr
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub log: LogFormat,
}

/// A running stage: its settings, its folder, its log.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The program's name: in messages, manifests and locks.
    pub name: &'static str,
    /// All settings: the file's, changed by `--set` and the flags.
    pub pipeline: Pipeline,
    /// Folder of all outputs, OUT.
    pub out: PathBuf,
    /// `--force`: make it again, and set aside what is in the way.
    pub force: bool,
    /// `--threads`; None is one for each core.
    pub threads: Option<usize>,
    /// Where messages and progress go.
    pub log: Log,
}

/// Parses the arguments of this process. Exits on a usage error, or after printing help.
pub fn parse<A: clap::Parser>() -> A {
    crate::generated::print_if_asked::<A>();
    A::try_parse().unwrap_or_else(|error| {
        let text = error.to_string();
        let shown = redact(&text);
        if shown == text || !error.use_stderr() {
            error.exit();
        }
        // The error quotes the argument, which may be an address with a password.
        eprint!("{}", crate::shown(&shown));
        std::process::exit(2)
    })
}

impl Common {
    /// Reads the settings. `flags` are the stage's own options; those given are settings of `section`.
    pub fn open(&self, name: &'static str, section: &str, flags: &impl Serialize) -> Result<Stage> {
        self.open_with(name, section, flags, [])
    }

    /// The same with settings that come last.
    pub fn open_with(
        &self,
        name: &'static str,
        section: &str,
        flags: &impl Serialize,
        last: impl IntoIterator<Item = String>,
    ) -> Result<Stage> {
        let log = Log::new(name, self.log);
        let mut settings = self.settings.clone();
        let flags = serde_json::to_value(flags).map_err(|e| Failure::usage(e.to_string()))?;
        for (key, value) in
            flags.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null())
        {
            settings.push(format!("{section}.{key}={value}")); // JSON text of numbers, strings and lists is TOML
        }
        settings.extend(last);
        let pipeline = Pipeline::load(&self.config, &settings)?;
        let stem = self.config.file_stem().unwrap_or_default();
        let out = self
            .out
            .clone()
            .or_else(|| pipeline.out.as_ref().map(PathBuf::from))
            .unwrap_or_else(|| Path::new("out").join(stem));
        if let Some(threads) = self.threads.filter(|threads| !(1..=MOST_THREADS).contains(threads))
        {
            return Err(Failure::usage(format_args!("{threads} threads"))
                .at("--threads")
                .expected(format_args!("1 to {MOST_THREADS}")));
        }
        let threads = self.threads.map(|threads| capped(threads, &log));
        Ok(Stage { name, pipeline, out, force: self.force, threads, log })
    }
}

/// Cores that this process may use, by its affinity mask and its control group's quota.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// With many more threads than cores, threads mostly wait for one another.
fn capped(threads: usize, log: &Log) -> usize {
    let (cores, most) = (cores(), most_threads(cores()));
    if threads > most {
        log.say(format!("--threads {threads} for {cores} cores: {most} are used"));
    }
    threads.min(most)
}

/// Enough to test many threads on few cores.
fn most_threads(cores: usize) -> usize {
    cores.saturating_mul(4).max(16)
}

impl Stage {
    /// Runs the parallel work of this process on `--threads` threads.
    pub fn use_threads(&self) -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0));
        pool.build_global()
            .map_err(|e| Failure::try_again(format_args!("threads cannot be started: {e}")))
    }

    /// The same, with the calling thread as one of them: short pieces of parallel work in a loop then need no handover to
    /// another thread.
    pub fn use_threads_and_this_one(&self) -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads.unwrap_or(0))
            .use_current_thread();
        pool.build_global()
            .map_err(|e| Failure::try_again(format_args!("threads cannot be started: {e}")))
    }

    /// A file or folder of this run, by its name in the table of files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_far_beyond_the_cores_are_capped() {
        for (cores, most) in [(1, 16), (2, 16), (5, 20), (64, 256)] {
            assert_eq!(most_threads(cores), most);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = |threads| {
            let common = Common {
                config: file.path().to_owned(),
                settings: Vec::new(),
                out: None,
                force: false,
                threads,
                log: LogFormat::default(),
            };
            common.open("sample", "sample", &serde_json::json!({})).unwrap().threads
        };
        assert_eq!(open(None), None);
        assert_eq!(open(Some(3)), Some(3));
        assert_eq!(open(Some(4000)), Some(most_threads(cores())));
    }

    /// As `taskset` and job schedulers set it. Testing a control group's quota would need a group of our own; the standard
    /// library's function counts it, too.
    #[cfg(target_os = "linux")]
    #[test]
    fn cores_outside_the_affinity_mask_do_not_count() {
        let on_one = std::thread::spawn(|| {
            // SAFETY: both calls are given a set of the size they are told.
            unsafe {
                let mut all: libc::cpu_set_t = std::mem::zeroed();
                let size = size_of::<libc::cpu_set_t>();
                assert_eq!(libc::sched_getaffinity(0, size, &mut all), 0);
                let own = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &all));
                let mut one: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(own.unwrap(), &mut one);
                assert_eq!(libc::sched_setaffinity(0, size, &one), 0);
            }
            cores()
        });
        assert_eq!(on_one.join().unwrap(), 1);
    }
}
