//! Completions for shells and a man page, made from the definition of a command line.
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::{Failure, Result};

/// The one argument, with a shell or `man` behind it, that prints a file in place of working. Not in the help: it is for those
/// who package the programs.
const GENERATE: &str = "--generate";

/// Where the arguments are `--generate bash|elvish|fish|powershell|zsh|man`, prints that completion or man page and ends this
/// process.
pub(crate) fn print_if_asked<A: CommandFactory>() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [flag, kind] = &arguments[..] else { return };
    if flag != GENERATE {
        return;
    }
    let done = of::<A>(&kind.to_string_lossy()).and_then(|bytes| crate::print_bytes(&bytes));
    if let Err(failure) = &done {
        eprintln!("error: {failure}");
    }
    std::process::exit(done.map_or_else(|failure| i32::from(failure.exit_code()), |_| 0));
}

/// The bytes of the file.
fn of<T: CommandFactory>(kind: &str) -> Result<Vec<u8>> {
    let mut command = T::command();
    let (name, mut bytes) = (command.get_name().to_owned(), Vec::new());
    if kind == "man" {
        // Written into memory, which does not fail.
        let written = clap_mangen::Man::new(command).render(&mut bytes);
        return written.map(|()| bytes).map_err(|error| Failure::try_again(error.to_string()));
    }
    let shell = Shell::from_str(kind, false).map_err(|_| {
        let shells = Shell::value_variants().iter().map(ToString::to_string);
        let kinds = shells.chain(["man".to_owned()]).collect::<Vec<_>>().join(", ");
        Failure::usage(format!("{GENERATE} {kind}: expected one of {kinds}"))
    })?;
    clap_complete::generate(shell, &mut command, name, &mut bytes);
    Ok(bytes)
}
