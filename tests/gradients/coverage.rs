//! Every row of the kernel table has its shader, its CPU twin and its tests; what is missing is told by name.
use std::fs;
use std::path::{Path, PathBuf};

use compute::elementwise;
use compute::gpu::table::{KERNELS, Kernel};
use compute::wgsl::FILES;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Rust files of a folder, with those in folders inside it, or one file.
fn sources(path: &str) -> Vec<String> {
    fn gather(path: &Path, texts: &mut Vec<String>) {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("the folder can be read");
            entries.for_each(|entry| gather(&entry.expect("an entry").path(), texts));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(path).expect("the file can be read"));
        }
    }
    let (path, mut texts) = (root().join(path), Vec::new());
    gather(&path, &mut texts);
    assert!(!texts.is_empty(), "{}: no Rust file", path.display());
    texts
}

/// What the project's sources say of kernels.
struct Sources {
    cpu: String,
    kernels_trait: String,
    gpu_tests: String,
    gradients: String,
    fused: String,
}

impl Sources {
    fn read() -> Self {
        Sources {
            cpu: sources("shared/compute/src/cpu").concat(),
            kernels_trait: sources("shared/compute/src/kernels.rs").concat(),
            gpu_tests: sources("tests/gpu").concat(),
            gradients: sources("tests/gradients").concat(),
            fused: sources("tests/fused.rs").concat(),
        }
    }

    /// Whether the trait gives the method a body: other kernels, each with a twin of its own.
    fn has_default_body(&self, method: &str) -> bool {
        let Some((_, rest)) = self.kernels_trait.split_once(&format!("fn {method}(")) else {
            return false;
        };
        rest.find('{').zip(rest.find(';')).is_some_and(|(body, end)| body < end)
    }

    /// What a kernel lacks.
    fn missing(&self, kernel: &Kernel) -> Vec<String> {
        let Kernel { name, file, method, .. } = kernel;
        let elementwise = elementwise::ALL.iter().any(|kernel| kernel.name == *method);
        let composed = self.has_default_body(method) && !elementwise;
        let twin = self.cpu.contains(&format!("fn {method}(")) || composed || elementwise;
        let called = |tests: &str| tests.contains(&format!(".k.{method}("));
        // A fused kernel is held to the bits of its parts, whose gradients are checked.
        let gradient = called(&self.gradients) || composed && called(&self.fused);
        let checks = [
            (FILES.iter().any(|(known, _)| known == file), format!("its shader, {file}.wgsl")),
            (twin, format!("a CPU twin: fn {method} in shared/compute/src/cpu")),
            (
                called(&self.gpu_tests),
                format!("a test at awkward shapes: k.{method} in tests/gpu/kernels.rs"),
            ),
            (
                !kernel.differentiable || gradient,
                format!("a gradient check: k.{method} in tests/gradients"),
            ),
        ];
        let lacks = checks.into_iter().filter(|(has, _)| !has);
        lacks.map(|(_, what)| format!("{name} lacks {what}")).collect()
    }
}

#[test]
fn every_kernel_has_its_twin_and_its_tests() {
    let sources = Sources::read();
    let missing: Vec<String> = KERNELS.iter().flat_map(|kernel| sources.missing(kernel)).collect();
    assert!(missing.is_empty(), "\n  {}", missing.join("\n  "));
}

#[test]
fn a_kernel_without_anything_is_told_by_name() {
    let stray = Kernel::lanes("no_such_kernel", "no_such_file", 256).differentiable();
    let missing = Sources::read().missing(&stray);
    assert_eq!(missing.len(), 4, "{missing:?}");
    assert!(missing.iter().all(|line| line.starts_with("no_such_kernel lacks ")), "{missing:?}");
}

/// Entry points of a shader, by their text.
fn entry_points(text: &str) -> impl Iterator<Item = &str> {
    text.split("@compute").skip(1).filter_map(|rest| {
        let (_, rest) = rest.split_once("fn ")?;
        rest.split_once('(').map(|(name, _)| name.trim())
    })
}

#[test]
fn every_entry_point_has_a_row_in_the_table() {
    for (file, text) in FILES {
        for name in entry_points(text) {
            let row = KERNELS.iter().any(|kernel| kernel.name == name && kernel.file == *file);
            assert!(
                row,
                "shaders/{file}.wgsl: {name} has no row in shared/compute/src/gpu/table.rs"
            );
        }
    }
    for kernel in KERNELS {
        let text = FILES.iter().find(|(file, _)| *file == kernel.file).map_or("", |(_, text)| text);
        let found = entry_points(text).any(|name| name == kernel.name);
        assert!(found, "{}: no such entry point in shaders/{}.wgsl", kernel.name, kernel.file);
    }
    let libraries = FILES.iter().filter(|(file, _)| file.starts_with("lib/"));
    for (file, text) in libraries {
        for head in ["// Needs: ", "// Gives: "] {
            assert!(text.contains(head), "shaders/{file}.wgsl does not say what it {head}");
        }
    }
}
