//! Attention of one new token over the cache. See `shaders/attention_decode.wgsl`.

use super::attention::{Attention, compose};
use super::update::with_next;
use super::{KvFormat, Next, assert_holds, by_class, op, workgroups};
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

/// Shares that a way down behind the attended vector has.
pub fn shares(class: &Class, heads: usize, kv_heads: usize) -> usize {
    heads / shared(class, heads, kv_heads)
}

/// A step for the token whose position is in `state`; `next` is the way down of what takes its result.
pub fn step(
    gpu: &Gpu,
    label: &str,
    attention: Attention<'_>,
    state: &Buffer,
    next: Option<Next<'_>>,
) -> Result<Step> {
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
    let (rows, shares) = (heads * head_dim, shares(&gpu.class, heads, kv_heads));
    let behind = next.map_or(0, |next| shares * next.rank);
    assert_holds(label, y, rows + behind);
    let variant = variant(&gpu.class, kv_format, heads, kv_heads, head_dim);
    let variant = with_next(&gpu.class, next, rows / shares, variant);
    let buffers = [("queries", queries), ("kv", kv), ("state", state), ("y", y)];
    let mut bindings = buffers.map(|(name, buffer)| (name, buffer.into())).to_vec();
    bindings.extend(next.map(|next| ("a", next.a.resource())));
    let op = op::<Params>(gpu, variant, &bindings)?;
    let step = Step::new(
        label,
        &op,
        &Params { position: 0 },
        [workgroups(shares), 1, 1],
    );
    let (bytes, flops) = next.map_or((0, 0), |next| next.cost(rows));
    Ok(step.cost(bytes, flops))
}
