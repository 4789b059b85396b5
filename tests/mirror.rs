//! One kernel, four files of one name.

use std::collections::BTreeSet;
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
