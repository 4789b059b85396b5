use super::{Matrix, assert_close, columns, for_cases, output, read, run, tolerance};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::embed;
use first_wgpu::reference::embed::embed as reference;
use first_wgpu::weights::Format;
use first_wgpu::weights::pack::{Linear, Order};
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    for format in Format::ALL {
        let sizes = (
            1..200usize,
            1..20usize,
            1..40usize,
            any::<u64>(),
            prop_oneof![Just(1u64 << 27), Just(40_000)],
            // Scales of whole blocks of small ones are below the smallest normal f16.
            prop_oneof![Just(1.0f32), Just(0.01)],
        );
        for_cases(
            8,
            sizes,
            |(vocab, blocks, tokens, seed, most_bytes, most)| {
                let hidden = columns(format, *blocks);
                let matrix = Matrix::scaled(format, *vocab, hidden, *seed, *most);
                let linear = Linear::pack_within(
                    gpu,
                    "embedding",
                    Order::Plain,
                    &[matrix.view()],
                    *most_bytes,
                )
                .expect("packs");
                let ids: Vec<u32> = (0..*tokens)
                    .map(|token| ((token * 31 + *seed as usize % 97) % vocab) as u32)
                    .collect();
                let x = output(gpu, tokens * hidden);
                let steps = embed::steps(
                    gpu,
                    &linear,
                    &Buffer::from_slice(gpu, "ids", &ids).expect("fits"),
                    &x,
                    *tokens,
                );
                run(gpu, steps.expect("valid"));
                let found = read(gpu, &x, tokens * hidden);
                // d * q + m is rounded once or twice, as the compiler likes.
                let allowed = match format {
                    Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => f32::EPSILON,
                    _ => tolerance::EXACT,
                };
                assert_close(
                    format.name(),
                    &reference(&matrix.values, hidden, &ids),
                    &found,
                    allowed,
                );
            },
        );
    }
}
