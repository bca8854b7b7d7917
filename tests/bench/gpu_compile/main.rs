//! Every kernel that a plan can use, on a GPU's own compiler, with no GPU: registers, spills and workgroup memory are real, speeds are not
//! known.
//!
//!   gpu-compile compile --chip NAME [--quick]   one row of JSON for each kernel, precision, head width and tile
//!   gpu-compile report FILES                    these rows as a table; fails on spills and refusals
//!   gpu-compile text DIR                        the kernels as Metal text and SPIR-V, for compilers of other makes
//!
//! tests/gpu_compile.sh runs it on the drivers of Mesa.
mod report;
mod text;
mod vulkan;

use anyhow::Result;
use clap::{Parser, Subcommand};
use compute::Precision;
use compute::gpu::pipeline::parse;
use compute::gpu::table::{KERNELS, Kernel, Workgroup};
use compute::gpu::{TILES, WorkgroupLimits, attention_tiles};
use compute::wgsl::{CoopShape, Library, Tiles, Variant, folder};
use serde_json::json;
use std::path::PathBuf;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    mode: Mode,
    /// Reads the shaders from this folder.
    #[arg(long, global = true)]
    shaders: Option<PathBuf>,
    /// Only kernels whose name has this in it.
    #[arg(long, global = true, default_value = "")]
    only: String,
    /// Fewer tiles and head widths.
    #[arg(long, global = true)]
    quick: bool,
    /// Lanes of a subgroup on cooperative matrices.
    #[arg(long, global = true, default_value_t = 32)]
    subgroup: u32,
    /// Side of the cooperative matrices; 0 where there are none.
    #[arg(long, global = true, default_value_t = 16)]
    side: u32,
    /// Bytes of workgroup memory.
    #[arg(long, global = true, default_value_t = 49_152)]
    bytes: u32,
}

#[derive(Subcommand)]
enum Mode {
    /// Compiles through Vulkan; rows of JSON on stdout.
    Compile {
        #[arg(long)]
        chip: String,
        /// Without the driver's own bounds checks, which wgpu always asks for.
        #[arg(long)]
        not_robust: bool,
    },
    /// Prints rows as a table; fails where a kernel spills or is refused.
    Report { files: Vec<PathBuf> },
    /// Writes Metal text and SPIR-V.
    Text { folder: PathBuf },
}

/// A kernel in one of the ways a plan can use it.
struct Case {
    kernel: &'static Kernel,
    variant: Variant,
}

impl Case {
    fn head(&self) -> Option<u32> {
        self.kernel.heads.then_some(self.variant.head_width)
    }

    fn tiles(&self) -> String {
        self.variant.coop.map_or("-".into(), |(_, tiles)| tiles.to_string())
    }
}

fn cases(args: &Args) -> Vec<Case> {
    let shape = CoopShape { side: args.side, subgroup: args.subgroup, scalars: false };
    let limits = WorkgroupLimits { bytes: args.bytes, lanes: 256 };
    let heads: &[u32] = if args.quick { &[40, 64] } else { &[40, 64, 128] };
    let mut cases = Vec::new();
    for &kernel in KERNELS.iter().filter(|kernel| kernel.name.contains(&args.only)) {
        let widths = if kernel.heads { heads } else { &[40] };
        for &width in widths {
            if let Workgroup::Lanes(_) = kernel.workgroup {
                let precisions = [Precision::F32, Precision::F16, Precision::Bf16];
                let tried = if args.quick { &precisions[..1] } else { &precisions };
                let variants = tried.iter().map(|&p| kernel.scalar_variant(p, width));
                cases.extend(variants.map(|variant| Case { kernel, variant }));
                continue;
            }
            if args.side == 0 {
                continue;
            }
            let tiles: Vec<Tiles> = match kernel.workgroup {
                Workgroup::CoopAttention => {
                    attention_tiles(shape, width, limits).into_iter().take(1).collect()
                }
                _ => TILES
                    .iter()
                    .copied()
                    .filter(|tiles| {
                        tiles.lanes(shape) <= limits.lanes
                            && tiles.workgroup_bytes(shape) <= limits.bytes
                    })
                    .take(if args.quick { 1 } else { TILES.len() })
                    .collect(),
            };
            cases.extend(
                tiles.into_iter().map(|tiles| Case {
                    kernel,
                    variant: kernel.coop_variant(width, shape, tiles),
                }),
            );
        }
    }
    cases
}

fn main() -> Result<()> {
    let args = Args::parse();
    let library = match &args.shaders {
        Some(path) => folder(path)?,
        None => Library::Embedded,
    };
    match &args.mode {
        Mode::Report { files } => report::print(files),
        Mode::Text { folder } => text::write(folder, &library, cases(&args)),
        Mode::Compile { chip, not_robust } => {
            let compiler = vulkan::Compiler::open(!not_robust)?;
            eprintln!("{chip}: {}", compiler.name);
            for case in cases(&args) {
                if case.variant.coop.is_some() && !compiler.coop {
                    continue;
                }
                let parsed = parse(&library, case.kernel.file, &case.variant)?;
                let interface = parsed.interface(case.kernel.name)?;
                let buffers: Vec<u32> = interface.bindings.iter().map(|b| b.index).collect();
                let spirv = text::spirv(&parsed, case.kernel.name)?;
                let mut row = json!({
                    "chip": chip,
                    "kernel": case.kernel.name,
                    "precision": case.variant.precision.name(),
                    "head": case.head(),
                    "tiles": case.tiles(),
                    "lanes": case.variant.lanes,
                    "workgroup_bytes": text::workgroup_bytes(&parsed, case.kernel.name)?,
                });
                match compiler.figures(&spirv, case.kernel.name, &buffers) {
                    Ok(figures) => row["figures"] = json!(figures),
                    Err(error) => row["refused"] = json!(error.to_string()),
                }
                println!("{row}");
            }
            Ok(())
        }
    }
}
