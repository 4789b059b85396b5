//! Causal attention over a prompt. See `shaders/attention.wgsl`.

use super::{KvFormat, assert_holds, assert_kv_holds, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};
use crate::reference::attention::Heads;

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Position of the first token.
        position: u32,
        /// Tokens.
        tokens: u32,
    }
}

/// Sizes of an attention and where it reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// `[tokens, heads * head_dim]`.
    pub queries: &'a Buffer,
    /// The layer's cache.
    pub kv: &'a Buffer,
    /// How the cache stores numbers.
    pub kv_format: KvFormat,
    /// `[tokens, heads * head_dim]`.
    pub y: &'a Buffer,
    /// Of heads whose size is a multiple of 4, at most 128.
    pub sizes: Heads,
}

/// Lanes of a group on a GPU, each of which owns four of a head's dimensions.
fn width(head_dim: usize) -> usize {
    if head_dim <= 64 { 16 } else { 32 }
}

/// Tokens, or positions, that a workgroup owns: on a GPU its 64 lanes form groups that own four each.
pub(crate) fn owned(class: &Class, head_dim: usize) -> usize {
    if class.one_subgroup() {
        8
    } else {
        4 * 64 / width(head_dim)
    }
}

/// Composes a kernel with one of its two tiles.
pub(super) fn with_tile(
    variant: Variant,
    class: &Class,
    head_dim: usize,
    [subgroup, workgroup]: [&'static str; 2],
) -> Variant {
    if class.one_subgroup() {
        variant.import("tile", subgroup)
    } else {
        variant
            .import("tile", workgroup)
            .set("WIDTH", width(head_dim) as u32)
    }
}

pub(super) fn compose(variant: Variant, kv: KvFormat, sizes: Heads) -> Variant {
    let Heads {
        heads,
        kv_heads,
        head_dim,
    } = sizes;
    assert!(
        head_dim.is_multiple_of(4) && head_dim <= 128,
        "head size {head_dim}"
    );
    assert!(
        heads.is_multiple_of(kv_heads),
        "{heads} query heads, {kv_heads} key heads"
    );
    variant
        .import("kv_read", kv.read())
        .set("HEADS", heads as u32)
        .set("KV_HEADS", kv_heads as u32)
        .set("FOURS", head_dim as u32 / 4)
        .set("KEY_ROWS", sizes.key_rows() as u32)
}

/// The longest context that attention sees whole: where loops end early (see [`Class::loops_end`]) heads of 128 dimensions
/// would miss keys from position 12,188 on.
pub fn most_positions(class: &Class) -> usize {
    if class.loops_end { 12_000 } else { usize::MAX }
}

pub(super) fn variant(class: &Class, kv: KvFormat, sizes: Heads) -> Variant {
    let tiles = ["lib/attention_subgroup", "lib/attention_workgroup"];
    let variant = with_tile(Variant::new("attention"), class, sizes.head_dim, tiles);
    compose(variant, kv, sizes)
}

/// A step over `tokens` tokens from `position` on.
pub fn step(
    gpu: &Gpu,
    label: &str,
    attention: Attention<'_>,
    tokens: usize,
    position: usize,
) -> Result<Step> {
    assert_kv_holds(label, &attention, position + tokens);
    let Attention {
        queries,
        kv,
        kv_format,
        y,
        sizes,
    } = attention;
    assert_holds(label, queries, tokens * sizes.query_rows());
    assert_holds(label, y, tokens * sizes.query_rows());
    let variant = variant(&gpu.class, kv_format, sizes);
    let op = op::<Params>(gpu, variant, &[("queries", queries), ("kv", kv), ("y", y)])?;
    let params = Params {
        position: position as u32,
        tokens: tokens as u32,
    };
    let pairs = tokens * position + tokens * (tokens + 1) / 2;
    let size = [
        workgroups(tokens.div_ceil(owned(&gpu.class, sizes.head_dim))),
        workgroups(sizes.heads),
        1,
    ];
    Ok(Step::new(label, &op, &params, size).cost(0, 4 * (pairs * sizes.query_rows()) as u64))
}
