//! Puts every shader into the program: whatever lies in `shaders/` and `shaders/lib/`, by name.
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // Of this build, not of the one that compiled this file: a folder may have been moved since, with its target.
    println!("cargo::rerun-if-env-changed=CARGO_MANIFEST_DIR");
    let own = env::var_os("CARGO_MANIFEST_DIR");
    let own = own.ok_or_else(|| io::Error::other("cargo sets CARGO_MANIFEST_DIR"))?;
    let root = Path::new(&own).join("../../shaders").canonicalize()?;
    println!("cargo::rerun-if-changed={}", root.display());
    let mut names = Vec::new();
    for prefix in ["", "lib/"] {
        for entry in fs::read_dir(root.join(prefix))? {
            let name = entry?.file_name().into_string().map_err(|name| {
                io::Error::other(format!("shaders/{prefix}{}: no UTF-8", name.display()))
            })?;
            names.extend(name.strip_suffix(".wgsl").map(|name| format!("{prefix}{name}")));
        }
    }
    names.sort();
    let files: String = names
        .iter()
        .map(|name| format!("({name:?}, include_str!({:?})),\n", root.join(format!("{name}.wgsl"))))
        .collect();
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("shaders.rs"), format!("&[{files}]"))
}
