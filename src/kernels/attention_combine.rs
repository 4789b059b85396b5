//! Puts together what several workgroups have of a token's attention. See `shaders/attention_combine.wgsl`.

use super::update::with_next;
use super::{Next, assert_holds, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Parts of a head.
        splits: u32,
    }
}

pub(super) fn variant(heads: usize, head_dim: usize) -> Variant {
    assert!(head_dim <= 128, "head size {head_dim}");
    Variant::new("attention_combine")
        .set("HEADS", heads as u32)
        .set("DIMENSIONS", head_dim as u32)
}

/// A step from `parts [heads, splits, D + 2]` to `y [Q]`; `next` is the way down of what takes it.
pub fn step(
    gpu: &Gpu,
    label: &str,
    [parts, y]: [&Buffer; 2],
    [heads, head_dim, splits]: [usize; 3],
    next: Option<Next<'_>>,
) -> Result<Step> {
    let rows = heads * head_dim;
    assert_holds(label, parts, heads * splits * (head_dim + 2));
    assert_holds(label, y, rows + next.map_or(0, |next| heads * next.rank));
    let class = gpu.class.wide();
    let variant = with_next(&class, next, head_dim, variant(heads, head_dim));
    let mut bindings = vec![("parts", parts.into()), ("y", y.into())];
    bindings.extend(next.map(|next| ("a", next.a.resource())));
    let op = op::<Params>(gpu, variant, &bindings)?;
    let splits = splits as u32;
    let step = Step::new(label, &op, &Params { splits }, [workgroups(heads), 1, 1]);
    let (bytes, flops) = next.map_or((0, 0), |next| next.cost(rows));
    Ok(step.cost(bytes, flops))
}
