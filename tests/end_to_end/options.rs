//! Options whose effect is a number.

use super::commands::Shell;
use super::{LAYERS, gradients, random_router};
use first_wgpu::gpu::Gpu;
use first_wgpu::mask::{LayerMask, PrefillReading};
use first_wgpu::model::tiny::TinyOptions;
use first_wgpu::router::file::{BaseModel, Decides, RouterFile};
use first_wgpu::router::{CalibrationPoint, Granularity, Router, threshold_for};
use first_wgpu::trace::{ModelSummary, Run};
use first_wgpu::weights::Format;

/// Writes routers of the shell's model to its folder `routers`.
fn save_router(shell: &Shell, router: Router, calibration: &[CalibrationPoint]) {
    let model = first_wgpu::pull::sha256(&shell.path("tiny.gguf")).expect("is there");
    let file = RouterFile {
        base_model: BaseModel {
            sha256: model,
            name: String::new(),
            layers: LAYERS,
            hidden: 64,
        },
        decides: Decides::Routers(router),
        calibration: calibration.to_vec(),
        provenance: Default::default(),
    };
    file.save(&shell.path("routers")).expect("writes");
}

/// `--threshold` is taken as it is, and `--skip` to where calibration says that so much is skipped.
pub(super) fn thresholds() {
    let shell = Shell::new(&TinyOptions::llama3());
    let router = random_router(Granularity::Sublayer, PrefillReading::Masked);
    let calibration = [(0.2, 0.1), (0.6, 0.5)].map(|(threshold, skip_rate)| CalibrationPoint {
        threshold,
        skip_rate,
    });
    save_router(&shell, router, &calibration);
    let at = |option: &str| {
        let printed = shell.first(&format!(
            "run -m tiny.gguf --json --raw -n 2 --router routers {option} the"
        ));
        let run: Run = serde_json::from_slice(&printed).expect("a run as JSON");
        let low = run
            .scores
            .iter()
            .filter(|score| score.score < score.threshold);
        let skipped = run.mask.skipped(first_wgpu::mask::Sublayer::Attn)
            + run.mask.skipped(first_wgpu::mask::Sublayer::Mlp);
        assert_eq!(low.count(), skipped);
        run.scores[0].threshold
    };
    assert_eq!(at(""), 0.5);
    assert_eq!(at("--threshold 0.35"), 0.35);
    let expected = threshold_for(&calibration, 0.3).expect("between the points");
    assert!((0.3..0.5).contains(&expected), "{expected}");
    assert_eq!(at("--skip 30%"), expected);
    shell.first(
        "eval -m tiny.gguf --data train.jsonl --router routers --skip 30% --controls even --out eval",
    );
    let rows = &shell.json("eval/eval.json")["rows"];
    let masks = |row: &serde_json::Value| row["answers"][0]["masks"][0].to_string();
    assert_eq!(rows[1]["policy"], "routed@30%");
    shell
        .first("eval -m tiny.gguf --data train.jsonl --router routers --controls even --out plain");
    let plain = &shell.json("plain/eval.json")["rows"];
    assert_eq!(plain[1]["policy"], "routed");
    assert_ne!(masks(&rows[1]), masks(&plain[1]), "the threshold moved");
}

/// A control skips as much as the routers do with the adapter that they serve with, not as without it.
pub(super) fn controls_know_the_adapter() {
    let shell = Shell::new(&TinyOptions::llama3());
    save_router(
        &shell,
        random_router(Granularity::Sublayer, PrefillReading::Masked),
        &[],
    );
    super::with_engine(|engine| {
        let adapter = gradients::adapter(engine, &gradients::lora_options(), 0.8);
        let saved = adapter.save(&shell.path("adapter"), &engine.model.config);
        saved.expect("writes");
    });
    shell.first(
        "eval -m tiny.gguf --data train.jsonl --router routed=routers --adapter routed=adapter --controls even --out eval",
    );
    let results = shell.json("eval/eval.json");
    let skipped = |policy: &str, adapter: Option<&str>| {
        let rows = results["rows"].as_array().expect("rows").iter();
        let mut rows = rows.zip(results["summaries"].as_array().expect("summaries"));
        let found =
            rows.find(|(row, _)| row["policy"] == policy && row["adapter"].as_str() == adapter);
        let (_, summary) = found.expect("is measured");
        summary["skipped"].as_f64().expect("a share")
    };
    let [with, without] = [Some("adapter"), None].map(|adapter| skipped("routed", adapter));
    let even = skipped("even", None);
    assert!(
        (even - with).abs() < (even - without).abs(),
        "{even}: {with} {without}"
    );
}

/// A share of a token's bytes is of all that it reads.
pub(super) fn bytes() {
    let shell = Shell::new(&TinyOptions::llama3());
    let printed =
        shell.first("bench -m tiny.gguf -p 0 -n 2 -r 1 --mask none --mask even:1 -o json");
    let bench: serde_json::Value = serde_json::from_slice(&printed).expect("JSON");
    let model: ModelSummary = serde_json::from_value(bench["model"].clone()).expect("a model");
    let skipped = bench["masks"][1]["skipped"].as_str().expect("a mask");
    let mask = LayerMask::parse(skipped, LAYERS).expect("valid");
    let [all, read] = [&LayerMask::full(LAYERS), &mask].map(|mask| model.weight_bytes(mask) as f64);
    let share = bench["masks"][1]["bytes_skipped"]
        .as_f64()
        .expect("a share");
    assert!(!mask.is_full() && share > 0.0);
    assert_eq!(share, 1.0 - read / all);
    assert!(share < model.skip_rate(&mask), "the head is never skipped");
}

/// Mesa's software driver ends loops early, and so there is an end to what it is given. GPUs have none of it.
pub(super) fn software_reads_so_far() {
    let shell = Shell::new(&TinyOptions {
        context: 1 << 16,
        ..TinyOptions::default()
    });
    let long = format!(
        "{{\"prompt\": \"{}\", \"completion\": \"the an on\"}}\n",
        "the ant ".repeat(600)
    );
    std::fs::write(shell.path("train.jsonl"), long).expect("written");
    let train = "train lora -m tiny.gguf --data train.jsonl --skip-layers none --steps 1 --evaluate 0 --tokens 2500 --out out";
    let far = "run -m tiny.gguf -n 1 --context 12001 the";
    let gpu = {
        let _opening = super::held(&super::OPENING);
        Gpu::open(None).expect("opens")
    };
    if gpu.class.loops_end {
        shell.refused(far, "at most 12000 tokens");
        shell.refused(train, "give `--tokens 2048` or less");
    } else {
        shell.first(far);
    }
    shell.first("run -m tiny.gguf -n 1 --context 12000 the");
    let large = Shell::new(&TinyOptions {
        vocab: 174_753,
        format: Format::Q8_0,
        ..TinyOptions::default()
    });
    let run = "run -m tiny.gguf -n 1 --raw the";
    if gpu.class.loops_end {
        large.refused(run, "software Vulkan chooses among at most 174752 tokens");
    } else {
        large.first(run);
    }
}

/// Tokens that a model cannot have read are refused, not clamped.
pub(super) fn forced_tokens() {
    super::with_engine(|engine| {
        let full = LayerMask::full(LAYERS).into();
        let far = vec![1; engine.model.config.context];
        for (ids, forced) in [
            (&[][..], &[1][..]),
            (&[u32::MAX], &[]),
            (&[1], &[u32::MAX]),
            (&far, &[1]),
        ] {
            let read = engine.forced_logits(ids, &full, forced, &mut |_, _| Ok(()));
            let error = read.expect_err("refused").to_string();
            assert!(error.contains("ids below"), "{error}");
        }
    });
}

/// More tasks than a saved table may have are refused before they are measured.
pub(super) fn tasks_have_an_end() {
    let shell = Shell::new(&TinyOptions::default());
    let line = |task: usize| {
        format!("{{\"prompt\": \"a{task}\", \"completion\": \"b\", \"task\": \"{task}\"}}\n")
    };
    let lines: String = (0..101).map(line).collect();
    std::fs::write(shell.path("train.jsonl"), lines).expect("written");
    shell.refused(
        "eval -m tiny.gguf --data train.jsonl --out out",
        "at most 100 tasks",
    );
}
