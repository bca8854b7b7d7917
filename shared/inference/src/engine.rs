//! The engine that a stage with a model computes on, and results on stdout.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compute::gpu::{self, Adapter, Device, adapters};
use compute::{Cpu, Decoder, EngineError, Gpu, Kernels, Precision, Storage, wgsl};
use etcetera::BaseStrategy;
use model::Config;
use serde_json::{Value, json};
use stage::{Action, Failure, FailureKind, Log, Manifest, Problem, Result, hash_file};

const PROFILE: Action = Action::Switch("profile");

/// What computes: the CPU engine, or an open GPU with its activation precision.
#[derive(Clone)]
pub enum Engine {
    /// The CPU engine, with what decoding keeps weights in.
    Cpu(Storage),
    /// An open GPU.
    Gpu {
        /// The GPU and its compiled kernels.
        device: Arc<Device>,
        /// The activation precision.
        precision: Precision,
        /// Elements of a head, for which kernels are compiled.
        head_width: usize,
    },
}

/// What is asked of [`Engine::open`].
pub struct EngineOptions<'a> {
    /// The section that `device` and `precision` come from, for errors.
    pub section: &'a str,
    /// auto, cpu, gpu or gpu:N.
    pub device: &'a str,
    /// auto, f32, f16, bf16 or q8.
    pub precision: &'a str,
    /// `--shaders`: a folder to read shaders from.
    pub shaders: Option<&'a Path>,
    /// `--profile`: keep the time of every kernel.
    pub profile: bool,
    /// Elements of a head, for which kernels are compiled.
    pub head_width: usize,
}

/// For `map_err`: an engine's error with its exit code.
pub fn failed(error: EngineError) -> Failure {
    let kind = match error {
        EngineError::NoDevice(_) | EngineError::Unsupported(_) => FailureKind::Usage,
        EngineError::Shader(_) => FailureKind::BadInput,
        EngineError::Probe(_) | EngineError::OutOfMemory { .. } | EngineError::DeviceLost(_) => {
            FailureKind::TryAgain
        }
    };
    Failure::new(kind, error)
}

impl Engine {
    /// The engine that `[eval]` asks for, for heads of this width.
    pub fn for_evaluation(
        section: &stage::config::Eval,
        head_width: usize,
        log: &Log,
    ) -> Result<Self> {
        let options = EngineOptions {
            section: "eval",
            device: &section.device,
            precision: &section.precision,
            shaders: None,
            profile: false,
            head_width,
        };
        Self::open(&options, log)
    }

    /// Opens the requested engine and logs in one line why it was chosen.
    pub fn open(options: &EngineOptions, log: &Log) -> Result<Self> {
        let EngineOptions { section, device, precision, .. } = *options;
        let asked = match precision {
            "auto" => None,
            "f32" => Some(Precision::F32),
            "f16" => Some(Precision::F16),
            "bf16" => Some(Precision::Bf16),
            "q8" if section == "sample" && (device == "auto" || device == "cpu") => {
                return Ok(Engine::Cpu(Storage::Q8));
            }
            "q8" if section == "sample" => {
                return Err(Failure::usage("only the CPU engine has it")
                    .at(format_args!("{section}.precision = \"q8\""))
                    .remedy(format_args!(
                        "{}, or {}",
                        Action::Option("device", "cpu"),
                        Action::Option("precision", "f16")
                    )));
            }
            _ => {
                let q8 = if section == "sample" { "; \"q8\" with the CPU engine" } else { "" };
                return Err(Failure::usage(format_args!(
                    "expected \"auto\", \"f32\", \"f16\" or \"bf16\"{q8}"
                ))
                .at(format_args!("{section}.precision = {precision:?}")));
            }
        };
        let choice = match device.split_once(':') {
            None if device == "auto" || device == "gpu" => adapters::DeviceChoice::Best,
            Some(("gpu", number)) if number.parse::<usize>().is_ok() => {
                adapters::DeviceChoice::Number(number.parse().unwrap_or_default())
            }
            None if device == "cpu" => return Self::cpu(options, asked),
            _ => {
                return Err(Failure::usage("expected \"auto\", \"cpu\", \"gpu\" or \"gpu:N\"")
                    .at(format_args!("{section}.device = {device:?}")));
            }
        };
        let opened = Self::gpu(options, choice, asked, log);
        match opened {
            // A shader that does not compile is the user's own, whatever the device.
            Err(error) if device == "auto" && !matches!(error, EngineError::Shader(_)) => {
                if options.profile {
                    return Err(
                        failed(error).at(format_args!("{PROFILE} times the kernels of a GPU"))
                    );
                }
                match &error {
                    EngineError::NoDevice(problem) => log
                        .say(format!("device auto: the CPU engine, since {}", problem.headline())),
                    _ => log.warn(format!(
                        "device auto: the CPU engine, since the GPU cannot be used: {error}"
                    )),
                }
                Self::cpu(options, asked)
            }
            opened => opened.map_err(failed),
        }
    }

    fn cpu(options: &EngineOptions, asked: Option<Precision>) -> Result<Self> {
        if let Some(precision) = asked.filter(|&precision| precision != Precision::F32) {
            return Err(Failure::usage("the CPU engine computes in f32")
                .at(format_args!("{}.precision = \"{precision}\"", options.section))
                .remedy(format_args!(
                    "{}, or a GPU ({})",
                    Action::Option("precision", "auto"),
                    Action::Switch("list-devices")
                )));
        }
        if options.profile {
            return Err(Failure::usage("only kernels of a GPU are timed")
                .at(PROFILE)
                .expected(Action::Option("device", "gpu")));
        }
        Ok(Engine::Cpu(Storage::F32))
    }

    fn gpu(
        options: &EngineOptions,
        choice: adapters::DeviceChoice,
        asked: Option<Precision>,
        log: &Log,
    ) -> compute::kernels::Result<Self> {
        // Treats the GPU as having no more: for tests, and for a shared GPU.
        let memory =
            std::env::var("BEDTIME_GPU_MEMORY_MIB").ok().and_then(|text| text.parse::<f64>().ok());
        let device_options = gpu::Options {
            library: options.shaders.map_or(Ok(wgsl::Library::Embedded), wgsl::folder)?,
            profile: options.profile,
            memory_limit: memory.map(|mib| (mib * 1_048_576.0) as u64),
            cache: cache_folder(),
            log: Some(*log),
            ..Default::default()
        };
        let adapter = adapters::choose(choice)?;
        let (best, why) = adapter.best_precision();
        let name = adapter.name();
        let device = Device::open(adapter, device_options)?;
        let head_width = options.head_width;
        // A precision that fails its probe is replaced by the next one.
        let tries: Vec<(Precision, &str)> = match asked {
            Some(precision) => vec![(precision, "as asked")],
            None if best == Precision::F32 => vec![(best, why)],
            None => vec![(best, why), (Precision::F32, "the faster one failed its probe")],
        };
        let mut last = None;
        for (precision, why) in tries {
            match Gpu::open(&device, precision, head_width) {
                Ok(_) => {
                    log.say(format!("device {}: {name}, {precision}: {why}", options.device));
                    return Ok(Engine::Gpu { device, precision, head_width });
                }
                Err(error @ EngineError::Probe(_)) => {
                    log.warn(format!("{error}"));
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            EngineError::NoDevice(Problem::new("no precision could be tried").into())
        }))
    }

    /// A fresh engine.
    pub fn kernels(&self) -> Result<Box<dyn Kernels>> {
        match self {
            Engine::Cpu(_) => Ok(Cpu::boxed()),
            Engine::Gpu { device, precision, head_width } => {
                Gpu::open(device, *precision, *head_width).map_err(failed)
            }
        }
    }

    /// A decoder of up to `slots` stories at once, on all threads of the process.
    pub fn decoder(&self, config: Config, weights: Vec<f32>, slots: usize) -> Result<Decoder> {
        match self {
            Engine::Cpu(storage) => {
                let threads = rayon::current_num_threads();
                Decoder::on_cpu(config, weights, slots, threads, *storage).map_err(failed)
            }
            Engine::Gpu { .. } => {
                Decoder::new(self.kernels()?, config, &weights, slots).map_err(failed)
            }
        }
    }

    /// The activation precision.
    pub fn precision(&self) -> Precision {
        match self {
            Engine::Cpu(_) => Precision::F32,
            Engine::Gpu { precision, .. } => *precision,
        }
    }

    /// Switches to the kernels that a checkpoint names, if the device has them.
    pub fn take_plan(&self, told: &str) -> bool {
        match self {
            Engine::Cpu(_) => false,
            Engine::Gpu { device, .. } => device.take_plan(told),
        }
    }

    /// Whether a GPU computes.
    pub fn is_gpu(&self) -> bool {
        matches!(self, Engine::Gpu { .. })
    }
}

/// The cache folder: `BEDTIME_CACHE`, or the user's own.
pub fn cache_folder() -> Option<PathBuf> {
    let given = std::env::var_os("BEDTIME_CACHE").filter(|folder| !folder.is_empty());
    given
        .map(PathBuf::from)
        .or_else(|| Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("bedtime")))
}

/// Every device, and what `auto` would do with it.
pub fn list_devices() -> String {
    let adapters = adapters::list();
    let chosen = adapters.iter().position(|adapter| !adapter.is_software());
    let mut text: String = adapters
        .iter()
        .enumerate()
        .map(|(i, adapter): (usize, &Adapter)| adapter.describe(i, chosen == Some(i)))
        .collect();
    let auto = if chosen.is_some() {
        "would take a GPU"
    } else {
        "would take it: there is no GPU that is hardware"
    };
    text.push_str(&format!("cpu    {}\n  f32\n  auto {auto}\n", Cpu::boxed().device()));
    if chosen.is_none() {
        text.push_str(&format!("\n{}\n", adapters::why_no_gpu(&adapters)));
    }
    text
}

/// As [`list_devices`], for programs: every device, what `auto` takes and why, and where that is the CPU what is missing.
pub fn devices_as_json() -> Value {
    let adapters = adapters::list();
    let chosen = adapters.iter().position(|adapter| !adapter.is_software());
    let gpu = |(number, adapter): (usize, &Adapter)| {
        let (precision, why) = adapter.best_precision();
        json!({
            "device": format!("gpu:{number}"),
            "name": adapter.name(),
            "is_software": adapter.is_software(),
            "precision": precision.name(),
            "why": why,
        })
    };
    let mut devices: Vec<Value> = adapters.iter().enumerate().map(gpu).collect();
    let cpu = Cpu::boxed().device();
    devices.push(json!({ "device": "cpu", "name": cpu, "is_software": false, "precision": "f32", "why": "the CPU engine" }));
    let (auto, why) = match chosen {
        Some(number) => (format!("gpu:{number}"), "the best GPU that is hardware"),
        None => ("cpu".to_owned(), "there is no GPU that is hardware"),
    };
    let missing = chosen.is_none().then(|| adapters::why_no_gpu(&adapters).to_string());
    json!({ "devices": devices, "auto": { "device": auto, "why": why }, "missing": missing })
}

/// Compares the files of a model's folder with the manifest that training left beside it, where there is one.
///
/// # Errors
/// Exit code 3 when one has another content.
pub(crate) fn check_model(folder: &Path) -> Result<()> {
    let path = folder.with_file_name("manifest.json");
    // Models from elsewhere have no manifest. One that cannot be read is ignored.
    let Some(manifest) = Manifest::read(&path).ok().filter(|manifest| manifest.stage == "train")
    else {
        return Ok(());
    };
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    for output in &manifest.outputs {
        let Some(file) =
            output.name.strip_prefix(&*name).and_then(|rest| rest.strip_prefix(['/', '\\']))
        else {
            continue;
        };
        if !folder.join(file).exists() {
            continue; // reported by the reader of the file
        }
        let found = hash_file(&folder.join(file))?;
        if found.sha256 != output.sha256 {
            return Err(Failure::input(
                &folder.join(file),
                format_args!("its {} bytes have SHA-256 {}", found.bytes, found.sha256),
                format_args!("{}, as {} says", output.sha256, path.display()),
                format_args!(
                    "{}, which makes it again from the last checkpoint",
                    Action::Run("train")
                ),
            ));
        }
    }
    Ok(())
}
