//! A product with a thin matrix, for low-rank updates. See `shaders/lora_down.wgsl`.

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
        /// What the product is multiplied by.
        scale: f32,
    }
}

pub(super) fn variant(class: &Class) -> Variant {
    let tile = by_class(class, "lib/lora_down_subgroup", "lib/lora_down_workgroup");
    Variant::new("lora_down").import("tile", tile)
}

/// A step that writes `y [tokens, rank] = scale * x m`, of `x [tokens, rows]` and `m [rows, rank]`.
pub fn step(
    gpu: &Gpu,
    label: &str,
    [x, m, y]: [&Buffer; 3],
    [tokens, rows, rank]: [usize; 3],
    scale: f32,
) -> Result<Step> {
    assert!(
        rows.is_multiple_of(4) && rank.is_multiple_of(8),
        "{label}: a thin matrix of [{rows}, {rank}]"
    );
    assert_holds(label, x, tokens * rows);
    assert_holds(label, m, rows * rank);
    assert_holds(label, y, tokens * rank);
    let op = op::<Params>(gpu, variant(&gpu.class), &[("x", x), ("m", m), ("y", y)])?;
    let params = Params {
        tokens: tokens as u32,
        row_fours: rows as u32 / 4,
        rank_fours: rank as u32 / 4,
        scale,
    };
    let size = [
        workgroups(tokens.div_ceil(op.constant("TOKENS"))),
        workgroups(rank / 8),
        1,
    ];
    Ok(Step::new(label, &op, &params, size)
        .cost((4 * rows * rank) as u64, 2 * (tokens * rows * rank) as u64))
}
