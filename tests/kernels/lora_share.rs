use super::{assert_close_to, for_cases, numbers, read, run, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu, Texel};
use first_wgpu::kernels::{Next, Update, lora_share};
use first_wgpu::reference::lora_down::lora_down;
use first_wgpu::reference::lora_share::lora_share as reference;
use first_wgpu::reference::matmul::matmul;
use first_wgpu::weights::pack::{Linear, Words};
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    // Of a high rank even software Vulkan sums in workgroup memory.
    let fours = prop_oneof![1..7usize, Just(17)];
    let sizes = (1..40usize, fours, any::<u64>());
    for_cases(24, sizes, |(shares, fours, seed)| {
        let (rows, rank) = (32 * shares, 4 * fours);
        let y = numbers(*seed, rows);
        let down = Down::new(gpu, rows, rank, *seed);
        let buffer = down.with_room(gpu, &y, 32);
        let step = lora_share::step(gpu, "down", &buffer, rows, down.next());
        run(gpu, vec![step.expect("valid")]);
        let found = read(gpu, &buffer, rows);
        assert_close_to("y", &y, &found, tolerance::EXACT, 0.0);
        down.check(gpu, &buffer, &y, 32, tolerance::sum(32));
    });
}

/// Thin matrices as the adapter likes them.
fn words(gpu: &Gpu, values: &[f32]) -> Words {
    Words::new(gpu, "thin", Texel::Four, bytemuck::cast_slice(values)).expect("fits")
}

/// A low-rank update's way down, from a vector that a kernel makes.
pub(crate) struct Down {
    a: Vec<f32>,
    words: Words,
    rank: usize,
}

impl Down {
    pub(crate) fn new(gpu: &Gpu, rows: usize, rank: usize, seed: u64) -> Self {
        let a = numbers(seed ^ 0x0d0, rows * rank);
        let words = words(gpu, &a);
        Self { a, words, rank }
    }

    pub(crate) fn next(&self) -> Next<'_> {
        Next {
            a: &self.words,
            rank: self.rank,
        }
    }

    /// A vector with room for its shares behind it, which shows what was not written.
    pub(crate) fn with_room(&self, gpu: &Gpu, y: &[f32], share_rows: usize) -> Buffer {
        let mut values = y.to_vec();
        values.resize(y.len() + y.len().div_ceil(share_rows) * self.rank, f32::NAN);
        upload(gpu, &values)
    }

    /// Asserts that the shares of `y` lie behind it.
    pub(crate) fn check(
        &self,
        gpu: &Gpu,
        buffer: &Buffer,
        y: &[f32],
        share_rows: usize,
        tolerance: f32,
    ) {
        let expected = reference(y, &self.a, self.rank, share_rows);
        let found = read(gpu, buffer, y.len() + expected.len());
        let size = y.iter().fold(0.0f32, |size, y| size.max(y.abs())) * (share_rows as f32).sqrt();
        assert_close_to("shares", &expected, &found[y.len()..], tolerance, size);
    }
}

/// A low-rank update of a product, the way down done.
pub(crate) struct Up {
    /// Of all rows, `[rows, rank]`.
    b: Vec<f32>,
    /// `[shares, parts, rank]`.
    shares: Vec<f32>,
    words: Words,
    sizes: [usize; 3],
}

impl Up {
    /// `sizes` are shares, parts and the rank of each.
    pub(crate) fn new(gpu: &Gpu, linear: &Linear, sizes: [usize; 3], seed: u64) -> Self {
        let [shares, parts, rank] = sizes;
        let b = numbers(seed ^ 0xb, linear.rows * rank);
        let columns: Vec<f32> = (0..rank)
            .flat_map(|j| b.iter().skip(j).step_by(rank).copied())
            .collect();
        let slots = super::to_slots(linear, &columns);
        let in_slots: Vec<f32> = (0..linear.slots())
            .flat_map(|slot| slots.iter().skip(slot).step_by(linear.slots()).copied())
            .collect();
        Self {
            b,
            shares: numbers(seed ^ 0x5, shares * parts * rank),
            words: words(gpu, &in_slots),
            sizes,
        }
    }

    pub(crate) fn own(&self) -> Update<'_> {
        let [shares, parts, rank] = self.sizes;
        Update {
            b: &self.words,
            rank,
            parts,
            shares,
        }
    }

    /// The vector with the shares behind it.
    pub(crate) fn behind(&self, gpu: &Gpu, x: &[f32]) -> Buffer {
        upload(gpu, &[x, &self.shares].concat())
    }

    /// `B h` of the rows of one part, which are `rows` from `first` on.
    pub(crate) fn update(&self, part: usize, first: usize, rows: usize) -> Vec<f32> {
        let [shares, parts, rank] = self.sizes;
        let h = lora_down(&vec![1.0; shares], &self.shares, parts * rank, 1.0);
        let b = &self.b[first * rank..][..rows * rank];
        matmul(b, &h[part * rank..][..rank], rank)
    }
}
