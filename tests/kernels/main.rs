//! Every kernel against its CPU reference: every weight format, both families of shader modules, and both
//! ways of passing run-time values.

mod adamw;
mod argmax;
mod attention;
mod attention_backward;
mod attention_combine;
mod attention_decode;
mod attention_keys_backward;
mod copy;
mod cross_entropy;
mod cross_entropy_backward;
mod dot;
mod embed;
mod epilogues;
mod fma;
mod gate;
mod gate_backward;
mod lora_down;
mod lora_down_backward;
mod lora_share;
mod matmul;
mod matmul_backward;
mod matvec;
mod rms_norm;
mod rms_norm_backward;
mod rope_backward;
mod router_score;
mod router_score_backward;
mod router_weights_backward;
mod sample;
mod silu_mul_backward;
mod softmax;
mod tolerance;

use first_wgpu::gpu::{Buffer, Class, Gpu, Plan, Step, Tuning};
use first_wgpu::weights::pack::{Linear, Order};
use first_wgpu::weights::{Format, TensorView};
use libtest_mimic::{Arguments, Trial};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::sync::OnceLock;

/// Opens the adapter in one of the ways that kernels must work in.
type Family = fn() -> &'static Gpu;

/// Checks one kernel on an adapter.
type Test = fn(&Gpu);

fn main() {
    let tests: &[(&str, Test)] = &[
        ("adamw", adamw::test),
        ("argmax", argmax::test),
        ("attention", attention::test),
        ("attention_backward", attention_backward::test),
        ("attention_combine", attention_combine::test),
        ("attention_decode", attention_decode::test),
        ("attention_keys_backward", attention_keys_backward::test),
        ("copy", copy::test),
        ("cross_entropy", cross_entropy::test),
        ("cross_entropy_backward", cross_entropy_backward::test),
        ("dot", dot::test),
        ("embed", embed::test),
        ("epilogues", epilogues::test),
        ("fma", fma::test),
        ("gate", gate::test),
        ("gate_backward", gate_backward::test),
        ("lora_down", lora_down::test),
        ("lora_down_backward", lora_down_backward::test),
        ("lora_share", lora_share::test),
        ("matmul", matmul::test),
        ("matmul_backward", matmul_backward::test),
        ("matvec", matvec::test),
        ("rms_norm", rms_norm::test),
        ("rms_norm_backward", rms_norm_backward::test),
        ("rope_backward", rope_backward::test),
        ("router_score", router_score::test),
        ("router_score_backward", router_score_backward::test),
        ("router_weights_backward", router_weights_backward::test),
        ("sample", sample::test),
        ("silu_mul_backward", silu_mul_backward::test),
        ("softmax", softmax::test),
    ];
    // Without an adapter these are listed as ignored, never as passed.
    let ignored = Gpu::list().is_empty();
    let families: [(&str, Family); 2] =
        [("as_the_adapter_likes", own), ("as_any_gpu_can", portable)];
    let products: [(&str, Test); 3] = [
        ("epilogues", epilogues::test),
        ("matmul", matmul::test),
        ("matvec", matvec::test),
    ];
    let trials = tests.iter().flat_map(|(name, test)| {
        families.map(|(family, gpu)| {
            let test = *test;
            let trial = Trial::test(format!("{name}::{family}"), move || {
                test(gpu());
                Ok(())
            });
            if ignored {
                trial.with_ignored_flag(true).with_kind("no GPU")
            } else {
                trial
            }
        })
    });
    // What the tuner may choose, beyond the defaults.
    let candidates = products.iter().map(|(name, test)| {
        let test = *test;
        let trial = Trial::test(format!("{name}::every_candidate"), move || {
            every_candidate(test);
            Ok(())
        });
        trial
            .with_ignored_flag(ignored)
            .with_kind(if ignored { "no GPU" } else { "" })
    });
    let trials = trials.chain(candidates).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Runs a test with every module and every size that the tuner may choose on this adapter. Not with every
/// pair of them: a size knows nothing of where weights are kept.
fn every_candidate(test: Test) {
    let mut gpu = Gpu::open(None).expect("an adapter was listed");
    let default = gpu.class.tuning;
    let candidates = Tuning::candidates(&gpu.class);
    for candidate in candidates {
        let (sizes, index) = (
            candidate.matmul_candidates(),
            candidate.slices.ilog2() as usize,
        );
        gpu.class.tuning = sizes[index % sizes.len()];
        let kept = candidate.textures == (index % 2 == 1) || candidate.one_subgroup;
        if kept && gpu.class.tuning != default {
            test(&gpu);
        }
    }
}

/// The adapter with all it offers.
fn own() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::open(None).expect("an adapter was listed"))
}

/// What any adapter may use: weights in buffers, matvec workgroups of 128, matmul of 32 tokens.
fn portable_tuning() -> Tuning {
    Class::gpu_example().tuning
}

/// The adapter as if it offered only what WebGPU guarantees: no subgroups, no immediates.
fn portable() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let mut gpu = Gpu::open(None).expect("an adapter was listed");
        gpu.class.subgroup = None;
        gpu.class.immediates = false;
        gpu.class.tuning = portable_tuning();
        gpu
    })
}

/// Runs `check` on cases of a strategy, the same ones every time.
fn for_cases<S: Strategy>(cases: u32, strategy: S, check: impl Fn(&S::Value))
where
    S::Value: std::fmt::Debug,
{
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&strategy, |case| {
        check(&case);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Numbers of tokens around the sizes of workgroups.
fn tokens() -> impl Strategy<Value = usize> {
    let edges = [1usize, 7, 8, 9, 31, 32, 33, 127, 128, 129];
    proptest::prop_oneof![proptest::sample::select(edges.to_vec()), 1..100usize]
}

/// Pseudo-random numbers of about unit size.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Runs steps and waits.
fn run(gpu: &Gpu, steps: Vec<Step>) {
    Plan::new(gpu, steps)
        .and_then(|plan| plan.run(gpu))
        .expect("runs");
}

fn upload(gpu: &Gpu, values: &[f32]) -> Buffer {
    Buffer::from_slice(gpu, "input", values).expect("fits")
}

/// A buffer that shows what was not written.
fn output(gpu: &Gpu, count: usize) -> Buffer {
    Buffer::from_slice(gpu, "output", &vec![f32::NAN; count]).expect("fits")
}

fn read(gpu: &Gpu, buffer: &Buffer, count: usize) -> Vec<f32> {
    buffer.read_back(gpu, count).expect("reads")
}

/// 32 columns for each of the blocks, and more where the format's own blocks are longer.
fn columns(format: Format, blocks: usize) -> usize {
    (32 * blocks).next_multiple_of(format.block_len().max(32))
}

/// A weight matrix encoded in a format, and the values that it decodes to.
struct Matrix {
    format: Format,
    shape: [usize; 2],
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl Matrix {
    fn new(format: Format, rows: usize, columns: usize, seed: u64) -> Self {
        Self::scaled(format, rows, columns, seed, 1.0)
    }

    /// Of numbers up to `most`.
    fn scaled(format: Format, rows: usize, columns: usize, seed: u64, most: f32) -> Self {
        let mut values = numbers(seed, rows * columns);
        values.iter_mut().for_each(|value| *value *= most);
        let bytes = format.encode_row(&values);
        format.decode_row(&bytes, &mut values);
        Self {
            format,
            shape: [rows, columns],
            bytes,
            values,
        }
    }

    fn view(&self) -> TensorView<'_> {
        TensorView {
            name: "matrix",
            format: self.format,
            shape: &self.shape,
            bytes: &self.bytes,
        }
    }
}

/// The rows of `b [rows, rank]`, and the NaNs of those that a tile is padded with.
fn pad(linear: &Linear, b: &[f32]) -> Vec<f32> {
    let mut padded = b.to_vec();
    padded.resize(b.len() / linear.rows * linear.slots(), f32::NAN);
    padded
}

/// The values of `[tokens, rows]` where a tile has them, of matrices that lie in `order`; zeros elsewhere.
fn to_slots(linear: &Linear, values: &[f32]) -> Vec<f32> {
    let (rows, slots) = (linear.rows, linear.slots());
    let slot = |row: usize| match linear.order {
        Order::Plain => row,
        Order::Pairs => row / 32 * 32 + row % 2 * 16 + row % 32 / 2,
        Order::Halves => {
            let (part, row) = (row / (rows / 2), row % (rows / 2));
            row / 16 * 32 + part * 16 + row % 16
        }
    };
    let mut result = vec![0.0; values.len() / rows * slots];
    for (index, value) in values.iter().enumerate() {
        result[index / rows * slots + slot(index % rows)] = *value;
    }
    result
}

/// Asserts that all values are close: `tolerance` times the largest expected size, at least 1e-30.
fn assert_close(what: &str, expected: &[f32], found: &[f32], tolerance: f32) {
    assert_close_to(what, expected, found, tolerance, 0.0);
}

/// The same where errors follow the size of what is summed, not that of a sum that may cancel: `tolerance` times
/// `scale`, or the largest expected size if that is more.
fn assert_close_to(what: &str, expected: &[f32], found: &[f32], tolerance: f32, scale: f32) {
    assert_eq!(expected.len(), found.len(), "{what}: lengths");
    let scale = expected
        .iter()
        .fold(scale.max(1e-30), |scale, value| scale.max(value.abs()));
    for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
        // A NaN is close to nothing.
        let close = (expected - found).abs() <= tolerance * scale;
        assert!(
            close,
            "{what}[{index}]: expected {expected}, found {found}, tolerance {tolerance} of {scale}"
        );
    }
}

/// Asserts that each value is close by a size of its own.
fn assert_each_close(what: &str, expected: &[f32], found: &[f32], allowed: impl Fn(usize) -> f32) {
    assert_eq!(expected.len(), found.len(), "{what}: lengths");
    for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
        let allowed = allowed(index);
        assert!(
            (expected - found).abs() <= allowed,
            "{what}[{index}]: expected {expected}, found {found}, allowed {allowed}"
        );
    }
}
