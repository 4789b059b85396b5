//! Token embedding lookup. See `shaders/embed.wgsl`.

use super::{op, weight_bindings, with_weights, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};
use crate::weights::Format;
use crate::weights::pack::{Linear, Order};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// H / 32.
        blocks: u32,
        /// The slice's first tile.
        first_tile: u32,
        /// Tiles of the slice.
        tiles: u32,
    }
}

pub(super) fn variant(class: &Class, format: Format) -> Variant {
    with_weights(Variant::new("embed"), class, format)
}

/// Steps that write `x [tokens, H]` for `ids [tokens]`, one per slice of the embedding.
pub fn steps(
    gpu: &Gpu,
    embedding: &Linear,
    ids: &Buffer,
    x: &Buffer,
    tokens: usize,
) -> Result<Vec<Step>> {
    assert_eq!(
        embedding.order,
        Order::Plain,
        "row order of `{}`",
        embedding.name
    );
    super::assert_holds("embed x", x, tokens * embedding.columns);
    super::assert_holds("embed ids", ids, tokens);
    let blocks = embedding.columns / 32;
    let step = |slice: &crate::weights::pack::Slice| {
        let mut bindings = vec![("ids", ids.into()), ("x", x.into())];
        bindings.extend(weight_bindings(slice));
        let op = op::<Params>(gpu, variant(&gpu.class, slice.format), &bindings)?;
        let params = Params {
            blocks: blocks as u32,
            first_tile: slice.tiles.start,
            tiles: slice.tiles.len() as u32,
        };
        // A token's row is in one of them.
        let first = slice.tiles.start == 0;
        let read = if first { tokens } else { 0 };
        let bytes = (read * slice.format.row_bytes(embedding.columns)) as u64;
        Ok(Step::new(
            "embed",
            &op,
            &params,
            [
                workgroups(blocks.div_ceil(op.workgroup_size()[0] as usize)),
                workgroups(tokens),
                1,
            ],
        )
        .cost(bytes, 0))
    };
    embedding.slices.iter().map(step).collect()
}
