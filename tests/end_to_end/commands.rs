//! The program's commands, as the README has them, on a model that is generated.

use super::PROMPT;
use first_wgpu::mask::Sublayer;
use first_wgpu::model::tiny::{TinyOptions, write_tiny};
use first_wgpu::trace::{Run, Sampling};
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder with `tiny.gguf`, `train.jsonl` and `others.jsonl`, where commands run and keep what they cache.
pub(super) struct Shell(TempDir);

impl Shell {
    pub(super) fn new(tiny: &TinyOptions) -> Self {
        let shell = Self(tempfile::tempdir().expect("a temporary folder"));
        write_tiny(shell.path("tiny.gguf"), tiny).expect("written");
        for name in ["train.jsonl", "others.jsonl"] {
            let line = |task: usize| {
                let text = &PROMPT[task..];
                format!(
                    "{{\"prompt\": \"{name} {text}\", \"completion\": \"the an on\", \"task\": \"{task}\"}}\n"
                )
            };
            let lines: String = (0..2).map(line).collect();
            std::fs::write(shell.path(name), lines).expect("written");
        }
        shell
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("was written")
    }

    pub(super) fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.read(name)).expect("JSON")
    }

    pub(super) fn output(&self, arguments: &str) -> (Output, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_first"))
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .env("FIRST_CACHE", self.0.path())
            .output()
            .expect("starts");
        let said = format!(
            "first {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        (output, said)
    }

    /// What a command prints that must succeed.
    pub(super) fn first(&self, arguments: &str) -> Vec<u8> {
        let (output, said) = self.output(arguments);
        assert_eq!(output.status.code(), Some(0), "{said}");
        output.stdout
    }

    /// Runs a command that must fail, and say this.
    pub(super) fn refused(&self, arguments: &str, needle: &str) {
        let (output, said) = self.output(arguments);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(needle), "{said}");
    }
}

/// Every field of a traced run is in its description.
fn documented(run: &serde_json::Value) {
    let text = include_str!("../../docs/trace.md");
    let parts = [
        run,
        &run["model"],
        &run["gpu"],
        &run["sampling"],
        &run["dispatches"][0],
        &run["submissions"][0],
    ];
    for part in parts {
        for (field, _) in part.as_object().expect("fields") {
            assert!(
                text.contains(&format!("`{field}`")),
                "docs/trace.md: {field}"
            );
        }
    }
}

/// Runs, measures and compares: what each command writes is what the next one reads.
pub(super) fn measuring() {
    let shell = Shell::new(&TinyOptions::llama3());
    let run = |more: &str| -> Run {
        let printed = shell.first(&format!("run -m tiny.gguf --json --raw -n 6 {more} the"));
        serde_json::from_slice(&printed).expect("a run as JSON")
    };
    let plain = run("--no-skip");
    assert!(plain.mask.is_full());
    let drawn = run("--no-skip --temperature 50 --top-k 70 --top-p 0.9 --min-p 0.01 --seed 3");
    let sampling = Sampling {
        temperature: 50.0,
        top_k: 70,
        top_p: 0.9,
        min_p: 0.01,
        seed: 3,
    };
    assert_eq!(drawn.sampling, sampling);
    assert_ne!(drawn.answer_ids, plain.answer_ids);
    let halves = run("--no-skip --kv f16");
    assert_eq!(halves.answer_ids, plain.answer_ids);
    assert_eq!(2 * halves.kv_bytes, plain.kv_bytes);

    shell.first("calibrate -m tiny.gguf --data train.jsonl --out mask --budget 1 --examples 2");
    let masked = run("--router mask --trace trace.jsonl");
    assert_eq!(
        Sublayer::BOTH.map(|sublayer| masked.mask.skipped(sublayer)),
        [1, 1]
    );
    assert_eq!(masked.decode_dispatches + 5, plain.decode_dispatches);
    let traced = String::from_utf8(shell.read("trace.jsonl")).expect("UTF-8");
    let traced = traced.lines().nth(1).expect("a run behind the header");
    documented(&serde_json::from_str(traced).expect("JSON"));
    shell.first("trace export trace.jsonl --perfetto trace.json --csv trace.csv");
    let events = &shell.json("trace.json")["traceEvents"];
    let spans = events
        .as_array()
        .expect("a list")
        .iter()
        .filter(|event| event["ph"] == "X");
    let table = String::from_utf8(shell.read("trace.csv")).expect("UTF-8");
    let lines = table.lines().count();
    assert_eq!(spans.count() + 1, lines);
    assert!(lines > masked.answer_ids.len(), "{table}");

    let printed =
        shell.first("bench -m tiny.gguf -p 8 -n 2 -r 1 --mask none --mask even:1 -o json");
    let bench: serde_json::Value = serde_json::from_slice(&printed).expect("JSON");
    let masks = bench["masks"].as_array().expect("a list");
    let names: Vec<_> = masks.iter().map(|mask| mask["name"].as_str()).collect();
    assert_eq!(names, [Some("none"), Some("even:1")]);
    for mask in masks {
        let measured = |what: &str| mask[what].as_array().map(Vec::len);
        // One repetition of two tokens; what warms up does not count.
        assert_eq!(measured("ttft_nanos"), Some(1), "{mask}");
        assert_eq!(measured("token_nanos"), Some(2), "{mask}");
    }
    std::fs::write(shell.path("bench.json"), &printed).expect("written");
    shell.first("bench show bench.json --base even:1");
    shell.refused(
        "bench -m tiny.gguf --mask none --mask routed --router mask",
        "holds one mask for all prompts",
    );
    let (_, said) = shell.output("eval -m tiny.gguf --data train.jsonl --tokens 56 --out cut");
    assert!(said.contains("2 of 2 examples are longer"), "{said}");
    let table = String::from_utf8(shell.read("cut/eval.csv")).expect("UTF-8");
    assert!(table.contains("\nnone,,mean over tasks,2,"), "{table}");
    let printed = shell.first(
        "calibrate -m tiny.gguf --data train.jsonl --out parts --budget 1 --examples 2 --sublayers",
    );
    let printed = String::from_utf8(printed).expect("UTF-8");
    let influence = |name: &str| {
        let line = printed
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.split_whitespace().last())
            .map(str::to_owned)
    };
    assert!(influence("0.attn").is_some(), "{printed}");
    assert_ne!(influence("0.attn"), influence("0.mlp"), "{printed}");
    shell.refused(
        "bench -m tiny.gguf -n 0 --trace empty.jsonl",
        "leave out `-n 0`",
    );
    shell
        .first("bench -m tiny.gguf -p 8 -n 2 -r 1 --mask none --mask even:1 --baseline bench.json");
    shell
        .first("bench scaling -m tiny.gguf --depths 0,8 --prompts 8,16 -n 2 -r 1 --svg curves.svg");
    assert!(shell.read("curves.svg").starts_with(b"<svg"));

    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    shell.first(&format!("check {goldens}/llama3 -m tiny.gguf"));
    let (output, said) = shell.output(&format!("check {goldens} -m tiny.gguf"));
    assert_eq!(
        output.status.code(),
        Some(1),
        "goldens of another model: {said}"
    );
}
