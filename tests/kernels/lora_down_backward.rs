use super::lora_down::row_fours;
use super::{assert_close_to, for_cases, numbers, read, run, tokens, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::lora_down_backward::{self, LoraDownBackward};
use first_wgpu::reference::lora_down_backward::lora_down_backward as reference;
use first_wgpu::reference::residual::residual;
use proptest::prelude::*;
use std::ops::Range;

pub(crate) fn test(gpu: &Gpu) {
    let sizes = (tokens(), row_fours(), 1..4usize, any::<u64>());
    for_cases(24, sizes, |(tokens, row_fours, eights, seed)| {
        let (rows, rank) = (4 * row_fours, 8 * eights);
        let (x, g) = (
            numbers(*seed, tokens * rows),
            numbers(seed ^ 1, tokens * rank),
        );
        // Parts of a joint matrix: each row has all columns, none, or eight of them.
        let spans: Vec<Range<usize>> = (0..rows)
            .map(|row| match row * 5 / rows {
                0 => 0..rank,
                1 => 0..0,
                part => (part - 2) % eights * 8..(part - 2) % eights * 8 + 8,
            })
            .collect();
        let packed: Vec<u32> = spans
            .iter()
            .map(|span| (span.start | span.end << 16) as u32)
            .collect();
        let before = numbers(seed ^ 2, rows * rank);
        let dm = upload(gpu, &before);
        let packed = Buffer::from_slice(gpu, "spans", &packed).expect("fits");
        let gate = upload(gpu, &[0.75]);
        let buffers = LoraDownBackward {
            x: &upload(gpu, &x),
            g: &upload(gpu, &g),
            spans: &packed,
            gate: &gate,
            dm: &dm,
        };
        let step = lora_down_backward::step(gpu, "down", buffers, [*tokens, rows, rank]);
        run(gpu, vec![step.expect("valid")]);
        let expected = residual(&before, &reference(&x, &g, &spans, 0.75));
        let found = read(gpu, &dm, rows * rank);
        let size = (*tokens as f32).sqrt();
        assert_close_to("dm", &expected, &found, tolerance::sum(*tokens), size);
        for (row, span) in spans.iter().enumerate() {
            for column in (0..rank).filter(|column| !span.contains(column)) {
                let at = row * rank + column;
                assert_eq!(before[at], found[at], "row {row} has no column {column}");
            }
        }
    });
}
