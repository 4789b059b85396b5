//! The choice among candidates that give the same results: kept per GPU and driver, once measured.

use super::device::Class;
use crate::error::{Error, Result};
use crate::file::write_whole;
use crate::trace::GpuSummary;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file of the choices, in the cache folder.
const FILE: &str = "tuning.json";

/// Which of the candidates are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuning {
    /// The `*_subgroup` shader modules, on a GPU that they are written for.
    pub one_subgroup: bool,
    /// Weights in textures, not in buffers.
    pub textures: bool,
    /// Slices of the columns in a workgroup of `matvec_workgroup`, 16 invocations each: from one subgroup of
    /// 32 to several of any size.
    pub slices: u32,
    /// Groups of eight tokens in a workgroup of `matmul_workgroup`: the more there are, the fewer slices share out the
    /// columns.
    pub groups: u32,
}

impl Tuning {
    /// What is used until something was measured.
    pub(super) fn of(subgroup: Option<(u32, u32)>, software: bool) -> Self {
        let one_subgroup = software && subgroup == Some((8, 8));
        Self {
            one_subgroup,
            textures: one_subgroup,
            slices: 8,
            groups: 4,
        }
    }

    /// Everything that a GPU of this class may use. Sizes and modules that a candidate does not use
    /// are the defaults.
    pub fn candidates(class: &Class) -> Vec<Self> {
        let default = Self::of(class.subgroup, class.software);
        let mut candidates = Vec::new();
        for textures in [false, true] {
            if textures && !class.wide_textures {
                continue;
            }
            let default = Self {
                textures,
                ..default
            };
            if default.one_subgroup {
                candidates.push(default);
            }
            let workgroup = Self {
                one_subgroup: false,
                ..default
            };
            for slices in [2, 4, 8, 16] {
                candidates.push(Self {
                    slices,
                    ..workgroup
                });
            }
        }
        candidates
    }

    /// This choice with each size that `matmul` may have.
    pub fn matmul_candidates(self) -> Vec<Self> {
        if self.one_subgroup {
            vec![self]
        } else {
            [2, 4, 8].map(|groups| Self { groups, ..self }).to_vec()
        }
    }

    fn fits(self, class: &Class) -> bool {
        Self::candidates(class)
            .into_iter()
            .flat_map(Self::matmul_candidates)
            .any(|candidate| candidate == self)
    }

    /// What was stored for this GPU and its driver; `None` if nothing was, or nothing that can be used:
    /// then why.
    pub fn load(folder: &Path, gpu: &GpuSummary, class: &Class) -> (Option<Self>, Option<String>) {
        match entries(folder) {
            Err(error) => (None, Some(error.to_string())),
            Ok(entries) => {
                let own = entries.into_iter().find(|entry| entry.gpu == *gpu);
                match own.map(|entry| entry.tuning) {
                    Some(tuning) if !tuning.fits(class) => (
                        None,
                        Some(format!(
                            "{}: what was stored for {} is no candidate of this version; tune again with `first devices --tune`",
                            folder.join(FILE).display(),
                            gpu.name
                        )),
                    ),
                    tuning => (tuning, None),
                }
            }
        }
    }

    /// Stores the choice for a GPU, beside those of others. A file that cannot be read is replaced.
    pub fn store(self, folder: &Path, gpu: &GpuSummary) -> Result<()> {
        let mut entries = entries(folder).unwrap_or_default();
        entries.retain(|entry| entry.gpu != *gpu);
        entries.push(Entry {
            gpu: gpu.clone(),
            tuning: self,
        });
        std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
        write_whole(&folder.join(FILE), |file| {
            serde_json::to_writer_pretty(file, &entries).map_err(std::io::Error::from)
        })
    }
}

impl std::fmt::Display for Tuning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let weights = if self.textures { "textures" } else { "buffers" };
        if self.one_subgroup {
            write!(f, "one subgroup a workgroup, weights in {weights}")
        } else {
            write!(
                f,
                "matvec of {} invocations, matmul of {} tokens, weights in {weights}",
                16 * self.slices,
                8 * self.groups
            )
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    gpu: GpuSummary,
    tuning: Tuning,
}

/// What is stored; nothing where there is no file.
fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let path = folder.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::read(&path, error)),
    };
    serde_json::from_str(&text).map_err(|error| {
        Error::file(
            &path,
            format!("is no result of tuning: {error}"),
            "it is ignored; tune again with `first devices --tune`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(driver: &str) -> GpuSummary {
        GpuSummary {
            driver: driver.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_choice_is_kept_per_gpu_and_driver() {
        let folder = tempfile::tempdir().expect("a folder");
        let class = Class::gpu_example();
        let load = |driver| Tuning::load(folder.path(), &gpu(driver), &class);
        assert_eq!(load("a"), (None, None));
        let [first, .., last] = Tuning::candidates(&class)[..] else {
            panic!("several candidates");
        };
        first.store(folder.path(), &gpu("a")).expect("stored");
        last.store(folder.path(), &gpu("b")).expect("stored");
        assert_eq!(load("a"), (Some(first), None));
        assert_eq!(load("b"), (Some(last), None));
        last.store(folder.path(), &gpu("a")).expect("replaced");
        assert_eq!(load("a"), (Some(last), None));
        assert_eq!(load("c"), (None, None));
    }

    #[test]
    fn weights_lie_in_textures_where_these_are_wide_enough() {
        let narrow = Class {
            wide_textures: false,
            ..Class::gpu_example()
        };
        for (class, expected) in [(Class::gpu_example(), true), (narrow, false)] {
            let candidates = Tuning::candidates(&class);
            let in_textures = candidates.iter().any(|candidate| candidate.textures);
            assert_eq!(in_textures, expected);
        }
    }

    #[test]
    fn a_corrupt_or_stale_store_is_ignored_and_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let class = Class::gpu_example();
        let load = || Tuning::load(folder.path(), &gpu("a"), &class);
        std::fs::write(folder.path().join(FILE), "{ not json").expect("written");
        let (tuning, why) = load();
        assert_eq!(tuning, None);
        assert!(why.expect("a reason").contains("tune again"));
        // What only a software driver may use is stale here; storing replaces the corrupt file.
        let stale = Tuning::of(Some((8, 8)), true);
        stale.store(folder.path(), &gpu("a")).expect("replaced");
        let (tuning, why) = load();
        assert_eq!(tuning, None);
        assert!(why.expect("a reason").contains("no candidate"));
    }
}
