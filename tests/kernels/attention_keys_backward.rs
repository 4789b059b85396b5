use super::attention_backward::cases;
use super::{assert_close_to, for_cases, output, read, run, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::attention::Attention;
use first_wgpu::kernels::attention_keys_backward::{self, KeysBackward};
use first_wgpu::reference::attention_backward::attention_backward;
use first_wgpu::reference::attention_keys_backward::attention_keys_backward as reference;

pub(crate) fn test(gpu: &Gpu) {
    for_cases(24, cases(), |case| {
        let kept = [case.keys.as_slice(), &case.values];
        let (_, rows) = attention_backward(&case.queries, kept, &case.dy, case.sizes);
        let [queries, dy] = [&case.queries, &case.dy].map(|values| upload(gpu, values));
        let rows = upload(gpu, rows.as_flattened());
        let [dk, dv] = [output(gpu, case.keys.len()), output(gpu, case.keys.len())];
        let attention = Attention {
            queries: &queries,
            kv: &case.kv(gpu),
            kv_format: case.kv_format,
            y: &queries,
            sizes: case.sizes,
        };
        let gradients = KeysBackward {
            dy: &dy,
            rows: &rows,
            dk: &dk,
            dv: &dv,
        };
        let step =
            attention_keys_backward::step(gpu, "attention", attention, gradients, case.tokens);
        run(gpu, vec![step.expect("valid")]);
        let (expected_dk, expected_dv) = reference(&case.queries, kept, &case.dy, case.sizes);
        for (what, expected, found) in [("dk", expected_dk, dk), ("dv", expected_dv, dv)] {
            let found = read(gpu, &found, expected.len());
            assert_close_to(what, &expected, &found, case.tolerance(), case.scale());
        }
    });
}
