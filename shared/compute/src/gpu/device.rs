//! An opened GPU: its features and limits, its compiled kernels, and what it has to say when something is wrong.
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use stage::{Action, Log, Problem};

use super::adapters::{self, Adapter};
use super::cache::replace_file;
use super::pipeline::{self, Pipeline};
use super::plan::Plan;
use super::proofs::Proofs;
use super::table::{KERNELS, Kernel, Workgroup};
use crate::error::{CPU, EngineError, LIST_DEVICES};
use crate::kernels::{Precision, Result};
use crate::wgsl::{CoopShape, Library, Tiles, Variant};

/// How a GPU is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The shaders in the program, or those of a folder.
    pub library: Library,
    /// Keeps bounds checks in the shaders.
    pub checks: bool,
    /// Keeps the time of every kernel; slows the step down.
    pub profile: bool,
    /// Asks for WebGPU's default limits only, whatever the adapter has.
    pub default_limits: bool,
    /// Pretends that the GPU has at most this number of bytes: for tests, and for a GPU that is shared.
    pub memory_limit: Option<u64>,
    /// Leaves cooperative matrices alone, if there are any.
    pub scalar: bool,
    /// Takes the kernels without a probe: for tests of whether their tests find faults.
    pub unprobed: bool,
    /// Tries subgroups of these sizes in place of the adapter's: for tests.
    pub subgroups: Vec<u32>,
    /// Where it is told that a kernel gave way to another.
    pub log: Option<Log>,
    /// Where compiled pipelines are kept from run to run.
    pub cache: Option<PathBuf>,
}

/// A GPU with its kernels, shared by all engines on it.
pub struct Device {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// The GPU it is on.
    pub adapter: Adapter,
    /// What it was opened with.
    pub options: Options,
    /// What the device was granted.
    pub limits: wgpu::Limits,
    /// Which text the shaders have, in 16 digits.
    pub shaders: String,
    troubles: Arc<Troubles>,
    /// The cooperative matrices that may be used, the likeliest first.
    pub(super) shapes: Vec<CoopShape>,
    plan: Mutex<Option<Plan>>,
    pipelines: Mutex<HashMap<(&'static str, Variant), Arc<Pipeline>>>,
    cache: Option<(wgpu::PipelineCache, PathBuf)>,
    /// Kernels that have passed their probe, and those that have not.
    pub(super) proofs: Proofs,
}

/// What the driver reported on its own threads.
#[derive(Default)]
struct Troubles {
    lost: Mutex<Option<String>>,
    error: Mutex<Option<String>>,
}

fn note(place: &Mutex<Option<String>>, text: String) {
    place.lock().get_or_insert(text);
}

fn noted(place: &Mutex<Option<String>>) -> Option<String> {
    place.lock().clone()
}

impl Troubles {
    fn of(device: &wgpu::Device) -> Arc<Self> {
        let troubles = Arc::<Troubles>::default();
        let (lost, errors) = (troubles.clone(), troubles.clone());
        device.set_device_lost_callback(move |reason, message| {
            note(&lost.lost, format!("{reason:?} {message}"))
        });
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            note(&errors.error, error.to_string())
        }));
        troubles
    }
}

/// What is asked of the adapter, of what it has.
fn features(adapter: &Adapter, options: &Options, coop: bool) -> Result<wgpu::Features> {
    let mut optional = wgpu::Features::PIPELINE_CACHE
        | adapters::needed(Precision::F16)
        | adapters::needed(Precision::Bf16);
    optional.set(wgpu::Features::TIMESTAMP_QUERY, options.profile);
    optional.set(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, coop);
    let features = adapter.features & optional;
    if options.profile && !features.contains(wgpu::Features::TIMESTAMP_QUERY) {
        return Err(EngineError::Unsupported(
            Problem::new("no timestamps")
                .at(adapter.name())
                .expected("a driver that can tell when a kernel began and ended")
                .remedy(format_args!("leave {} away", Action::Switch("profile")))
                .into(),
        ));
    }
    Ok(features)
}

/// WebGPU's default limits, and more where the adapter has more of what is used.
fn limits(adapter: &Adapter, options: &Options) -> Result<wgpu::Limits> {
    let (mut limits, has) = (wgpu::Limits::defaults(), &adapter.limits);
    if !options.default_limits {
        limits.max_buffer_size = has.max_buffer_size;
        limits.max_storage_buffer_binding_size = has.max_storage_buffer_binding_size;
        limits.min_storage_buffer_offset_alignment = has.min_storage_buffer_offset_alignment;
        limits.max_compute_workgroup_storage_size =
            limits.max_compute_workgroup_storage_size.max(has.max_compute_workgroup_storage_size);
    }
    let mut small = Vec::new();
    limits.check_limits_with_fail_fn(has, false, |name, needed, has| {
        small.push(format!("{name} is {has}, needed {needed}"))
    });
    // What a compute shader never touches (textures, vertices) may be as small as it likes.
    small.retain(|text| {
        ["compute", "storage_buffer", "buffer_size", "uniform"]
            .iter()
            .any(|part| text.contains(part))
    });
    if small.is_empty() {
        return Ok(limits.or_worse_values_from(has));
    }
    Err(EngineError::Unsupported(
        Problem::new(small.join(", "))
            .at(adapter.name())
            .expected("the limits of WebGPU")
            .remedy(format_args!("another GPU ({LIST_DEVICES}), or {CPU}"))
            .into(),
    ))
}

impl Device {
    /// # Errors
    /// Where the driver gives no device with the features asked for.
    pub fn open(adapter: Adapter, options: Options) -> Result<Arc<Self>> {
        let shapes = if options.scalar || options.default_limits {
            Vec::new()
        } else if options.subgroups.is_empty() {
            adapter.coop_shapes()
        } else {
            let shape = adapter.coop();
            let sizes = options.subgroups.iter();
            shape.map_or(Vec::new(), |shape| {
                sizes.map(|&subgroup| CoopShape { subgroup, ..shape }).collect()
            })
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("bedtime"),
            required_features: features(&adapter, &options, !shapes.is_empty())?,
            required_limits: limits(&adapter, &options)?,
            memory_hints: wgpu::MemoryHints::Performance,
            experimental_features: if shapes.is_empty() {
                wgpu::ExperimentalFeatures::disabled()
            } else {
                // SAFETY: of the experimental features only cooperative matrices are used, by shaders that the probe and
                // the kernels' tests run; lib/coop.wgsl keeps to workgroup memory that it has sized itself.
                unsafe { wgpu::ExperimentalFeatures::enabled() }
            },
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.adapter.request_device(&descriptor))
            .map_err(|error| {
                EngineError::NoDevice(
                    Problem::new(format_args!("it cannot be opened: {error}"))
                        .at(adapter.name())
                        .remedy(format_args!(
                            "see that no other program holds it and the driver is whole; or {CPU}"
                        ))
                        .into(),
                )
            })?;
        let troubles = Troubles::of(&device);
        let cache = pipeline_cache(&device, &adapter, &options);
        let device = Device {
            shaders: options.library.fingerprint(),
            limits: device.limits(),
            device,
            queue,
            adapter,
            options,
            shapes,
            plan: Mutex::default(),
            troubles,
            pipelines: Mutex::default(),
            cache,
            proofs: Proofs::default(),
        };
        device.set_plan(device.kept_plan());
        Ok(Arc::new(device))
    }

    /// Loss of the device, or whatever else the driver complained about.
    pub fn check(&self) -> Result<()> {
        if let Some(reason) = noted(&self.troubles.lost) {
            return Err(EngineError::DeviceLost(Problem::new(format_args!("the GPU was lost: {}", reason.trim())).at(self.adapter.name()).kept("the last checkpoint").remedy("run the same command again; if it comes back, look at the driver's log and the card's power and temperature").into()));
        }
        match noted(&self.troubles.error) {
            Some(error) => Err(EngineError::DeviceLost(
                Problem::new(format_args!("the driver reported: {error}"))
                    .at(self.adapter.name())
                    .kept("the last checkpoint")
                    .remedy(format_args!(
                        "run the same command again; if it comes back, try {CPU} and report it"
                    ))
                    .into(),
            )),
            None => Ok(()),
        }
    }

    /// Waits until the device has done what was submitted.
    pub(super) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let waited =
            self.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        self.check()?;
        waited.map(drop).map_err(|error| {
            EngineError::DeviceLost(
                Problem::new(format_args!("waiting for the GPU failed: {error}"))
                    .at(self.adapter.name())
                    .kept("the last checkpoint")
                    .remedy("run the same command again")
                    .into(),
            )
        })
    }

    /// How products are cut for cooperative matrices, where this precision goes on them.
    pub fn plan(&self, precision: Precision) -> Option<Plan> {
        let plan = self.plan.lock().clone();
        plan.filter(|_| precision == Precision::F16)
    }

    /// Takes another plan, or none: engines opened from now on use it.
    pub fn set_plan(&self, plan: Option<Plan>) {
        *self.plan.lock() = plan;
    }

    /// The kernel gives way to another at these tiles, in engines opened from now on.
    pub(super) fn exclude(&self, kernel: &Kernel, tiles: Tiles) {
        if let Some(plan) = &mut *self.plan.lock() {
            plan.exclude(kernel, tiles);
        }
    }

    /// Makes the GPU unusable, as a driver's reset does: for tests of what happens then.
    pub fn lose(&self) {
        self.device.destroy();
        let _ = self.device.poll(wgpu::PollType::Poll);
    }

    /// The compiled kernel.
    pub(super) fn pipeline(
        &self,
        kernel: &'static Kernel,
        variant: &Variant,
    ) -> Result<Arc<Pipeline>> {
        let key = (kernel.name, *variant);
        if let Some(pipeline) = self.pipelines.lock().get(&key) {
            return Ok(pipeline.clone());
        }
        let Options { library, checks, .. } = &self.options;
        // Software may crash without them; on hardware they cost time (shaders/README.md).
        let checks = *checks || (self.adapter.is_software() && kernel.checked_on_software);
        let compiled = pipeline::compile(
            &self.device,
            self.cache.as_ref().map(|(cache, _)| cache),
            library,
            kernel,
            variant,
            checks,
        )?;
        self.check()?;
        let compiled = Arc::new(compiled);
        self.pipelines.lock().insert(key, compiled.clone());
        Ok(compiled)
    }

    /// Compiles all kernels, on all threads, and keeps what the driver made of them for the next start.
    pub(super) fn prepare(&self, precision: Precision, head_width: u32) -> Result<()> {
        use rayon::prelude::*;
        let plan = self.plan(precision);
        let before = self.pipelines.lock().len();
        KERNELS.par_iter().try_for_each(|kernel| {
            let Some(plan) = plan.as_ref().filter(|_| kernel.on_coop()) else {
                let scalar = !kernel.on_coop();
                let compile =
                    || self.pipeline(kernel, &kernel.scalar_variant(precision, head_width));
                return if scalar { compile().map(drop) } else { Ok(()) };
            };
            let tiles = match kernel.workgroup {
                Workgroup::CoopAttention => {
                    plan.attention(kernel, head_width).into_iter().collect()
                }
                _ => plan.likely(kernel),
            };
            tiles.into_iter().try_for_each(|tiles| {
                let variant = kernel.coop_variant(head_width, plan.coop, tiles);
                match self.pipeline(kernel, &variant) {
                    // Its probe finds the same, and goes on to other tiles.
                    Ok(_) | Err(EngineError::Probe(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            })
        })?;
        let after = self.pipelines.lock().len();
        if after > before
            && let Some((cache, path)) = &self.cache
            && let Some(data) = cache.get_data()
        {
            // A cache that cannot be kept costs time at the next start and nothing else.
            let _ = replace_file(path, &data);
        }
        Ok(())
    }
}

fn pipeline_cache(
    device: &wgpu::Device,
    adapter: &Adapter,
    options: &Options,
) -> Option<(wgpu::PipelineCache, PathBuf)> {
    if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
        return None;
    }
    let folder = options.cache.as_ref()?;
    std::fs::create_dir_all(folder).ok()?;
    let path = folder.join(wgpu::util::pipeline_cache_key(&adapter.info)?);
    let data = std::fs::read(&path).ok();
    let descriptor =
        wgpu::PipelineCacheDescriptor { label: None, data: data.as_deref(), fallback: true };
    // SAFETY: the file was written by `prepare` from the same call's data; the driver checks its header for device and
    // version, and falls back to an empty cache.
    Some((unsafe { device.create_pipeline_cache(&descriptor) }, path))
}
