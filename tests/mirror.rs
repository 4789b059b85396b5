//! How the source is laid out: one kernel in four files of one name, and which module stands on which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn names(folder: &str, extension: &str, others: &[&str]) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).expect("the folder is part of the repository");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let files = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    let names = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    names
        .filter(|name| !others.contains(&name.as_str()))
        .collect()
}

#[test]
fn every_kernel_has_its_four_files() {
    let shaders = names("shaders", "wgsl", &[]);
    let epilogues = names("shaders/epilogue", "wgsl", &[]);
    assert_eq!(
        shaders,
        names(
            "src/kernels",
            "rs",
            &["mod", "adapter", "epilogue", "update"]
        ),
        "host sides"
    );
    let both: BTreeSet<_> = shaders.union(&epilogues).cloned().collect();
    assert_eq!(both, names("src/reference", "rs", &["mod"]), "references");
    assert_eq!(
        shaders,
        names("tests/kernels", "rs", &["main", "tolerance", "epilogues"]),
        "tests"
    );
}

#[test]
fn every_weight_format_has_its_shader() {
    let formats = first_wgpu::weights::Format::ALL.map(|format| format.name().to_owned());
    assert_eq!(
        names("shaders/weights", "wgsl", &[]),
        formats.into_iter().collect()
    );
}

/// The modules of this crate that a file or folder of `src` names outside its tests and comments.
fn imports(path: &Path, found: &mut BTreeSet<String>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).expect("the folder is part of the repository");
        for entry in entries {
            imports(&entry.expect("readable").path(), found);
        }
        return;
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    assert!(
        !code.contains("crate::{"),
        "{} imports a list",
        path.display()
    );
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    for line in lines {
        for rest in line.split("crate::").skip(1) {
            let end = rest.find(|character: char| !character.is_ascii_lowercase());
            found.insert(rest[..end.unwrap_or(rest.len())].to_owned());
        }
    }
}

#[test]
fn the_map_says_which_module_stands_on_which() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = include_str!("../src/lib.rs");
    let names = |cell: &str| -> BTreeSet<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted
            .map(|name| name.trim_start_matches("mod@").to_owned())
            .collect()
    };
    let rows = map.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    let mut told = BTreeMap::new();
    for row in rows {
        let (module, rest) = row.split_once("`]").expect("a module");
        let cell = rest
            .trim_end_matches(" |")
            .rsplit(" | ")
            .next()
            .expect("a cell");
        told.insert(module.trim_start_matches("mod@"), (cell, names(cell)));
    }
    let modules = map.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let modules: Vec<_> = modules.map(|name| name.trim_end_matches(';')).collect();
    assert!(told.keys().eq(&modules), "{modules:?} are not {told:?}");
    for (module, (cell, expected)) in &told {
        let mut found = BTreeSet::new();
        imports(&source.join(format!("{module}.rs")), &mut found);
        if source.join(module).is_dir() {
            imports(&source.join(module), &mut found);
        }
        let known = |name: &String| told.contains_key(name.as_str());
        let everyones = [*module, "error", "file"];
        found.retain(|name| known(name) && !everyones.contains(&name.as_str()));
        if *cell != "everything" {
            assert_eq!(&found, expected, "{module}");
        }
    }
}
