//! The program's commands, as the README has them, on a model that is generated.

use super::{LAYERS, PROMPT};
use first_wgpu::mask::{LayerMask, Sublayer};
use first_wgpu::model::tiny::{TinyOptions, write_tiny};
use first_wgpu::router::file::RouterFile;
use first_wgpu::trace::Run;
use first_wgpu::weights::Format;
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

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("was written")
    }

    pub(super) fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.read(name)).expect("JSON")
    }

    fn output(&self, arguments: &str) -> (Output, String) {
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
    fn refused(&self, arguments: &str, needle: &str) {
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
        &run["adapter"],
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
    let halves = run("--no-skip --kv f16");
    assert_eq!(halves.answer_ids, plain.answer_ids);
    assert_eq!(2 * halves.kv_bytes, plain.kv_bytes);

    shell.first("calibrate -m tiny.gguf --data train.jsonl --out mask --skip 1 --examples 2");
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
        "calibrate -m tiny.gguf --data train.jsonl --out parts --skip 1 --examples 2 --sublayers",
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

/// The commands in the order of the README, each going on from the last, and a run with what they made.
pub(super) fn training() {
    let shell = Shell::new(&TinyOptions {
        format: Format::Q8_0,
        ..TinyOptions::default()
    });
    let path = |name: &str| shell.path(name);
    let first = |arguments: &str| drop(shell.first(arguments));
    let refused = |arguments: &str, needle: &str| shell.refused(arguments, needle);
    let data = "-m tiny.gguf --data train.jsonl --calibration others.jsonl";
    let run = "--look-at 1 --steps 2 --batch 1 --evaluate 2 --tokens 64";
    first(&format!(
        "train labels {data} --against answers --out labels"
    ));
    first(&format!(
        "train routers {data} {run} --begin labels --out routers"
    ));
    first(&format!(
        "train lora {data} {run} --begin routers --out lora"
    ));
    first(&format!(
        "train joint {data} {run} --begin labels --out joint"
    ));
    first(&format!("train labels {data} --settle joint --out settled"));
    first(&format!(
        "train labels {data} --rates 0.1,0.3 --protect 0 --adapter lora --out searched"
    ));
    first(&format!(
        "train lora {data} {run} --skip-layers none --out alone"
    ));
    first(&format!(
        "train lora {data} {run} --skip-layers 1 --out fixed"
    ));
    first(&format!(
        "train labels {data} --settle alone --settle fixed --settle joint --rates 0.2 --adapter alone --out menu"
    ));
    first(&format!(
        "train labels {data} --settle joint --prefill full --out read"
    ));
    first(&format!(
        "train lora {data} {run} --begin read --out answers"
    ));
    first(&format!(
        "train lora {data} {run} --skip-layers 1 --prefill full --out after-1"
    ));
    refused(
        &format!("train routers {data} {run} --begin read --out idle"),
        "`prefill` is `masked`",
    );
    refused(
        &format!("train lora {data} {run} --begin labels --out labels"),
        "another `--out`",
    );
    for out in ["labels", "fixed"] {
        refused(
            &format!("calibrate -m tiny.gguf --data train.jsonl --out {out}"),
            "holds",
        );
    }
    let labels = format!("train labels {data} --against answers");
    refused(
        &format!("{labels} --out routers"),
        "holds a run of `first train`",
    );
    // What another command made, or another program, stays as it is.
    std::fs::create_dir(path("foreign")).expect("made");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let [from, to] = ["alone", "foreign"].map(|folder| path(&format!("{folder}/{name}")));
        std::fs::copy(from, to).expect("copied");
    }
    let config = path("foreign/adapter_config.json");
    let own = std::fs::read_to_string(&config).expect("is there") + "\n";
    std::fs::write(&config, &own).expect("written");
    first("calibrate -m tiny.gguf --data train.jsonl --skip 1 --examples 2 --out calibrated");
    refused(
        &format!("{labels} --out calibrated"),
        "that no `first train labels` has made",
    );
    let others = "an adapter that these routers would not belong to";
    refused(&format!("{labels} --adapter lora --out foreign"), others);
    for adapter in ["foreign", "alone"] {
        first(&format!("{labels} --adapter {adapter} --out foreign"));
    }
    refused(&format!("{labels} --adapter lora --out foreign"), others);
    refused(&format!("{labels} --out foreign"), others);
    assert_eq!(std::fs::read_to_string(config).expect("is there"), own);
    refused(
        &format!("train lora {data} {run} --skip-layers 0-3.attn --targets q_proj --out idle"),
        "all that would learn is skipped",
    );
    refused(
        &format!(
            "train lora -m tiny.gguf --data others.jsonl --calibration train.jsonl {run} --begin routers --out lora"
        ),
        "other texts",
    );
    refused(
        &format!("train joint {data} {run} --begin labels --router-rate 0 --out idle"),
        "one mask for all",
    );
    refused(
        &format!("train lora {data} {run} --begin nowhere --skip-layers none --out idle"),
        "nothing that this run begins with",
    );
    for (runs, needle) in [
        (
            "--settle joint --settle answers --rates 0.1 --adapter alone",
            "runs of one kind",
        ),
        (
            "--settle alone --settle fixed --rates 0.1,0.9 --adapter alone",
            "lower `--rates`",
        ),
        (
            "--settle alone --settle fixed --rates 0.1",
            "routers serve with one; give it as `--adapter DIR`",
        ),
        ("--settle joint --rates 0.1", "several `--settle`"),
        (
            "--settle fixed --settle fixed --rates 0.01 --adapter fixed",
            "raise `--rates`",
        ),
    ] {
        refused(&format!("train labels {data} {runs} --out idle"), needle);
    }
    assert!(!path("idle/0.1").exists());
    first(
        "eval -m tiny.gguf --data train.jsonl --examples 1 --router answers --controls even --adapter routed=answers --out measured",
    );
    // A folder that is not called by its name has one.
    std::fs::create_dir(path("alone/inner")).expect("made");
    first(
        "eval -m tiny.gguf --data train.jsonl --examples 1 --router answers --adapter routed=answers --adapter none=alone/inner/.. --tuned --out tuned",
    );
    first(&format!(
        "train joint {data} {run} --begin labels --routers-until 0 --out late"
    ));
    let log = String::from_utf8(shell.read("late/training.jsonl")).expect("UTF-8");
    let header: serde_json::Value =
        serde_json::from_str(log.lines().next().expect("a line")).expect("JSON");
    assert_eq!(header["target"], 0.0, "no routers learn");
    let long =
        "train lora -m tiny.gguf --data train.jsonl --skip-layers none --tokens 65536 --out idle";
    let (output, said) = shell.output(long);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let table = std::fs::read_to_string(path("tuned/eval.md")).expect("is there");
    assert!(table.contains("intervals are too narrow"), "{table}");
    assert!(table.contains("| none | alone |"), "{table}");
    refused(
        "eval -m tiny.gguf --data train.jsonl --examples 1 --adapter none=alone --tuned --out tuned --kv f16",
        "this `--kv`",
    );
    // Matrices that updates are merged into are larger, and skipped shares are of the model's as it is.
    first(&format!(
        "train lora {data} {run} --skip-layers none --targets q_proj,v_proj --out few"
    ));
    let skipped = ["run-time", "merged"].map(|mode| {
        first(&format!(
            "eval -m tiny.gguf --data train.jsonl --mask m=fixed:1.attn --adapter m=few --adapter-mode {mode} --tuned --out {mode}"
        ));
        let results = shell.json(&format!("{mode}/eval.json"));
        results["summaries"][1]["skipped"].as_f64().expect("a share")
    });
    assert!(skipped[0] > 0.0);
    assert_eq!(skipped[0], skipped[1]);
    for (policies, needle) in [
        ("--scores", "`--scores` knows"),
        ("--router fixed --skip 10%", "moves thresholds"),
        ("--router even=answers --controls even", "called `even`"),
        (
            "--router answers --adapter rooted=answers",
            "`--adapter rooted=",
        ),
    ] {
        let eval = "eval -m tiny.gguf --data train.jsonl --examples 1";
        refused(&format!("{eval} {policies} --out idle"), needle);
    }
    refused(
        &format!("train lora {data} {run} --begin routers --out idle --kv f16"),
        "leave out `--kv`",
    );
    for (rates, out) in [("0.1,0.3", "both"), ("0.3", "one")] {
        first(&format!(
            "train labels {data} --rates {rates} --prefill full --out {out}"
        ));
    }
    refused(
        &format!("train labels {data} --settle alone --settle fixed --out idle"),
        "`--rates`",
    );
    refused(
        "train labels -m tiny.gguf --data train.jsonl --settle alone --settle fixed --rates 0.2 --out idle",
        "`--calibration`",
    );
    first(&format!(
        "train lora {data} {run} --begin searched/0.1 --distil 0.5 --teacher alone --out taught"
    ));
    refused(
        &format!(
            "train lora {data} {run} --begin searched/0.3 --distil 0.5 --teacher alone --out taught"
        ),
        "another beginning",
    );
    refused(
        &format!("train labels {data} --tokens 8 --out short"),
        "`--tokens N`",
    );
    refused(
        &format!("train labels {data} --tolerate 0 --rates 0.1 --out idle"),
        "no task skips anything",
    );
    refused(
        "bench -m tiny.gguf --router labels",
        "`--mask none --mask routed`",
    );
    for (entries, needle) in [
        (r#"[{"text": "", "ids": []}]"#, "entry 0 needs"),
        (
            r#"[{"text": "a", "ids": [5], "greedy": [9999999]}]"#,
            "entry 0 needs",
        ),
        (
            r#"[{"text": "a", "ids": [5]}]"#,
            "neither `greedy` tokens nor",
        ),
        ("[]", "found none"),
    ] {
        std::fs::write(path("reference.json"), entries).expect("written");
        refused("check . -m tiny.gguf", needle);
    }
    // Low-rank updates without routers: these begin anew.
    first(&format!(
        "train joint {data} {run} --begin alone --out after"
    ));
    let read = |file: &str| shell.read(file);
    let adapter = |folder: &str| read(&format!("{folder}/adapter_model.safetensors"));
    assert_eq!(adapter("settled"), adapter("joint"));
    assert_eq!(adapter("searched/0.1"), adapter("lora"));
    assert_ne!(adapter("after"), adapter("alone"));
    assert_ne!(adapter("taught"), adapter("lora"));
    // The mask of a task's provenance, in what the search for the larger share found, skips more.
    let protected = |folder: &str| {
        let file = RouterFile::load(&path(folder)).expect("loads");
        let routers = file.router().expect("has routers");
        LayerMask::skipping(&routers.protected).to_string()
    };
    let skipped = |folder: &str| {
        assert_eq!(protected(folder), "0");
        let config = shell.json(&format!("{folder}/router_config.json"));
        let mask = config["provenance"]["mask of 0"]
            .as_str()
            .expect("a mask")
            .to_owned();
        let mask = LayerMask::parse(&mask, LAYERS).expect("a mask");
        assert!(mask.runs(0, Sublayer::Attn) && mask.runs(0, Sublayer::Mlp));
        mask.skipped(Sublayer::Attn) + mask.skipped(Sublayer::Mlp)
    };
    assert!(skipped("searched/0.3") > skipped("searched/0.1"));
    // What is protected stays so in what is trained from it.
    assert_eq!(protected("taught"), "0");
    let searched = ["searched/0.1", "searched/0.3"];
    let table = String::from_utf8(read("measured/eval.md")).expect("UTF-8");
    assert!(
        table.contains("With it counted these policies skip: `even` ")
            && table.contains(", `routed` with answers ")
            && !table.contains("`none` 0.0 %"),
        "{table}"
    );
    let results = shell.json("tuned/eval.json");
    let rows = results["rows"].as_array().expect("rows");
    let with: Vec<_> = rows.iter().map(|row| row["adapter"].as_str()).collect();
    assert_eq!(with, [Some("alone"), Some("answers")]);
    // Routers of a rate are the same beside others.
    let routers = |folder: &str| read(&format!("{folder}/0.3/router.safetensors"));
    assert_eq!(routers("both"), routers("one"));
    let trained = [
        "lora", "joint", "settled", "after", "alone", "fixed", "answers", "after-1",
    ];
    for made in [&trained[..], &searched[..]].concat() {
        for file in ["router_config.json", "adapter_config.json"] {
            assert!(path(made).join(file).exists(), "{made}/{file}");
        }
        first(&format!(
            "run -m tiny.gguf --router {made} --adapter {made} -n 3 --raw the"
        ));
    }
    first("run -m tiny.gguf --router menu/0.2 -n 3 --raw the");
    let config = shell.json("menu/0.2/router_config.json");
    let chosen = ["mask of 0", "mask of 1"].map(|key| config["provenance"][key].as_str());
    assert!(
        chosen.contains(&Some("1")) || chosen.contains(&Some("")),
        "{chosen:?}"
    );
    assert_eq!(adapter("menu/0.2"), adapter("alone"));
}
