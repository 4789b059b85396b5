//! Attention of one new token over the cache. See `shaders/attention_decode.wgsl`.

use super::attention::{Attention, compose};
use super::{KvFormat, assert_holds, by_class, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Added to the position in the state.
        position: u32,
    }
}

/// Query heads that a workgroup owns: on software Vulkan as many of a group as one vector of four holds.
fn shared(class: &Class, heads: usize, kv_heads: usize) -> usize {
    let group = heads / kv_heads;
    let most = if class.one_subgroup() { 4 } else { 1 };
    (1..=most)
        .rev()
        .find(|count| group.is_multiple_of(*count))
        .unwrap_or(1)
}

pub(super) fn variant(
    class: &Class,
    kv: KvFormat,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) -> Variant {
    let attend = by_class(class, "lib/attend_subgroup", "lib/attend_workgroup");
    compose(
        Variant::new("attention_decode")
            .import("attend", attend)
            .set("SHARED", shared(class, heads, kv_heads) as u32),
        kv,
        heads,
        kv_heads,
        head_dim,
    )
}

/// A step for the token whose position is in `state`.
pub fn step(gpu: &Gpu, label: &str, attention: Attention<'_>, state: &Buffer) -> Result<Step> {
    let Attention {
        queries,
        kv,
        kv_format,
        y,
        heads,
        kv_heads,
        head_dim,
    } = attention;
    assert_holds(label, queries, heads * head_dim);
    assert_holds(label, y, heads * head_dim);
    let variant = variant(&gpu.class, kv_format, heads, kv_heads, head_dim);
    let op = op::<Params>(
        gpu,
        variant,
        &[("queries", queries), ("kv", kv), ("state", state), ("y", y)],
    )?;
    Ok(Step::new(
        label,
        &op,
        &Params { position: 0 },
        [
            workgroups(heads / shared(&gpu.class, heads, kv_heads)),
            1,
            1,
        ],
    ))
}
