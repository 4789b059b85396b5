//! The window with a model behind it.

use crate::fixed::fixed;
use crate::models::{options, router, tiny};
use eframe::egui::{self, Key, ViewportCommand, ViewportEvent, ViewportId, accesskit::Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use first_viewer::app::App;
use first_viewer::session::Session;
use first_viewer::worker::Setup;
use first_wgpu::mask::PrefillReading;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) type Window<'a> = Harness<'a, App>;

pub(crate) fn window<'a>(session: Session, setup: Option<Setup>) -> Window<'a> {
    let app = |ui: &mut egui::Ui, app: &mut App| app.show(ui);
    let state = App::new(&egui::Context::default(), session, setup);
    // What a random model says is in no font.
    let builder = Harness::builder().allow_missing_glyphs();
    builder
        .with_size(vec2(1400.0, 1000.0))
        .build_ui_state(app, state)
}

/// Steps until something holds; a model runs on another thread.
pub(crate) fn until(window: &mut Window<'_>, what: &str, holds: impl Fn(&Window<'_>) -> bool) {
    let clock = Instant::now();
    while !holds(window) {
        assert!(
            clock.elapsed() < Duration::from_secs(600),
            "{what} did not happen"
        );
        window.step();
        std::thread::yield_now();
    }
    window.step();
}

pub(crate) fn enabled(window: &Window<'_>, label: &str) -> bool {
    !window.get_by_label(label).accesskit_node().is_disabled()
}

fn ready(window: &mut Window<'_>) {
    until(window, "loading", |window| enabled(window, "Run"));
}

fn runs(window: &mut Window<'_>, count: usize) {
    until(window, "the run", |window| {
        window.state().session().runs.len() == count && enabled(window, "Run")
    });
}

pub(crate) fn click(window: &mut Window<'_>, label: &str) {
    window.get_by_role_and_label(Role::Button, label).click();
    window.step();
    window.step();
}

pub(crate) fn fill(window: &mut Window<'_>, label: &str, text: &str) {
    let field = window.get_by_role_and_label(Role::TextInput, label);
    field.focus();
    window.step();
    window.key_press_modifiers(egui::Modifiers::COMMAND, Key::A);
    window.step();
    let field = window.get_by_role_and_label(Role::TextInput, label);
    field.type_text(text);
    window.step();
}

pub(crate) fn a_layer_is_switched_off_and_the_answer_changes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut window = window(Session::default(), Some(tiny(folder.path(), &options())));
    ready(&mut window);
    let prompt = window.get_by_role_and_label(Role::MultilineTextInput, "Prompt");
    prompt.focus();
    window.step();
    window.key_press_modifiers(egui::Modifiers::COMMAND, Key::A);
    window.step();
    let prompt = window.get_by_role_and_label(Role::MultilineTextInput, "Prompt");
    prompt.type_text("hello there");
    window.step();
    // By keyboard, as everything: run, then step to layer 1's attention and force it off.
    window.key_press_modifiers(egui::Modifiers::COMMAND, Key::Enter);
    runs(&mut window, 1);
    window.get_by_role_and_label(Role::Image, "Layers").focus();
    window.step();
    window.step();
    window.key_press(Key::ArrowRight);
    window.step();
    window.key_press(Key::Enter);
    window.step();
    window.step();
    let said = window.get_by_role_and_label(Role::Image, "Layers").value();
    assert!(said.is_some_and(|said| said.contains("L01 attn") && said.contains("forced off")));
    click(&mut window, "Run this prompt again with this mask");
    runs(&mut window, 2);
    let runs = &window.state().session().runs;
    assert_eq!(runs[0].prompt, "hello there");
    assert!(runs[0].mask.is_full());
    assert_eq!(runs[1].mask.to_string(), "1.attn");
    assert_ne!(runs[0].answer_ids, runs[1].answer_ids);
}

/// What the run says counts, not what the form says by now.
pub(crate) fn a_run_is_repeated_as_it_was_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let setup = tiny(folder.path(), &options());
    let mut first = window(Session::default(), Some(setup.clone()));
    ready(&mut first);
    click(&mut first, "Run");
    runs(&mut first, 1);
    let mut session = first.state().session().clone();
    drop(first);
    let run = &mut session.runs[0];
    run.prompt_ids.truncate(5);
    run.prompt_pieces.truncate(5);
    (run.sampling.temperature, run.sampling.seed) = (0.5, 7);
    run.prefill = PrefillReading::Full;
    let given = run.clone();
    let mut empty = given.clone();
    empty.prompt.clear();
    empty.prompt_ids.clear();
    empty.prompt_pieces.clear();
    session.runs.push(empty);
    let mut window = window(session, Some(setup));
    ready(&mut window);
    click(&mut window, "Run this prompt again with this mask");
    until(&mut window, "the message", |window| {
        window.query_by_label_contains("has no prompt").is_some()
    });
    window.state_mut().select(0, 0);
    window.step();
    click(&mut window, "Run this prompt again with this mask");
    runs(&mut window, 3);
    let again = &window.state().session().runs[2];
    assert_eq!(again.prompt_ids, given.prompt_ids);
    assert_eq!(again.sampling, given.sampling);
    assert_eq!(again.prefill, given.prefill);
}

pub(crate) fn a_set_runs_is_cancelled_saved_and_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let set = folder.path().join("set.txt");
    std::fs::write(&set, "# a\nhello\nuser\n# b\nthe anon\n").expect("written");
    let mut window = window(Session::default(), Some(tiny(folder.path(), &options())));
    ready(&mut window);
    click(&mut window, "Prompts × layers");
    fill(&mut window, "Prompt set", "nowhere.txt");
    click(&mut window, "Load");
    window.get_by_label_contains("nowhere.txt");
    fill(&mut window, "Prompt set", &set.display().to_string());
    click(&mut window, "Load");
    click(&mut window, "Run all 3");
    runs(&mut window, 3);
    let tags = window
        .state()
        .session()
        .runs
        .iter()
        .map(|run| run.tag.clone());
    let tags: Vec<String> = tags.map(Option::unwrap_or_default).collect();
    assert_eq!(tags, ["a", "a", "b"]);
    // A set of thousands ends soon after Stop; what it has finished stays.
    std::fs::write(&set, "hello\n".repeat(5000)).expect("written");
    click(&mut window, "Load");
    click(&mut window, "Run all 5000");
    until(&mut window, "a few runs", |window| {
        window.state().session().runs.len() > 5
    });
    click(&mut window, "Stop");
    until(&mut window, "stopping", |window| enabled(window, "Run"));
    let count = window.state().session().runs.len();
    assert!((6..4000).contains(&count), "{count}");
    let path = folder.path().join("session.json");
    fill(&mut window, "Session file", &path.display().to_string());
    click(&mut window, "Save");
    let saved = Session::load(&path).expect("loads");
    assert!(&saved == window.state().session());
    window.get_by_label_contains("saved to");
    click(&mut window, "Demo");
    assert!(&saved != window.state().session());
    click(&mut window, "Open");
    assert!(&saved == window.state().session());
}

/// What went wrong is told of the session that it was asked for.
pub(crate) fn another_session_has_no_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut session = fixed();
    session.runs[3].prompt.clear();
    let mut window = window(session, Some(tiny(folder.path(), &options())));
    ready(&mut window);
    click(&mut window, "Run this prompt again with this mask");
    until(&mut window, "the message", |window| {
        window.query_by_label_contains("has no prompt").is_some()
    });
    click(&mut window, "Demo");
    assert!(window.query_by_label_contains("has no prompt").is_none());
}

/// A window that has begun with more prompts than any test waits for.
fn at_work(folder: &Path) -> Window<'static> {
    let set = folder.join("set.txt");
    std::fs::write(&set, "hello\n".repeat(5000)).expect("written");
    let mut window = window(Session::default(), Some(tiny(folder, &options())));
    ready(&mut window);
    click(&mut window, "Prompts × layers");
    fill(&mut window, "Prompt set", &set.display().to_string());
    click(&mut window, "Load");
    click(&mut window, "Run all 5000");
    window
}

pub(crate) fn another_session_hears_nothing_of_what_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut window = at_work(folder.path());
    until(&mut window, "a few runs", |window| {
        window.state().session().runs.len() > 5
    });
    click(&mut window, "Demo");
    window.get_by_label_contains("What runs now is not finished.");
    click(&mut window, "Discard");
    // What was given up is not asked about again.
    click(&mut window, "Demo");
    let question = window.query_by_label_contains("is not finished");
    assert!(question.is_none(), "it is of another session");
    until(&mut window, "stopping", |window| enabled(window, "Run"));
    assert!(window.state().session() == &Session::demo());
    let count = window.state().session().runs.len();
    click(&mut window, "Run");
    runs(&mut window, count + 1);
}

/// What runs is lost by no closed window, unless the user says so.
pub(crate) fn a_window_that_is_at_work_asks_before_it_closes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut window = at_work(folder.path());
    close(&mut window);
    assert!(commands(&window).contains(&ViewportCommand::CancelClose));
    window.step();
    window.get_by_label_contains("What runs now is not finished.");
    let discard = window.get_by_role_and_label(Role::Button, "Discard");
    discard.click();
    window.step();
    close(&mut window);
    assert!(!commands(&window).contains(&ViewportCommand::CancelClose));
}

pub(crate) fn a_run_is_compared_with_the_full_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut window = window(Session::default(), Some(tiny(folder.path(), &options())));
    ready(&mut window);
    click(&mut window, "Run");
    runs(&mut window, 1);
    click(&mut window, "Compare");
    click(&mut window, "Measure against the full model");
    until(&mut window, "the comparison", |window| {
        window.state().session().agreements.len() == 1
    });
    let agreement = &window.state().session().agreements[0];
    let run = &window.state().session().runs[0];
    assert_eq!(agreement.kl.len(), run.answer_ids.len());
    // The run was of the full model.
    assert!(
        agreement.kl.iter().all(|kl| kl.abs() < 1e-5),
        "{agreement:?}"
    );
    assert!(agreement.agrees.iter().all(|agrees| *agrees));
}

pub(crate) fn a_lost_gpu_is_a_message_and_the_next_run_works() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut window = window(Session::default(), Some(tiny(folder.path(), &options())));
    ready(&mut window);
    click(&mut window, "Run");
    runs(&mut window, 1);
    window.state_mut().lose_gpu();
    window.step();
    until(&mut window, "losing it", |window| enabled(window, "Run"));
    click(&mut window, "Run");
    until(&mut window, "the message", |window| {
        window.query_by_label_contains("the GPU was lost").is_some()
    });
    window.get_by_label_contains("try again");
    runs(&mut window, 1);
    click(&mut window, "Run");
    runs(&mut window, 2);
    let runs = &window.state().session().runs;
    assert_eq!(runs[0].answer_ids, runs[1].answer_ids);
    assert!(window.query_by_label_contains("the GPU was lost").is_none());
}

pub(crate) fn the_router_is_compared_with_controls_and_its_threshold_moved() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut setup = tiny(folder.path(), &options());
    let model = setup.model.clone().expect("there is one");
    setup.router = Some(router(folder.path(), &model, &options()));
    let mut window = window(Session::default(), Some(setup));
    ready(&mut window);
    click(&mut window, "Run");
    runs(&mut window, 1);
    let first = &window.state().session().runs[0];
    assert_eq!(
        (first.policy.as_str(), first.mask.to_string().as_str()),
        ("routed", "2.attn")
    );
    click(&mut window, "Threshold");
    assert_eq!(window.state().session().calibration.len(), 2);
    fill_number(&mut window, "threshold", "0.9");
    click(&mut window, "Run at this threshold");
    runs(&mut window, 2);
    assert_eq!(window.state().session().runs[1].mask.to_string(), "1-3");
    click(&mut window, "Controls");
    click(&mut window, "Compare on the 3 prompts of the set");
    until(&mut window, "the comparison", |window| {
        window.state().session().controls.len() == 5 && enabled(window, "Run")
    });
    let controls = &window.state().session().controls;
    assert_eq!(controls[0].masks, ["", "", ""]);
    assert_eq!(
        controls[1].masks, controls[2].masks,
        "one mask for all prompts is a fixed one"
    );
    assert_eq!(controls[1].losses, controls[2].losses);
    for control in &controls[1..] {
        let rates = [&control.skipped, &controls[1].skipped];
        assert_eq!(rates[0], rates[1], "{} skips as much", control.name);
        assert_eq!(control.tpot_nanos.len(), 5);
    }
}

/// Types a number into the field beside a slider.
fn fill_number(window: &mut Window<'_>, label: &str, number: &str) {
    window
        .get_by_role_and_label(Role::SpinButton, label)
        .click();
    window.step();
    window.step();
    window.key_press_modifiers(egui::Modifiers::COMMAND, Key::A);
    window.step();
    window.event(egui::Event::Text(number.to_owned()));
    window.step();
    window.key_press(Key::Enter);
    window.step();
    window.step();
}

/// The message says what to do, and what was on screen stays.
fn complains(setup: Setup, needles: &[&str]) {
    let mut window = window(fixed(), Some(setup));
    for needle in needles {
        until(&mut window, needle, |window| {
            window.query_by_label_contains(needle).is_some()
        });
    }
    assert!(window.state().session() == &fixed());
    assert!(!enabled(&window, "Run"));
    // No session changes that.
    click(&mut window, "Demo");
    for needle in needles {
        window.get_by_label_contains(needle);
    }
}

pub(crate) fn what_cannot_be_loaded_is_a_message() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = Setup {
        model: Some("nowhere.gguf".into()),
        ..Setup::default()
    };
    complains(missing, &["nowhere.gguf", "check that the path is right"]);
    let torn = folder.path().join("torn.gguf");
    std::fs::write(&torn, b"GGUF\x03\0\0\0").expect("written");
    let torn = Setup {
        model: Some(torn),
        ..Setup::default()
    };
    complains(torn, &["torn.gguf"]);
}

/// What was run is lost by no click and no closed window, unless the user says so.
pub(crate) fn what_is_not_saved_is_asked_about() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("session.json");
    let mut window = window(Session::default(), Some(tiny(folder.path(), &options())));
    ready(&mut window);
    click(&mut window, "Run");
    runs(&mut window, 1);
    fill(&mut window, "Session file", &path.display().to_string());
    click(&mut window, "Demo");
    window.get_by_label("1 run is not saved.");
    window.key_press_modifiers(egui::Modifiers::COMMAND, Key::Enter);
    window.step();
    window.step();
    assert!(!enabled(&window, "Stop"), "a run began behind the question");
    click(&mut window, "Cancel");
    assert_eq!(window.state().session().runs.len(), 1);
    assert!(window.query_by_label("1 run is not saved.").is_none());
    // To open a session is no reason to save over it.
    Session::demo().save(&path).expect("saved");
    click(&mut window, "Open");
    window.get_by_label_contains("under another name");
    let save = format!("Save to {}", path.display());
    assert!(window.query_by_label(&save).is_none());
    click(&mut window, "Cancel");
    close(&mut window);
    assert!(commands(&window).contains(&ViewportCommand::CancelClose));
    window.step();
    click(&mut window, &save);
    // Nor to replace one that was never looked at.
    let holds = format!("{} holds another session.", path.display());
    window.get_by_label(&holds);
    click(&mut window, "Cancel");
    assert!(Session::load(&path).expect("loads") == Session::demo());
    click(&mut window, "Save");
    window.get_by_label(&holds);
    click(&mut window, "Replace it");
    assert!(&Session::load(&path).expect("loads") == window.state().session());
    click(&mut window, "Save");
    assert!(window.query_by_label(&holds).is_none(), "it is this one's");
    close(&mut window);
    assert!(!commands(&window).contains(&ViewportCommand::CancelClose));
    window.get_by_label_contains("saved to");
    click(&mut window, "Run");
    runs(&mut window, 2);
    assert!(window.query_by_label_contains("saved to").is_none());
}

/// Asks the window to close, as its frame's button does.
fn close(window: &mut Window<'_>) {
    let root = window.input_mut().viewports.entry(ViewportId::ROOT);
    root.or_default().events.push(ViewportEvent::Close);
    window.step();
}

/// What the window asked of its frame in the last step.
fn commands<'a>(window: &'a Window<'_>) -> &'a [ViewportCommand] {
    &window.output().viewport_output[&ViewportId::ROOT].commands
}
