//! The gradient of the joint query, key and value product. See `shaders/rope_backward.wgsl`.

use super::{assert_holds, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Variant};
use crate::weights::pack::TILE;

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Slots / 32.
        tiles: u32,
    }
}

/// What goes in and out.
#[derive(Clone, Copy, Debug)]
pub struct RopeBackward<'a> {
    /// `[C, D / 2]` pairs of cos and sin.
    pub rotations: &'a Buffer,
    /// `[tokens, Q]`.
    pub dq: &'a Buffer,
    /// `[tokens, K]`.
    pub dk: &'a Buffer,
    /// `[tokens, K]`.
    pub dv: &'a Buffer,
    /// The gate of the attention, `[1]`.
    pub gate: &'a Buffer,
    /// `[tokens, slots]`.
    pub dy: &'a Buffer,
    /// `Q`.
    pub query_rows: usize,
    /// `K`.
    pub key_rows: usize,
    /// `D`.
    pub head_dim: usize,
}

pub(super) fn variant(query_rows: usize, key_rows: usize, head_dim: usize) -> Variant {
    Variant::new("rope_backward")
        .set("QUERY_ROWS", query_rows as u32)
        .set("KEY_ROWS", key_rows as u32)
        .set("HEAD_DIM", head_dim as u32)
}

/// A step over `tokens` tokens, the first at position 0.
pub fn step(gpu: &Gpu, label: &str, rope: RopeBackward<'_>, tokens: usize) -> Result<Step> {
    let tiles = (rope.query_rows + 2 * rope.key_rows).div_ceil(TILE);
    assert_holds(label, rope.dq, tokens * rope.query_rows);
    assert_holds(label, rope.dk, tokens * rope.key_rows);
    assert_holds(label, rope.dv, tokens * rope.key_rows);
    assert_holds(label, rope.dy, tokens * tiles * TILE);
    let buffers = [
        ("rotations", rope.rotations),
        ("dq", rope.dq),
        ("dk", rope.dk),
        ("dv", rope.dv),
        ("gate", rope.gate),
        ("dy", rope.dy),
    ];
    let variant = variant(rope.query_rows, rope.key_rows, rope.head_dim);
    let op = op::<Params>(gpu, variant, &buffers)?;
    let lanes = op.workgroup_size()[0] as usize;
    let size = [
        workgroups((tiles * TILE / 2).div_ceil(lanes)),
        workgroups(tokens),
        1,
    ];
    let params = Params {
        tiles: tiles as u32,
    };
    Ok(Step::new(label, &op, &params, size))
}
