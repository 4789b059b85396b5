//! Bad input: one line with a remedy, exit code 1, or 2 for wrong usage; no panic. None of it needs a GPU,
//! since files are read before an adapter is opened.

mod saved;

use first_wgpu::model::tiny::{TinyOptions, tiny_bytes};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn first(arguments: &[&str], stdin: &[u8]) -> Output {
    // Nothing of the user's is read, and nothing is fetched.
    let cache = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_first"))
        .args(arguments)
        .env("FIRST_CACHE", cache.path())
        .env("PATH", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that fails before it reads leaves a closed pipe.
    let _ = child.stdin.take().expect("piped").write_all(stdin);
    child.wait_with_output().expect("the binary ends")
}

/// Asserts exit code 1 and one line of error that holds `needle` and, after a `;`, a remedy.
fn fails_with(needle: &str, output: &Output) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let lines: Vec<&str> = error
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(
        lines[0].contains(needle) && lines[0].contains(';'),
        "expected `{needle}` and a remedy in: {error}"
    );
    assert!(!error.contains("panicked"), "{error}");
    let twice = lines[0].matches("os error").count() > 1;
    assert!(!twice, "said twice: {error}");
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("writable");
    path
}

#[test]
fn traces_and_shapes_that_are_none_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = file(folder.path(), "text.jsonl", b"no trace");
    let text = text.to_str().expect("UTF-8");
    fails_with(
        "trace header",
        &first(&["trace", "export", text, "--csv", "out.csv"], b""),
    );
    assert!(!Path::new("out.csv").exists());
    let future = br#"{"format":"first-trace","version":99}"#;
    let future = file(folder.path(), "future.jsonl", future);
    let future = future.to_str().expect("UTF-8");
    fails_with(
        "version 99",
        &first(&["trace", "export", future, "--csv", "out.csv"], b""),
    );
    fails_with(
        "no shape",
        &first(&["bench", "kernels", "--shape", "llama-9"], b""),
    );
    fails_with(
        "no weight format",
        &first(&["bench", "kernels", "--format", "q9"], b""),
    );
    let synthetic = first(&["bench", "--synthetic", "llama-9:q4_1"], b"");
    assert_eq!(synthetic.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn standard_output_is_a_file_to_export_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = file(
        folder.path(),
        "trace.jsonl",
        br#"{"format":"first-trace","version":2}"#,
    );
    let log = file(folder.path(), "log", b"before\n");
    let open = std::fs::OpenOptions::new().append(true).open(&log);
    let status = Command::new(env!("CARGO_BIN_EXE_first"))
        .args(["trace", "export"])
        .arg(trace)
        .args(["--csv", "/dev/stdout"])
        .stdout(open.expect("opens"))
        .status();
    assert!(status.expect("the binary ends").success());
    let found = std::fs::read_to_string(log).expect("is there");
    assert!(found.starts_with("before\nrun,"), "{found}");
}

#[cfg(unix)]
#[test]
fn a_trace_may_come_from_a_pipe() {
    let header = br#"{"format":"first-trace","version":2}"#;
    let arguments = ["trace", "export", "/dev/stdin", "--csv", "/dev/stdout"];
    let output = first(&arguments, header);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.stdout.starts_with(b"run,policy,"), "{said}");
}

#[test]
fn bad_model_files_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = tiny_bytes(&TinyOptions::default());
    let mut huge = good.clone();
    huge[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut version = good.clone();
    version[4] = 9;
    let cases: [(&str, &[u8], &str); 5] = [
        ("empty.gguf", b"", "empty.gguf"),
        (
            "text.gguf",
            b"this is no model, only some words in a file",
            "GGUF",
        ),
        ("truncated.gguf", &good[..good.len() / 2], "truncated.gguf"),
        ("huge.gguf", &huge, "huge.gguf"),
        ("version.gguf", &version, "version"),
    ];
    for (name, bytes, needle) in cases {
        let path = file(folder.path(), name, bytes);
        fails_with(
            needle,
            &first(&["run", "-m", &path.to_string_lossy(), "hello"], b""),
        );
    }
    fails_with(
        "nowhere.gguf",
        &first(&["run", "-m", "nowhere.gguf", "hello"], b""),
    );
    fails_with("nowhere.gguf", &first(&["info", "-m", "nowhere.gguf"], b""));
    let no_routers = ["run", "-m", "nowhere.gguf", "--skip", "8%", "hello"];
    fails_with("need routers", &first(&no_routers, b""));
}

#[test]
fn bad_prompts_are_refused() {
    fails_with("empty", &first(&["run", "  "], b""));
    fails_with("empty", &first(&["run"], b""));
    fails_with("UTF-8", &first(&["run", "-"], b"caf\xe9"));
    let endless = vec![b'y'; (1 << 24) + 1];
    fails_with("no context holds", &first(&["run"], &endless));
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["run", "--temperature", "hot", "x"][..],
        &["run", "--temperature", "1", "--top-p", "2", "x"],
        // Nothing is drawn without a temperature.
        &["run", "--top-k", "40", "x"],
        &["run", "--top-p", "0.9", "x"],
        &["run", "--min-p", "0.1", "x"],
        &["run", "--seed", "1", "x"],
        &["bench", "-r", "0"],
        &["bench", "scaling", "-r", "0"],
        &["run", "--skip-layers", "1", "--no-skip", "x"],
        &["run", "--skip", "nan%", "x"],
        &["run", "--skip", "125%", "x"],
        &["bench", "--skip-layers", "1"],
        &["info", "--kv", "f16"],
        &["calibrate"],
        &["calibrate", "--data", "x", "--out", "y", "--examples", "0"],
        &[
            "train",
            "routers",
            "--data",
            "x",
            "--out",
            "y",
            "--base-model",
            "z",
        ],
        // Nothing is searched or looked at without examples for it.
        &["eval", "--data", "x", "--search", "4"],
        &[
            "train",
            "lora",
            "--data",
            "x",
            "--out",
            "y",
            "--look-at",
            "4",
        ],
        &["fly"],
    ] {
        let output = first(arguments, b"");
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn evaluations_that_mean_nothing_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = b"{\"task\": \"qa\", \"prompt\": \"p\", \"completion\": \"c\"}\n";
    let data = file(folder.path(), "data.jsonl", line);
    let bad = file(folder.path(), "bad.jsonl", b"{\"prompt\": 1}\n");
    let [data, bad] = [&data, &bad].map(|path| path.to_str().expect("UTF-8"));
    let eval = |more: &[&str]| first(&[&["eval", "--data", data], more].concat(), b"");
    fails_with("line 1", &first(&["eval", "--data", bad], b""));
    let routers = concat!(env!("CARGO_MANIFEST_DIR"), "/routers/smollm2-135m");
    let both = eval(&["--router", routers, "--calibration", data]);
    fails_with("is in `--data` and in `--calibration`", &both);
    let out = folder.path().join("out").to_string_lossy().into_owned();
    for what in [
        &["labels", "--rates", "4%"][..],
        &["lora", "--skip-layers", "none"],
    ] {
        let others = ["--data", data, "--calibration", data, "--out", &out];
        let trained = first(&[&["train"], what, &others].concat(), b"");
        fails_with(
            "an example of task `qa` is in `--data` and in `--calibration`",
            &trained,
        );
    }
    assert!(!Path::new(&out).exists());
    fails_with("router_config.json", &eval(&["--router", "name=nowhere"]));
    fails_with("adapter_config.json", &eval(&["--adapter", "nowhere"]));
    let [one, other] = ["a", "b"].map(|parent| {
        let adapter = folder.path().join(parent).join("lora");
        std::fs::create_dir_all(&adapter).expect("makes a folder");
        file(&adapter, "adapter_config.json", parent.as_bytes());
        file(&adapter, "adapter_model.safetensors", b"");
        adapter.to_string_lossy().into_owned()
    });
    let alike = eval(&["--adapter", &one, "--adapter", &other]);
    fails_with("two adapters are in folders called `lora`", &alike);
    let searched = eval(&["--router", routers, "--controls", "random,greedy"]);
    fails_with("`greedy` is searched on answers", &searched);
    for arguments in [
        &["--skip", "4%"][..],
        &["--controls", "even"],
        &["--calibration", data],
        &["--tuned"],
        &["--adapter-mode", "merged"],
        &["-n", "5"],
    ] {
        assert_eq!(eval(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_way_to_apply_no_adapter_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = file(folder.path(), "other.gguf", b"not the default model");
    let model = model.to_str().expect("UTF-8");
    let path = folder.path().to_str().expect("UTF-8");
    for command in [
        &["run", "hello"][..],
        &["chat"],
        &["bench"],
        &["check", path],
    ] {
        let merged = ["-m", model, "--adapter-mode", "merged"];
        let refused = first(&[command, &merged].concat(), b"");
        fails_with("how an adapter is applied, and there is none", &refused);
    }
}

#[test]
fn options_of_training_that_would_do_nothing_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = file(folder.path(), "data.jsonl", b"");
    let data = data.to_str().expect("UTF-8");
    let out = folder.path().join("out").to_string_lossy().into_owned();
    let train = |what: &str, more: &[&str]| {
        let all = ["train", what, "--data", data, "--out", &out];
        first(&[&all, more].concat(), b"")
    };
    let mask = ["--skip-layers", "none"];
    let looks = train("lora", &[&mask[..], &["--evaluate", "5"]].concat());
    fails_with("`--evaluate` looks at calibration examples", &looks);
    // No look is one without examples too.
    let none = train("lora", &[&mask[..], &["--evaluate", "0"]].concat());
    fails_with("no example", &none);
    let routers = concat!(env!("CARGO_MANIFEST_DIR"), "/routers/smollm2-135m");
    for what in ["routers", "joint"] {
        let begun = train(what, &["--begin", routers, "--bias", "1"]);
        fails_with("have biases, which `--bias` would not change", &begun);
        fails_with("no example", &train(what, &["--bias", "1"]));
    }
}

#[test]
fn a_reference_folder_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_string_lossy().into_owned();
    fails_with("reference.json", &first(&["check", &path], b""));
    file(folder.path(), "reference.json", b"{}");
    fails_with("reference.json", &first(&["check", &path], b""));
}
