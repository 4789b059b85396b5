//! Results that were saved: they print what documents quote, and what is no result is refused.

use super::{fails_with, file, first};
use std::path::Path;
use std::process::Output;

#[test]
fn saved_benches_print_what_the_readme_quotes() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let readme = std::fs::read_to_string(format!("{root}README.md")).expect("a README");
    let show = |name: &str, more: &[&str]| {
        let path = format!("{root}benches/results/{name}");
        first(&[&["bench", "show", &path], more].concat(), b"")
    };
    let rows = |shown: Output| {
        assert!(shown.status.success());
        let table = String::from_utf8(shown.stdout).expect("UTF-8");
        let rows = table.lines().filter(|line| line.contains("attn, "));
        let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect();
        rows.map(cells).collect::<Vec<Vec<String>>>()
    };
    let rounded = |cell: &str| {
        let numbers = cell.split(" ± ").map(|number| {
            let number: f64 = number.parse().expect("a number");
            format!("{number:.0}")
        });
        numbers.collect::<Vec<_>>().join(" ± ")
    };
    let masks = rows(show("llvmpipe/masks.json", &[]));
    assert_eq!(masks.len(), 4);
    for cells in masks {
        let layers = cells[1].trim_start_matches("even:");
        let [prefill, decode] = [4, 6].map(|index: usize| rounded(&cells[index]));
        let quoted = format!("| {layers} | {prefill} | {decode} |");
        assert!(readme.contains(&quoted), "{quoted}");
    }
    let skips = rows(show("llvmpipe/skip.json", &[]));
    assert_eq!(skips.len(), 4);
    for cells in &skips[1..] {
        let layers = cells[1].trim_start_matches("even:");
        let (time, _median) = cells[8].split_once(" (").expect("a median");
        let quoted = format!("| {layers} | {} | {time} | {} |", cells[3], cells[9]);
        assert!(readme.contains(&quoted), "{quoted}");
    }
    let card = format!("{root}adapters/smollm2-135m-instruct/README.md");
    let card = std::fs::read_to_string(card).expect("a model card");
    let [none, plain] = ["none", "plain"].map(|base| {
        let rows = rows(show("llvmpipe/adapter-skip.json", &["--base", base]));
        let rows = rows.into_iter();
        let rows: Vec<_> = rows
            .filter(|cells| cells[1].starts_with("fixed:"))
            .collect();
        assert_eq!(rows.len(), 6);
        rows.into_iter()
    });
    for (saved, against) in none.zip(plain) {
        let time = |cells: &[String]| cells[8].split(" (").next().map(str::to_owned);
        let [saved_time, against_time] = [&saved, &against].map(|cells| time(cells).expect("time"));
        let quoted = format!("| {} | {saved_time} | {} |", saved[3], saved[9]);
        for text in [&readme, &card] {
            let row = text.lines().find(|line| line.contains(&quoted));
            let row = row.unwrap_or_else(|| panic!("{quoted}"));
            let quoted = format!("| {against_time} | {} |", against[9]);
            assert!(row.contains(&quoted), "{row}: {quoted}");
        }
    }
    let names = |rows: Vec<Vec<String>>| rows.into_iter().map(|cells| cells[1].clone());
    let against = rows(show("llvmpipe/skip.json", &["--base", "even:5"]));
    let order: Vec<_> = names(against).collect();
    assert_eq!(order, ["even:5", "none", "even:10", "even:15"]);
    let unknown = show("llvmpipe/skip.json", &["--base", "even:7"]);
    fails_with("even:7", &unknown);
    let tables = std::fs::read_to_string(format!("{root}benches/results/nvidia-h200/masks.md"));
    let tables = tables.expect("tables");
    for base in ["plain", "none"] {
        let shown = show("nvidia-h200/masks.json", &["--base", base]).stdout;
        let shown = String::from_utf8(shown).expect("UTF-8");
        let (_, table) = shown.split_once("\n\n").expect("a table below the title");
        assert!(tables.contains(table), "{table}");
    }
}

#[test]
fn what_is_no_saved_bench_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benches/results/llvmpipe/skip.json"
    );
    let good = std::fs::read(good).expect("a saved bench");
    let changed = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut report = serde_json::from_slice(&good).expect("JSON");
        change(&mut report);
        report.to_string().into_bytes()
    };
    let cases = [
        ("no JSON", b"no JSON".to_vec()),
        (
            "no masks",
            changed(&|report| report["masks"] = serde_json::json!([])),
        ),
        ("no answer", changed(&|report| report["answer"] = 0.into())),
        (
            "a token less",
            changed(&|report| {
                let tokens = report["masks"][1]["token_nanos"].as_array_mut();
                tokens.expect("times").pop();
            }),
        ),
        (
            "an escape",
            changed(&|report| report["masks"][0]["name"] = "\u{1b}[2J".into()),
        ),
    ];
    for (name, bytes) in cases {
        let path = file(folder.path(), &format!("{name}.json"), &bytes);
        let shown = first(&["bench", "show", path.to_str().expect("UTF-8")], b"");
        fails_with("no saved bench", &shown);
    }
}

/// The results of a device, by the names of their files.
fn results(names: &[&str]) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/llvmpipe/");
    names.iter().map(|name| format!("{folder}{name}")).collect()
}

fn report(path: &str) -> serde_json::Value {
    let text = std::fs::read(path).expect("a report");
    serde_json::from_slice(&text).expect("JSON")
}

fn save(folder: &Path, name: &str, report: &serde_json::Value) -> String {
    let path = file(folder, name, report.to_string().as_bytes());
    path.to_string_lossy().into_owned()
}

fn show_evals(paths: &[String]) -> Output {
    let paths = paths.iter().map(String::as_str);
    first(
        &["eval", "show"]
            .into_iter()
            .chain(paths)
            .collect::<Vec<_>>(),
        b"",
    )
}

#[test]
fn saved_evals_print_the_tables_beside_them() {
    for name in [
        "eval-alone",
        "eval-controls",
        "eval-controls-25",
        "eval-controls-4",
        "eval-controls-8",
        "eval-learned",
        "eval-skip",
        "eval-unseen",
        "eval-untuned",
    ] {
        let shown = show_evals(&results(&[&format!("{name}.json")]));
        let [table] = &results(&[&format!("{name}.md")])[..] else {
            unreachable!("one name, one path")
        };
        let table = std::fs::read_to_string(table).expect("a table");
        assert_eq!(String::from_utf8_lossy(&shown.stdout), table, "{name}");
    }
}

/// The README's two tables of loss, but for what has no saved answers: it leaves out the plus of what is above nothing.
#[test]
fn saved_evals_print_what_the_readme_quotes() {
    let rows = |names: &[&str]| -> Vec<Vec<String>> {
        let shown = show_evals(&results(names));
        assert!(shown.status.success());
        let text = String::from_utf8(shown.stdout).expect("UTF-8");
        let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect();
        let (summary, _) = text.split_once("\n| loss |").expect("a table by task");
        summary.lines().map(cells).collect()
    };
    let loss = rows(&[
        "eval-alone.json",
        "eval-learned.json",
        "eval-controls.json",
        "eval-controls-4.json",
        "eval-controls-8.json",
        "eval-controls-25.json",
    ]);
    let further = rows(&["eval-unseen.json"]);
    let found = |rows: &[Vec<String>], policy: &str, column: usize| {
        let row = rows
            .iter()
            .find(|cells| cells.get(1).is_some_and(|name| name == policy));
        row.map(|cells| cells[column].replace("(+", "(").replace("to +", "to "))
    };
    let readme = include_str!("../../README.md").replace('*', "");
    let quoted = |label: &str| -> Vec<&str> {
        let row = readme
            .lines()
            .find(|line| line.starts_with(&format!("| {label}")));
        let row = row.unwrap_or_else(|| panic!("{label}"));
        row.split('|').map(str::trim).collect()
    };
    for (column, rate) in ["4 %", "8 %", "15 %", "25 %"].into_iter().enumerate() {
        let rate_name = rate.replace(' ', "");
        let routed = format!("routed@{rate_name}");
        let cell = |column| found(&loss, &routed, column).unwrap_or_else(|| panic!("{routed}"));
        let first = |text: String, separator: &str| {
            text.split(separator).next().expect("a part").to_owned()
        };
        let row = quoted(rate);
        let expected = [
            cell(3),
            first(cell(7), ","),
            cell(4),
            first(cell(5), " ("),
            cell(8),
        ];
        assert_eq!(row[2..7], expected, "{rate}");
        let further = found(&further, &routed, 8).unwrap_or("not measured".to_owned());
        assert_eq!(row[7], further, "{rate}");
        for (label, policy) in [
            ("learned by gradient", "learned"),
            ("by block influence", "block-influence"),
            ("evenly spaced", "even"),
            ("at random", "random"),
        ] {
            let name = format!("{policy}@{rate_name}");
            match found(&loss, &name, 9) {
                Some(against) => assert_eq!(quoted(label)[2 + column], against, "{name}"),
                None => assert_eq!(name, "learned@15%"),
            }
        }
    }
}

#[test]
fn saved_evals_are_held_against_each_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("all");
    let mut paths = results(&["eval-learned.json", "eval-controls-8.json"]);
    let whole = report(&paths[1]);
    let rows = |table: &str| {
        let rows = table.lines().filter(|line| line.contains(" to "));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    let table_of = |path: &String| {
        let table = std::fs::read_to_string(path.replace(".json", ".md"));
        rows(&table.expect("a table"))
    };
    // Rows of both are there once, in the order of the files, and those of the second are held against the routers of the first.
    let mut expected = table_of(&paths[0]);
    let others = table_of(&paths[1]).into_iter();
    expected.extend(
        others
            .filter(|row| !expected.contains(row))
            .collect::<Vec<_>>(),
    );
    let mut without_routers = whole.clone();
    for part in ["rows", "summaries"] {
        let kept = without_routers[part].as_array_mut().expect("a list");
        kept.retain(|row| row["policy"] != "routed@8%");
    }
    paths[1] = save(folder.path(), "without", &without_routers);
    let alone = show_evals(&paths[1..]);
    let alone = String::from_utf8(alone.stdout).expect("UTF-8");
    let alone = rows(&alone);
    assert!(alone.iter().all(|row| row.ends_with("| - |")), "{alone:?}");
    let options = ["--out", out.to_str().expect("UTF-8")].map(str::to_owned);
    let shown = show_evals(&[&paths[..], &options].concat());
    assert!(shown.status.success());
    let table = String::from_utf8(shown.stdout).expect("UTF-8");
    assert_eq!(rows(&table), expected);
    let saved = ["eval.md", "eval.csv", "eval.svg"].map(|name| {
        let text = std::fs::read_to_string(out.join(name));
        text.expect("was written")
    });
    assert_eq!(saved[0], table);
    assert!(saved[1].contains("learned@4%") && saved[1].contains("even@8%"));
    assert!(saved[2].contains("even") && saved[2].contains("learned"));
    // What was joined is a report as any other, with each loss as it was.
    let joined = out.join("eval.json").to_string_lossy().into_owned();
    let again = show_evals(std::slice::from_ref(&joined));
    assert_eq!(String::from_utf8_lossy(&again.stdout), table);
    assert_eq!(report(&joined)["rows"][0], report(&paths[0])["rows"][0]);

    // One row that was measured twice, and what is of something else.
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 4] = [
        ("other results of `none`;", |report| {
            report["rows"][0]["answers"][0]["loss"] = 9.into();
        }),
        ("other answers", |report| report["tokens"][0] = 99.into()),
        ("another model", |report| {
            report["model"]["other_bytes"] = 1.into();
        }),
        ("another GPU", |report| {
            report["gpu"]["driver"] = "another".into();
        }),
    ];
    for (needle, change) in cases {
        let mut report = whole.clone();
        change(&mut report);
        paths[1] = save(folder.path(), "other", &report);
        let refused = show_evals(&paths);
        fails_with(needle, &refused);
        fails_with(&paths[1], &refused);
    }
}

#[test]
fn what_is_no_saved_eval_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = report(&results(&["eval-controls.json"])[0]);
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 13] = [
        ("invalid type", |report| *report = "text".into()),
        ("one answer or more", |report| {
            report["tasks"] = serde_json::json!([])
        }),
        ("at most 100 tasks", |report| {
            let tasks = report["tasks"].as_array_mut().expect("tasks");
            for (index, task) in tasks.iter_mut().enumerate() {
                *task = index.to_string().into();
            }
        }),
        ("rows of all answers", |report| {
            let answers = report["rows"][1]["answers"].as_array_mut();
            answers.expect("answers").pop();
        }),
        ("more than 65536 tokens", |report| {
            report["tokens"][0] = u64::MAX.into();
        }),
        ("rows of all answers", |report| {
            report["rows"] = serde_json::json!([]);
        }),
        ("bytes of each", |report| {
            report["model"]["layers"] = u64::MAX.into();
        }),
        ("bytes of each", |report| {
            report["model"]["layers"] = 31.into();
        }),
        ("no mask", |report| {
            report["rows"][0]["answers"][0]["masks"] = serde_json::json!([]);
        }),
        ("numbers that none", |report| {
            report["rows"][0]["answers"][0]["loss"] = 1e300.into();
        }),
        ("numbers that none", |report| {
            report["rows"][0]["answers"][0]["skipped"] = (-0.1).into();
        }),
        ("none of 30 layers", |report| {
            report["rows"][0]["answers"][0]["masks"][0] = "0-29,".repeat(200).into();
        }),
        ("control character", |report| {
            report["rows"][0]["policy"] = "\u{1b}[2J".into();
        }),
    ];
    for (needle, change) in cases {
        let mut report = good.clone();
        change(&mut report);
        let path = save(folder.path(), "bad", &report);
        let refused = show_evals(&[path]);
        fails_with("no saved report", &refused);
        fails_with(needle, &refused);
    }
    // What is summed up again need not be there.
    let mut old = good.clone();
    for summary in old["summaries"].as_array_mut().expect("summaries") {
        let summary = summary.as_object_mut().expect("an object");
        summary.retain(|field, _| ["policy", "adapter", "tasks"].contains(&field.as_str()));
    }
    let shown = show_evals(&[save(folder.path(), "old", &old)]);
    let table = std::fs::read_to_string(&results(&["eval-controls.md"])[0]);
    assert_eq!(
        String::from_utf8_lossy(&shown.stdout),
        table.expect("a table")
    );
}
