//! The gradient of attention with respect to its queries. See `shaders/attention_backward.wgsl`.

use super::attention::{Attention, compose, owned, with_tile};
use super::{KvFormat, assert_holds, assert_kv_holds, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};
use crate::reference::attention::Heads;

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Tokens.
        tokens: u32,
    }
}

pub(super) fn variant(class: &Class, kv: KvFormat, sizes: Heads) -> Variant {
    let tiles = [
        "lib/attention_backward_subgroup",
        "lib/attention_backward_workgroup",
    ];
    let variant = with_tile(
        Variant::new("attention_backward"),
        class,
        sizes.head_dim,
        tiles,
    );
    compose(variant, kv, sizes)
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
        sizes,
    } = attention;
    for buffer in [queries, y, dy, dq] {
        assert_holds(label, buffer, tokens * sizes.query_rows());
    }
    assert_holds(label, rows, 2 * tokens * sizes.heads);
    let variant = variant(&gpu.class, kv_format, sizes);
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
        workgroups(tokens.div_ceil(owned(&gpu.class, sizes.head_dim))),
        workgroups(sizes.heads),
        1,
    ];
    Ok(Step::new(label, &op, &params, size).cost(0, 8 * (pairs * sizes.query_rows()) as u64))
}
