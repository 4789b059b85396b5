//! What `first eval` measures, as its command line names it.

use super::super::options::{base_model, mask_named};
use super::Eval;
use crate::adapter::LoraAdapter;
use crate::engine::{AdapterMode, Engine};
use crate::error::{Error, Result};
use crate::eval::controls::Control;
use crate::eval::{Adapter, Candidate, Masks, adapters_of, control_name, family};
use crate::mask::{LayerMask, PrefillReading};
use crate::router::file::{Decides, RouterFile};
use crate::router::threshold_for;
use std::path::{Path, PathBuf};

/// A way to skip.
struct Policy {
    name: String,
    masks: Masks,
    prefill: PrefillReading,
}

impl Eval {
    pub(super) fn controls(&self) -> Result<Vec<Control>> {
        let all = <Control as clap::ValueEnum>::value_variants().to_vec();
        let searchable = !self.calibration.is_empty();
        match &self.controls {
            None if self.tuned => Ok(Vec::new()),
            None => Ok(all
                .into_iter()
                .filter(|control| searchable || !control.needs_answers())
                .collect()),
            Some(wanted) => match wanted.iter().find(|control| control.needs_answers()) {
                Some(control) if !searchable => Err(Error::input(
                    format!("the control `{}` is searched on answers", control.name()),
                    "give others than those measured with `--calibration FILE`",
                )),
                _ => Ok(wanted.clone()),
            },
        }
    }

    /// What is measured besides controls, and which of it controls are made for.
    pub(super) fn candidates(
        &self,
        files: &[(String, RouterFile)],
        adapters: &[Adapter],
        controls: &[Control],
        engine: &Engine,
    ) -> anyhow::Result<(Vec<Candidate>, Vec<usize>)> {
        let (policies, leads) = self.policies(files, engine)?;
        let of = |lead: &usize| {
            let lead = policies[*lead].name.as_str();
            controls
                .iter()
                .map(move |control| control_name(*control, lead))
        };
        let controlled: Vec<String> = leads.iter().flat_map(of).collect();
        let names = policies.iter().map(|policy| policy.name.as_str());
        let names: Vec<&str> = names.chain(controlled.iter().map(String::as_str)).collect();
        all_differ(&names)?;
        all_are_measured(adapters, &names)?;
        let (mut candidates, mut own_leads) = (Vec::new(), Vec::new());
        for (index, policy) in policies.into_iter().enumerate() {
            let first = candidates.len();
            let measured = adapters_of(&policy.name, adapters, self.tuned);
            candidates.extend(measured.map(|adapter| Candidate {
                policy: policy.name.clone(),
                masks: policy.masks.clone(),
                prefill: policy.prefill,
                adapter,
            }));
            if leads.contains(&index) && !controls.is_empty() {
                // Routers trained with an adapter decide as they do with it.
                let own = |candidate: &Candidate| {
                    let adapter = candidate.adapter.map(|index| &adapters[index]);
                    adapter.is_some_and(|adapter| adapter.policy.is_some())
                };
                let with = candidates[first..].iter().position(own);
                own_leads.push(first + with.unwrap_or(0));
            }
        }
        Ok((candidates, own_leads))
    }

    /// The full model, routers and fixed masks, and which of them are the first router's.
    fn policies(
        &self,
        files: &[(String, RouterFile)],
        engine: &Engine,
    ) -> anyhow::Result<(Vec<Policy>, Vec<usize>)> {
        let layers = engine.model.config.layers;
        let base = base_model(engine)?;
        let mut policies = vec![Policy {
            name: "none".to_owned(),
            masks: Masks::Fixed(LayerMask::full(layers)),
            prefill: PrefillReading::Masked,
        }];
        let mut leads = Vec::new();
        for (name, file) in files {
            file.check(&base)?;
            let before = policies.len();
            policies.extend(self.of_file(name, file)?);
            // One policy at several rates is one policy.
            if family(name) == family(&files[0].0) {
                leads.extend(before..policies.len());
            }
        }
        // What masks are held against, as controls are.
        let prefill = leads.first().map(|lead: &usize| policies[*lead].prefill);
        for text in &self.masks {
            let (name, mask) = text.split_once('=').unwrap_or((text, text));
            let mask = mask_named(mask, layers)?;
            // Of what skips nothing there is one reading.
            let prefill = prefill.filter(|_| !mask.is_full());
            policies.push(Policy {
                name: name.to_owned(),
                masks: Masks::Fixed(mask),
                prefill: prefill.unwrap_or_default(),
            });
        }
        anyhow::ensure!(
            self.skip.is_empty() || files.iter().any(|(_, file)| file.router().is_some()),
            "`--skip` moves thresholds, and a fixed mask has none; leave it out"
        );
        Ok((policies, leads))
    }

    /// What a router file holds: of routers, one policy for each rate that is asked for.
    fn of_file(&self, name: &str, file: &RouterFile) -> Result<Vec<Policy>> {
        let router = match &file.decides {
            Decides::Routers(router) => router,
            Decides::Mask(masking) => {
                return Ok(vec![Policy {
                    name: name.to_owned(),
                    masks: Masks::Fixed(masking.mask.clone()),
                    prefill: masking.prefill,
                }]);
            }
        };
        let policy = |name: String, decision| Policy {
            name,
            masks: Masks::Routed(Box::new(router.clone()), decision),
            prefill: router.prefill,
        };
        if self.skip.is_empty() {
            return Ok(vec![policy(name.to_owned(), router.decision())]);
        }
        let at = |rate: &f32| {
            let threshold = threshold_for(&file.calibration, *rate)?;
            let decision = router.decision().with_threshold(threshold);
            // As it was given: 15 %, not 15.000001 %.
            let percent = (1e6 * f64::from(*rate)).round() / 1e4;
            Ok(policy(format!("{name}@{percent}%"), decision))
        };
        self.skip.iter().map(at).collect()
    }
}

/// Tables tell policies apart by their names.
fn all_differ(names: &[&str]) -> anyhow::Result<()> {
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        anyhow::bail!(
            "two policies are called `{}`; name routers like `--router NAME=DIR`, masks like `--mask NAME=MASK`, and none like a control",
            pair[0]
        );
    }
    Ok(())
}

/// An adapter of a policy, or of a policy at every rate, that is none of these would be left out.
fn all_are_measured(adapters: &[Adapter], policies: &[&str]) -> anyhow::Result<()> {
    for name in adapters
        .iter()
        .filter_map(|adapter| adapter.policy.as_deref())
    {
        anyhow::ensure!(
            policies
                .iter()
                .any(|policy| *policy == name || family(policy) == name),
            "`--adapter {name}=...` is for a policy that is not measured; name one with `--router {name}=DIR`, or leave the name out"
        );
    }
    Ok(())
}

/// `NAME=DIR`, or a folder alone, whose name is `routed` or, for a fixed mask, `fixed`.
pub(super) fn router(text: &str) -> Result<(String, RouterFile)> {
    let (name, folder) = named(text);
    let file = RouterFile::load(folder)?;
    let own = match file.decides {
        Decides::Routers(_) => "routed",
        Decides::Mask(..) => "fixed",
    };
    Ok((name.unwrap_or(own).to_owned(), file))
}

/// Tables call adapters by their folders' names, and hold results against those of the same name.
pub(super) fn tell_apart(adapters: &[Adapter]) -> Result<()> {
    for (index, adapter) in adapters.iter().enumerate() {
        let same_name = |other: &&Adapter| other.name == adapter.name;
        if let Some(other) = adapters[..index].iter().find(same_name)
            && other.digest != adapter.digest
        {
            return Err(Error::input(
                format!("two adapters are in folders called `{}`", adapter.name),
                "rename one of the folders",
            ));
        }
    }
    Ok(())
}

/// `NAME=DIR`, or a folder alone, and what the journal knows it by.
pub(super) fn adapter(text: &str, mode: AdapterMode) -> Result<(Adapter, PathBuf)> {
    let (policy, folder) = named(text);
    // Sums of both ways differ in their last digits.
    let way = match mode {
        AdapterMode::RunTime => "",
        AdapterMode::Merged => " merged",
    };
    let digest = LoraAdapter::digest(folder)? + way;
    // `.` has a name too.
    let whole = std::fs::canonicalize(folder).map_err(|error| Error::read(folder, error))?;
    let name = folder.file_name().or(whole.file_name());
    let adapter = Adapter {
        name: name.unwrap_or_default().to_string_lossy().into_owned(),
        digest,
        policy: policy.map(str::to_owned),
    };
    Ok((adapter, folder.to_owned()))
}

/// A name and a folder; a folder that is there is no name, even if there is a `=` in it.
fn named(text: &str) -> (Option<&str>, &Path) {
    match text.split_once('=') {
        Some((name, folder)) if !Path::new(text).exists() => (Some(name), Path::new(folder)),
        _ => (None, Path::new(text)),
    }
}
