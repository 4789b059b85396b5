//! The routers' score of each prompt token. See `shaders/router_score.wgsl`.

use super::{assert_holds, op, reduce, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// H / 4.
        fours: u32,
        /// 1 or 2.
        routers: u32,
        /// Column of the first token's score.
        first: u32,
        /// Columns of the scores.
        stride: u32,
        /// Tokens.
        tokens: u32,
    }
}

/// Routers of one layer and where their scores go.
#[derive(Clone, Copy, Debug)]
pub struct Routers<'a> {
    /// `[routers, hidden]`.
    pub weights: &'a Buffer,
    /// `[routers]`.
    pub biases: &'a Buffer,
    /// 1 or 2.
    pub count: usize,
    /// Added to the mean of squares; `None` scores the stream as it is.
    pub epsilon: Option<f32>,
    /// `[routers, stride]`.
    pub scores: &'a Buffer,
    /// Columns of `scores`.
    pub stride: usize,
}

pub(super) fn variant(class: &Class, epsilon: Option<f32>) -> Variant {
    let variant = Variant::new("router_score")
        .import("reduce", reduce(class))
        .set("EPSILON", epsilon.unwrap_or(0.0));
    if epsilon.is_some() {
        variant
    } else {
        variant.set("NORM", 0.0)
    }
}

/// A step that scores `x [tokens, hidden]` into columns `first..first + tokens`.
pub fn step(
    gpu: &Gpu,
    label: &str,
    routers: Routers<'_>,
    x: &Buffer,
    [tokens, hidden]: [usize; 2],
    first: usize,
) -> Result<Step> {
    assert!(
        (1..=2).contains(&routers.count),
        "{label}: {} routers, expected 1 or 2",
        routers.count
    );
    assert_holds(label, x, tokens * hidden);
    assert_holds(label, routers.weights, routers.count * hidden);
    assert_holds(label, routers.scores, routers.count * routers.stride);
    assert!(
        first + tokens <= routers.stride,
        "{label}: token {} of {}",
        first + tokens,
        routers.stride
    );
    let buffers = [
        ("x", x),
        ("w", routers.weights),
        ("b", routers.biases),
        ("p", routers.scores),
    ];
    let op = op::<Params>(gpu, variant(&gpu.class, routers.epsilon), &buffers)?;
    let params = Params {
        fours: hidden as u32 / 4,
        routers: routers.count as u32,
        first: first as u32,
        stride: routers.stride as u32,
        tokens: tokens as u32,
    };
    let flops = (2 * (1 + routers.count) * tokens * hidden) as u64;
    let size = [workgroups(tokens.div_ceil(op.constant("TOKENS"))), 1, 1];
    Ok(Step::new(label, &op, &params, size).cost((4 * routers.count * hidden) as u64, flops))
}
