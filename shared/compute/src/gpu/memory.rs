//! Buffers of an engine on a GPU, and values on their way there and back.
use super::engine::{Buffer, Gpu, READBACK_BYTES, TokenBuffer};
use super::pipeline::Element;
use super::record::Reading;
use crate::kernels::{Precision, Result, Tokens, View};

impl Gpu {
    /// A buffer of `len` zeros. One that cannot be had is told by the next check.
    pub fn create(&mut self, label: &'static str, element: Element, len: usize) -> View {
        let size = (len.max(1) * element.bytes()).next_multiple_of(4) as u64;
        let limits = &self.device.limits;
        let largest = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        let fits = size <= largest;
        let over = self.device.options.memory_limit.is_some_and(|limit| self.bytes + size > limit);
        if !fits && self.refused.is_none() {
            let what = format!(
                "the buffer {label} needs {} MiB, and this GPU takes buffers of at most {} MiB",
                size >> 20,
                largest >> 20
            );
            self.refused = Some((what, self.bytes));
        }
        let descriptor = |size| wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let scope = self.device.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.device.create_buffer(&descriptor(
            if fits && !over && self.refused.is_none() { size } else { 4 },
        ));
        let failed = pollster::block_on(scope.pop()).is_some();
        if (failed || over) && self.refused.is_none() {
            let available = self.device.options.memory_limit.unwrap_or(self.bytes);
            self.refused = Some((
                format!(
                    "its memory was full at {} MiB, before the buffer {label}",
                    self.bytes >> 20
                ),
                available,
            ));
        }
        self.bytes += size;
        self.buffers.push(Buffer { label, element, len, buffer });
        View { buffer: self.buffers.len() - 1, offset: 0, len }
    }

    /// Writes bytes of a view, in what the buffer keeps. Commands recorded before see what was there before.
    pub fn write(&mut self, view: View, bytes: &[u8]) {
        if self.refused.is_some() {
            return; // `allocated` tells
        }
        let unfinished =
            self.partials.first().is_some_and(|partials| partials.out.buffer == view.buffer);
        if unfinished || self.recorder.uses(view.buffer) {
            self.flush();
        }
        let buffer = &self.buffers[view.buffer];
        let size = buffer.element.bytes();
        let (start, end) = (view.offset * size, (view.offset + view.len) * size);
        if start.is_multiple_of(4) && end.is_multiple_of(4) {
            self.device.queue.write_buffer(&buffer.buffer, start as u64, bytes);
            return;
        }
        // Two-byte values share a word with a neighbour, which has to stay.
        let (first, last) = (start / 4 * 4, end.next_multiple_of(4));
        let around = View { buffer: view.buffer, offset: first / size, len: (last - first) / size };
        match self.read(around) {
            Ok(mut words) => {
                words[start - first..start - first + bytes.len()].copy_from_slice(bytes);
                self.device.queue.write_buffer(
                    &self.buffers[view.buffer].buffer,
                    first as u64,
                    &words,
                );
            }
            Err(error) => self.trouble = Some(error),
        }
    }

    /// Bytes of a view, after all that was asked before.
    pub fn read(&mut self, view: View) -> Result<Vec<u8>> {
        self.flush();
        let size = self.buffers[view.buffer].element.bytes();
        let (start, end) = ((view.offset * size) as u64, ((view.offset + view.len) * size) as u64);
        let (first, last) = (start / 4 * 4, end.next_multiple_of(4));
        let mut bytes = Vec::with_capacity((last - first) as usize);
        for part in (first..last).step_by(READBACK_BYTES as usize) {
            let len = READBACK_BYTES.min(last - part);
            let mut encoder = self.device.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(
                &self.buffers[view.buffer].buffer,
                part,
                &self.staging,
                0,
                len,
            );
            let submission = self.device.queue.submit([encoder.finish()]);
            let mut reading = Reading::start(&self.staging, len, submission);
            reading.wait(&self.device)?;
            reading.take(&self.device, &self.staging, |mapped| bytes.extend_from_slice(mapped))?;
        }
        bytes.drain(..(start - first) as usize);
        bytes.truncate((end - start) as usize);
        Ok(bytes)
    }

    /// A buffer of `len` tokens.
    pub fn create_tokens(&mut self, label: &'static str, len: usize) -> Tokens {
        let view = self.create(label, Element::U32, len);
        self.tokens.push(TokenBuffer { buffer: view.buffer, ids: vec![0; len], sorted: None });
        Tokens { buffer: self.tokens.len() - 1, offset: 0, len }
    }

    /// Stores values in the buffer's precision.
    pub fn write_values(&mut self, to: View, values: &[f32]) {
        assert_eq!(to.len, values.len(), "upload to {}", self.buffers[to.buffer].label);
        let bytes = encode(self.buffers[to.buffer].element, values);
        self.write(to, &bytes);
    }

    /// Stores tokens.
    pub fn write_tokens(&mut self, to: Tokens, values: &[u32]) {
        self.tokens[to.buffer].ids[to.offset..to.offset + to.len].copy_from_slice(values);
        let view = self.ids(to);
        self.write(view, bytemuck::cast_slice(values));
    }

    /// Waits for all that was recorded, then copies out.
    pub fn read_values(&mut self, from: View) -> Result<Vec<f32>> {
        let bytes = self.read(from)?;
        self.check()?;
        Ok(decode(self.buffers[from.buffer].element, &bytes))
    }

    /// The buffer of tokens as kernels bind it.
    pub fn ids(&self, tokens: Tokens) -> View {
        View { buffer: self.tokens[tokens.buffer].buffer, offset: tokens.offset, len: tokens.len }
    }

    /// Values of a matrix that one buffer of this device takes in its precision.
    pub fn largest_matrix(&self) -> usize {
        let limits = &self.device.limits;
        let bytes = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        bytes as usize / self.precision.bytes()
    }
}

/// f32 values to bytes of what a buffer keeps.
fn encode(element: Element, values: &[f32]) -> Vec<u8> {
    match element {
        Element::Value(Precision::F16) => {
            values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect()
        }
        Element::Value(Precision::Bf16) => {
            values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect()
        }
        Element::Value(Precision::F32) | Element::U32 => {
            values.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
    }
}

fn decode(element: Element, bytes: &[u8]) -> Vec<f32> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    match element {
        Element::Value(Precision::F16) => {
            pairs().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect()
        }
        Element::Value(Precision::Bf16) => {
            pairs().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect()
        }
        Element::Value(Precision::F32) | Element::U32 => {
            bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
        }
    }
}
