use super::{
    assert_close, attention::heads, epilogues::write_cache, for_cases, lora_share::Down, numbers,
    output, read, run, tolerance, upload,
};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::KvFormat;
use first_wgpu::kernels::attention::Attention;
use first_wgpu::kernels::attention_decode::{self, shares};
use first_wgpu::reference::attention_decode::attention_decode as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let edges = [0usize, 6, 7, 8, 31, 32, 127, 128, 129, 8191, 11_999];
    let position = prop_oneof![proptest::sample::select(edges.to_vec()), 0..400usize];
    for_cases(
        24,
        (heads(), position, any::<u64>(), any::<[bool; 4]>()),
        |(sizes, position, seed, [half, large, with_next, split])| {
            let (query_rows, key_rows) = (sizes.query_rows(), sizes.key_rows());
            let size = if *large { 30.0 } else { 1.0 };
            let queries: Vec<f32> = numbers(*seed, query_rows)
                .iter()
                .map(|q| q * size)
                .collect();
            let keys = numbers(seed ^ 1, (position + 1) * key_rows);
            let values = numbers(seed ^ 2, (position + 1) * key_rows);
            let kv_format = if *half { KvFormat::F16 } else { KvFormat::F32 };
            let round = |values: &[f32]| match kv_format {
                KvFormat::F16 => values
                    .iter()
                    .map(|value| half::f16::from_f32(*value).to_f32())
                    .collect(),
                KvFormat::F32 => values.to_vec(),
            };
            let kv = write_cache(gpu, &keys, &values, key_rows, kv_format);
            let share_rows = query_rows / shares(&gpu.class, *sizes);
            let down = Down::new(gpu, query_rows, 8, *seed);
            let y = down.with_room(gpu, &vec![f32::NAN; query_rows], share_rows);
            let q = upload(gpu, &queries);
            let next = with_next.then(|| down.next());
            let state =
                Buffer::from_slice(gpu, "state", &[0, *position as u32, 0, 0]).expect("fits");
            let attention = Attention {
                queries: &q,
                kv: &kv,
                kv_format,
                y: &y,
                sizes: *sizes,
            };
            // On GPUs a long context is shared out to workgroups; that holds at any position.
            let planned = if *split { 8192 } else { 0 };
            let parts = output(gpu, attention_decode::parts(*sizes));
            let buffers = [&state, &parts];
            let steps =
                attention_decode::steps(gpu, "attention", attention, buffers, planned, next);
            run(gpu, steps.expect("valid"));
            let found = read(gpu, &y, query_rows);
            let expected = reference(&queries, &round(&keys), &round(&values), *position, *sizes);
            let allowed = tolerance::sum(position + 1) + size * tolerance::TRANSCENDENTAL;
            assert_close("y", &expected, &found, allowed);
            if *with_next {
                down.check(gpu, &y, &found, share_rows, tolerance::sum(share_rows));
            }
        },
    );
}
