//! `y = a x + b`, many times over: the roof of arithmetic. See `shaders/fma.wgsl`.

use super::{assert_holds, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// How often.
        turns: u32,
        /// What multiplies.
        a: f32,
        /// What is added.
        b: f32,
    }
}

/// Numbers of a workgroup.
const COUNT: usize = 2048;

pub(super) fn variant() -> Variant {
    Variant::new("fma")
}

/// A step that turns `count` numbers, a multiple of 2048, `turns` times.
pub fn step(
    gpu: &Gpu,
    [x, y]: [&Buffer; 2],
    count: usize,
    turns: u32,
    [a, b]: [f32; 2],
) -> Result<Step> {
    assert!(count.is_multiple_of(COUNT), "fma of {count} numbers");
    assert_holds("fma x", x, count);
    assert_holds("fma y", y, count);
    let op = op::<Params>(gpu, variant(), &[("x", x), ("y", y)])?;
    let flops = 2 * count as u64 * u64::from(turns);
    let size = [workgroups(count / COUNT), 1, 1];
    Ok(Step::new("fma", &op, &Params { turns, a, b }, size).cost(0, flops))
}
