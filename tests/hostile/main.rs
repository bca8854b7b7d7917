//! Files, models and settings that mean harm or are merely wrong, given to the real programs: each ends with an exit code
//! of the house and words, soon, and within the memory that is there.
mod http;
mod memory;
mod models;
#[cfg(unix)]
mod pipes;
mod probe;
mod settings;
mod tokenizers;

use libtest_mimic::Arguments;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(memory::trials());
    trials.extend(models::trials());
    #[cfg(unix)]
    trials.extend(pipes::trials());
    trials.extend(settings::trials());
    trials.extend(http::trials());
    trials.extend(tokenizers::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
