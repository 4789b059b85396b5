//! Attention of one new token over the cache. See `shaders/attention_decode.wgsl`.
//!
//! A small model has too few heads to keep a GPU busy once there are many positions: then several workgroups share them
//! out, and [`attention_combine`] puts their parts together.

use super::attention::{Attention, compose};
use super::update::with_next;
use super::{KvFormat, Next, assert_holds, attention_combine, by_class, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};
use crate::reference::attention::Heads;

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Ranges that the positions are shared out to.
        splits: u32,
    }
}

/// Query heads that a workgroup owns: on software Vulkan as many of a group as one vector of four holds.
fn shared(class: &Class, sizes: Heads) -> usize {
    let group = sizes.heads / sizes.kv_heads;
    let most = if class.one_subgroup() { 4 } else { 1 };
    (1..=most)
        .rev()
        .find(|count| group.is_multiple_of(*count))
        .unwrap_or(1)
}

pub(super) fn variant(class: &Class, kv: KvFormat, sizes: Heads) -> Variant {
    let attend = by_class(class, "lib/attend_subgroup", "lib/attend_workgroup");
    let variant = Variant::new("attention_decode")
        .import("attend", attend)
        .set("SHARED", shared(class, sizes) as u32);
    compose(variant, kv, sizes)
}

/// Shares that a way down behind the attended vector has.
pub fn shares(class: &Class, sizes: Heads) -> usize {
    sizes.heads / shared(class, sizes)
}

/// The most ranges of positions.
const MOST_SPLITS: usize = 16;

/// Positions that there are for one range more; below two ranges a dispatch to put parts together is not worth it.
const SPLIT_POSITIONS: usize = 256;

/// Ranges that the positions up to this one are shared out to: a power of two, so that it seldom changes while an answer
/// grows. On software Vulkan heads are enough for its few threads.
pub fn splits(class: &Class, position: usize) -> usize {
    match position / SPLIT_POSITIONS {
        0 | 1 => 1,
        _ if class.one_subgroup() => 1,
        ranges => MOST_SPLITS.min(1 << ranges.ilog2()),
    }
}

/// How many numbers the parts of all heads' ranges are, at most.
pub fn parts(sizes: Heads) -> usize {
    sizes.heads * MOST_SPLITS * (sizes.head_dim + 2)
}

/// The steps for the token whose position is in `state`, shared out as is best at `position`; `parts` is scratch, and `next`
/// is the way down of what takes the result.
pub fn steps(
    gpu: &Gpu,
    label: &str,
    attention: Attention<'_>,
    [state, parts]: [&Buffer; 2],
    position: usize,
    next: Option<Next<'_>>,
) -> Result<Vec<Step>> {
    let Attention { y, sizes, .. } = attention;
    let splits = splits(&gpu.class, position);
    if splits == 1 {
        return Ok(vec![step(gpu, label, attention, state, splits, next)?]);
    }
    let own = Attention {
        y: parts,
        ..attention
    };
    let sizes = [sizes.heads, sizes.head_dim, splits];
    Ok(vec![
        step(gpu, label, own, state, splits, None)?,
        attention_combine::step(gpu, &format!("{label}.combine"), [parts, y], sizes, next)?,
    ])
}

fn step(
    gpu: &Gpu,
    label: &str,
    attention: Attention<'_>,
    state: &Buffer,
    splits: usize,
    next: Option<Next<'_>>,
) -> Result<Step> {
    let Attention {
        queries,
        kv,
        kv_format,
        y,
        sizes,
    } = attention;
    let (rows, shares) = (sizes.query_rows(), shares(&gpu.class, sizes));
    assert_holds(label, queries, rows);
    let behind = next.map_or(0, |next| shares * next.rank);
    let numbers = match splits {
        1 => rows + behind,
        _ => sizes.heads * splits * (sizes.head_dim + 2),
    };
    assert_holds(label, y, numbers);
    let variant = variant(&gpu.class, kv_format, sizes);
    let variant = with_next(&gpu.class, next, rows / shares, variant);
    let buffers = [("queries", queries), ("kv", kv), ("state", state), ("y", y)];
    let mut bindings = buffers.map(|(name, buffer)| (name, buffer.into())).to_vec();
    bindings.extend(next.map(|next| ("a", next.a.resource())));
    let op = op::<Params>(gpu, variant, &bindings)?;
    let splits = workgroups(splits);
    let step = Step::new(
        label,
        &op,
        &Params { splits },
        [workgroups(shares), splits, 1],
    );
    let (bytes, flops) = next.map_or((0, 0), |next| next.cost(rows));
    Ok(step.cost(bytes, flops))
}
