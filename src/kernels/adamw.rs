//! One step of AdamW. See `shaders/adamw.wgsl`.

use super::{assert_holds, op};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// How many parameters.
        count: u32,
        /// What gradients are multiplied by first.
        scale: f32,
        /// Learning rate.
        rate: f32,
        /// Weight decay.
        decay: f32,
        /// Decay of the running mean of gradients (beta 1).
        b1: f32,
        /// Decay of the running mean of their squares (beta 2).
        b2: f32,
        /// `1 - b1^step`.
        c1: f32,
        /// `1 - b2^step`.
        c2: f32,
        /// Added to the root of the mean square.
        epsilon: f32,
    }
}

/// What does not change from parameter to parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Counts from 1.
    pub step: u32,
    /// What gradients are multiplied by first.
    pub scale: f32,
    /// Learning rate.
    pub rate: f32,
    /// Weight decay.
    pub decay: f32,
}

/// Decay of the running means of gradients and of their squares.
pub const BETAS: [f32; 2] = [0.9, 0.999];
/// Added to the root of the mean square.
pub const EPSILON: f32 = 1e-8;

/// Workgroups of a row: WebGPU limits a dimension to 65535.
const ROW: usize = 4096;

/// Parameters, `[count]` each.
#[derive(Clone, Copy, Debug)]
pub struct Moments<'a> {
    /// Their values.
    pub w: &'a Buffer,
    /// Their gradients.
    pub g: &'a Buffer,
    /// The running mean of those.
    pub m: &'a Buffer,
    /// The running mean of their squares.
    pub v: &'a Buffer,
}

pub(super) fn variant() -> Variant {
    Variant::new("adamw")
}

impl AdamW {
    /// `1 - beta^step` for both betas, in f64: in the first steps little is left of the difference.
    pub fn corrections(&self) -> [f32; 2] {
        BETAS.map(|beta| (1.0 - f64::from(beta).powi(self.step as i32)) as f32)
    }
}

/// A step that moves `count` parameters `w` along gradients `g`, with moments `m` and `v`; zeroes `g`.
pub fn step(
    gpu: &Gpu,
    label: &str,
    buffers: Moments<'_>,
    count: usize,
    adamw: AdamW,
) -> Result<Step> {
    let Moments { w, g, m, v } = buffers;
    for buffer in [w, g, m, v] {
        assert_holds(label, buffer, count);
    }
    let op = op::<Params>(gpu, variant(), &[("w", w), ("g", g), ("m", m), ("v", v)])?;
    let lanes = op.workgroup_size()[0] as usize;
    let [c1, c2] = adamw.corrections();
    let params = Params {
        count: count as u32,
        scale: adamw.scale,
        rate: adamw.rate,
        decay: adamw.decay,
        b1: BETAS[0],
        b2: BETAS[1],
        c1,
        c2,
        epsilon: EPSILON,
    };
    let groups = count.div_ceil(lanes);
    let size = [
        groups.min(ROW) as u32,
        super::workgroups(groups.div_ceil(ROW)),
        1,
    ];
    Ok(Step::new(label, &op, &params, size))
}
