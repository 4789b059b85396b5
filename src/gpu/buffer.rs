//! A range of a GPU buffer, and moving data in and out of it.

use super::device::{Counters, Gpu};
use super::read_back::ReadBack;
use crate::error::{Error, Result};

/// A range of a storage buffer: what a tensor is to the GPU.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Where bindings of a part of a buffer may begin, under WebGPU's default limits.
pub const ALIGNMENT_BYTES: usize = 256;

/// Uploads come in whole words.
const WORD: usize = wgpu::COPY_BUFFER_ALIGNMENT as usize;

const USAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::UNIFORM)
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// The last row up to `row` that a binding may begin with, of matrices of f32 with so many columns each.
pub fn bindable_row(mut row: usize, columns: &[usize]) -> usize {
    let begins = |row: usize, columns: &usize| (4 * row * columns).is_multiple_of(ALIGNMENT_BYTES);
    while !columns.iter().all(|columns| begins(row, columns)) {
        row -= 1;
    }
    row
}

impl Buffer {
    /// So many zeros, as f32.
    pub fn zeros(gpu: &Gpu, label: &str, count: usize) -> Result<Self> {
        Self::zeroed(gpu, label, 4 * count as u64)
    }

    /// A buffer of zeros. The size is rounded up to 16 bytes, so that it can be read as `vec4`.
    pub fn zeroed(gpu: &Gpu, label: &str, size_bytes: u64) -> Result<Self> {
        let size = size_bytes.next_multiple_of(16).max(16);
        Self::check(gpu, label, size)?;
        let raw = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: USAGE,
            mapped_at_creation: false,
        });
        gpu.check_memory(label, size)?;
        Ok(Self {
            raw,
            offset: 0,
            size,
        })
    }

    /// A buffer that holds `data`.
    pub fn from_slice<T: bytemuck::NoUninit>(gpu: &Gpu, label: &str, data: &[T]) -> Result<Self> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        // Not `create_buffer_init`, which panics where there is no memory.
        let buffer = Self::zeroed(gpu, label, bytes.len() as u64)?;
        let whole = bytes.len() / WORD * WORD;
        gpu.queue.write_buffer(&buffer.raw, 0, &bytes[..whole]);
        if whole < bytes.len() {
            let mut last = bytes[whole..].to_vec();
            last.resize(WORD, 0);
            gpu.queue.write_buffer(&buffer.raw, whole as u64, &last);
        }
        gpu.check_memory(label, buffer.size)?;
        Ok(buffer)
    }

    /// A buffer of `size_bytes` filled with `pattern` again and again.
    pub fn repeated(gpu: &Gpu, label: &str, pattern: &[u8], size_bytes: u64) -> Result<Self> {
        let filled = Self::zeroed(gpu, label, size_bytes)?;
        let source = Self::from_slice(gpu, label, pattern)?;
        let mut encoder = gpu.encoder();
        let step = pattern.len() as u64;
        for at in (0..filled.size).step_by(pattern.len()) {
            let size = step.min(filled.size - at);
            encoder.copy_buffer_to_buffer(&source.raw, 0, &filled.raw, at, size);
        }
        gpu.submit(encoder);
        gpu.wait()?;
        Ok(filled)
    }

    /// Refuses what one binding cannot hold, and anything once the GPU is lost.
    fn check(gpu: &Gpu, label: &str, size: u64) -> Result<()> {
        gpu.check_lost()?;
        Counters::add(&gpu.counters.buffers, 1);
        let most = gpu.binding_bytes();
        if size > most {
            return Err(Error::gpu(
                format!(
                    "`{label}` needs {} MiB in one binding, this GPU allows {} MiB",
                    size >> 20,
                    most >> 20
                ),
                "use a smaller model or a shorter context (`--context`)",
            ));
        }
        Ok(())
    }

    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// A part of this buffer. To be bound it must begin at a multiple of [`ALIGNMENT_BYTES`].
    pub fn slice(&self, offset_bytes: u64, size_bytes: u64) -> Self {
        assert!(
            offset_bytes + size_bytes <= self.size,
            "slice {offset_bytes}+{size_bytes} of a buffer of {}",
            self.size
        );
        Self {
            raw: self.raw.clone(),
            offset: self.offset + offset_bytes,
            size: size_bytes,
        }
    }

    /// Writes `data` at the start of the range, before whatever is submitted next.
    pub fn write<T: bytemuck::NoUninit>(&self, gpu: &Gpu, data: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        assert!(
            bytes.len() as u64 <= self.size,
            "{} bytes into a buffer of {}",
            bytes.len(),
            self.size
        );
        gpu.queue.write_buffer(&self.raw, self.offset, bytes);
    }

    /// Fills the range with zeros, after whatever was submitted before.
    pub fn clear(&self, gpu: &Gpu) {
        let mut encoder = gpu.encoder();
        encoder.clear_buffer(&self.raw, self.offset, Some(self.size));
        gpu.submit(encoder);
    }

    /// Copies the range to the start of another buffer, after whatever was submitted before.
    pub fn copy_to(&self, gpu: &Gpu, target: &Self) {
        assert!(
            self.size <= target.size,
            "{} bytes into a buffer of {}",
            self.size,
            target.size
        );
        let mut encoder = gpu.encoder();
        encoder.copy_buffer_to_buffer(
            &self.raw,
            self.offset,
            &target.raw,
            target.offset,
            self.size,
        );
        gpu.submit(encoder);
    }

    /// Copies the first `count` elements back to the host, waiting for all that was submitted before.
    pub fn read_back<T: bytemuck::Pod>(&self, gpu: &Gpu, count: usize) -> Result<Vec<T>> {
        let size = (count * size_of::<T>()) as u64;
        assert!(
            size <= self.size,
            "{size} bytes from a buffer of {}",
            self.size
        );
        let staging = ReadBack::new(gpu, size.next_multiple_of(4).max(4));
        let mut encoder = gpu.encoder();
        staging.record(&mut encoder, self);
        gpu.submit(encoder);
        staging.request(gpu);
        let bytes = staging.wait(gpu)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes[..size as usize]))
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        assert!(
            self.offset.is_multiple_of(ALIGNMENT_BYTES as u64),
            "a binding that begins at byte {}",
            self.offset
        );
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.raw,
            offset: self.offset,
            size: wgpu::BufferSize::new(self.size),
        })
    }
}
