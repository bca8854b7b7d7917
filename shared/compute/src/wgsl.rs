//! Shaders as text: a prelude of constants, then the file with its `#import lib/name` lines replaced by those files.
//!
//! That is all there is to it: what varies is a constant, an alias or the choice between two library files with the same
//! functions (`lib/store`). Every line remembers the file it came from, so that errors point there.
use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::kernels::{Precision, state};
use crate::{EngineError, kernels::Result};

/// Every shader file, without `.wgsl`, and its text; sorted by name.
pub const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// Where shaders come from.
#[derive(Clone, Debug, Default)]
pub enum Library {
    /// Those in the program.
    #[default]
    Embedded,
    /// Files of this folder, for whoever edits them.
    Folder(PathBuf),
}

impl Library {
    fn read(&self, name: &str) -> std::result::Result<Cow<'static, str>, String> {
        match self {
            Library::Embedded => {
                let found = FILES.iter().find(|(file, _)| *file == name);
                found
                    .map(|(_, text)| Cow::Borrowed(*text))
                    .ok_or_else(|| "there is no such shader".to_owned())
            }
            Library::Folder(folder) => {
                let path = folder.join(format!("{name}.wgsl"));
                std::fs::read_to_string(&path)
                    .map(Cow::Owned)
                    .map_err(|error| format!("{}: {error}", path.display()))
            }
        }
    }

    /// The first digits of a SHA-256 over all files: other text, other bits.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for (name, _) in FILES {
            hasher.update(name);
            hasher.update(self.read(name).unwrap_or_default().as_bytes());
        }
        hasher.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What people call the file.
    fn path(&self, name: &str) -> String {
        match self {
            Library::Embedded => format!("shaders/{name}.wgsl"),
            Library::Folder(folder) => folder.join(format!("{name}.wgsl")).display().to_string(),
        }
    }
}

/// What differs between two uses of a file: these are the constants it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    pub precision: Precision,
    /// Invocations of a workgroup: `LANES`.
    pub lanes: u32,
    /// Elements of a head: `HEAD_WIDTH`, and with it `TILE_ROWS`, the keys of a tile.
    pub head_width: u32,
    /// For kernels on cooperative matrices: which, and the tile of their product.
    pub coop: Option<(CoopShape, Tiles)>,
}

/// Cooperative matrices that take f16 and accumulate in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoopShape {
    /// `FRAGMENT`: 8 or 16, the side of the square fragments they multiply.
    pub side: u32,
    /// `SUBGROUP`: the lanes that hold a fragment together.
    pub subgroup: u32,
    /// Fragments are loaded from scalars in workgroup memory (Metal), else from vectors of four.
    pub scalars: bool,
}

/// How a product on cooperative matrices is cut: a workgroup has subgroups[0] x subgroups[1] subgroups, each of them sums
/// fragments[0] x fragments[1] fragments of the result, over slices of `depth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tiles {
    pub fragments: [u32; 2],
    pub subgroups: [u32; 2],
    pub depth: u32,
}

impl Tiles {
    /// Rows and columns of a workgroup's tile.
    pub fn tile(&self, coop: CoopShape) -> [u32; 2] {
        [0, 1].map(|i| self.fragments[i] * self.subgroups[i] * coop.side)
    }

    pub fn lanes(&self, coop: CoopShape) -> u32 {
        self.subgroups[0] * self.subgroups[1] * coop.subgroup
    }

    /// Bytes of workgroup memory at most, whatever is contiguous: two slices of each operand, and the space of the sums.
    pub fn workgroup_bytes(&self, coop: CoopShape) -> u32 {
        let [rows, columns] = self.tile(coop);
        let slice = |side: u32| (side * (self.depth + 8)).max(self.depth * (side + 8)) * 2;
        let space = self.subgroups[0]
            * self.subgroups[1]
            * coop.side
            * (self.fragments[1] * coop.side + 4)
            * 4;
        2 * (slice(rows) + slice(columns)) + space
    }
}

/// Rows that one workgroup sums of a gain's gradient: `PARTIAL_ROWS`.
pub const PARTIAL_ROWS: u32 = 64;

/// Workgroup memory that every device has (WebGPU's default limit).
const WORKGROUP_BYTES: u32 = 16_384;

impl Variant {
    fn prelude(&self) -> String {
        let enable = match self.precision {
            Precision::F32 => "",
            Precision::F16 => "enable f16;\n",
            Precision::Bf16 => "enable wgpu_int16;\n",
        };
        // Two tiles of vectors of four, and two scalars, per row.
        let tile_rows = (WORKGROUP_BYTES / (self.head_width.div_ceil(4) * 32 + 8)).clamp(1, 32);
        let coop = self.coop.map_or(String::new(), |(shape, tiles)| coop_prelude(shape, tiles));
        let enable = if coop.is_empty() {
            enable.to_owned()
        } else {
            format!("{enable}enable wgpu_cooperative_matrix;\n")
        };
        let mut text = format!(
            "{enable}{coop}const LANES: u32 = {}u;\nconst HEAD_WIDTH: u32 = {}u;\nconst TILE_ROWS: u32 = {tile_rows}u;\nconst PARTIAL_ROWS: u32 = {PARTIAL_ROWS}u;\n",
            self.lanes, self.head_width
        );
        let indices = [
            ("GRAD_NORM", state::GRAD_NORM),
            ("LOSS_SCALE", state::LOSS_SCALE),
            ("GOOD_STEPS", state::GOOD_STEPS),
            ("SKIPPED", state::SKIPPED),
            ("BETA1_POWER", state::BETA1_POWER),
            ("BETA2_POWER", state::BETA2_POWER),
            ("FACTOR", state::FACTOR),
        ];
        for (name, index) in indices {
            text.push_str(&format!("const {name}: u32 = {index}u;\n"));
        }
        text
    }
}

/// The constants and types of lib/coop.wgsl.
fn coop_prelude(CoopShape { side, subgroup, .. }: CoopShape, tiles: Tiles) -> String {
    let mut text = String::new();
    for (name, element, role) in
        [("CoopA", "f16", "A"), ("CoopB", "f16", "B"), ("CoopC", "f32", "C")]
    {
        text.push_str(&format!("alias {name} = coop_mat{side}x{side}<{element}, {role}>;\n"));
    }
    let Tiles { fragments, subgroups, depth } = tiles;
    let values = [
        ("FRAGMENT", side),
        ("SUBGROUP", subgroup),
        ("SUBGROUPS_M", subgroups[0]),
        ("SUBGROUPS_N", subgroups[1]),
        ("FRAGMENTS_M", fragments[0]),
        ("FRAGMENTS_N", fragments[1]),
        ("TILE_K", depth),
    ];
    for (name, value) in values {
        text.push_str(&format!("const {name}: u32 = {value}u;\n"));
    }
    text
}

/// A shader with all that it imports.
#[derive(Clone, Debug)]
pub struct Expanded {
    pub text: String,
    /// File and line, from 1, of each line of the text.
    lines: Vec<(String, usize)>,
}

impl Expanded {
    /// `file:line:column` of a place in the text, both from 1.
    pub fn place(&self, line: usize, column: usize) -> String {
        match self.lines.get(line.saturating_sub(1)) {
            Some((file, line)) => format!("{file}:{line}:{column}"),
            None => format!("{line}:{column}"),
        }
    }

    fn push(&mut self, file: &str, number: usize, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines.push((file.to_owned(), number));
    }
}

/// Puts a shader together.
pub fn expand(library: &Library, name: &str, variant: &Variant) -> Result<Expanded> {
    let mut expanded = Expanded { text: String::new(), lines: Vec::new() };
    for (i, line) in variant.prelude().lines().enumerate() {
        expanded.push("prelude", i + 1, line);
    }
    let mut imported = HashSet::new();
    include(library, name, variant, &mut imported, &mut expanded, None)?;
    Ok(expanded)
}

fn include(
    library: &Library,
    name: &str,
    variant: &Variant,
    imported: &mut HashSet<String>,
    to: &mut Expanded,
    from: Option<String>,
) -> Result<()> {
    if !imported.insert(name.to_owned()) {
        return Ok(());
    }
    let file = match (name, variant.coop) {
        ("lib/store", _) => format!("lib/store_{}", variant.precision),
        ("lib/staged", Some((coop, _))) => {
            if coop.scalars { "lib/staged_scalars" } else { "lib/staged_vectors" }.to_owned()
        }
        ("lib/accumulators", Some((_, tiles))) => {
            format!("lib/accumulators_{}x{}", tiles.fragments[0], tiles.fragments[1])
        }
        _ => name.to_owned(),
    };
    let text = library.read(&file).map_err(|error| {
        let place = from.map_or(String::new(), |place| format!("{place}: "));
        let known: Vec<&str> =
            FILES.iter().map(|(name, _)| *name).filter(|name| name.starts_with("lib/")).collect();
        EngineError::Shader(format!(
            "{place}#import {name}: {error}\n  expected: lib/store or one of {}",
            known.join(", ")
        ))
    })?;
    let path = library.path(&file);
    for (i, line) in text.lines().enumerate() {
        match line.strip_prefix("#import ") {
            Some(import) => include(
                library,
                import.trim(),
                variant,
                imported,
                to,
                Some(format!("{path}:{}", i + 1)),
            )?,
            None => to.push(&path, i + 1, line),
        }
    }
    Ok(())
}

/// The folder of `--shaders`, checked to be one.
pub fn folder(path: &Path) -> Result<Library> {
    if path.join("matmul.wgsl").is_file() {
        return Ok(Library::Folder(path.to_owned()));
    }
    Err(EngineError::Shader(format!(
        "{}: no folder of shaders: matmul.wgsl is not there\n  expected: a copy of this project's shaders/\n  remedy: copy shaders/ and name the copy",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIANT: Variant =
        Variant { precision: Precision::F16, lanes: 64, head_width: 40, coop: None };

    #[test]
    fn imports_come_once_and_lines_know_their_file() {
        let expanded = expand(&Library::Embedded, "attention_decode", &VARIANT).unwrap();
        assert_eq!(expanded.text.matches("alias Stored = f16").count(), 1);
        assert!(!expanded.text.contains("#import"));
        let line = expanded.text.lines().position(|line| line.contains("fn reduce_max(")).unwrap();
        let own = include_str!("../../../shaders/lib/reduce.wgsl")
            .lines()
            .position(|line| line.contains("fn reduce_max("))
            .unwrap();
        assert_eq!(expanded.place(line + 1, 4), format!("shaders/lib/reduce.wgsl:{}:4", own + 1));
    }

    #[test]
    fn an_unknown_import_is_an_error_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("fill.wgsl"), "// a line\n#import lib/stroe\n").unwrap();
        let error = expand(&Library::Folder(folder.path().to_owned()), "fill", &VARIANT)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("fill.wgsl:2")
                && error.contains("lib/stroe")
                && error.contains("lib/store"),
            "{error}"
        );
    }
}
