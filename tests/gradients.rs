//! References of gradients against finite differences of the forward references.

use first_wgpu::reference::{
    adamw::adamw, attention::Heads, attention::attention, attention_backward::attention_backward,
    attention_keys_backward::attention_keys_backward, cross_entropy::cross_entropy,
    cross_entropy_backward::cross_entropy_backward, dot::dot, gate::gate,
    gate_backward::gate_backward, lora_down::lora_down, lora_down_backward::lora_down_backward,
    matmul::matmul, matmul_backward::matmul_backward, residual::residual, rms_norm::rms_norm,
    rms_norm_backward::rms_norm_backward, rope::rope, rope_backward::rope_backward,
    router_score::router_score, router_score_backward::router_score_backward,
    router_weights_backward::router_weights_backward, silu_mul::silu_mul,
    silu_mul_backward::silu_mul_backward, softmax::softmax,
};

/// Differences are taken over this step. The formula's own error is about `STEP^4 / 30` = 3e-8 fifth derivatives; the
/// forward references round to f32, which a division by the step makes about 2e-6 of what they give.
const STEP: f32 = 1.0 / 32.0;

/// Of the largest entry of a gradient.
const TOLERANCE: f64 = 3e-5;

/// Of a parameter after a step of AdamW, in f32 every time, against f64 throughout.
const ADAMW: f32 = 1e-6;

/// Pseudo-random multiples of 1/4096 between -1 and 1: exact in f32, and so are steps away from them.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let number = |index: u32| {
        let mut hash = (index + 1000 * seed).wrapping_mul(0x9e37_79b9);
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        ((hash ^ (hash >> 16)) >> 19) as f32 / 4096.0 - 1.0
    };
    (0..count as u32).map(number).collect()
}

/// Asserts that `gradient` is that of `loss` at `x`, by differences of fourth order.
fn check(what: &str, x: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{what}: lengths");
    let scale = gradient
        .iter()
        .fold(0.0f64, |scale, d| scale.max(f64::from(d.abs())));
    assert!(scale > 1e-3, "{what}: a gradient of all but nothing");
    for (index, found) in gradient.iter().enumerate() {
        let at = |steps: f32| {
            let mut x = x.to_vec();
            x[index] += steps * STEP;
            loss(&x)
        };
        let near = (at(1.0) - at(-1.0)) / (2.0 * f64::from(STEP));
        let far = (at(2.0) - at(-2.0)) / (4.0 * f64::from(STEP));
        let expected = (4.0 * near - far) / 3.0;
        assert!(
            (expected - f64::from(*found)).abs() <= TOLERANCE * scale,
            "{what}[{index}]: expected {expected}, found {found}, the largest is {scale}"
        );
    }
}

#[test]
fn of_matmul() {
    let (tokens, rows, columns) = (3, 5, 7);
    let (w, x) = (numbers(1, rows * columns), numbers(2, tokens * columns));
    let dy = numbers(3, tokens * rows);
    let dx = matmul_backward(&w, &dy, columns);
    check("dx", &x, &dx, |x| dot(&dy, &matmul(&w, x, columns)));
}

#[test]
fn of_rms_norm() {
    let (x, gamma, dy) = (numbers(1, 3 * 8), numbers(2, 8), numbers(3, 3 * 8));
    let dx = rms_norm_backward(&x, &gamma, &dy, 1e-1);
    check("dx", &x, &dx, |x| dot(&dy, &rms_norm(x, &gamma, 1e-1)));
}

#[test]
fn of_rope() {
    let (x, dy) = (numbers(1, 16), numbers(2, 16));
    let rotations = [0.3f32, 1.9, -0.7, 4.0].map(|angle| [angle.cos(), angle.sin()]);
    let dx = rope_backward(&dy, &rotations);
    check("dx", &x, &dx, |x| dot(&dy, &rope(x, &rotations)));
}

#[test]
fn of_silu_mul() {
    let gate: Vec<f32> = numbers(1, 20).iter().map(|gate| 4.0 * gate).collect();
    let (up, dy) = (numbers(2, 20), numbers(3, 20));
    let (dgate, dup) = silu_mul_backward(&gate, &up, &dy);
    check("dgate", &gate, &dgate, |gate| {
        dot(&dy, &silu_mul(gate, &up))
    });
    check("dup", &up, &dup, |up| dot(&dy, &silu_mul(&gate, up)));
}

#[test]
fn of_attention() {
    for (heads, kv_heads) in [(2, 2), (3, 1), (4, 2)] {
        let sizes = Heads {
            heads,
            kv_heads,
            head_dim: 4,
        };
        let tokens = 5;
        let queries: Vec<f32> = numbers(1, tokens * heads * 4)
            .iter()
            .map(|q| 2.0 * q)
            .collect();
        let [keys, values] = [2, 3].map(|seed| numbers(seed, tokens * kv_heads * 4));
        let dy = numbers(4, tokens * heads * 4);
        let loss = |queries: &[f32], keys: &[f32], values: &[f32]| {
            dot(&dy, &attention(queries, keys, values, 0, sizes))
        };
        let (dq, _) = attention_backward(&queries, [&keys, &values], &dy, sizes);
        let (dk, dv) = attention_keys_backward(&queries, [&keys, &values], &dy, sizes);
        check("dq", &queries, &dq, |queries| loss(queries, &keys, &values));
        check("dk", &keys, &dk, |keys| loss(&queries, keys, &values));
        check("dv", &values, &dv, |values| loss(&queries, &keys, values));
    }
}

#[test]
fn of_cross_entropy() {
    let logits: Vec<f32> = numbers(1, 3 * 11).iter().map(|logit| 3.0 * logit).collect();
    let targets = [0, 7, 10];
    let dlogits = cross_entropy_backward(&logits, &targets, (0.0, &[]), 0.25);
    check("dlogits", &logits, &dlogits, |logits| {
        dot(&[0.25; 3], &cross_entropy(logits, &targets, (0.0, &[])))
    });
}

/// Of the cross-entropy with another model's probabilities, which has the gradient of the divergence from them.
#[test]
fn of_distillation() {
    let [logits, other] = [1, 2].map(|seed| numbers(seed, 3 * 11));
    let (share, teacher) = (0.6, softmax(&other, 11));
    let targets = [0, 7, 10];
    let dlogits = cross_entropy_backward(&logits, &targets, (share, &teacher), 0.25);
    check("dlogits", &logits, &dlogits, |logits| {
        dot(
            &[0.25; 3],
            &cross_entropy(logits, &targets, (share, &teacher)),
        )
    });
}

fn sigmoid(z: &[f32]) -> Vec<f32> {
    z.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect()
}

#[test]
fn of_gates() {
    for temperature in [1.0, 0.7, 0.3] {
        let z = numbers(1, 7);
        let p = sigmoid(&z);
        let (dz, db) = gate_backward(&p, gate(&p, temperature, false)[1], 3.0, temperature);
        let loss = |z: &[f32]| 3.0 * f64::from(gate(&sigmoid(z), temperature, false)[0]);
        check("dz", &z, &dz, loss);
        check("db", &[0.0], &[db], |b| {
            loss(&z.iter().map(|z| z + b[0]).collect::<Vec<_>>())
        });
    }
}

#[test]
fn hard_gates_are_steps() {
    assert_eq!(gate(&[0.9, 0.2], 0.7, true), [1.0, 0.55]);
    assert_eq!(gate(&[0.9, 0.0], 0.7, true)[0], 0.0);
    assert_eq!(gate(&[0.5], 0.1, true)[0], 1.0, "a score of one half runs");
}

/// From the gate back through the mean, the sigmoid and the norm.
#[test]
fn of_routers() {
    let (tokens, hidden, epsilon, temperature) = (5, 8, 1e-1, 0.7);
    let (x, w, b) = (numbers(1, tokens * hidden), numbers(2, hidden), 0.25);
    let loss = |x: &[f32], w: &[f32], b: f32| {
        let p = router_score(x, w, b, Some(epsilon));
        10.0 * f64::from(gate(&p, temperature, false)[0])
    };
    let p = router_score(&x, &w, b, Some(epsilon));
    let (dz, db) = gate_backward(&p, gate(&p, temperature, false)[1], 10.0, temperature);
    let (dx, scaled) = router_score_backward(&x, &w, &dz, epsilon);
    let dw = router_weights_backward(&x, &scaled);
    check("dx", &x, &dx, |x| loss(x, &w, b));
    check("dw", &w, &dw, |w| loss(&x, w, b));
    check("db", &[b], &[db], |b| loss(&x, &w, b[0]));
}

/// `y = W x + B h`, `h = scale A x`, with A transposed as the kernels have it.
#[test]
fn of_low_rank_updates() {
    let (tokens, rows, columns, rank, scale) = (3, 5, 7, 2, 1.5);
    let (w, x) = (numbers(1, rows * columns), numbers(2, tokens * columns));
    let (a, b) = (numbers(3, columns * rank), numbers(4, rows * rank));
    let dy = numbers(5, tokens * rows);
    let loss = |x: &[f32], a: &[f32], b: &[f32]| {
        let update = matmul(b, &lora_down(x, a, rank, scale), rank);
        dot(&dy, &residual(&matmul(&w, x, columns), &update))
    };
    let h = lora_down(&x, &a, rank, scale);
    let dh = lora_down(&dy, &b, rank, scale);
    let own_columns = vec![0..rank; rows.max(columns)];
    let db = lora_down_backward(&dy, &h, &own_columns[..rows], 1.0);
    let da = lora_down_backward(&x, &dh, &own_columns[..columns], 1.0);
    let dx = residual(&matmul_backward(&w, &dy, columns), &matmul(&a, &dh, rank));
    check("dx", &x, &dx, |x| loss(x, &a, &b));
    check("da", &a, &da, |a| loss(&x, a, &b));
    check("db", &b, &db, |b| loss(&x, &a, b));
}

/// Ten steps against PyTorch's, on gradients of sizes apart and with decay (`scripts/make-gradient-goldens.py`).
#[test]
fn ten_steps_of_adamw_are_those_of_pytorch() {
    let goldens = include_str!("golden/gradients/adamw.json");
    let goldens: serde_json::Value = serde_json::from_str(goldens).expect("as the script wrote it");
    let number = |value: &serde_json::Value| value.as_f64().expect("a number") as f32;
    let numbers = |values: &serde_json::Value| -> Vec<f32> {
        let values = values.as_array().expect("numbers");
        values.iter().map(number).collect()
    };
    let [rate, decay, epsilon] = ["rate", "decay", "epsilon"].map(|name| number(&goldens[name]));
    let [b1, b2] = [0, 1].map(|index| number(&goldens["betas"][index]));
    let mut w = numbers(&goldens["w"]);
    let mut moments = vec![[0.0; 2]; w.len()];
    for (step, golden) in (1..).zip(goldens["steps"].as_array().expect("steps")) {
        let expected = numbers(&golden["w"]);
        // What the step is given is twice the gradient, and half of it is asked for.
        for (index, gradient) in numbers(&golden["gradients"]).into_iter().enumerate() {
            let [m, v] = moments[index];
            let before = [w[index], 2.0 * gradient, m, v];
            let [after, m, v] = adamw(before, step, [0.5, rate, decay], [b1, b2, epsilon]);
            (w[index], moments[index]) = (after, [m, v]);
            let error = (after / expected[index] - 1.0).abs();
            assert!(error <= ADAMW, "step {step}, {index}: off by {error}");
        }
    }
}
