//! Where a model's weights come from.

use crate::error::Result;
use crate::gpu::{Buffer, Gpu};
use crate::weights::gguf::Gguf;
use crate::weights::names;
use crate::weights::pack::{Linear, Order};

/// Puts weights on the GPU by the names of the Hugging Face checkpoint.
pub trait Source {
    /// Bytes of all weights, for progress.
    fn total_bytes(&self) -> u64;

    /// Several matrices that are multiplied by the same vector, as one.
    fn linear(&self, gpu: &Gpu, names: &[String], order: Order) -> Result<Linear>;

    /// A norm's weight.
    fn vector(&self, gpu: &Gpu, name: &str) -> Result<Buffer>;
}

impl Source for Gguf {
    fn total_bytes(&self) -> u64 {
        self.file_bytes()
    }

    fn linear(&self, gpu: &Gpu, names: &[String], order: Order) -> Result<Linear> {
        let views = names
            .iter()
            .map(|name| self.tensor(&file_name(name)))
            .collect::<Result<Vec<_>>>()?;
        Linear::pack(gpu, &names.join("+"), order, &views)
    }

    fn vector(&self, gpu: &Gpu, name: &str) -> Result<Buffer> {
        Buffer::from_slice(gpu, name, &self.tensor(&file_name(name))?.to_f32())
    }
}

/// A checkpoint name as GGUF files spell it.
pub(crate) fn file_name(name: &str) -> String {
    names::gguf_from_hf(name)
        .unwrap_or_else(|| panic!("`{name}` is not a tensor of the llama family"))
}
