//! Shaders to pipelines: each kernel's file put together, read by naga, checked, and compiled.
//!
//! What a kernel takes is read off the shader itself: its `Params` and its bindings, so that a call with the wrong
//! buffers, types or fields is a panic on the host, not a wrong number on the device.
use stage::{Action, Problem};

use super::table::Kernel;
use crate::EngineError;
use crate::kernels::{Precision, Result};
use crate::wgsl::{Expanded, Library, Variant, expand};

/// What the values of a buffer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// A floating-point number.
    Value(Precision),
    /// An index or id.
    U32,
}

impl Element {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Element::Value(precision) => precision.bytes(),
            Element::U32 => 4,
        }
    }
}

/// A storage buffer of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// As the shader declares it.
    pub name: String,
    /// `@binding` of group 0.
    pub index: u32,
    /// Declared `read_write`.
    pub writes: bool,
    /// What its values are.
    pub element: Element,
    /// As vectors of four: the view has to begin and end at multiples of four.
    pub vectors: bool,
    /// Where in `Params` the field `<name>_at` is: the buffer's first element that counts.
    pub at: usize,
}

/// A field of `Params`.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// As the shader declares it.
    pub name: String,
    /// Bytes from the start of `Params`.
    pub offset: usize,
    /// Else u32.
    pub float: bool,
}

/// What a kernel takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    /// Those of `Params`, in order.
    pub fields: Vec<Field>,
    /// Size of `Params`.
    pub params_bytes: usize,
    /// In the order of their numbers: inputs, then outputs.
    pub bindings: Vec<Binding>,
}

/// A shader read and validated by naga.
pub struct Parsed {
    /// Its text.
    pub source: Expanded,
    /// As naga parsed it.
    pub module: naga::Module,
    /// What naga's validation found.
    pub info: naga::valid::ModuleInfo,
}

/// Reads and validates a kernel's file. The error has naga's message with file, line and column of the original.
pub fn parse(library: &Library, file: &str, variant: &Variant) -> Result<Parsed> {
    let source = expand(library, file, variant)?;
    let broken = |location: Option<naga::SourceLocation>, message: String| {
        let (line, column) =
            location.map_or((1, 1), |l| (l.line_number as usize, l.line_position as usize));
        let text = source.text.lines().nth(line - 1).unwrap_or_default().trim();
        EngineError::Shader(
            Problem::new(message)
                .at(source.place(line, column))
                .note("in", text)
                .expected("WGSL that naga accepts (shaders/README.md)")
                .remedy(format_args!(
                    "mend the shader, or leave {} away",
                    Action::Switch("shaders")
                ))
                .into(),
        )
    };
    let module = naga::front::wgsl::parse_str(&source.text)
        .map_err(|error| broken(error.location(&source.text), error.message().to_owned()))?;
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities());
    let info = validator.validate(&module).map_err(|error| {
        let mut message = error.as_inner().to_string();
        let mut cause = std::error::Error::source(error.as_inner());
        while let Some(inner) = cause {
            message.push_str(&format!(": {inner}"));
            cause = inner.source();
        }
        broken(error.location(&source.text), message)
    })?;
    Ok(Parsed { source, module, info })
}

fn capabilities() -> naga::valid::Capabilities {
    use naga::valid::Capabilities;
    Capabilities::SHADER_FLOAT16 | Capabilities::SHADER_INT16 | Capabilities::COOPERATIVE_MATRIX
}

impl Parsed {
    /// What an entry point of it takes.
    pub fn interface(&self, kernel: &str) -> Result<Interface> {
        let entry = self
            .module
            .entry_points
            .iter()
            .position(|entry| entry.name == kernel)
            .ok_or_else(|| self.wrong(format!("it has no entry point {kernel}")))?;
        let used = self.info.get_entry_point(entry);
        let mut interface = Interface { fields: Vec::new(), params_bytes: 0, bindings: Vec::new() };
        for (handle, variable) in self.module.global_variables.iter() {
            let (Some(resource), name) =
                (variable.binding, variable.name.clone().unwrap_or_default())
            else {
                continue;
            };
            match (variable.space, &self.module.types[variable.ty].inner) {
                (naga::AddressSpace::Uniform, naga::TypeInner::Struct { members, span }) => {
                    interface.params_bytes = *span as usize;
                    interface.fields = self.fields(members)?;
                }
                (naga::AddressSpace::Storage { access }, naga::TypeInner::Array { base, .. }) => {
                    if used[handle].is_empty() {
                        continue;
                    }
                    let (element, vectors) = self.element(&name, *base)?;
                    interface.bindings.push(Binding {
                        name,
                        index: resource.binding,
                        writes: access.contains(naga::StorageAccess::STORE),
                        element,
                        vectors,
                        at: 0,
                    });
                }
                _ => {
                    return Err(self.wrong(format!("{name} is neither Params nor a storage array")));
                }
            }
        }
        interface.bindings.sort_by_key(|binding| binding.index);
        for binding in &mut interface.bindings {
            let field = interface
                .fields
                .iter()
                .find(|field| field.name.strip_suffix("_at") == Some(&binding.name));
            let missing = || self.wrong(format!("Params has no {}_at", binding.name));
            binding.at = field.ok_or_else(missing)?.offset;
        }
        Ok(interface)
    }

    fn wrong(&self, what: String) -> EngineError {
        EngineError::Shader(Problem::new(what).at(self.source.place(1, 1)).into())
    }

    /// Those of `Params`.
    fn fields(&self, members: &[naga::StructMember]) -> Result<Vec<Field>> {
        let field = |member: &naga::StructMember| {
            let float = match self.module.types[member.ty].inner {
                naga::TypeInner::Scalar(scalar) => scalar.kind == naga::ScalarKind::Float,
                naga::TypeInner::Array { .. } => false,
                _ => {
                    return Err(self.wrong("Params holds u32, f32 and arrays of u32 alone".into()));
                }
            };
            let name = member.name.clone().unwrap_or_default();
            Ok(Field { name, offset: member.offset as usize, float })
        };
        members.iter().map(field).collect()
    }

    /// What a storage array holds, and whether as vectors of four: these are as many values one after the other.
    fn element(&self, name: &str, base: naga::Handle<naga::Type>) -> Result<(Element, bool)> {
        use naga::ScalarKind::{Float, Uint};
        let (scalar, vectors) = match self.module.types[base].inner {
            naga::TypeInner::Vector { size: naga::VectorSize::Quad, scalar } => (scalar, true),
            naga::TypeInner::Scalar(scalar) => (scalar, false),
            _ => (naga::Scalar { kind: naga::ScalarKind::Bool, width: 1 }, false),
        };
        let element = match (scalar.kind, scalar.width) {
            (Float, 4) => Element::Value(Precision::F32),
            (Float, 2) => Element::Value(Precision::F16),
            (Uint, 2) => Element::Value(Precision::Bf16),
            (Uint, 4) => Element::U32,
            _ => {
                let what = format!("{name} is no array of a storage type, f32 or u32");
                return Err(self.wrong(what));
            }
        };
        Ok((element, vectors))
    }
}

/// A compiled kernel.
pub struct Pipeline {
    /// What it takes.
    pub interface: Interface,
    /// Layout of group 0.
    pub layout: wgpu::BindGroupLayout,
    /// The compiled entry point.
    pub pipeline: wgpu::ComputePipeline,
}

/// Compiles a kernel. `checks` keeps naga's bounds checks and loop bounds and zeroes workgroup memory.
pub fn compile(
    device: &wgpu::Device,
    cache: Option<&wgpu::PipelineCache>,
    library: &Library,
    kernel: &Kernel,
    variant: &Variant,
    checks: bool,
) -> Result<Pipeline> {
    let parsed = parse(library, kernel.file, variant)?;
    let kernel = kernel.name;
    let interface = parsed.interface(kernel)?;
    // What a driver refuses is no fault of the device as a whole.
    let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation]
        .map(|filter| device.push_error_scope(filter));
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(kernel),
        source: wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(parsed.module)),
    };
    // Embedded shaders are tested with and without checks; those that people edit keep them.
    let module = if checks || matches!(library, Library::Folder(_)) {
        device.create_shader_module(descriptor)
    } else {
        // SAFETY: every index is bounded by Params, which the kernels' tests run at awkward shapes with checks on; no
        // loop is endless and no divisor zero.
        unsafe {
            device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    };
    let entry =
        |binding: u32, ty: wgpu::BufferBindingType, dynamic: bool| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: dynamic,
                min_binding_size: None,
            },
            count: None,
        };
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
    entries.extend(
        interface.bindings.iter().map(|b| {
            entry(b.index, wgpu::BufferBindingType::Storage { read_only: !b.writes }, false)
        }),
    );
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(kernel),
        entries: &entries,
    });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(kernel),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(kernel),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(kernel),
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: checks,
            ..Default::default()
        },
        cache,
    });
    for scope in scopes.into_iter().rev() {
        if let Some(error) = pollster::block_on(scope.pop()) {
            let what = format_args!("{kernel}: the driver refuses it: {error}");
            return Err(EngineError::Probe(Problem::new(what).into()));
        }
    }
    Ok(Pipeline { interface, layout, pipeline })
}
