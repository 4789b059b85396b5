//! The gradient of a thin product with respect to its matrix. See `shaders/lora_down_backward.wgsl`.

use super::{assert_holds, by_class, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Tokens.
        tokens: u32,
        /// Rows / 4.
        row_fours: u32,
        /// Rank / 4.
        rank_fours: u32,
    }
}

/// What goes in and out.
#[derive(Clone, Copy, Debug)]
pub struct LoraDownBackward<'a> {
    /// `[tokens, rows]`.
    pub x: &'a Buffer,
    /// `[tokens, rank]`.
    pub g: &'a Buffer,
    /// `[rows]`: the columns that each row has, `first | end << 16`.
    pub spans: &'a Buffer,
    /// The gate of the sublayer, `[1]`.
    pub gate: &'a Buffer,
    /// The gradient of the thin matrix, `[rows, rank]`.
    pub dm: &'a Buffer,
}

pub(super) fn variant(class: &Class) -> Variant {
    let tile = by_class(
        class,
        "lib/lora_down_backward_subgroup",
        "lib/lora_down_backward_workgroup",
    );
    Variant::new("lora_down_backward").import("tile", tile)
}

/// A step that adds `gate * x^T g` to `dm [rows, rank]`, of `x [tokens, rows]` and `g [tokens, rank]`, in the columns
/// that `spans [rows]` gives each row (`first | end << 16`).
pub fn step(
    gpu: &Gpu,
    label: &str,
    buffers: LoraDownBackward<'_>,
    [tokens, rows, rank]: [usize; 3],
) -> Result<Step> {
    let LoraDownBackward {
        x,
        g,
        spans,
        gate,
        dm,
    } = buffers;
    assert!(
        rows.is_multiple_of(4) && rank.is_multiple_of(8),
        "{label}: a thin matrix of [{rows}, {rank}]"
    );
    assert_holds(label, x, tokens * rows);
    assert_holds(label, g, tokens * rank);
    assert_holds(label, spans, rows);
    assert_holds(label, dm, rows * rank);
    let buffers = [
        ("x", x),
        ("g", g),
        ("spans", spans),
        ("gate", gate),
        ("dm", dm),
    ];
    let op = op::<Params>(gpu, variant(&gpu.class), &buffers)?;
    let lanes = op.workgroup_size()[0] as usize;
    let params = Params {
        tokens: tokens as u32,
        row_fours: rows as u32 / 4,
        rank_fours: rank as u32 / 4,
    };
    let size = [
        workgroups((rows / 4).div_ceil(lanes)),
        workgroups(rank / 8),
        1,
    ];
    Ok(Step::new(label, &op, &params, size).cost(0, 2 * (tokens * rows * rank) as u64))
}
