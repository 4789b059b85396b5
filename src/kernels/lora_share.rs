//! The way down to the first adapted product of a token. See `shaders/lora_share.wgsl`.

use super::update::with_next;
use super::{Next, assert_holds, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Rows of `y`.
        rows: u32,
    }
}

/// Rows of a share.
pub const SHARE_ROWS: usize = 32;

pub(super) fn variant(class: &Class) -> Variant {
    let lanes: u32 = if class.one_subgroup() { 8 } else { 32 };
    Variant::new("lora_share").set("LANES", lanes)
}

/// A step that leaves shares of `A y` behind `y`, `[rows]` before them.
pub fn step(gpu: &Gpu, label: &str, y: &Buffer, rows: usize, next: Next<'_>) -> Result<Step> {
    assert!(
        rows.is_multiple_of(SHARE_ROWS),
        "{label}: shares of {rows} rows"
    );
    let shares = rows / SHARE_ROWS;
    assert_holds(label, y, rows + shares * next.rank);
    let variant = with_next(&gpu.class, Some(next), SHARE_ROWS, variant(&gpu.class));
    let op = op::<Params>(gpu, variant, &[("y", y.into()), ("a", next.a.resource())])?;
    let params = Params { rows: rows as u32 };
    let (bytes, flops) = next.cost(rows);
    Ok(Step::new(label, &op, &params, [workgroups(shares), 1, 1]).cost(bytes, flops))
}
