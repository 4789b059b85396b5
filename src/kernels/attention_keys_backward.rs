//! The gradient of attention with respect to keys and values. See `shaders/attention_keys_backward.wgsl`.

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

/// What goes in and out beside the attention.
#[derive(Clone, Copy, Debug)]
pub struct KeysBackward<'a> {
    /// `[tokens, Q]`.
    pub dy: &'a Buffer,
    /// `[tokens, heads, 2]`, from `attention_backward`.
    pub rows: &'a Buffer,
    /// `[tokens, K]`.
    pub dk: &'a Buffer,
    /// `[tokens, K]`.
    pub dv: &'a Buffer,
}

/// The longest text whose gradients are computed whole where loops end early (see [`Class::loops_end`]): each token's heads
/// take a few turns each here, ends included, and a tenth of all is kept in hand. In `attention_backward` a text of 2,048
/// tokens takes fewer.
pub fn most_tokens(class: &Class, sizes: Heads) -> usize {
    if !class.loops_end {
        return usize::MAX;
    }
    let group = sizes.heads / sizes.kv_heads;
    let eights = sizes.head_dim.div_ceil(32);
    let turns = 2 + group * (1 + 2 * (eights + 1));
    (59_000 / turns).min(2048)
}

pub(super) fn variant(class: &Class, kv: KvFormat, sizes: Heads) -> Variant {
    let tiles = [
        "lib/attention_keys_backward_subgroup",
        "lib/attention_keys_backward_workgroup",
    ];
    let variant = with_tile(
        Variant::new("attention_keys_backward"),
        class,
        sizes.head_dim,
        tiles,
    );
    compose(variant, kv, sizes)
}

/// A step over `tokens` tokens, the first at position 0: from `dy [tokens, Q]` and the `rows` of
/// `attention_backward` to `dk` and `dv [tokens, K]`.
pub fn step(
    gpu: &Gpu,
    label: &str,
    attention: Attention<'_>,
    buffers: KeysBackward<'_>,
    tokens: usize,
) -> Result<Step> {
    let KeysBackward { dy, rows, dk, dv } = buffers;
    assert_kv_holds(label, &attention, tokens);
    let Attention {
        queries,
        kv,
        kv_format,
        sizes,
        ..
    } = attention;
    for buffer in [queries, dy] {
        assert_holds(label, buffer, tokens * sizes.query_rows());
    }
    for buffer in [dk, dv] {
        assert_holds(label, buffer, tokens * sizes.key_rows());
    }
    assert_holds(label, rows, 2 * tokens * sizes.heads);
    let variant = variant(&gpu.class, kv_format, sizes);
    let buffers = [
        ("queries", queries),
        ("kv", kv),
        ("dy", dy),
        ("rows", rows),
        ("dk", dk),
        ("dv", dv),
    ];
    let op = op::<Params>(gpu, variant, &buffers)?;
    let params = Params {
        tokens: tokens as u32,
    };
    let pairs = tokens * (tokens + 1) / 2;
    let size = [
        workgroups(tokens.div_ceil(owned(&gpu.class, sizes.head_dim))),
        workgroups(sizes.kv_heads),
        1,
    ];
    Ok(Step::new(label, &op, &params, size).cost(0, 8 * (pairs * sizes.query_rows()) as u64))
}
