//! `y = epilogue(W prologue(x) + B h)` for one vector: decode. See `shaders/matvec.wgsl`.

use super::{Epilogue, Updates, op, weight_bindings, with_weights, workgroups};
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
        /// Added to the position in the state.
        position: u32,
        /// Always 1.
        tokens: u32,
    }
}

/// RMSNorm folded into a product.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// The norm's weight, `[columns]`.
    pub gamma: &'a Buffer,
    /// Added to the mean of squares.
    pub epsilon: f32,
}

pub(super) fn variant(class: &Class, format: Format, epsilon: Option<f32>) -> Variant {
    let variant = with_weights(Variant::new("matvec"), class, format);
    let variant = if class.one_subgroup() {
        variant.import("lanes", "lib/matvec_subgroup")
    } else {
        variant
            .import("lanes", "lib/matvec_workgroup")
            .set("SLICES", class.tuning.slices)
    };
    match epsilon {
        None => variant.import("prologue", "prologue/plain"),
        Some(epsilon) => variant
            .import("prologue", "prologue/rms_norm")
            .set("EPSILON", epsilon),
    }
}

/// Steps of the product, one per slice of the matrix. `x` is `[columns]`, with the shares of its update behind them.
pub fn steps(
    gpu: &Gpu,
    label: &str,
    linear: &Linear,
    x: &Buffer,
    norm: Option<Norm<'_>>,
    updates: Updates<'_>,
    epilogue: Epilogue<'_>,
) -> Result<Vec<Step>> {
    super::assert_holds(label, x, linear.columns + updates.behind());
    let share_rows = epilogue.tile_rows();
    if let Some(next) = updates.next {
        let (y, tiles) = (epilogue.vector(), linear.slots() / TILE);
        let y = y.unwrap_or_else(|| panic!("{label}: {epilogue:?} makes no vector"));
        // A share is of all rows of a tile: a padded one would add what no invocation wrote.
        assert_eq!(linear.rows, tiles * TILE, "{label}: rows in whole tiles");
        super::assert_holds(label, y, tiles * (share_rows + next.rank));
    }
    let step = |slice: &crate::weights::pack::Slice| {
        let variant = variant(&gpu.class, slice.format, norm.map(|norm| norm.epsilon));
        let mut bindings = vec![("x", x.into())];
        bindings.extend(norm.map(|norm| ("gamma", norm.gamma.into())));
        bindings.extend(weight_bindings(slice));
        bindings.extend(updates.bindings());
        bindings.extend(epilogue.bindings());
        let variant = updates.apply(&gpu.class, share_rows, variant);
        let op = op::<Params>(gpu, epilogue.apply(variant, linear), &bindings)?;
        let params = Params {
            blocks: linear.columns as u32 / 32,
            first_tile: slice.tiles.start,
            position: 0,
            tokens: 1,
        };
        let rows = slice.tiles.len() * TILE;
        let (bytes, flops) = updates.cost(rows, share_rows * slice.tiles.len());
        let flops = flops + 2 * (rows * linear.columns) as u64;
        let size = [workgroups(slice.tiles.len()), 1, 1];
        Ok(Step::new(label, &op, &params, size).cost(slice.bytes + bytes, flops))
    };
    linear.slices.iter().map(step).collect()
}
