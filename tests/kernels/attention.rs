use super::{
    assert_close, epilogues::write_cache, for_cases, numbers, output, read, run, tolerance, upload,
};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::KvFormat;
use first_wgpu::kernels::attention::{self, Attention};
use first_wgpu::reference::attention::{Heads, attention as reference};
use proptest::prelude::*;

/// Shapes of heads: grouped or not, sizes of a tiny model up to the largest.
pub(crate) fn heads() -> impl Strategy<Value = Heads> {
    let shape = |heads, kv_heads, head_dim| {
        Just(Heads {
            heads,
            kv_heads,
            head_dim,
        })
    };
    prop_oneof![
        shape(1, 1, 4),
        shape(4, 2, 16),
        shape(9, 3, 64),
        shape(2, 2, 68),
        shape(2, 2, 100),
        shape(8, 1, 128)
    ]
}

pub(crate) fn test(gpu: &Gpu) {
    let tokens = prop_oneof![
        Just(1usize),
        Just(7),
        Just(8),
        Just(9),
        Just(32),
        Just(33),
        1..80usize
    ];
    let sizes = (
        heads(),
        tokens,
        prop_oneof![Just(0usize), 0..70usize, Just(8000), Just(11_900)],
        any::<u64>(),
        any::<bool>(),
        any::<bool>(),
    );
    for_cases(24, sizes, |(sizes, tokens, position, seed, half, large)| {
        let (query_rows, key_rows) = (sizes.query_rows(), sizes.key_rows());
        // Large scores make the softmax all but hard.
        let size = if *large { 30.0 } else { 1.0 };
        let queries: Vec<f32> = numbers(*seed, tokens * query_rows)
            .iter()
            .map(|q| q * size)
            .collect();
        let keys = numbers(seed ^ 1, (position + tokens) * key_rows);
        let values = numbers(seed ^ 2, (position + tokens) * key_rows);
        let kv_format = if *half { KvFormat::F16 } else { KvFormat::F32 };
        let round = |values: &[f32]| match kv_format {
            KvFormat::F16 => values
                .iter()
                .map(|value| half::f16::from_f32(*value).to_f32())
                .collect(),
            KvFormat::F32 => values.to_vec(),
        };
        let kv = write_cache(gpu, &keys, &values, key_rows, kv_format);
        let (q, y) = (upload(gpu, &queries), output(gpu, tokens * query_rows));
        let attention = Attention {
            queries: &q,
            kv: &kv,
            kv_format,
            y: &y,
            sizes: *sizes,
        };
        let step = attention::step(gpu, "attention", attention, *tokens, *position).expect("valid");
        run(gpu, vec![step]);
        let found = read(gpu, &y, tokens * query_rows);
        let expected = reference(&queries, &round(&keys), &round(&values), *position, *sizes);
        // An error of a score is a relative error of its weight.
        let allowed = tolerance::sum(position + tokens) + size * tolerance::TRANSCENDENTAL;
        assert_close("y", &expected, &found, allowed);
    });
}
