//! Dot products. See `shaders/dot.wgsl`.

use super::{assert_holds, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Count / 4.
        fours: u32,
        /// How many vec4 a workgroup takes.
        share: u32,
        /// Where the first sum goes.
        index: u32,
    }
}

pub(super) fn variant() -> Variant {
    Variant::new("dot").import("reduce", "lib/reduce_workgroup")
}

/// A step that adds the dot products of `parts` shares of `x` and `y [count]` to `sums[index..index + parts]`.
pub fn step(
    gpu: &Gpu,
    label: &str,
    [x, y, sums]: [&Buffer; 3],
    count: usize,
    index: usize,
    parts: usize,
) -> Result<Step> {
    assert!(count.is_multiple_of(4), "{label}: {count} numbers");
    assert_holds(label, x, count);
    assert_holds(label, y, count);
    assert_holds(label, sums, index + parts);
    let buffers = [("x", x), ("y", y), ("sums", sums)];
    let op = op::<Params>(gpu, variant(), &buffers)?;
    let params = Params {
        fours: count as u32 / 4,
        share: (count / 4).div_ceil(parts) as u32,
        index: index as u32,
    };
    Ok(Step::new(label, &op, &params, [workgroups(parts), 1, 1]))
}
