//! What follows a product, behind both kinds of product; and row orders that mix formats.

use super::lora_share::{Down, Up};
use super::{Matrix, assert_close, numbers, output, read, run, to_slots, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu, Step};
use first_wgpu::kernels::{Epilogue, KvFormat, Rope, Updates, matmul, matvec};
use first_wgpu::reference::{
    gated::gated, matmul::matmul as product, residual::residual, rope::rope, silu_mul::silu_mul,
    store::store,
};
use first_wgpu::weights::Format;
use first_wgpu::weights::pack::{Linear, Order};

/// A block of any format.
const COLUMNS: usize = 256;

pub(crate) fn test(gpu: &Gpu) {
    adapted(gpu);
    for tokens in [1, 5, 33] {
        plain(gpu, tokens);
        slots(gpu, tokens);
        for formats in [[Format::Q4_1; 2], [Format::Q4_0, Format::Q8_0]] {
            swiglu(gpu, tokens, formats);
        }
        for formats in [
            [Format::Q4_1; 3],
            [Format::Q4_1, Format::Q8_0, Format::F16],
            // As files called Q4_K_M have it.
            [Format::Q4K, Format::Q4K, Format::Q6K],
        ] {
            for kv_format in [KvFormat::F32, KvFormat::F16] {
                rotation(gpu, tokens, formats, kv_format);
            }
        }
    }
}

/// A product with one token goes through matvec, with several through matmul.
fn steps(
    gpu: &Gpu,
    linear: &Linear,
    x: &[f32],
    position: usize,
    epilogue: Epilogue<'_>,
) -> Vec<Step> {
    let (tokens, x) = (x.len() / COLUMNS, upload(gpu, x));
    let steps = match tokens {
        1 => matvec::steps(
            gpu,
            "product",
            linear,
            &x,
            None,
            Updates::default(),
            epilogue,
        ),
        _ => matmul::steps(
            gpu,
            "product",
            linear,
            &x,
            [tokens, position],
            None,
            epilogue,
        ),
    };
    steps.expect("valid")
}

fn plain(gpu: &Gpu, tokens: usize) {
    let (x, rows) = (numbers(1, tokens * COLUMNS), 50);
    let matrix = Matrix::new(Format::Q8_0, rows, COLUMNS, 2);
    let linear = Linear::pack(gpu, "matrix", Order::Plain, &[matrix.view()]).expect("packs");
    let before = numbers(3, tokens * rows);
    let gate = upload(gpu, &[0.75]);
    let [added, let_in] = [&before, &before].map(|before| upload(gpu, before));
    let stored = output(gpu, tokens * rows);
    for epilogue in [
        Epilogue::Residual { y: &added },
        Epilogue::Gated {
            y: &let_in,
            gate: &gate,
        },
        Epilogue::Store { y: &stored },
    ] {
        run(gpu, steps(gpu, &linear, &x, 0, epilogue));
    }
    let product = product(&matrix.values, &x, COLUMNS);
    for (what, expected, found) in [
        ("residual", residual(&before, &product), added),
        ("gated", gated(&before, 0.75, &product), let_in),
        ("store", store(&product), stored),
    ] {
        let found = read(gpu, &found, tokens * rows);
        assert_close(what, &expected, &found, tolerance::sum(COLUMNS));
    }
}

/// Products of one token with low-rank updates, of one, two and three parts, and with the way down to the next
/// update behind what they make.
fn adapted(gpu: &Gpu) {
    let x = numbers(21, COLUMNS);
    let matrix = |rows, seed| Matrix::new(Format::Q4_1, rows, COLUMNS, seed);
    let allowed = tolerance::sum(COLUMNS) + tolerance::TRANSCENDENTAL;
    let run_product = |linear: &Linear, up: &Up, next, epilogue| {
        let own = Some(up.own());
        let x = up.behind(gpu, &x);
        let updates = Updates { own, next };
        let steps = matvec::steps(gpu, "product", linear, &x, None, updates, epilogue);
        run(gpu, steps.expect("valid"));
    };

    let (rows, before) = (64, numbers(22, 64));
    let w = matrix(rows, 23);
    // A tile to a binding: shares are counted through all of them.
    let linear = Linear::pack_within(gpu, "o", Order::Plain, &[w.view()], 2_000).expect("packs");
    assert!(linear.slices.len() > 1);
    let up = Up::new(gpu, &linear, [3, 1, 8], 24);
    let down = Down::new(gpu, rows, 24, 25);
    let y = down.with_room(gpu, &before, 32);
    run_product(
        &linear,
        &up,
        Some(down.next()),
        Epilogue::Residual { y: &y },
    );
    let adapted = residual(&product(&w.values, &x, COLUMNS), &up.update(0, 0, rows));
    let found = read(gpu, &y, rows);
    assert_close("residual", &residual(&before, &adapted), &found, allowed);
    down.check(gpu, &y, &found, 32, tolerance::sum(32));

    let rows = 48;
    let [gate, up_proj] = [26, 27].map(|seed| matrix(rows, seed));
    let views = [gate.view(), up_proj.view()];
    let linear = Linear::pack(gpu, "gate+up", Order::Halves, &views).expect("packs");
    let up = Up::new(gpu, &linear, [5, 2, 4], 28);
    let down = Down::new(gpu, rows, 4, 29);
    let y = down.with_room(gpu, &vec![f32::NAN; rows], 16);
    run_product(&linear, &up, Some(down.next()), Epilogue::SiluMul { y: &y });
    let part = |w: &Matrix, part: usize| {
        let update = up.update(part, part * rows, rows);
        residual(&product(&w.values, &x, COLUMNS), &update)
    };
    let found = read(gpu, &y, rows);
    let expected = silu_mul(&part(&gate, 0), &part(&up_proj, 1));
    assert_close("silu_mul", &expected, &found, allowed);
    down.check(gpu, &y, &found, 16, tolerance::sum(16));

    // Parts that end within a tile, and no angles: what is stored is the product.
    let (query_rows, key_rows, head_dim) = (48, 16, 16);
    let parts = [(query_rows, 30), (key_rows, 31), (key_rows, 32)];
    let parts = parts.map(|(rows, seed)| matrix(rows, seed));
    let views: Vec<_> = parts.iter().map(Matrix::view).collect();
    let linear = Linear::pack(gpu, "q+k+v", Order::Pairs, &views).expect("packs");
    let up = Up::new(gpu, &linear, [2, 3, 4], 33);
    let rotations = Buffer::from_slice(gpu, "rotations", &[[1f32, 0.0]; 8]).expect("fits");
    let state = Buffer::from_slice(gpu, "state", &[0u32; 4]).expect("fits");
    let queries = output(gpu, query_rows);
    let kv = Buffer::zeros(gpu, "kv", 32 * 2 * key_rows).expect("fits");
    let rope = Rope {
        rotations: &rotations,
        state: &state,
        queries: &queries,
        kv: &kv,
        kv_format: KvFormat::F32,
        query_rows,
        key_rows,
        head_dim,
    };
    run_product(&linear, &up, None, Epilogue::Rope(rope));
    let cached = read_cache(gpu, &kv, KvFormat::F32, 32, key_rows).swap_remove(0);
    let found = [read(gpu, &queries, query_rows), cached.0, cached.1];
    let mut first = 0;
    for (part, (w, found)) in parts.iter().zip(found).enumerate() {
        let update = up.update(part, first, found.len());
        let expected = residual(&product(&w.values, &x, COLUMNS), &update);
        assert_close("q, k and v", &expected, &found, allowed);
        first += found.len();
    }
}

/// What backward passes read: each tile's rows as they lie in it, zeros where it is padded.
fn slots(gpu: &Gpu, tokens: usize) {
    let (x, rows) = (numbers(1, tokens * COLUMNS), 40);
    let parts = [2, 3].map(|seed| Matrix::new(Format::Q4_0, rows, COLUMNS, seed));
    let views = [parts[0].view(), parts[1].view()];
    let w = [parts[0].values.as_slice(), &parts[1].values].concat();
    for order in [Order::Plain, Order::Pairs, Order::Halves] {
        let linear = Linear::pack(gpu, "matrix", order, &views).expect("packs");
        let y = output(gpu, tokens * linear.slots());
        run(gpu, steps(gpu, &linear, &x, 0, Epilogue::Slots { y: &y }));
        let found = read(gpu, &y, tokens * linear.slots());
        let expected = to_slots(&linear, &product(&w, &x, COLUMNS));
        assert_close("slots", &expected, &found, tolerance::sum(COLUMNS));
    }
}

fn swiglu(gpu: &Gpu, tokens: usize, formats: [Format; 2]) {
    let (x, rows) = (numbers(4, tokens * COLUMNS), 40);
    let [gate, up] =
        [5, 6].map(|seed| Matrix::new(formats[seed as usize - 5], rows, COLUMNS, seed));
    let linear =
        Linear::pack(gpu, "gate+up", Order::Halves, &[gate.view(), up.view()]).expect("packs");
    let y = output(gpu, tokens * rows);
    run(gpu, steps(gpu, &linear, &x, 0, Epilogue::SiluMul { y: &y }));
    let [gate, up] = [gate, up].map(|matrix| product(&matrix.values, &x, COLUMNS));
    let found = read(gpu, &y, tokens * rows);
    assert_close(
        "silu_mul",
        &silu_mul(&gate, &up),
        &found,
        tolerance::sum(COLUMNS) + tolerance::TRANSCENDENTAL,
    );
}

/// Queries are rotated and stored; keys are rotated and values are not, and both land in the cache: read
/// back through its layout, tiles of 32 positions, keys transposed within a tile.
fn rotation(gpu: &Gpu, tokens: usize, formats: [Format; 3], kv_format: KvFormat) {
    let (head_dim, query_rows, key_rows, position) = (16, 64, 32, 30);
    let capacity = (position + tokens).next_multiple_of(32);
    let x = numbers(7, tokens * COLUMNS);
    let rows = [query_rows, key_rows, key_rows];
    let parts: Vec<Matrix> = (0..3)
        .map(|i| Matrix::new(formats[i], rows[i], COLUMNS, 8 + i as u64))
        .collect();
    let views: Vec<_> = parts.iter().map(Matrix::view).collect();
    let linear = Linear::pack(gpu, "q+k+v", Order::Pairs, &views).expect("packs");
    let angle =
        |position: usize, pair: usize| (position as f32 * 0.7f32.powi(pair as i32)).sin_cos();
    let turn = |position: usize, pair: usize| {
        let (sin, cos) = angle(position, pair);
        [cos, sin]
    };
    let turns: Vec<[f32; 2]> = (0..capacity)
        .flat_map(|p| (0..head_dim / 2).map(move |i| turn(p, i)))
        .collect();
    let rotations = Buffer::from_slice(gpu, "rotations", &turns).expect("fits");
    // For one token the position comes from the state, for several from the parameters.
    let state_position = if tokens == 1 { position as u32 } else { 0 };
    let state = Buffer::from_slice(gpu, "state", &[0, state_position, 0, 0]).expect("fits");
    let queries = output(gpu, tokens * query_rows);
    let kv = Buffer::zeroed(
        gpu,
        "kv",
        (capacity * 2 * key_rows) as u64 * kv_format.bytes(),
    )
    .expect("fits");
    let epilogue = Epilogue::Rope(Rope {
        rotations: &rotations,
        state: &state,
        queries: &queries,
        kv: &kv,
        kv_format,
        query_rows,
        key_rows,
        head_dim,
    });
    run(gpu, steps(gpu, &linear, &x, position, epilogue));
    let found = read(gpu, &queries, tokens * query_rows);
    let cached = read_cache(gpu, &kv, kv_format, capacity, key_rows);
    let [q, k, v] = [0, 1, 2].map(|i| product(&parts[i].values, &x, COLUMNS));
    let allowed = tolerance::sum(COLUMNS)
        + if kv_format == KvFormat::F16 {
            tolerance::F16
        } else {
            0.0
        };
    for token in 0..tokens {
        let at = position + token;
        let own = &turns[at * head_dim / 2..][..head_dim / 2];
        let row = |values: &[f32], rows: usize| values[token * rows..][..rows].to_vec();
        assert_close(
            "queries",
            &rope(&row(&q, query_rows), own),
            &row(&found, query_rows),
            tolerance::sum(COLUMNS),
        );
        assert_close(
            "keys",
            &rope(&row(&k, key_rows), own),
            &cached[at].0,
            allowed,
        );
        assert_close("values", &row(&v, key_rows), &cached[at].1, allowed);
    }
}

/// Keys and values of each position.
fn read_cache(
    gpu: &Gpu,
    kv: &Buffer,
    format: KvFormat,
    capacity: usize,
    key_rows: usize,
) -> Vec<(Vec<f32>, Vec<f32>)> {
    let count = capacity * 2 * key_rows;
    let numbers: Vec<f32> = match format {
        KvFormat::F32 => kv.read_back(gpu, count).expect("reads"),
        KvFormat::F16 => {
            let halves: Vec<u16> = kv.read_back(gpu, count).expect("reads");
            halves
                .iter()
                .map(|half| half::f16::from_bits(*half).to_f32())
                .collect()
        }
    };
    let position = |p: usize| {
        let tile = p / 32 * 64 * key_rows;
        let key = |i: usize| numbers[tile + (i / 4 * 32 + p % 32) * 4 + i % 4];
        let value = |i: usize| numbers[tile + 32 * key_rows + p % 32 * key_rows + i];
        (
            (0..key_rows).map(key).collect(),
            (0..key_rows).map(value).collect(),
        )
    };
    (0..capacity).map(position).collect()
}

/// A cache that holds keys and values `[positions, K]`, for the tests of attention.
pub(crate) fn write_cache(
    gpu: &Gpu,
    keys: &[f32],
    values: &[f32],
    key_rows: usize,
    format: KvFormat,
) -> Buffer {
    let positions = keys.len() / key_rows;
    let capacity = positions.next_multiple_of(32);
    let mut numbers = vec![0.0f32; capacity * 2 * key_rows];
    for p in 0..positions {
        let tile = p / 32 * 64 * key_rows;
        for i in 0..key_rows {
            numbers[tile + (i / 4 * 32 + p % 32) * 4 + i % 4] = keys[p * key_rows + i];
            numbers[tile + 32 * key_rows + p % 32 * key_rows + i] = values[p * key_rows + i];
        }
    }
    match format {
        KvFormat::F32 => upload(gpu, &numbers),
        KvFormat::F16 => {
            let halves: Vec<u16> = numbers
                .iter()
                .map(|number| half::f16::from_f32(*number).to_bits())
                .collect();
            Buffer::from_slice(gpu, "kv", &halves).expect("fits")
        }
    }
}
