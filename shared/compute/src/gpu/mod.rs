//! The GPU engine: every kernel a shader, recorded here and run through wgpu.
//!
//! Nothing waits for the device but [`Memory::download`](crate::Memory::download) and, once the ring of reports is full,
//! [`Queue::collect`](crate::Queue::collect). What is asked for is recorded into one command buffer, which
//! [`Queue::submit`](crate::Queue::submit) hands over: one per step.
pub mod adapters;
mod cache;
mod cores;
mod device;
mod device_plan;
mod dispatch;
mod engine;
mod fallbacks;
mod kernels;
mod memory;
mod open;
pub mod pipeline;
mod plan;
mod probe;
mod proof;
mod proofs;
mod queue;
mod record;
pub mod table;

pub use adapters::{Adapter, DeviceChoice};
pub use device::{Device, Options};
pub use engine::Gpu;
pub use plan::{Plan, TILES, WorkgroupLimits, attention_tiles};
