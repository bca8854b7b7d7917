//! Which GPUs there are, which one is taken, and what to do where there is none.
use std::ops::RangeInclusive;
use std::path::Path;

use stage::{Action, Problem};

use super::cores;
use super::plan::USUAL_CORES;
use crate::error::{CPU, EngineError, LIST_DEVICES};
use crate::kernels::{Precision, Result};
use crate::wgsl::CoopShape;

/// A GPU that the system shows, and what matters about it here.
#[derive(Clone, Debug)]
pub struct Adapter {
    pub(super) adapter: wgpu::Adapter,
    /// Its name, kind and driver.
    pub info: wgpu::AdapterInfo,
    /// What it can do.
    pub features: wgpu::Features,
    /// Its largest buffers and workgroups.
    pub limits: wgpu::Limits,
}

/// What `auto`, `gpu` and `gpu:N` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best one that is hardware.
    Best,
    /// The one of this number in the list, be it software.
    Number(usize),
}

/// Every adapter, the best first: discrete, integrated, virtual, others, then software.
pub fn list() -> Vec<Adapter> {
    let descriptor = wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    let instance = wgpu::Instance::new(descriptor);
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let mut adapters: Vec<Adapter> = found
        .into_iter()
        .map(|adapter| Adapter {
            info: adapter.get_info(),
            features: adapter.features(),
            limits: adapter.limits(),
            adapter,
        })
        .collect();
    adapters.sort_by_key(Adapter::rank);
    adapters
}

/// The adapter that is asked for.
pub fn choose(choice: DeviceChoice) -> Result<Adapter> {
    let mut adapters = list();
    let number = match choice {
        DeviceChoice::Number(number) => number,
        DeviceChoice::Best => adapters.iter().position(|a| !a.is_software()).unwrap_or(usize::MAX),
    };
    if number < adapters.len() {
        return Ok(adapters.swap_remove(number));
    }
    let asked = match choice {
        DeviceChoice::Best => "no GPU was found".to_owned(),
        DeviceChoice::Number(number) => format!("there is no gpu:{number}"),
    };
    Err(EngineError::NoDevice(why_none(asked, &adapters, Path::new("/")).into()))
}

/// What to say where `auto` finds no GPU.
pub fn why_no_gpu(adapters: &[Adapter]) -> Problem {
    why_none("no GPU was found".to_owned(), adapters, Path::new("/"))
}

/// What to say, and do, where the wanted GPU is missing. `root` is where `/proc`, `/dev` and `/usr` are.
fn why_none(found: String, adapters: &[Adapter], root: &Path) -> Problem {
    let shown = adapters.iter().enumerate().map(|(number, adapter)| {
        let software = if adapter.is_software() { ", software" } else { "" };
        format!("gpu:{number} {}{software}", adapter.name())
    });
    let shown = match adapters.is_empty() {
        true => "no adapter".to_owned(),
        false => shown.collect::<Vec<String>>().join("; "),
    };
    let mut problem = Problem::new(found).note("adapters", shown);
    let nvidia_seen = adapters.iter().any(|adapter| adapter.info.vendor == 0x10de);
    if !nvidia_seen && let Some(advised) = nvidia_without_vulkan(&problem, root) {
        return advised;
    }
    if cfg!(target_os = "linux") && adapters.is_empty() && !has_vulkan_loader(root) {
        let loader =
            "libvulkan.so.1, the Vulkan loader (Debian, Ubuntu: apt-get install libvulkan1)";
        problem = problem.note("missing", loader);
    }
    let software = match adapters.iter().any(Adapter::is_software) {
        true => "; a software one is taken only by its number, as gpu:0",
        false => "",
    };
    problem.expected("a GPU with a Vulkan, Metal or DX12 driver").remedy(format_args!(
        "{CPU} computes without one; {LIST_DEVICES} shows what there is{software}"
    ))
}

fn has_vulkan_loader(root: &Path) -> bool {
    [
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/aarch64-linux-gnu",
        "usr/lib64",
        "usr/lib",
        "lib/x86_64-linux-gnu",
    ]
    .iter()
    .any(|folder| root.join(folder).join("libvulkan.so.1").exists())
}

/// An NVIDIA card whose kernel driver runs while its Vulkan driver is not there, as in Colab and many containers.
fn nvidia_without_vulkan(problem: &Problem, root: &Path) -> Option<Problem> {
    let version = std::fs::read_to_string(root.join("proc/driver/nvidia/version")).ok();
    if version.is_none() && !root.join("dev/nvidia0").exists() {
        return None;
    }
    let number = |text: &str| {
        text.split_whitespace()
            .find(|word| {
                word.split('.').count() >= 2 && word.starts_with(|c: char| c.is_ascii_digit())
            })
            .map(str::to_owned)
    };
    let version = version.as_deref().and_then(number);
    let major = version.as_deref().and_then(|version| version.split('.').next()).unwrap_or("NNN");
    let icd = ["usr/share/vulkan/icd.d/nvidia_icd.json", "etc/vulkan/icd.d/nvidia_icd.json"]
        .iter()
        .any(|file| root.join(file).exists());
    let library = ["usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib", "usr/lib64-nvidia"]
        .iter()
        .any(|folder| root.join(folder).join("libGLX_nvidia.so.0").exists());
    let mut missing = Vec::new();
    if !has_vulkan_loader(root) {
        missing.push("libvulkan.so.1 (the Vulkan loader)");
    }
    if !library {
        missing.push("libGLX_nvidia.so.0 (NVIDIA's Vulkan driver)");
    }
    if !icd {
        missing.push("/usr/share/vulkan/icd.d/nvidia_icd.json (its description)");
    }
    let missing = if missing.is_empty() {
        "nothing obvious; VK_LOADER_DEBUG=all tells what the loader does".to_owned()
    } else {
        missing.join(", ")
    };
    let card = format!(
        "an NVIDIA card with kernel driver {} whose Vulkan driver does not answer",
        version.as_deref().unwrap_or("of an unknown version"),
    );
    Some(problem.clone().note("card", card).note("missing", missing).remedy(format_args!(
        "apt-get install libvulkan1 libnvidia-gl-{major} (of exactly the kernel driver's version); in a container start it with NVIDIA_DRIVER_CAPABILITIES=all; or {CPU}"
    )))
}

/// What an adapter says of its cooperative matrices for f16 with accumulators in f32.
struct CoopOffer {
    /// Of square ones.
    sides: Vec<u32>,
    /// Sizes of a subgroup. Metal tells 4 to 64 whatever the GPU, RADV what the hardware can: pipelines run at one size all the
    /// same, since wgpu lets it vary only where `Features::SUBGROUP` is asked for.
    subgroups: RangeInclusive<u32>,
    scalars: bool,
}

impl CoopOffer {
    fn shapes(&self) -> Vec<CoopShape> {
        let Some(side) = [16, 8].into_iter().find(|side| self.sides.contains(side)) else {
            return Vec::new();
        };
        let (least, most) = (*self.subgroups.start(), *self.subgroups.end());
        let candidates = if least == most { vec![least] } else { SUBGROUPS.to_vec() };
        let possible = candidates.into_iter().filter(|size| self.subgroups.contains(size));
        possible.map(|subgroup| CoopShape { side, subgroup, scalars: self.scalars }).collect()
    }
}

/// Sizes of a subgroup that hardware has, in the order of trial. Half of the true size comes before the true one: it computes
/// nonsense, which the probe sees. Twice the true size is right and slow, so it must not come first: Apple and NVIDIA have 32.
const SUBGROUPS: [u32; 3] = [32, 64, 16];

impl Adapter {
    fn rank(&self) -> usize {
        use wgpu::DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, Other, VirtualGpu};
        [DiscreteGpu, IntegratedGpu, VirtualGpu, Other, Cpu]
            .iter()
            .position(|kind| *kind == self.info.device_type)
            .unwrap_or(3)
    }

    /// Whether it is a CPU in disguise, such as lavapipe.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Name, interface, driver and its version: other drivers give other bits.
    pub fn name(&self) -> String {
        let driver = [self.info.driver.as_str(), &self.info.driver_info].join(" ");
        format!("{} ({}, {})", self.info.name, self.info.backend, driver.trim())
    }

    /// Whether it can keep values in that precision.
    pub fn supports(&self, precision: Precision) -> bool {
        self.features.contains(needed(precision))
    }

    /// The cooperative matrices that it may be used with, the likeliest first: a probe finds out which computes.
    pub fn coop_shapes(&self) -> Vec<CoopShape> {
        let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
        if !self.features.contains(needed) {
            return Vec::new();
        }
        use wgpu::CooperativeScalarType::{F16, F32};
        let offered = self.adapter.cooperative_matrix_properties();
        let square = offered.iter().filter(|t| {
            t.m_size == t.n_size && t.n_size == t.k_size && t.ab_type == F16 && t.cr_type == F32
        });
        let offer = CoopOffer {
            sides: square.map(|t| t.m_size).collect(),
            subgroups: self.info.subgroup_min_size..=self.info.subgroup_max_size,
            scalars: self.info.backend == wgpu::Backend::Metal,
        };
        offer.shapes()
    }

    /// The likeliest of them.
    pub fn coop(&self) -> Option<CoopShape> {
        self.coop_shapes().first().copied()
    }

    /// Multiprocessors, as far as they are known.
    pub(super) fn cores(&self) -> u32 {
        cores::cores(&self.info.name).unwrap_or(USUAL_CORES)
    }

    /// What `auto` takes, and why.
    pub fn best_precision(&self) -> (Precision, &'static str) {
        if self.supports(Precision::F16) {
            match self.coop() {
                Some(_) => (Precision::F16, "its cooperative matrices take it; with a loss scale"),
                None => (Precision::F16, "half the memory traffic of f32, with a loss scale"),
            }
        } else if self.supports(Precision::Bf16) {
            (Precision::Bf16, "half the memory traffic of f32; this GPU has no f16 in shaders")
        } else {
            (Precision::F32, "this GPU has no two-byte types in shaders")
        }
    }

    /// Several lines for `--list-devices`.
    pub fn describe(&self, number: usize, chosen: bool) -> String {
        let has =
            |features: wgpu::Features| if self.features.contains(features) { "yes" } else { "no" };
        let tiles: Vec<String> = self
            .adapter
            .cooperative_matrix_properties()
            .iter()
            .map(|t| {
                format!("{}x{}x{} {:?} -> {:?}", t.m_size, t.n_size, t.k_size, t.ab_type, t.cr_type)
            })
            .collect();
        let mib = |bytes: u64| bytes >> 20;
        let (precision, why) = self.best_precision();
        let by_number = || Action::Option("device", &format!("gpu:{number}")).to_string();
        let auto = match (chosen, self.is_software()) {
            (true, _) => format!("would take it, in {precision}: {why}"),
            (false, true) => {
                format!("would not take it: it is software, for tests; {} does", by_number())
            }
            (false, false) => {
                format!("would take a better one; {} takes this, in {precision}", by_number())
            }
        };
        format!(
            "gpu:{number}  {}\n  kind: {:?}, subgroups of {} to {}\n  f16 {}, bf16 {}, timestamps {}, pipeline cache {}, matrix tiles: {}\n  limits: buffers of {} MiB, bindings of {} MiB, {} KiB workgroup memory, {} invocations, {} storage buffers\n  auto {auto}\n",
            self.name(),
            self.info.device_type,
            self.info.subgroup_min_size,
            self.info.subgroup_max_size,
            has(needed(Precision::F16)),
            has(needed(Precision::Bf16)),
            has(wgpu::Features::TIMESTAMP_QUERY),
            has(wgpu::Features::PIPELINE_CACHE),
            if tiles.is_empty() { "none".to_owned() } else { tiles.join(", ") },
            mib(self.limits.max_buffer_size),
            mib(self.limits.max_storage_buffer_binding_size),
            self.limits.max_compute_workgroup_storage_size >> 10,
            self.limits.max_compute_invocations_per_workgroup,
            self.limits.max_storage_buffers_per_shader_stage,
        )
    }
}

/// The feature that a storage precision needs.
pub(super) fn needed(precision: Precision) -> wgpu::Features {
    match precision {
        Precision::F32 => wgpu::Features::empty(),
        Precision::F16 => wgpu::Features::SHADER_F16,
        Precision::Bf16 => wgpu::Features::SHADER_I16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn an_nvidia_card_without_its_vulkan_driver_is_named_with_the_remedy() {
        let version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n";
        let root = tree(&[
            ("proc/driver/nvidia/version", version),
            ("usr/lib/x86_64-linux-gnu/libvulkan.so.1", ""),
        ]);
        let text = why_none(String::new(), &[], root.path()).to_string();
        for part in [
            "535.104.05",
            "libGLX_nvidia.so.0",
            "nvidia_icd.json",
            "libnvidia-gl-535",
            "NVIDIA_DRIVER_CAPABILITIES=all",
            &CPU.to_string(),
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("missing: libvulkan.so.1"), "{text}");
    }

    #[test]
    fn tensor_cores_are_tried_where_subgroups_are_told_as_a_range() {
        let sizes = |sides: &[u32], subgroups| -> Vec<(u32, u32)> {
            let offer = CoopOffer { sides: sides.to_vec(), subgroups, scalars: false };
            offer.shapes().iter().map(|shape| (shape.side, shape.subgroup)).collect()
        };
        assert_eq!(sizes(&[16], 32..=32), [(16, 32)], "NVIDIA");
        assert_eq!(sizes(&[8], 4..=64), [(8, 32), (8, 64), (8, 16)], "Metal");
        assert_eq!(sizes(&[16], 32..=64), [(16, 32), (16, 64)], "RADV");
        assert_eq!(sizes(&[8], 8..=8), [(8, 8)], "lavapipe");
        assert_eq!(sizes(&[], 32..=32), [], "no square ones");
    }

    #[test]
    fn without_any_card_the_loader_is_asked_for_where_it_is_missing() {
        let text = why_none(String::new(), &[], tree(&[]).path()).to_string();
        assert!(text.contains("no adapter") && text.contains(&CPU.to_string()), "{text}");
        assert_eq!(text.contains("apt-get install libvulkan1"), cfg!(target_os = "linux"));
    }
}
