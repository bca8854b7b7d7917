//! Shaders as text: a prelude of constants, then the file with its `#import lib/name` lines replaced by those files.
//!
//! What varies is a constant, an alias, the choice between library files with the same functions (`lib/store`), or how often
//! lines are repeated: `#repeat i COUNT` to `#end`, with `$i` counting from 0. Every line remembers the file it came from, so
//! that errors point there.
use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stage::Problem;

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
    /// What values are stored as.
    pub precision: Precision,
    /// Invocations of a workgroup: `LANES`.
    pub lanes: u32,
    /// Elements of a head: `HEAD_WIDTH`, and with it `ROW_LANES` and `TILE_ROWS` of scalar attention.
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

/// How a product on cooperative matrices is cut: a workgroup has `subgroups[0] x subgroups[1]` subgroups, each of them sums
/// `fragments[0] x fragments[1]` fragments of the result, over slices of `depth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tiles {
    /// Rows and columns of a subgroup's fragments.
    pub fragments: [u32; 2],
    /// Rows and columns of a workgroup's subgroups.
    pub subgroups: [u32; 2],
    /// Elements of a slice along k.
    pub depth: u32,
}

impl Tiles {
    /// Rows and columns of a workgroup's tile.
    pub fn tile(&self, coop: CoopShape) -> [u32; 2] {
        [0, 1].map(|i| self.fragments[i] * self.subgroups[i] * coop.side)
    }

    /// Invocations of a workgroup.
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

impl std::fmt::Display for Tiles {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Tiles { fragments: [fm, fn_], subgroups: [sm, sn], depth } = self;
        write!(f, "{fm}x{fn_} {sm}x{sn} {depth}")
    }
}

/// Rows that one workgroup sums of a gain's gradient: `PARTIAL_ROWS`.
pub const PARTIAL_ROWS: u32 = 64;

/// Workgroup memory that every device has (WebGPU's default limit).
const WORKGROUP_BYTES: u32 = 16_384;

/// Invocations of a workgroup of scalar attention.
pub(crate) const ATTENTION_LANES: u32 = 64;

/// Lanes that serve a row of scalar attention together: `ROW_LANES`. Each has three vectors of a head in registers at most, so that
/// what it holds of up to four rows does not spill.
pub(crate) fn row_lanes(head_width: u32) -> u32 {
    let vectors = head_width.div_ceil(4);
    [4, 8, 16].into_iter().find(|&lanes| vectors.div_ceil(lanes) <= 3).unwrap_or(32)
}

/// Rows of a tile of scalar attention that fit the workgroup memory: `TILE_ROWS`.
fn tile_rows(head_width: u32) -> u32 {
    let lanes = row_lanes(head_width);
    let padded = head_width.div_ceil(4).next_multiple_of(lanes);
    // Two vectors of four for each place of the width, two sums of each lane, lse and delta.
    (WORKGROUP_BYTES / (32 * padded + 8 * ATTENTION_LANES + 8)).clamp(1, 16)
}

impl Variant {
    fn prelude(&self) -> String {
        let enable = match self.precision {
            Precision::F32 => "",
            Precision::F16 => "enable f16;\n",
            Precision::Bf16 => "enable wgpu_int16;\n",
        };
        let coop = self.coop.map_or(String::new(), |(shape, tiles)| coop_prelude(shape, tiles));
        let enable = if coop.is_empty() {
            enable.to_owned()
        } else {
            format!("{enable}enable wgpu_cooperative_matrix;\n")
        };
        let mut text = format!(
            "{enable}{coop}const LANES: u32 = {}u;\nconst HEAD_WIDTH: u32 = {}u;\nconst PARTIAL_ROWS: u32 = {PARTIAL_ROWS}u;\n",
            self.lanes, self.head_width
        );
        if self.coop.is_none() {
            let (lanes, rows) = (row_lanes(self.head_width), tile_rows(self.head_width));
            text.push_str(&format!(
                "const ROW_LANES: u32 = {lanes}u;\nconst TILE_ROWS: u32 = {rows}u;\n"
            ));
        }
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

    /// What `#repeat` counts to.
    fn counts(&self) -> Vec<(&'static str, u32)> {
        let Some((shape, tiles)) = self.coop else { return Vec::new() };
        vec![
            ("FRAGMENTS_M", tiles.fragments[0]),
            ("FRAGMENTS_N", tiles.fragments[1]),
            ("HEAD_FRAGMENTS", self.head_width.div_ceil(shape.side)),
        ]
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
    /// The WGSL that naga reads.
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
    let mut expansion = Expansion { library, variant, imported: HashSet::new(), to: expanded };
    expansion.include(name, None)?;
    Ok(expansion.to)
}

/// Files that are being put together.
struct Expansion<'a> {
    library: &'a Library,
    variant: &'a Variant,
    imported: HashSet<String>,
    to: Expanded,
}

/// A line of a file: its number, from 1, and its text.
type Line<'a> = (usize, &'a str);
/// The variables of the repeats around a line.
type Variables = Vec<(String, u32)>;

impl Expansion<'_> {
    /// `from`: where the import stands.
    fn include(&mut self, name: &str, from: Option<String>) -> Result<()> {
        if !self.imported.insert(name.to_owned()) {
            return Ok(());
        }
        let file = match (name, self.variant.coop) {
            ("lib/store", _) => format!("lib/store_{}", self.variant.precision),
            ("lib/staged", Some((coop, _))) => {
                if coop.scalars { "lib/staged_scalars" } else { "lib/staged_vectors" }.to_owned()
            }
            _ => name.to_owned(),
        };
        let text = self.library.read(&file).map_err(|error| {
            let problem = Problem::new(format_args!("#import {name}: {error}"));
            let problem = match from {
                Some(place) => problem.at(place),
                None => problem,
            };
            let lib = |name: &&str| name.starts_with("lib/");
            let known: Vec<&str> = FILES.iter().map(|(name, _)| *name).filter(lib).collect();
            EngineError::Shader(
                problem.expected(format_args!("lib/store or one of {}", known.join(", "))).into(),
            )
        })?;
        let lines: Vec<Line> = text.lines().enumerate().map(|(i, line)| (i + 1, line)).collect();
        self.lines(&self.library.path(&file), &lines, &mut Vec::new())
    }

    fn lines(&mut self, path: &str, lines: &[Line], variables: &mut Variables) -> Result<()> {
        let mut at = 0;
        while let Some(&(number, line)) = lines.get(at) {
            let place = || format!("{path}:{number}");
            if let Some(import) = line.strip_prefix("#import ") {
                self.include(import.trim(), Some(place()))?;
            } else if let Some(head) = line.strip_prefix("#repeat ") {
                let body = &lines[at + 1..];
                let len = block_len(body).ok_or_else(|| {
                    EngineError::Shader(
                        Problem::new(format_args!("{line}: expected #end behind it"))
                            .at(place())
                            .into(),
                    )
                })?;
                let (variable, count) = self.count(head).map_err(|expected| {
                    EngineError::Shader(
                        Problem::new(format_args!("{line}: expected {expected}"))
                            .at(place())
                            .into(),
                    )
                })?;
                for i in 0..count {
                    variables.push((format!("${variable}"), i));
                    self.lines(path, &body[..len], variables)?;
                    variables.pop();
                }
                at += len + 1;
            } else if line.trim_end() == "#end" {
                return Err(EngineError::Shader(
                    Problem::new("#end without #repeat").at(place()).into(),
                ));
            } else {
                let mut line = line.to_owned();
                for (variable, value) in variables.iter() {
                    line = line.replace(variable.as_str(), &value.to_string());
                }
                self.to.push(path, number, &line);
            }
            at += 1;
        }
        Ok(())
    }

    /// The variable of a repeat and its count, or what was expected.
    fn count<'b>(&self, head: &'b str) -> std::result::Result<(&'b str, u32), String> {
        let known = self.variant.counts();
        let found = match head.split_whitespace().collect::<Vec<&str>>()[..] {
            [variable, count] => {
                known.iter().find(|(name, _)| *name == count).map(|(_, n)| (variable, *n))
            }
            _ => None,
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            format!("a variable and a count, of {}", names.join(", "))
        })
    }
}

/// Lines before the `#end` that ends a repeat.
fn block_len(lines: &[Line]) -> Option<usize> {
    let mut depth = 0;
    lines.iter().position(|(_, line)| {
        if line.starts_with("#repeat ") {
            depth += 1;
        }
        let ends = line.trim_end() == "#end";
        let own = ends && depth == 0;
        depth -= i32::from(ends);
        own
    })
}

/// The folder of `--shaders`, checked to be one.
pub fn folder(path: &Path) -> Result<Library> {
    if path.join("matmul.wgsl").is_file() {
        return Ok(Library::Folder(path.to_owned()));
    }
    Err(EngineError::Shader(
        Problem::new("no folder of shaders: matmul.wgsl is not there")
            .file(path)
            .expected("a copy of this project's shaders/")
            .remedy("copy shaders/ and name the copy")
            .into(),
    ))
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
    fn scalar_attention_fits_the_workgroup_memory_that_every_device_has() {
        for width in [2, 4, 10, 40, 48, 64, 80, 96, 128, 192, 256] {
            let (lanes, rows) = (row_lanes(width), tile_rows(width));
            let padded = width.div_ceil(4).next_multiple_of(lanes);
            let tiles = 2 * 16 * padded * rows.max(ATTENTION_LANES / lanes);
            let bytes = tiles + rows * (8 * ATTENTION_LANES + 8);
            assert!(bytes <= WORKGROUP_BYTES, "heads of {width}: {bytes}");
            assert!(padded / lanes <= 3, "heads of {width}: {padded} vectors by {lanes} lanes");
        }
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

    /// A folder with a file `fill.wgsl` of this text, expanded for 2 x 4 accumulators.
    fn filled(text: &str) -> Result<Expanded> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("fill.wgsl"), text).unwrap();
        let shape = CoopShape { side: 8, subgroup: 8, scalars: false };
        let tiles = Tiles { fragments: [2, 4], subgroups: [1, 1], depth: 8 };
        let variant = Variant { coop: Some((shape, tiles)), ..VARIANT };
        expand(&Library::Folder(folder.path().to_owned()), "fill", &variant)
    }

    #[test]
    fn repeats_count_from_zero_nest_and_know_their_lines() {
        let expanded = filled(
            "#repeat m FRAGMENTS_M\na$m;\n#repeat n FRAGMENTS_N\nc$m$n + $nu;\n#end\n#end\nlast;\n",
        )
        .unwrap();
        let own: Vec<&str> = expanded.text.lines().filter(|line| line.ends_with(';')).collect();
        let own = &own[own.len() - 11..];
        assert_eq!(own[..3], ["a0;", "c00 + 0u;", "c01 + 1u;"]);
        assert_eq!(own[5..7], ["a1;", "c10 + 0u;"]);
        assert_eq!((own[9], own[10]), ("c13 + 3u;", "last;"));
        let line = expanded.text.lines().position(|line| line.starts_with("c12")).unwrap();
        assert!(expanded.place(line + 1, 1).ends_with("fill.wgsl:4:1"));
    }

    #[test]
    fn a_broken_repeat_is_an_error_with_its_place() {
        for (text, place, expected) in [
            ("a;\n#repeat m FRAGMENTS_M\nb;\n", "fill.wgsl:2", "#end"),
            ("#repeat m FRAGMENTS\nb;\n#end\n", "fill.wgsl:1", "FRAGMENTS_M, FRAGMENTS_N"),
            ("#repeat FRAGMENTS_M\nb;\n#end\n", "fill.wgsl:1", "a variable and a count"),
            ("b;\n#end\n", "fill.wgsl:2", "without #repeat"),
        ] {
            let error = filled(text).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains(expected), "{text}: {error}");
        }
    }
}
