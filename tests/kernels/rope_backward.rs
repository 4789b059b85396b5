use super::{assert_close, for_cases, numbers, output, read, run, tokens, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::rope_backward::{self, RopeBackward};
use first_wgpu::reference::rope_backward::rope_backward as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let heads = prop_oneof![
        Just([9usize, 3, 64]),
        Just([3, 1, 32]),
        Just([2, 1, 16]),
        Just([1, 1, 4]),
        Just([5, 5, 20])
    ];
    for_cases(
        24,
        (heads, tokens(), any::<u64>()),
        |(heads, tokens, seed)| {
            let [heads, kv_heads, head_dim] = *heads;
            let (query_rows, key_rows) = (heads * head_dim, kv_heads * head_dim);
            let turns: Vec<[f32; 2]> = numbers(seed ^ 1, tokens * head_dim / 2)
                .iter()
                .map(|angle| [(9.0 * angle).cos(), (9.0 * angle).sin()])
                .collect();
            let rotations = Buffer::from_slice(gpu, "rotations", &turns).expect("fits");
            let d = [query_rows, key_rows, key_rows]
                .map(|rows| numbers(seed ^ rows as u64, tokens * rows));
            let [dq, dk, dv] = [0, 1, 2].map(|part| upload(gpu, &d[part]));
            let rows = query_rows + 2 * key_rows;
            let slots = rows.next_multiple_of(32);
            let dy = output(gpu, tokens * slots);
            let rope = RopeBackward {
                rotations: &rotations,
                dq: &dq,
                dk: &dk,
                dv: &dv,
                gate: &upload(gpu, &[0.75]),
                dy: &dy,
                query_rows,
                key_rows,
                head_dim,
            };
            let step = rope_backward::step(gpu, "rope", rope, *tokens).expect("valid");
            run(gpu, vec![step]);
            let found = read(gpu, &dy, tokens * slots);
            for token in 0..*tokens {
                let turns = &turns[token * head_dim / 2..][..head_dim / 2];
                let row = |part: usize, rows: usize| &d[part][token * rows..][..rows];
                let joint = [
                    reference(row(0, query_rows), turns),
                    reference(row(1, key_rows), turns),
                    row(2, key_rows).to_vec(),
                ]
                .concat();
                // Row order `pairs`; slots that no row has are zero.
                let mut expected = vec![0.0; slots];
                for (row, d) in joint.iter().enumerate() {
                    expected[row / 32 * 32 + row % 2 * 16 + row % 32 / 2] = 0.75 * d;
                }
                assert_close(
                    "dy",
                    &expected,
                    &found[token * slots..][..slots],
                    tolerance::sum(2),
                );
            }
        },
    );
}
