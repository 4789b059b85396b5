//! `dX = dY W + dH A`: the gradient of a product with respect to its input. See `shaders/matmul_backward.wgsl`.

use super::{Adapter, adapter, by_class, op, weight_bindings, with_weights, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};
use crate::weights::Format;
use crate::weights::pack::{Linear, Slice, TILE};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Columns / 32.
        blocks: u32,
        /// Tiles of the slice.
        tiles: u32,
        /// The slice's first tile.
        first_tile: u32,
        /// Slots of the whole matrix.
        slots: u32,
        /// Tokens.
        tokens: u32,
    }
}

pub(super) fn variant(class: &Class, format: Format) -> Variant {
    let tile = by_class(
        class,
        "lib/matmul_backward_subgroup",
        "lib/matmul_backward_workgroup",
    );
    with_weights(Variant::new("matmul_backward"), class, format).import("tile", tile)
}

/// Steps of the product, one per slice of the matrix: `dy [tokens, slots]` to `dx [tokens, columns]`.
pub fn steps(
    gpu: &Gpu,
    label: &str,
    linear: &Linear,
    [dy, dx]: [&Buffer; 2],
    tokens: usize,
    adapter: Option<Adapter<'_>>,
) -> Result<Vec<Step>> {
    super::assert_holds(label, dy, tokens * linear.slots());
    super::assert_holds(label, dx, tokens * linear.columns);
    let step = |(index, slice): (usize, &Slice)| {
        // The low-rank part belongs to the whole matrix: it goes in once.
        let adapter = adapter.filter(|_| index == 0);
        let mut bindings = vec![("dy", dy.into()), ("dx", dx.into())];
        bindings.extend(weight_bindings(slice));
        bindings.extend(adapter::bindings(adapter));
        let variant = adapter::apply(adapter, variant(&gpu.class, slice.format));
        let variant = match index {
            0 => variant,
            _ => variant.set("ACCUMULATE", 1.0),
        };
        let op = op::<Params>(gpu, variant, &bindings)?;
        let params = Params {
            blocks: linear.columns as u32 / 32,
            tiles: slice.tiles.len() as u32,
            first_tile: slice.tiles.start,
            slots: linear.slots() as u32,
            tokens: tokens as u32,
        };
        let flops = 2 * (slice.tiles.len() * TILE * linear.columns * tokens) as u64;
        let size = [
            workgroups(linear.columns / 32),
            workgroups(tokens.div_ceil(op.constant("TOKENS"))),
            1,
        ];
        Ok(Step::new(label, &op, &params, size).cost(slice.bytes, flops))
    };
    linear.slices.iter().enumerate().map(step).collect()
}
