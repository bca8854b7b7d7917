//! Kernels in the languages of other compilers.
use std::path::Path;

use anyhow::{Context, Result};
use compute::gpu::pipeline::{Parsed, parse};
use compute::wgsl::Library;
use naga::back::{msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy, Layouter};

use crate::Case;

const UNCHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Unchecked,
    buffer: BoundsCheckPolicy::Unchecked,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};

/// SPIR-V as wgpu hands it to a driver for trusted shaders.
pub(crate) fn spirv(parsed: &Parsed, kernel: &str) -> Result<Vec<u32>> {
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        fake_missing_bindings: true,
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let entry = spv::PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: kernel.to_owned(),
    };
    Ok(spv::write_vec(&parsed.module, &parsed.info, &options, Some(&entry))?)
}

/// Bytes of workgroup memory that an entry point takes.
pub(crate) fn workgroup_bytes(parsed: &Parsed, kernel: &str) -> Result<u32> {
    let Parsed { module, info, .. } = parsed;
    let entry = module.entry_points.iter().position(|entry| entry.name == kernel);
    let used = info.get_entry_point(entry.with_context(|| format!("no entry point {kernel}"))?);
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx())?;
    Ok(module
        .global_variables
        .iter()
        .filter(|(handle, variable)| {
            variable.space == naga::AddressSpace::WorkGroup && !used[*handle].is_empty()
        })
        .map(|(_, variable)| layouter[variable.ty].size)
        .sum())
}

/// Metal text, as wgpu hands it over.
fn metal(parsed: &Parsed, kernel: &str) -> Result<String> {
    let options = msl::Options {
        lang_version: (3, 0),
        fake_missing_bindings: true,
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let entry = msl::PipelineOptions {
        entry_point: Some((naga::ShaderStage::Compute, kernel.to_owned())),
        ..Default::default()
    };
    Ok(msl::write_string(&parsed.module, &parsed.info, &options, &entry)?.0)
}

/// A pair of files for each case.
pub(crate) fn write(folder: &Path, library: &Library, cases: Vec<Case>) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for case in cases {
        let parsed = parse(library, case.kernel.file, &case.variant)?;
        let tiles = case.tiles().replace(' ', "_");
        let head = case.head().map_or(String::new(), |head| format!("-head{head}"));
        let precision = case.variant.precision;
        let name = format!("{}.{precision}{head}.{tiles}", case.kernel.name);
        let words = spirv(&parsed, case.kernel.name)?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        std::fs::write(folder.join(format!("{name}.spv")), bytes)?;
        std::fs::write(folder.join(format!("{name}.metal")), metal(&parsed, case.kernel.name)?)?;
    }
    Ok(())
}
