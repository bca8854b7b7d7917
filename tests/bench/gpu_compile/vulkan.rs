//! Pipelines compiled straight through Vulkan, for what the driver says of them: wgpu does not pass that on.
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use anyhow::{Context, Result, bail};
use ash::vk;

/// A driver's compiler. Nothing is executed on it: a device of Mesa's no-op shims will do.
pub(crate) struct Compiler {
    pub(crate) name: String,
    pub(crate) coop: bool,
    device: ash::Device,
    executable: ash::khr::pipeline_executable_properties::Device,
    _instance: ash::Instance,
    _entry: ash::Entry,
}

/// What a driver says of a pipeline: registers, spills, instructions, under its own names.
pub(crate) type Figures = BTreeMap<String, f64>;

impl Compiler {
    /// The first device. `robust`: bounds checks by the driver, as wgpu always asks for.
    pub(crate) fn open(robust: bool) -> Result<Self> {
        // SAFETY: the loader is the system's; all handles live as long as this, or the process.
        unsafe {
            let entry = ash::Entry::load().context("libvulkan.so.1")?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let instance = entry.create_instance(
                &vk::InstanceCreateInfo::default().application_info(&application),
                None,
            )?;
            let physical = instance.enumerate_physical_devices()?;
            let physical = *physical.first().context("no Vulkan device")?;
            let properties = instance.get_physical_device_properties(physical);
            let has = instance.enumerate_device_extension_properties(physical)?;
            let has = |name: &CStr| has.iter().any(|e| e.extension_name_as_c_str() == Ok(name));
            if !has(ash::khr::pipeline_executable_properties::NAME) {
                bail!("the driver tells nothing of its pipelines");
            }
            let coop = has(ash::khr::cooperative_matrix::NAME);
            let mut eleven = vk::PhysicalDeviceVulkan11Features::default();
            let mut twelve = vk::PhysicalDeviceVulkan12Features::default();
            let mut thirteen = vk::PhysicalDeviceVulkan13Features::default();
            let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
            let mut executables =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
            let mut features = vk::PhysicalDeviceFeatures2::default()
                .push_next(&mut eleven)
                .push_next(&mut twelve)
                .push_next(&mut thirteen)
                .push_next(&mut executables);
            if coop {
                features = features.push_next(&mut matrices);
            }
            instance.get_physical_device_features2(physical, &mut features);
            features.features.robust_buffer_access = u32::from(robust);
            let mut extensions = vec![ash::khr::pipeline_executable_properties::NAME.as_ptr()];
            if coop {
                extensions.push(ash::khr::cooperative_matrix::NAME.as_ptr());
            }
            let queue = vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0]);
            let device = instance.create_device(
                physical,
                &vk::DeviceCreateInfo::default()
                    .queue_create_infos(std::slice::from_ref(&queue))
                    .enabled_extension_names(&extensions)
                    .push_next(&mut features),
                None,
            )?;
            let name = properties.device_name_as_c_str().unwrap_or(c"?");
            Ok(Compiler {
                name: name.to_string_lossy().into_owned(),
                coop,
                executable: ash::khr::pipeline_executable_properties::Device::new(
                    &instance, &device,
                ),
                device,
                _instance: instance,
                _entry: entry,
            })
        }
    }

    /// Compiles an entry point with these storage buffers beside its `Params`.
    pub(crate) fn figures(&self, spirv: &[u32], entry: &str, buffers: &[u32]) -> Result<Figures> {
        // SAFETY: naga wrote the SPIR-V; every handle is made and ended here.
        unsafe {
            let module = self
                .device
                .create_shader_module(&vk::ShaderModuleCreateInfo::default().code(spirv), None)?;
            let bindings: Vec<_> = std::iter::once((0, vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC))
                .chain(buffers.iter().map(|&b| (b, vk::DescriptorType::STORAGE_BUFFER)))
                .map(|(binding, kind)| {
                    vk::DescriptorSetLayoutBinding::default()
                        .binding(binding)
                        .descriptor_type(kind)
                        .descriptor_count(1)
                        .stage_flags(vk::ShaderStageFlags::COMPUTE)
                })
                .collect();
            let set = self.device.create_descriptor_set_layout(
                &vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings),
                None,
            )?;
            let layout = self.device.create_pipeline_layout(
                &vk::PipelineLayoutCreateInfo::default().set_layouts(std::slice::from_ref(&set)),
                None,
            )?;
            let entry = CString::new(entry)?;
            let info = vk::ComputePipelineCreateInfo::default()
                .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR)
                .stage(
                    vk::PipelineShaderStageCreateInfo::default()
                        .stage(vk::ShaderStageFlags::COMPUTE)
                        .module(module)
                        .name(&entry),
                )
                .layout(layout);
            let made =
                self.device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            self.device.destroy_shader_module(module, None);
            let figures = match made {
                Ok(pipelines) => {
                    let figures = self.statistics(pipelines[0]);
                    self.device.destroy_pipeline(pipelines[0], None);
                    figures
                }
                Err((_, error)) => Err(error.into()),
            };
            self.device.destroy_pipeline_layout(layout, None);
            self.device.destroy_descriptor_set_layout(set, None);
            figures
        }
    }

    unsafe fn statistics(&self, pipeline: vk::Pipeline) -> Result<Figures> {
        let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
        // SAFETY: the pipeline was made with CAPTURE_STATISTICS; the format says which field of the value counts.
        unsafe {
            let statistics = self.executable.get_pipeline_executable_statistics(&info)?;
            Ok(statistics
                .iter()
                .map(|s| {
                    use vk::PipelineExecutableStatisticFormatKHR as Format;
                    let value = match s.format {
                        Format::UINT64 => s.value.u64 as f64,
                        Format::INT64 => s.value.i64 as f64,
                        Format::FLOAT64 => s.value.f64,
                        _ => f64::from(s.value.b32),
                    };
                    let name = CStr::from_ptr(s.name.as_ptr());
                    (name.to_string_lossy().into_owned(), value)
                })
                .collect())
        }
    }
}
