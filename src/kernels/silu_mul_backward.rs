//! The gradient of SwiGLU. See `shaders/silu_mul_backward.wgsl`.

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
pub struct SiluMulBackward<'a> {
    /// `[tokens, slots]`.
    pub gate_up: &'a Buffer,
    /// `[tokens, F]`.
    pub dy: &'a Buffer,
    /// The gate of the MLP, `[1]`.
    pub gate: &'a Buffer,
    /// `[tokens, F]`.
    pub y: &'a Buffer,
    /// `[tokens, slots]`.
    pub dgate_up: &'a Buffer,
}

pub(super) fn variant(feed_forward: usize) -> Variant {
    Variant::new("silu_mul_backward").set("ROWS", feed_forward as u32)
}

/// A step over `tokens` tokens.
pub fn step(
    gpu: &Gpu,
    label: &str,
    silu_mul: SiluMulBackward<'_>,
    [tokens, feed_forward]: [usize; 2],
) -> Result<Step> {
    let tiles = feed_forward.div_ceil(TILE / 2);
    for buffer in [silu_mul.gate_up, silu_mul.dgate_up] {
        assert_holds(label, buffer, tokens * tiles * TILE);
    }
    for buffer in [silu_mul.dy, silu_mul.y] {
        assert_holds(label, buffer, tokens * feed_forward);
    }
    let buffers = [
        ("gate_up", silu_mul.gate_up),
        ("dy", silu_mul.dy),
        ("gate", silu_mul.gate),
        ("y", silu_mul.y),
        ("dgate_up", silu_mul.dgate_up),
    ];
    let op = op::<Params>(gpu, variant(feed_forward), &buffers)?;
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
