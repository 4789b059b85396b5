//! A model file whose weights an adapter has changed for good.

use super::{LoraAdapter, Target};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu};
use crate::model::source::{Source, file_name};
use crate::weights::gguf::Gguf;
use crate::weights::names;
use crate::weights::pack::{Linear, Order};
use crate::weights::{Format, TensorView};
use rayon::prelude::*;

/// The weights of a file, with `scale * B A` added to those that are adapted. These are stored as f32: a
/// quantised format would round the sum, most of which is smaller than its steps, away.
pub struct Merged<'a> {
    /// The file.
    pub gguf: &'a Gguf,
    /// The adapter.
    pub adapter: &'a LoraAdapter,
}

impl Merged<'_> {
    /// The matrix of a checkpoint name as it has become, if it is adapted.
    fn merged(&self, name: &str, tensor: &TensorView<'_>) -> Option<Vec<f32>> {
        let (layer, part) = names::in_layer(name)?;
        let target = Target::ALL
            .into_iter()
            .find(|target| target.part() == part)?;
        let lora = self.adapter.lora(layer, target)?;
        let (rank, scale, columns) = (self.adapter.rank(), self.adapter.scale(), tensor.columns());
        let mut values = tensor.to_f32();
        let rows = values.par_chunks_mut(columns).zip(lora.b.par_chunks(rank));
        rows.for_each(|(row, b)| {
            for (b, a) in b.iter().zip(lora.a.chunks_exact(columns)) {
                for (value, a) in row.iter_mut().zip(a) {
                    *value += scale * b * a;
                }
            }
        });
        Some(values)
    }
}

impl Source for Merged<'_> {
    fn total_bytes(&self) -> u64 {
        self.gguf.total_bytes()
    }

    fn linear(&self, gpu: &Gpu, names: &[String], order: Order) -> Result<Linear> {
        let mut views = names
            .iter()
            .map(|name| self.gguf.tensor(&file_name(name)))
            .collect::<Result<Vec<_>>>()?;
        let merged: Vec<Option<Vec<f32>>> = names
            .iter()
            .zip(&views)
            .map(|(name, view)| self.merged(name, view))
            .collect();
        for (view, values) in views.iter_mut().zip(&merged) {
            if let Some(values) = values {
                (view.format, view.bytes) = (Format::F32, bytemuck::cast_slice(values));
            }
        }
        Linear::pack(gpu, &names.join("+"), order, &views)
    }

    fn vector(&self, gpu: &Gpu, name: &str) -> Result<Buffer> {
        self.gguf.vector(gpu, name)
    }
}
