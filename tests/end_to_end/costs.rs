//! What a run costs: counts of a token, and traces.

use super::{LAYERS, OPENING, PROMPT, fixed, generate, held, random_router, request, with_engine};
use first_wgpu::engine::{Engine, Policy};
use first_wgpu::gpu::read_back::ReadBack;
use first_wgpu::gpu::{Buffer, Plan};
use first_wgpu::mask::PrefillReading;
use first_wgpu::model::tiny::TinyOptions;
use first_wgpu::router::Granularity;
use first_wgpu::trace::{Detail, Dispatch, Run, export};
use std::collections::BTreeSet;

/// Counts do not swing as times do: what a longer answer costs more is its submissions and a few bytes each: an id, and
/// that its work was done.
pub(super) fn counts() {
    with_engine(|engine| {
        let mut cost = |max_tokens: usize| {
            engine.reset();
            let mut request = request(engine, PROMPT, fixed("1.attn,2"));
            request.max_tokens = max_tokens;
            let before = engine.gpu.counters.now();
            let run = generate(engine, &request);
            assert_eq!(run.answer_ids.len(), max_tokens);
            // Embedding, head and sampling, 5 dispatches in a full layer, 2 in an MLP alone.
            assert_eq!(run.decode_dispatches as usize, 3 + 5 * (LAYERS - 2) + 2);
            let after = engine.gpu.counters.now();
            [
                after.buffers - before.buffers,
                after.bind_groups - before.bind_groups,
                after.submissions - before.submissions,
                after.read_back_bytes - before.read_back_bytes,
            ]
        };
        cost(2);
        let (short, long): ([u64; 4], [u64; 4]) = (cost(4), cost(24));
        let [buffers, bind_groups, submissions, bytes]: [u64; 4] =
            std::array::from_fn(|index| long[index] - short[index]);
        assert_eq!((buffers, bind_groups), (0, 0), "allocated per token");
        // An id, a mark, and two notes of submissions before.
        assert_eq!((submissions, bytes), (20, 320), "per 20 tokens");
    });
}

/// What was recorded and never done is told of, and is not taken for what was there before.
pub(super) fn dropped() {
    with_engine(|engine| {
        let gpu = &engine.gpu;
        let sources = [7u32, 8].map(|number| Buffer::from_slice(gpu, "source", &[number]));
        let [seven, eight] = sources.map(|source| source.expect("fits"));
        let back = ReadBack::new(gpu, 4);
        let plan = Plan::new(gpu, Vec::new()).expect("nothing to do");
        let done = |source: &Buffer| {
            plan.submit(gpu, None, |encoder| back.record(encoder, source));
            back.request(gpu);
            back.wait(gpu)
        };
        assert_eq!(done(&seven).expect("comes back"), 7u32.to_ne_bytes());
        // As a driver does that stops this one: nothing says so.
        back.record(&mut gpu.encoder(), &eight);
        plan.submit(gpu, None, |_| ());
        back.request(gpu);
        let error = back.wait(gpu).expect_err("it was not done").to_string();
        assert!(error.contains("has not done what it was given"), "{error}");
        // More than there are places for notes.
        for _ in 0..1200 {
            assert_eq!(done(&eight).expect("comes back"), 8u32.to_ne_bytes());
        }
        // What a copy of its own shows was to be done before.
        gpu.drop_submission();
        let read = || eight.read_back::<u32>(gpu, 1);
        let error = read().expect_err("it was not done").to_string();
        assert!(error.contains("has not done what it was given"), "{error}");
        assert_eq!(read().expect("comes back"), [8]);
    });
}

/// After a warm-up, an answer waits for no kernel to be compiled.
pub(super) fn warm_up() {
    let mut engine = super::load(&TinyOptions::default(), None);
    let router = random_router(Granularity::Sublayer, PrefillReading::Masked);
    engine.set_router(&router).expect("a router that fits");
    let mut request = request(&engine, PROMPT, Policy::Routed(router.decision()));
    request.sampling.temperature = 0.7;
    engine
        .warm_up(&request.policy, &request.sampling)
        .expect("two tokens");
    let compiled = |engine: &Engine| engine.gpu.counters.now().pipelines;
    let before = compiled(&engine);
    assert!(before > 0);
    let run = generate(&mut engine, &request);
    assert!(!run.mask.is_full(), "the router skips nothing");
    assert_eq!(compiled(&engine), before, "compiled while it answered");
}

/// Two of llvmpipe's workers that share a CPU take twice as long.
pub(super) fn workers_apart() {
    with_engine(|_engine| {
        let _others_stay = held(&OPENING);
        let mut workers = 0;
        let mut used = BTreeSet::new();
        for task in std::fs::read_dir("/proc/self/task").expect("threads") {
            let task = task.expect("a thread").path();
            let read = |file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
            if read("comm").trim_end() != "first-workers" {
                continue;
            }
            let status = read("status");
            let cpus = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            // A thread of an engine that another test has dropped may end meanwhile.
            let Some(cpus) = cpus else { continue };
            let cpu: usize = cpus.trim().parse().expect("a single CPU");
            used.insert(cpu);
            workers += 1;
        }
        assert!(workers > 0, "no thread has the workers' name");
        let cpus = allowed_cpus();
        assert_eq!(
            used.len(),
            cpus.min(workers),
            "{workers} workers on {used:?}"
        );
    });
}

/// How many CPUs this process may use, which a container's share of their time does not change.
fn allowed_cpus() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("is Linux's");
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let ranges = list.expect("CPUs").trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().expect("a number");
        number(last) - number(first) + 1
    });
    ranges.sum()
}

/// A token's time is not before the GPU was done with it, and all of them end before the call does.
pub(super) fn times() {
    with_engine(|engine| {
        let mut request = request(engine, PROMPT, fixed("1.attn"));
        request.detail = Detail::Dispatch;
        let clock = std::time::Instant::now();
        let run = generate(engine, &request);
        let elapsed = clock.elapsed().as_nanos() as u64;
        let mut came = run.ttft_nanos;
        for (index, nanos) in run.token_nanos.iter().enumerate() {
            came += nanos;
            let own = run.submissions.iter();
            let own = own.filter(|submission| submission.token as usize == index + 1);
            let ends = own.map(|own| own.start_nanos + own.encode_nanos + own.wall_nanos);
            let done = ends.max().expect("each token has a submission");
            assert!(
                done <= came,
                "token {index}: done at {done}, came at {came}"
            );
        }
        assert!(came <= elapsed, "{came} of {elapsed}");
    });
}

pub(super) fn traces() {
    with_engine(|engine| {
        let mut request = request(engine, PROMPT, fixed("1.attn,2"));
        request.detail = Detail::Dispatch;
        let run = generate(engine, &request);
        assert_eq!(
            run.submissions
                .iter()
                .filter(|submission| submission.token > 0)
                .count(),
            run.answer_ids.len() - 1
        );
        if !engine.gpu.class.timestamps {
            return;
        }
        let decoded = (run.answer_ids.len() as u32 - 1) * run.decode_dispatches;
        assert_eq!(
            run.dispatches.len() as u32,
            run.prefill_dispatches + decoded
        );
        let skipped = |label: &str| label.starts_with("L02.") || label.starts_with("L01.attn");
        assert!(
            !run.dispatches
                .iter()
                .any(|dispatch| skipped(&dispatch.label)),
            "a masked sublayer was dispatched"
        );
        // Of the last layer an answer asks for the last token's stream alone, and for keys and values of all.
        let flops = |label: &str| -> u64 {
            let own = run.dispatches.iter();
            let own = own.filter(|dispatch| dispatch.token == 0 && dispatch.label == label);
            own.map(|dispatch| dispatch.flops).sum()
        };
        assert_eq!(flops("L03.attn.qkv"), flops("L00.attn.qkv"));
        let tokens = run.prompt_ids.len() as u64;
        for label in ["attn.attention", "attn.o", "mlp.gate_up", "mlp.down"] {
            let [first, last] = [0, 3].map(|layer| flops(&format!("L{layer:02}.{label}")));
            // Two rows at most, and attention looks back twice as far as it does on the mean.
            assert!(last > 0 && last * tokens <= 4 * first, "{label}");
        }
        // What a token reads is what its model is said to read, and a row of the embedding.
        let read = run.dispatches.iter().filter(|dispatch| dispatch.token == 1);
        let read = read.filter(|dispatch| dispatch.kernel != "embed");
        let read: u64 = read.map(|dispatch| dispatch.weight_bytes).sum();
        assert_eq!(read, run.model.weight_bytes(&run.mask));
        assert_no_overlaps(&run);
        let exported = export::events(&run);
        let on_gpu = exported.iter().filter(|event| event.dispatch.is_some());
        for (event, dispatch) in on_gpu.zip(&run.dispatches) {
            // Where rounding of the clock makes neighbours touch, no more.
            let moved = event.start_nanos.abs_diff(dispatch.start_nanos);
            assert!(moved < 1_000, "{dispatch:?} moved by {moved} ns");
        }
        request.detail = Detail::Layer;
        let by_layer = generate(engine, &request);
        assert_eq!(by_layer.answer_ids, run.answer_ids);
        // Embedding, layers 0, 1 and 3, head, sampling.
        let decoded = (run.answer_ids.len() - 1) * 6;
        let of_decode = |dispatch: &&Dispatch| dispatch.token > 0;
        assert_eq!(
            by_layer.dispatches.iter().filter(of_decode).count(),
            decoded
        );
        let cost = |run: &Run| -> (u64, u64) {
            let costs = run.dispatches.iter().map(|at| (at.weight_bytes, at.flops));
            costs.fold((0, 0), |sum, cost| (sum.0 + cost.0, sum.1 + cost.1))
        };
        assert_eq!(
            cost(&by_layer),
            cost(&run),
            "layers sum up their dispatches"
        );
        assert_no_overlaps(&by_layer);
        // Without timestamps, wall time per submission is what is left.
        by_layer_without_timestamps(by_layer);
    });
}

fn by_layer_without_timestamps(mut run: Run) {
    run.dispatches.clear();
    let of_gpu = export::events(&run)
        .into_iter()
        .filter(|event| event.track == export::Track::Gpu)
        .map(|event| event.duration_nanos)
        .collect::<Vec<_>>();
    assert_eq!(of_gpu.len(), run.submissions.len());
    assert!(of_gpu.iter().all(|nanos| *nanos > 0));
    assert_no_overlaps(&run);
}

/// Every track of an exported trace is in order and free of overlaps, and both forms can be read.
fn assert_no_overlaps(run: &Run) {
    let events = export::events(run);
    for pair in events.windows(2) {
        let end = pair[0].start_nanos + pair[0].duration_nanos;
        assert!(
            pair[0].track != pair[1].track || end <= pair[1].start_nanos,
            "{pair:?} overlap"
        );
    }
    let (mut perfetto, mut csv) = (Vec::new(), Vec::new());
    export::perfetto(std::slice::from_ref(run), &mut perfetto).expect("into memory");
    export::csv(std::slice::from_ref(run), &mut csv).expect("into memory");
    let perfetto: serde_json::Value = serde_json::from_slice(&perfetto).expect("JSON");
    let spans = perfetto["traceEvents"].as_array().expect("a list");
    let spans = spans.iter().filter(|event| event["ph"] == "X").count();
    assert_eq!(spans, events.len());
    let lines = String::from_utf8(csv).expect("UTF-8");
    assert_eq!(lines.lines().count(), events.len() + 1);
}
