//! A low-rank update of a product of many tokens (LoRA): shared by matmul and matmul_backward.

use crate::gpu::{Buffer, Resource, Variant};

/// `B h`, added to a product; backward, `A^T dh`. See `shaders/adapter/lora.wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct Adapter<'a> {
    /// What `lora_down` gave, `[tokens, rank]`.
    pub h: &'a Buffer,
    /// B in the order of the tiles, `[32 tiles, rank]`; backward, A transposed, `[columns, rank]`.
    pub b: &'a Buffer,
    /// Columns of all parts of a joint matrix together, a multiple of 8.
    pub rank: usize,
}

pub(super) fn apply(adapter: Option<Adapter<'_>>, variant: Variant) -> Variant {
    match adapter {
        None => variant.import("adapter", "adapter/none"),
        Some(adapter) => variant
            .import("adapter", "adapter/lora")
            .set("RANK", adapter.rank as u32),
    }
}

pub(super) fn bindings(adapter: Option<Adapter<'_>>) -> Vec<(&'static str, Resource<'_>)> {
    adapter.map_or_else(Vec::new, |adapter| {
        vec![("h", adapter.h.into()), ("b", adapter.b.into())]
    })
}

/// Without and with an adapter, for tests that compose every variant.
pub(super) fn example_variants() -> [fn(Variant) -> Variant; 2] {
    [
        |variant| variant.import("adapter", "adapter/none"),
        |variant| variant.import("adapter", "adapter/lora").set("RANK", 24),
    ]
}
