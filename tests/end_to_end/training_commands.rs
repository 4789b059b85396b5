//! The commands that train, as README.md and benches/TRAINING.md have them, on a model that is generated.

use super::LAYERS;
use super::commands::Shell;
use first_wgpu::mask::{LayerMask, Sublayer};
use first_wgpu::model::tiny::{TinyOptions, write_tiny};
use first_wgpu::router::file::RouterFile;
use first_wgpu::weights::Format;
use std::collections::BTreeMap;

/// What most commands of training are given.
const DATA: &str = "-m tiny.gguf --data train.jsonl --calibration others.jsonl";
/// A run that is short.
const RUN: &str = "--look-at 1 --steps 2 --batch 1 --evaluate 2 --tokens 64";

/// A command in which `DATA` and `RUN` stand for themselves.
fn spelt_out(command: &str) -> String {
    command.replace("DATA", DATA).replace("RUN", RUN)
}

/// The commands in the order of these documents, each going on from the last, and what is made with what they made.
pub(super) fn training() {
    let shell = Shell::new(&TinyOptions {
        format: Format::Q8_0,
        ..TinyOptions::default()
    });
    for command in TRAINED {
        shell.first(&spelt_out(command));
    }
    nothing_of_others_is_lost(&shell);
    let other = TinyOptions {
        format: Format::Q8_0,
        seed: 2,
        ..TinyOptions::default()
    };
    write_tiny(shell.path("other.gguf"), &other).expect("written");
    for (name, line) in [
        (
            "of-one-task.jsonl",
            r#"{"prompt": "an ant", "completion": "on", "task": "0"}"#.to_owned(),
        ),
        (
            "of-no-task.jsonl",
            r#"{"prompt": "the sun", "completion": "on"}"#.to_owned(),
        ),
        (
            "long.jsonl",
            format!(
                r#"{{"prompt": "{}", "completion": "on", "task": "0"}}"#,
                "ant ".repeat(60)
            ),
        ),
    ] {
        std::fs::write(shell.path(name), line).expect("written");
    }
    for (command, needle) in REFUSED {
        shell.refused(&spelt_out(command), needle);
    }
    assert!(!shell.path("idle/0.1").exists());
    references_are_checked(&shell);
    runs_keep_to_their_beginning(&shell);
    evaluations_go_on(&shell);
    merged_matrices_are_not_counted(&shell);
    searches_are_kept(&shell);
    runs_are_settled_on(&shell);
    what_was_trained_serves(&shell);
}

/// Each goes on from those before it.
const TRAINED: &[&str] = &[
    "train labels DATA --against answers --out labels",
    "train routers DATA RUN --begin labels --out routers",
    "train lora DATA RUN --begin routers --out lora",
    "train joint DATA RUN --begin labels --out joint",
    "train labels DATA --settle joint --out settled",
    "train labels DATA --rates 0.1,0.3 --protect 0 --adapter lora --out searched",
    "train lora DATA RUN --skip-layers none --out alone",
    "train lora DATA RUN --skip-layers 1 --out fixed",
    "train labels DATA --settle alone --settle fixed --settle joint --rates 0.2 --adapter alone --out menu",
    "train labels DATA --settle joint --prefill full --out read",
    "train lora DATA RUN --begin read --out answers",
    "train lora DATA RUN --skip-layers 1 --prefill full --out after-1",
    // Low-rank updates without routers: these begin anew.
    "train joint DATA RUN --begin alone --out after",
    "train lora DATA RUN --begin searched/0.1 --distil 0.5 --teacher alone --out taught",
    "train labels DATA --settle taught --out kept",
    "train labels DATA --settle alone --settle taught --rates 0.05 --adapter alone --out kept-of-two",
    "calibrate -m tiny.gguf --data train.jsonl --budget 1 --examples 2 --out calibrated",
];

/// What cannot work, and what is said of it.
const REFUSED: &[(&str, &str)] = &[
    (
        "train routers DATA RUN --begin read --out idle",
        "`prefill` is `masked`",
    ),
    (
        "train lora DATA RUN --begin labels --out labels",
        "another `--out`",
    ),
    (
        "calibrate -m tiny.gguf --data train.jsonl --out labels",
        "holds",
    ),
    (
        "calibrate -m tiny.gguf --data train.jsonl --out fixed",
        "holds",
    ),
    (
        "train labels DATA --against answers --out routers",
        "holds a run of `first train`",
    ),
    (
        "train labels DATA --against answers --out calibrated",
        "that no `first train labels` has made",
    ),
    (
        "train lora DATA RUN --skip-layers 0-3.attn --targets q_proj --out idle",
        "all that would learn is skipped",
    ),
    (
        "train lora -m tiny.gguf --data others.jsonl --calibration train.jsonl RUN --begin routers --out lora",
        "other texts",
    ),
    (
        "train joint DATA RUN --begin labels --router-rate 0 --out idle",
        "one mask for all",
    ),
    (
        "train lora DATA RUN --begin nowhere --skip-layers none --out idle",
        "nothing that this run begins with",
    ),
    (
        "train lora DATA RUN --begin routers --out idle --kv f16",
        "leave out `--kv`",
    ),
    (
        "train lora DATA RUN --begin searched/0.3 --distil 0.5 --teacher alone --out taught",
        "another beginning",
    ),
    (
        "train labels DATA --settle joint --settle answers --rates 0.1 --adapter alone --out idle",
        "runs of one kind",
    ),
    (
        "train labels DATA --settle alone --settle fixed --rates 0.1,0.9 --adapter alone --out idle",
        "lower `--rates`",
    ),
    (
        "train labels DATA --settle alone --settle fixed --rates 0.1 --out idle",
        "routers serve with one; give it as `--adapter DIR`",
    ),
    (
        "train labels DATA --settle joint --rates 0.1 --out idle",
        "several `--settle`",
    ),
    (
        "train labels DATA --settle fixed --settle fixed --rates 0.01 --adapter fixed --out idle",
        "raise `--rates`",
    ),
    (
        "train labels DATA --settle alone --settle fixed --out idle",
        "`--rates`",
    ),
    (
        "train labels -m tiny.gguf --data train.jsonl --settle alone --settle fixed --rates 0.2 --out idle",
        "`--calibration`",
    ),
    ("train labels DATA --tokens 8 --out short", "`--tokens N`"),
    (
        "train labels DATA --tolerate 0 --rates 0.1 --out idle",
        "no task skips anything",
    ),
    (
        "eval -m tiny.gguf --data train.jsonl --examples 1 --scores --out idle",
        "`--scores` knows",
    ),
    (
        "eval -m tiny.gguf --data train.jsonl --examples 1 --router fixed --skip 10% --out idle",
        "moves thresholds",
    ),
    (
        "eval -m tiny.gguf --data train.jsonl --examples 1 --router even=answers --controls even --out idle",
        "called `even`",
    ),
    (
        "eval -m tiny.gguf --data train.jsonl --examples 1 --router answers --adapter rooted=answers --out idle",
        "`--adapter rooted=",
    ),
    (
        "bench -m tiny.gguf --router labels",
        "`--mask none --mask routed`",
    ),
    (
        "eval -m tiny.gguf --data train.jsonl --calibration of-one-task.jsonl --router labels --controls per-task --out idle",
        "nothing to search a mask for task `1` on",
    ),
    (
        "train lora DATA --data long.jsonl RUN --skip-layers none --out idle",
        "leaves no room for its answer",
    ),
    (
        "train lora -m tiny.gguf --data long.jsonl --calibration others.jsonl RUN --skip-layers none --skip-bad --out idle",
        "no example of task `0` is left",
    ),
    // Of another model of the same shape.
    (
        "run -m other.gguf --router labels -n 1 --raw the",
        "the router was made for",
    ),
    (
        "eval -m other.gguf --data train.jsonl --examples 1 --router labels --out idle",
        "the router was made for",
    ),
    (
        "train labels -m other.gguf --data train.jsonl --settle joint --out idle",
        "the router was made for",
    ),
    (
        "train lora -m other.gguf --data train.jsonl --begin labels --out idle",
        "the router was made for",
    ),
];

/// What another command made, or another program, stays as it is.
fn nothing_of_others_is_lost(shell: &Shell) {
    std::fs::create_dir(shell.path("foreign")).expect("made");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let [from, to] = ["alone", "foreign"].map(|folder| shell.path(&format!("{folder}/{name}")));
        std::fs::copy(from, to).expect("copied");
    }
    let config = shell.path("foreign/adapter_config.json");
    let own = std::fs::read_to_string(&config).expect("is there") + "\n";
    std::fs::write(&config, &own).expect("written");
    let labels = spelt_out("train labels DATA --against answers --out foreign");
    let others = "an adapter that these routers would not belong to";
    shell.refused(&format!("{labels} --adapter lora"), others);
    for adapter in ["foreign", "alone"] {
        shell.first(&format!("{labels} --adapter {adapter}"));
    }
    shell.refused(&format!("{labels} --adapter lora"), others);
    shell.refused(&labels, others);
    assert_eq!(std::fs::read_to_string(config).expect("is there"), own);
}

/// Outputs of another implementation that say nothing, or what cannot be.
fn references_are_checked(shell: &Shell) {
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
        (
            r#"[{"text": "a", "ids": [5], "mask": "31"}]"#,
            "the mask of entry 0: layer 31",
        ),
        ("[]", "found none"),
    ] {
        std::fs::write(shell.path("reference.json"), entries).expect("written");
        shell.refused("check . -m tiny.gguf", needle);
    }
}

fn runs_keep_to_their_beginning(shell: &Shell) {
    shell.first(&spelt_out(
        "train joint DATA RUN --begin labels --routers-until 0 --out late",
    ));
    let log = String::from_utf8(shell.read("late/training.jsonl")).expect("UTF-8");
    let header: serde_json::Value =
        serde_json::from_str(log.lines().next().expect("a line")).expect("JSON");
    assert_eq!(header["target"], 0.0, "no routers learn");
    let long =
        "train lora -m tiny.gguf --data train.jsonl --skip-layers none --tokens 65536 --out idle";
    let never =
        "train lora -m tiny.gguf --data train.jsonl --skip-layers none --checkpoint 0 --out idle";
    for wrong in [long, never] {
        let (output, said) = shell.output(wrong);
        assert_eq!(output.status.code(), Some(2), "{said}");
    }
    let (output, said) = shell.output(&spelt_out(
        "train lora DATA --data long.jsonl RUN --skip-layers none --skip-bad --out short",
    ));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("left out: a prompt of"), "{said}");
    // Routers that do not learn keep what is known of them; those that do are no longer that.
    assert_eq!(shell.mask_of("answers", "0"), shell.mask_of("read", "0"));
    let made = |folder: &str, by: &str| {
        let config = shell.json(&format!("{folder}/router_config.json"));
        config["provenance"][by].as_str().map(str::to_owned)
    };
    assert_eq!(made("answers", "routers made by"), made("read", "made by"));
    assert_eq!(made("routers", "routers made by"), None);
    assert_ne!(shell.adapter("after"), shell.adapter("alone"));
    assert_ne!(shell.adapter("taught"), shell.adapter("lora"));
}

fn evaluations_go_on(shell: &Shell) {
    shell.first(
        "eval -m tiny.gguf --data train.jsonl --examples 1 --router answers --controls even --adapter routed=answers --out measured",
    );
    let table = String::from_utf8(shell.read("measured/eval.md")).expect("UTF-8");
    assert!(
        table.contains("With it counted these policies skip: `even` ")
            && table.contains(", `routed` with answers ")
            && !table.contains("`none` 0.0 %"),
        "{table}"
    );
    // A mask concerns what the routers' do, and examples without a task have a name.
    shell.first(
        "eval -m tiny.gguf --data of-no-task.jsonl --router answers --mask own=fixed:1.attn --mask plain=none --controls even --out read-by-all",
    );
    let table = String::from_utf8(shell.read("read-by-all/eval.md")).expect("UTF-8");
    assert!(table.contains("| loss | adapter | all |"), "{table}");
    let rows = &shell.json("read-by-all/eval.json")["rows"];
    let prefill = |policy: &str| {
        let mut rows = rows.as_array().expect("rows").iter();
        let row = rows.find(|row| row["policy"] == policy);
        row.expect("is measured")["prefill"].clone()
    };
    assert_eq!(prefill("own"), "full");
    assert_ne!(prefill("plain"), "full");
    // A folder that is not called by its name has one.
    std::fs::create_dir(shell.path("alone/inner")).expect("made");
    shell.first(
        "eval -m tiny.gguf --data train.jsonl --examples 1 --router answers --adapter routed=answers --adapter none=alone/inner/.. --tuned --out tuned",
    );
    let table = String::from_utf8(shell.read("tuned/eval.md")).expect("UTF-8");
    assert!(table.contains("intervals are too narrow"), "{table}");
    assert!(table.contains("| none | alone |"), "{table}");
    let results = shell.json("tuned/eval.json");
    let rows = results["rows"].as_array().expect("rows");
    let with: Vec<_> = rows.iter().map(|row| row["adapter"].as_str()).collect();
    assert_eq!(with, [Some("alone"), Some("answers")]);
    shell.refused(
        "eval -m tiny.gguf --data train.jsonl --examples 1 --adapter none=alone --tuned --out tuned --kv f16",
        "this `--kv`",
    );
}

/// Matrices that updates are merged into are larger, and skipped shares are of the model's as it is.
fn merged_matrices_are_not_counted(shell: &Shell) {
    shell.first(&spelt_out(
        "train lora DATA RUN --skip-layers none --targets q_proj,v_proj --out few",
    ));
    let skipped = ["run-time", "merged"].map(|mode| {
        shell.first(&format!(
            "eval -m tiny.gguf --data train.jsonl --mask m=fixed:1.attn --adapter m=few --adapter-mode {mode} --tuned --out {mode}"
        ));
        let results = shell.json(&format!("{mode}/eval.json"));
        results["summaries"][1]["skipped"].as_f64().expect("a share")
    });
    assert!(skipped[0] > 0.0);
    assert_eq!(skipped[0], skipped[1]);
}

fn searches_are_kept(shell: &Shell) {
    // Routers of a rate are the same beside others.
    for (rates, out) in [("0.1,0.3", "both"), ("0.3", "one")] {
        let labels = spelt_out("train labels DATA --prefill full");
        shell.first(&format!("{labels} --rates {rates} --out {out}"));
    }
    let routers = |folder: &str| shell.read(&format!("{folder}/0.3/router.safetensors"));
    assert_eq!(routers("both"), routers("one"));
    // The search measures the model with its adapter.
    shell.first(&spelt_out(
        "train labels DATA --rates 0.1,0.3 --protect 0 --out plainly",
    ));
    let without_adapter = |folder: &str| -> Vec<_> {
        let noted = shell.noted(folder).into_iter();
        noted.map(|([_, of @ ..], loss)| (of, loss)).collect()
    };
    let [plain, tuned] = ["plainly", "searched"].map(without_adapter);
    let all_of = |noted: &[([String; 2], f64)]| noted.iter().map(|(of, _)| of.clone()).collect();
    let [of_plain, of_tuned]: [Vec<_>; 2] = [all_of(&plain), all_of(&tuned)];
    assert_eq!(of_plain[..1], of_tuned[..1], "begun otherwise");
    assert_ne!(plain[0].1, tuned[0].1, "searched without the adapter");
    assert_eq!(shell.adapter("searched/0.1"), shell.adapter("lora"));
    // The mask of a task's provenance, in what the search for the larger share found, skips more.
    let protected = |folder: &str| {
        let file = RouterFile::load(&shell.path(folder)).expect("loads");
        let routers = file.router().expect("has routers");
        LayerMask::skipping(&routers.protected).to_string()
    };
    let skipped = |folder: &str| {
        assert_eq!(protected(folder), "0");
        let mask = shell.mask_of(folder, "0");
        let mask = LayerMask::parse(&mask, LAYERS).expect("a mask");
        assert!(mask.runs(0, Sublayer::Attn) && mask.runs(0, Sublayer::Mlp));
        mask.skipped(Sublayer::Attn) + mask.skipped(Sublayer::Mlp)
    };
    assert!(skipped("searched/0.3") > skipped("searched/0.1"));
    // What is protected stays so in what is trained from it.
    for trained in ["taught", "kept", "kept-of-two/0.05"] {
        assert_eq!(protected(trained), "0", "{trained}");
    }
}

fn runs_are_settled_on(shell: &Shell) {
    assert_eq!(shell.adapter("settled"), shell.adapter("joint"));
    assert_eq!(shell.adapter("menu/0.2"), shell.adapter("alone"));
    let chosen = ["0", "1"].map(|task| shell.mask_of("menu/0.2", task));
    let of_runs = |mask: &String| mask == "1" || mask.is_empty();
    assert!(chosen.iter().any(of_runs), "{chosen:?}");
    // What is compared are the runs with their adapters, as they are measured.
    shell.first(
        "eval -m tiny.gguf --data others.jsonl --adapter none=alone --mask one=fixed:1 --adapter one=fixed --tuned --out beside",
    );
    let [settled, measured] = ["menu", "beside"].map(|folder| shell.noted(folder));
    assert_eq!(measured.len(), 4);
    for (of, loss) in measured {
        assert_eq!(settled.get(&of), Some(&loss), "{of:?}");
    }
}

fn what_was_trained_serves(shell: &Shell) {
    let trained = [
        "lora",
        "joint",
        "settled",
        "after",
        "alone",
        "fixed",
        "answers",
        "after-1",
        "searched/0.1",
        "searched/0.3",
    ];
    for made in trained {
        for file in ["router_config.json", "adapter_config.json"] {
            assert!(shell.path(made).join(file).exists(), "{made}/{file}");
        }
        shell.first(&format!(
            "run -m tiny.gguf --router {made} --adapter {made} -n 3 --raw the"
        ));
    }
    shell.first("run -m tiny.gguf --router menu/0.2 -n 3 --raw the");
}

impl Shell {
    /// The adapter of a folder.
    fn adapter(&self, folder: &str) -> Vec<u8> {
        self.read(&format!("{folder}/adapter_model.safetensors"))
    }

    /// The losses that a folder's journal holds: with which adapter, what was skipped, and of which texts.
    fn noted(&self, folder: &str) -> BTreeMap<[String; 3], f64> {
        let journal = String::from_utf8(self.read(&format!("{folder}/journal.jsonl")));
        let journal = journal.expect("UTF-8");
        let noted = journal.lines().skip(1).map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let (kind, texts) = match &line["of"]["search"] {
                serde_json::Value::Null => ("loss", "example"),
                _ => ("search", "examples"),
            };
            let of = ["adapter", "skipped", texts].map(|part| {
                let part = line["of"][kind][part].as_str();
                part.expect("a text").to_owned()
            });
            (of, line["is"]["loss"].as_f64().expect("a loss"))
        });
        noted.collect()
    }

    /// What the routers of a folder say that they skip for a task.
    fn mask_of(&self, folder: &str, task: &str) -> String {
        let config = self.json(&format!("{folder}/router_config.json"));
        let mask = config["provenance"][format!("mask of {task}")].as_str();
        mask.expect("a mask").to_owned()
    }
}
