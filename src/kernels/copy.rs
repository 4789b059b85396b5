//! `y = x`: the roof of memory bandwidth. See `shaders/copy.wgsl`.

use super::{assert_holds, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Numbers / 4.
        fours: u32,
    }
}

pub(super) fn variant() -> Variant {
    Variant::new("copy")
}

/// A step that copies `count` numbers, a multiple of 4, from `x` to `y`.
pub fn step(gpu: &Gpu, [x, y]: [&Buffer; 2], count: usize) -> Result<Step> {
    assert!(count.is_multiple_of(4), "copy of {count} numbers");
    assert_holds("copy x", x, count);
    assert_holds("copy y", y, count);
    let op = op::<Params>(gpu, variant(), &[("x", x), ("y", y)])?;
    let params = Params {
        fours: count as u32 / 4,
    };
    let owned = 4 * op.constant("FOURS");
    let size = [workgroups(count.div_ceil(owned)), 1, 1];
    Ok(Step::new("copy", &op, &params, size))
}
