use super::{
    assert_close, assert_close_to, epilogues::write_cache, for_cases, numbers, output, read, run,
    tolerance, upload,
};
use first_wgpu::gpu::{Class, Gpu};
use first_wgpu::kernels::KvFormat;
use first_wgpu::kernels::attention::Attention;
use first_wgpu::kernels::attention_backward;
use first_wgpu::kernels::attention_keys_backward::most_tokens;
use first_wgpu::reference::attention::{Heads, attention};
use first_wgpu::reference::attention_backward::attention_backward as reference;
use proptest::prelude::*;

/// An attention from position 0 on, and the gradient of what it gave.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) sizes: Heads,
    pub(crate) tokens: usize,
    pub(crate) kv_format: KvFormat,
    /// Of the queries: large ones make the softmax all but hard.
    pub(crate) size: f32,
    pub(crate) queries: Vec<f32>,
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
    pub(crate) dy: Vec<f32>,
}

/// Grouped heads or not, head sizes that are whole tiles of lanes and others.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let heads = prop_oneof![
        Just([1usize, 1, 4]),
        Just([1, 1, 32]),
        Just([3, 1, 32]),
        Just([6, 2, 64]),
        Just([2, 2, 64]),
        Just([2, 1, 68]),
        Just([1, 1, 100]),
        Just([3, 1, 128])
    ];
    // As long as software Vulkan takes, where many heads share a key.
    let longest = |[heads, kv_heads, head_dim]: [usize; 3]| {
        let sizes = Heads {
            heads,
            kv_heads,
            head_dim,
        };
        let class = Class::software_example();
        Just(([heads, kv_heads, head_dim], most_tokens(&class, sizes)))
    };
    let shapes = prop_oneof![
        10 => (heads, super::tokens()),
        1 => longest([16, 1, 4]),
        1 => longest([16, 1, 128]),
    ];
    let sizes = (shapes, any::<[bool; 2]>(), any::<u64>());
    sizes.prop_map(
        |(([heads, kv_heads, head_dim], tokens), [half, large], seed)| {
            let (query_rows, key_rows) = (heads * head_dim, kv_heads * head_dim);
            let size = if large { 30.0 } else { 1.0 };
            let kv_format = if half { KvFormat::F16 } else { KvFormat::F32 };
            let round = |values: Vec<f32>| match kv_format {
                KvFormat::F16 => values
                    .iter()
                    .map(|value| half::f16::from_f32(*value).to_f32())
                    .collect(),
                KvFormat::F32 => values,
            };
            let queries = numbers(seed, tokens * query_rows);
            Case {
                sizes: Heads {
                    heads,
                    kv_heads,
                    head_dim,
                },
                tokens,
                kv_format,
                size,
                queries: queries.iter().map(|q| q * size).collect(),
                keys: round(numbers(seed ^ 1, tokens * key_rows)),
                values: round(numbers(seed ^ 2, tokens * key_rows)),
                dy: numbers(seed ^ 3, tokens * query_rows),
            }
        },
    )
}

impl Case {
    pub(crate) fn kv(&self, gpu: &Gpu) -> first_wgpu::gpu::Buffer {
        let key_rows = self.sizes.kv_heads * self.sizes.head_dim;
        write_cache(gpu, &self.keys, &self.values, key_rows, self.kv_format)
    }

    /// The size of what is summed: a query's gradient, and a key's, is zero where there is one position, by two terms that
    /// cancel.
    pub(crate) fn scale(&self) -> f32 {
        if self.tokens == 1 { self.size } else { 0.0 }
    }

    /// An error of a score is a relative error of its weight.
    pub(crate) fn tolerance(&self) -> f32 {
        tolerance::sum(self.tokens + self.sizes.head_dim) + self.size * tolerance::TRANSCENDENTAL
    }
}

pub(crate) fn test(gpu: &Gpu) {
    for_cases(24, cases(), |case| {
        let heads = case.sizes.heads;
        let count = case.queries.len();
        let y = attention(&case.queries, &case.keys, &case.values, 0, case.sizes);
        let [queries, y, dy] = [&case.queries, &y, &case.dy].map(|values| upload(gpu, values));
        let (dq, rows) = (output(gpu, count), output(gpu, 2 * case.tokens * heads));
        let attention = Attention {
            queries: &queries,
            kv: &case.kv(gpu),
            kv_format: case.kv_format,
            y: &y,
            sizes: case.sizes,
        };
        let gradients = [&dy, &dq, &rows];
        let step = attention_backward::step(gpu, "attention", attention, gradients, case.tokens);
        run(gpu, vec![step.expect("valid")]);
        let (expected, expected_rows) = reference(
            &case.queries,
            [&case.keys, &case.values],
            &case.dy,
            case.sizes,
        );
        let found = read(gpu, &dq, count);
        assert_close_to("dq", &expected, &found, case.tolerance(), case.scale());
        let rows = read(gpu, &rows, 2 * case.tokens * heads);
        assert_close(
            "rows",
            expected_rows.as_flattened(),
            &rows,
            case.tolerance(),
        );
    });
}
