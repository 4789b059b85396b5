//! `Y = epilogue(X W^T)` for many tokens: prefill. See `shaders/matmul.wgsl`.

use super::update::with_next;
use super::{Adapter, Epilogue, adapter, op, weight_bindings, with_weights, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};
use crate::weights::Format;
use crate::weights::pack::{Linear, TILE};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Columns / 32.
        blocks: u32,
        /// The slice's first tile.
        first_tile: u32,
        /// Position of the first token.
        position: u32,
        /// Tokens.
        tokens: u32,
    }
}

/// Tokens of a workgroup.
pub(crate) fn workgroup_tokens(class: &Class) -> usize {
    if class.one_subgroup() {
        32
    } else {
        8 * class.tuning.groups as usize
    }
}

pub(super) fn variant(class: &Class, format: Format) -> Variant {
    let variant = with_weights(Variant::new("matmul"), class, format);
    if class.one_subgroup() {
        variant.import("tile", "lib/matmul_subgroup")
    } else {
        variant
            .import("tile", "lib/matmul_workgroup")
            .set("GROUPS", class.tuning.groups)
    }
}

/// Steps of the product, one per slice of the matrix. `x` is `[tokens, columns]`, its first token at `position`.
pub fn steps(
    gpu: &Gpu,
    label: &str,
    linear: &Linear,
    x: &Buffer,
    [tokens, position]: [usize; 2],
    adapter: Option<Adapter<'_>>,
    epilogue: Epilogue<'_>,
) -> Result<Vec<Step>> {
    super::assert_holds(label, x, tokens * linear.columns);
    let step = |slice: &crate::weights::pack::Slice| {
        let mut bindings = vec![("x", x.into())];
        bindings.extend(weight_bindings(slice));
        bindings.extend(adapter::bindings(adapter));
        bindings.extend(epilogue.bindings());
        let variant = adapter::apply(adapter, variant(&gpu.class, slice.format));
        let variant = with_next(&gpu.class, None, 0, variant);
        let op = op::<Params>(gpu, epilogue.apply(variant, linear), &bindings)?;
        let params = Params {
            blocks: linear.columns as u32 / 32,
            first_tile: slice.tiles.start,
            position: position as u32,
            tokens: tokens as u32,
        };
        let flops = 2 * (slice.tiles.len() * TILE * linear.columns * tokens) as u64;
        let size = [
            workgroups(slice.tiles.len()),
            workgroups(tokens.div_ceil(workgroup_tokens(&gpu.class))),
            1,
        ];
        Ok(Step::new(label, &op, &params, size).cost(slice.bytes, flops))
    };
    linear.slices.iter().map(step).collect()
}
