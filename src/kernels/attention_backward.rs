//! The gradient of attention with respect to its queries. See `shaders/attention_backward.wgsl`.

use super::attention::{Attention, compose, owned, with_tile};
use super::{KvFormat, assert_holds, assert_kv_holds, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Tokens.
        tokens: u32,
    }
}

pub(super) fn variant(
    class: &Class,
    kv: KvFormat,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) -> Variant {
    let tiles = [
        "lib/attention_backward_subgroup",
        "lib/attention_backward_workgroup",
    ];
    let variant = with_tile(Variant::new("attention_backward"), class, head_dim, tiles);
    compose(variant, kv, heads, kv_heads, head_dim)
}

/// A step over `tokens` tokens, the first at position 0: from `dy [tokens, Q]` to `dq [tokens, Q]` and
/// `rows [tokens, heads]` of two numbers each, which `attention_keys_backward` reads.
pub fn step(
    gpu: &Gpu,
    label: &str,
    attention: Attention<'_>,
    [dy, dq, rows]: [&Buffer; 3],
    tokens: usize,
) -> Result<Step> {
    assert_kv_holds(label, &attention, tokens);
    let Attention {
        queries,
        kv,
        kv_format,
        y,
        heads,
        kv_heads,
        head_dim,
    } = attention;
    for buffer in [queries, y, dy, dq] {
        assert_holds(label, buffer, tokens * heads * head_dim);
    }
    assert_holds(label, rows, 2 * tokens * heads);
    let variant = variant(&gpu.class, kv_format, heads, kv_heads, head_dim);
    let buffers = [
        ("queries", queries),
        ("kv", kv),
        ("y", y),
        ("dy", dy),
        ("dq", dq),
        ("rows", rows),
    ];
    let op = op::<Params>(gpu, variant, &buffers)?;
    let params = Params {
        tokens: tokens as u32,
    };
    let pairs = tokens * (tokens + 1) / 2;
    let size = [
        workgroups(tokens.div_ceil(owned(&gpu.class, head_dim))),
        workgroups(heads),
        1,
    ];
    Ok(Step::new(label, &op, &params, size).cost(0, 8 * (pairs * heads * head_dim) as u64))
}
