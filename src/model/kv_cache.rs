//! Keys and values of the layers that run, and of all that read a prompt that a chat goes on from.

use super::config::Config;
use crate::error::Result;
use crate::gpu::{Buffer, Gpu};
use crate::kernels::{KV_TILE, KvFormat};

/// One buffer per layer whose attention runs, `[C / 32][keys, values]`: see `shaders/lib/kv_layout.wgsl`. A clone has the
/// same memory.
#[derive(Clone)]
pub struct KvCache {
    layers: Vec<Option<Buffer>>,
    format: KvFormat,
    capacity: usize,
    layer_bytes: u64,
}

impl KvCache {
    /// A cache for at least `positions`, with no memory yet.
    pub fn new(config: &Config, format: KvFormat, positions: usize) -> Self {
        let capacity = positions.next_multiple_of(KV_TILE);
        let layer_bytes = (capacity * 2 * config.key_rows()) as u64 * format.bytes();
        Self {
            layers: vec![None; config.layers],
            format,
            capacity,
            layer_bytes,
        }
    }

    /// Gives a layer its memory.
    pub fn allocate(&mut self, gpu: &Gpu, layer: usize) -> Result<()> {
        if self.layers[layer].is_none() {
            self.layers[layer] = Some(Buffer::zeroed(
                gpu,
                &format!("L{layer:02} kv"),
                self.layer_bytes,
            )?);
        }
        Ok(())
    }

    /// Takes a layer's memory back: for a layer that read the prompt but does not run.
    pub fn free(&mut self, layer: usize) {
        self.layers[layer] = None;
    }

    /// Makes room for at least `positions`, and for half as much again as there was, since a conversation goes on. What is
    /// there is kept: tiles of positions come first in the layout, so growing is a copy. One layer has two buffers at a
    /// time, not all of them.
    pub fn grow(&mut self, gpu: &Gpu, config: &Config, positions: usize) -> Result<()> {
        if positions <= self.capacity {
            return Ok(());
        }
        let bytes = 2 * config.key_rows() as u64 * self.format.bytes();
        let most = config
            .context
            .min((gpu.binding_bytes() / bytes) as usize / KV_TILE * KV_TILE);
        let ahead = (self.capacity + self.capacity / 2).min(most);
        let mut grown = Self::new(config, self.format, positions.max(ahead));
        for layer in 0..self.layers.len() {
            let Some(old) = self.layers[layer].take() else {
                continue;
            };
            grown.allocate(gpu, layer)?;
            old.copy_to(gpu, grown.layer(layer));
            gpu.wait()?;
        }
        *self = grown;
        Ok(())
    }

    /// A layer's buffer.
    ///
    /// # Panics
    /// If the layer was given none: a plan must not read keys that were never written.
    pub fn layer(&self, layer: usize) -> &Buffer {
        self.layers[layer]
            .as_ref()
            .unwrap_or_else(|| panic!("layer {layer} has no KV cache, yet a step would use it"))
    }

    /// How numbers are stored.
    pub fn format(&self) -> KvFormat {
        self.format
    }

    /// Positions that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().flatten().map(Buffer::size_bytes).sum()
    }

    /// Bytes if every layer ran.
    pub fn full_bytes(&self) -> u64 {
        self.layer_bytes * self.layers.len() as u64
    }
}
