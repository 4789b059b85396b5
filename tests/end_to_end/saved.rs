//! Reports that are saved and read again.

use first_wgpu::eval::report::Report;
use first_wgpu::eval::saved::Saved;
use std::path::Path;

/// A report says what it said, scores included; and in any order it is joined with one that was asked for none, of which the
/// policy `silent` is its own.
pub(super) fn says_the_same(folder: &Path, scored: &Report, silent: &Report) {
    for (name, report) in [("scored.json", scored), ("silent.json", silent)] {
        let json = serde_json::to_string(report).expect("JSON");
        std::fs::write(folder.join(name), json).expect("written");
    }
    let shown = |names: &[&str]| {
        let mut paths = names.iter().map(|name| folder.join(name));
        let first = paths.next().expect("one");
        let mut all = Saved::read(&first).expect("saved");
        paths.for_each(|path| all.join(&path).expect("of the same answers"));
        all.report(1).expect("sums up").markdown()
    };
    assert_eq!(shown(&["scored.json"]), scored.markdown());
    let lines = |table: String| {
        let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let both = ["scored.json", "silent.json"];
    let [joined, other_way] = [both, [both[1], both[0]]].map(|names| lines(shown(&names)));
    assert_eq!(joined, other_way);
    let unscored = "| silent | - | - | - |";
    assert!(joined.iter().any(|line| line == unscored), "{joined:?}");
}
