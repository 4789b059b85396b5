//! How much work a submission holds: a GPU that is busy for two seconds is reset by Windows and by some drivers.

use crate::gpu::{Gpu, Step};

/// How long a step takes, in operations of a product.
pub(super) fn effort(gpu: &Gpu, step: &Step) -> u64 {
    if step.op.kernel().starts_with("attention") {
        step.flops * gpu.attention_effort()
    } else {
        step.flops
    }
}

/// Steps in groups that each keep a GPU busy for well under half a second, if none of them takes longer by itself.
pub(super) fn paced(gpu: &Gpu, steps: Vec<Step>) -> Vec<Vec<Step>> {
    groups(steps, |step| effort(gpu, step), gpu.submission_flops())
}

/// Items in order, in groups of no more than `most` together, but for what is more by itself.
fn groups<T>(items: Vec<T>, size: impl Fn(&T) -> u64, most: u64) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut filled = 0u64;
    for item in items {
        let own = size(&item);
        filled = filled.saturating_add(own);
        match groups.last_mut() {
            Some(group) if filled <= most => group.push(item),
            _ => {
                groups.push(vec![item]);
                filled = own;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::groups;

    #[test]
    fn a_submission_holds_what_fits_and_at_least_a_step() {
        let of = |sizes: &[u64]| groups(sizes.to_vec(), |size| *size, 8);
        assert_eq!(
            of(&[3, 3, 5, 9, 1, 7, 1]),
            [&[3, 3][..], &[5], &[9], &[1, 7], &[1]]
        );
        assert_eq!(of(&[9]), [[9]]);
        assert_eq!(of(&[u64::MAX, u64::MAX, 1]), [[u64::MAX], [u64::MAX], [1]]);
        assert!(of(&[]).is_empty());
    }
}
