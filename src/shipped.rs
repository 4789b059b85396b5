//! Routers and LoRA adapter of the default model, built into the program.

use crate::error::{Error, Result};
use crate::file::{digest, write_whole};
use crate::pull::{cache_folder, is_default_model};
use include_dir::{Dir, include_dir};
use std::path::{Path, PathBuf};

static ADAPTERS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/adapters");

/// Named as the default model is.
const NAME: &str = "smollm2-135m-instruct";

/// What came with the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shipped {
    /// A folder with routers or a fixed mask.
    pub router: Option<PathBuf>,
    /// A folder with an adapter.
    pub adapter: Option<PathBuf>,
}

/// What came for a model, which is the default one if no file is named; unpacked to the cache folder, where every other
/// folder is read from too.
pub fn for_model(model: Option<&Path>) -> Result<Shipped> {
    if model.map_or(Ok(true), is_default_model)? {
        cache_folder()
            .and_then(|cache| unpacked(&cache))
            .map_err(|error| {
                let why = error.message();
                Error::input(
                    format!("what comes with the default model was not unpacked: {why}"),
                    "set FIRST_CACHE to a folder that you may write to, or leave it out with `--no-skip`",
                )
            })
    } else {
        Ok(Shipped::default())
    }
}

/// What came for the default model, in a cache folder.
fn unpacked(cache: &Path) -> Result<Shipped> {
    let Some(folder) = ADAPTERS.get_dir(NAME) else {
        return Ok(Shipped::default());
    };
    // Other builds that come with others share the cache: what one of them reads must stay of one piece.
    let build = cache.join("adapters").join(digest_of(folder));
    unpack(folder, &build.join(NAME))
}

/// What tells the files of a folder from others.
fn digest_of(folder: &Dir<'_>) -> String {
    let files = folder.files().map(|file| digest(file.contents()));
    digest(files.collect::<String>().as_bytes())
}

/// Writes the files of a folder that are not there as they should be.
fn unpack(folder: &Dir<'_>, into: &Path) -> Result<Shipped> {
    std::fs::create_dir_all(into).map_err(|error| Error::write(into, error))?;
    for file in folder.files() {
        let name = file.path().file_name().unwrap_or_default();
        let path = into.join(name);
        if std::fs::read(&path).is_ok_and(|found| found == file.contents()) {
            continue;
        }
        write_whole(&path, |out| out.write_all(file.contents()))?;
    }
    let has = |name: &str| {
        let named =
            |file: &include_dir::File<'_>| file.path().file_name().is_some_and(|own| own == name);
        folder.files().any(named).then(|| into.to_owned())
    };
    Ok(Shipped {
        router: has("router_config.json"),
        adapter: has("adapter_config.json"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::LoraAdapter;
    use crate::model::synthetic;
    use crate::pull::SHA256;
    use crate::router::file::{BaseModel, RouterFile};

    static ROUTERS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/routers/smollm2-135m");

    #[test]
    fn what_is_unpacked_loads_and_is_mended() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let into = folder.path().join("adapters");
        let shipped = unpack(&ROUTERS, &into).expect("writes");
        let expected = Shipped {
            router: Some(into.clone()),
            adapter: None,
        };
        assert_eq!(shipped, expected);
        let file = RouterFile::load(&into).expect("loads");
        std::fs::write(into.join("router.safetensors"), "damaged").expect("writes");
        unpack(&ROUTERS, &into).expect("writes again");
        assert_eq!(RouterFile::load(&into).expect("loads"), file);
    }

    #[test]
    fn what_ships_is_whole_and_small() {
        let own = ADAPTERS.get_dir(NAME).expect("something ships");
        let bytes: usize = own.files().map(|file| file.contents().len()).sum();
        assert!(bytes < 10_000_000, "{bytes} bytes");
        let cache = tempfile::tempdir().expect("a temporary folder");
        let shipped = unpacked(cache.path()).expect("writes");
        let into = shipped.router.expect("routers");
        assert_eq!(shipped.adapter.as_ref(), Some(&into));
        // Reports call the adapter by it.
        assert!(into.ends_with(NAME), "{}", into.display());
        // Of the default model, its shape and its file.
        let config = synthetic::config(NAME.trim_end_matches("-instruct")).expect("is known");
        LoraAdapter::load(&into, &config).expect("loads");
        let file = RouterFile::load(&into).expect("loads");
        let model = BaseModel {
            sha256: SHA256.to_owned(),
            name: String::new(),
            layers: config.layers,
            hidden: config.hidden,
        };
        file.check(&model).expect("routers of the default model");
        let about = std::fs::read_to_string(into.join("router_config.json"));
        assert!(!about.expect("is there").contains(" /"), "names a folder");
        assert!(into.join("README.md").exists(), "no model card");
        // Another model gets nothing.
        let other = into.join("README.md");
        assert_eq!(
            for_model(Some(&other)).expect("is read"),
            Shipped::default()
        );
        assert_ne!(digest_of(own), digest_of(&ROUTERS));
    }
}
