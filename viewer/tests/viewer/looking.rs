//! The window without a model.

use crate::fixed::{fixed, run};
use crate::window::{Window, click, enabled, fill, until, window};
use eframe::egui::{self, Key, Modifiers, accesskit::Role};
use egui_kittest::kittest::{NodeT, Queryable};
use first_viewer::panels::PANELS;
use first_viewer::session::Session;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log that is opened is followed, and what is none leaves nothing behind and takes nothing away.
pub(crate) fn an_opened_log_is_live() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("training.jsonl");
    let mut log = "{\"first_wgpu_training\": 1, \"layers\": 2}\n{\"step\": 1}\n".to_owned();
    std::fs::write(&path, &log).expect("written");
    let mut window = window(Session::default(), None);
    click(&mut window, "Training");
    assert!(!enabled(&window, "Follow"), "there is no name");
    fill(&mut window, "Training log", "nowhere.jsonl");
    click(&mut window, "Follow");
    window.get_by_label_contains("nowhere.jsonl");
    window.step();
    assert_eq!(window.state().session().training, None);
    fill(&mut window, "Session file", &path.display().to_string());
    click(&mut window, "Open");
    let mut goes_on = |window: &mut Window<'_>, count: usize| {
        log += &format!("{{\"step\": {count}}}\n");
        std::fs::write(&path, &log).expect("written");
        until(window, "another step", |window| {
            let training = window.state().session().training.as_ref();
            training.is_some_and(|log| log.steps.len() == count)
        });
    };
    goes_on(&mut window, 2);
    fill(&mut window, "Training log", "nowhere.jsonl");
    click(&mut window, "Follow");
    window.get_by_label_contains("nowhere.jsonl");
    goes_on(&mut window, 3);
    // To follow it again loses nothing; to follow another may lose what only the session has.
    for (name, asks) in [("training.jsonl", false), ("other.jsonl", true)] {
        let path = folder.path().join(name);
        if asks {
            let other = "{\"first_wgpu_training\": 1, \"layers\": 3}\n";
            std::fs::write(&path, other).expect("written");
        }
        fill(&mut window, "Training log", &path.display().to_string());
        click(&mut window, "Follow");
        let training = window.state().session().training.as_ref();
        assert_eq!(training.expect("read").header.layers, 2 + usize::from(asks));
        click(&mut window, "Open");
        let question = window.query_by_label("What was measured is not saved.");
        assert_eq!(question.is_some(), asks, "{name}");
    }
}

/// What each dispatch took can be dropped; the runs stay.
pub(crate) fn times_can_be_forgotten() {
    let timed = |session: &Session| session.runs.iter().any(|run| !run.dispatches.is_empty());
    assert!(timed(&Session::demo()));
    let mut window = window(Session::demo(), None);
    click(&mut window, "Timings");
    click(&mut window, "Forget all times");
    click(&mut window, "Cancel");
    assert!(timed(window.state().session()));
    click(&mut window, "Forget all times");
    click(&mut window, "Forget it");
    let left = window.state().session();
    assert!(!timed(left) && left.runs.len() == Session::demo().runs.len());
    click(&mut window, "Demo");
    window.get_by_label("What was measured is not saved.");
}

pub(crate) fn a_bad_session_leaves_the_good_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("future.json");
    std::fs::write(
        &path,
        r#"{"format": "first-session", "version": 7, "runs": []}"#,
    )
    .expect("written");
    let mut window = window(fixed(), None);
    fill(&mut window, "Session file", &path.display().to_string());
    click(&mut window, "Open");
    window.get_by_label_contains("version 7");
    assert!(window.state().session() == &fixed());
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

/// A file is opened by *Open*, by a key, and by dropping it on the window.
pub(crate) fn a_session_is_dropped_and_keys_save_and_open() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths = ["a.json", "b.json"].map(|name| folder.path().join(name));
    fixed().save(&paths[0]).expect("saved");
    let mut window = window(Session::demo(), None);
    let file = Arc::new(Dropped(paths[0].clone()));
    window.input_mut().dropped_files.push(file);
    window.step();
    assert!(window.state().session() == &fixed());
    fill(&mut window, "Session file", &paths[1].display().to_string());
    window.key_press_modifiers(Modifiers::COMMAND, Key::S);
    window.step();
    assert!(Session::load(&paths[1]).expect("it was saved") == fixed());
    click(&mut window, "Demo");
    window.key_press_modifiers(Modifiers::COMMAND, Key::O);
    window.step();
    assert!(window.state().session() == &fixed());
}

/// An exported panel replaces another file only where the user says so.
pub(crate) fn an_export_asks_before_it_replaces() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("panel.csv");
    let read = || std::fs::read(&path).expect("it is there");
    let mut window = window(fixed(), None);
    let name = path.display().to_string();
    fill(&mut window, "Export this panel to", &name);
    click(&mut window, "Export");
    let first = read();
    click(&mut window, "Runs");
    click(&mut window, "Export");
    click(&mut window, "Cancel");
    assert_eq!(read(), first);
    click(&mut window, "Export");
    click(&mut window, "Replace it");
    assert_ne!(read(), first);
    window.get_by_label_contains("written to");
}

/// The run that is looked at is in sight, wherever it was chosen.
pub(crate) fn the_list_of_runs_follows_the_selected_one() {
    let mut session = fixed();
    session.runs = (0..200)
        .map(|index| run(&format!("prompt {index}"), "", "a", index))
        .collect();
    let mut window = window(session, None);
    window.run();
    let listed = |window: &Window<'_>, index: usize| {
        let row = format!("{} routed · prompt {index}", index + 1);
        let rect = window.query_by_label(&row)?.rect();
        (rect.max.y <= 1000.0).then_some(rect)
    };
    assert!(listed(&window, 199).is_some() && listed(&window, 0).is_none());
    window.state_mut().select(100, 0);
    window.run();
    assert!(listed(&window, 100).is_some() && listed(&window, 199).is_none());
    // What is in sight stays where it is.
    let place = listed(&window, 101);
    window.state_mut().select(101, 0);
    window.run();
    assert!(place.is_some() && listed(&window, 101) == place);
}

/// Of the runs that another can be compared with, it is none.
pub(crate) fn a_run_is_compared_with_another_or_with_none() {
    let mut window = window(fixed(), None);
    let menu = |window: &mut Window<'_>| {
        let name = "compare with run";
        window.get_by_role_and_label(Role::ComboBox, name).click();
        window.run();
    };
    click(&mut window, "Compare");
    menu(&mut window);
    for there in ["1 routed", "2 full model", "3 routed"] {
        assert!(window.query_all_by_label(there).count() > 0, "{there}");
    }
    for missing in ["4 routed", "no run"] {
        assert!(window.query_by_label(missing).is_none(), "{missing}");
    }
    window.key_press(Key::Escape);
    window.run();
    click(&mut window, "Timings");
    menu(&mut window);
    click(&mut window, "1 routed");
    window.run();
    menu(&mut window);
    assert!(
        window.query_by_label("3 routed").is_none(),
        "it has no times"
    );
    click(&mut window, "no run");
    window.run();
    let chosen = window.get_by_role_and_label(Role::ComboBox, "compare with run");
    assert_eq!(chosen.value().as_deref(), Some("no run"));
}

/// Every panel opens by its tab; every field, button and figure has a name that is read out, each figure what it shows, and
/// each row of a table what it says.
pub(crate) fn everything_has_a_name() {
    let mut window = window(fixed(), None);
    for panel in &PANELS {
        click(&mut window, panel.title);
        let figure = window.get_by_role_and_label(Role::Image, panel.title);
        let about = figure.accesskit_node().description().unwrap_or_default();
        assert!(!about.is_empty(), "{} shows nothing", panel.name);
        hears_rows(&mut window, panel.title);
        let nodes = window.get_all_by(|node| {
            use Role::{
                Button, CheckBox, ComboBox, MultilineTextInput, Slider, SpinButton, TextInput,
            };
            let roles = [
                Button,
                CheckBox,
                ComboBox,
                MultilineTextInput,
                Slider,
                SpinButton,
                TextInput,
            ];
            roles.contains(&node.role())
        });
        for node in nodes {
            let node = node.accesskit_node();
            let name = node.label().unwrap_or_default();
            let role = node.role();
            assert!(!name.is_empty(), "{}: {role:?} has no name", panel.name);
        }
    }
}

/// Steps down through a figure, and hears what its rows say.
fn hears_rows(window: &mut Window<'_>, title: &str) {
    let rows: &[&str] = match title {
        "Compare" => &["TTFT: other run 180 ms, this run 180 ms", "this answer: An"],
        "Timings" => &["matvec qkv: count 36, sum ms"],
        "Threshold" => &["run 3; threshold 0.50; skipped, counted 10.4 %"],
        "Training" => &["first train joint · Fixed"],
        "Controls" => &["routed: weights skipped 10.0 %; masks 1;"],
        _ => return,
    };
    window.get_by_role_and_label(Role::Image, title).focus();
    let mut heard = Vec::new();
    for _ in 0..40 {
        window.step();
        window.step();
        let figure = window.get_by_role_and_label(Role::Image, title);
        heard.extend(figure.value());
        window.key_press(Key::ArrowDown);
    }
    for row in rows {
        let said = heard.iter().any(|said| said.starts_with(row));
        assert!(said, "{title}: {row} of {heard:#?}");
    }
}
