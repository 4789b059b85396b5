//! A tiny model and routers for it, as files.

use first_viewer::worker::Setup;
use first_wgpu::mask::PrefillReading;
use first_wgpu::model::tiny::{TinyOptions, write_tiny};
use first_wgpu::router::file::{BaseModel, Decides, RouterFile};
use first_wgpu::router::{CalibrationPoint, Granularity, Router};
use std::path::{Path, PathBuf};

pub(crate) fn tiny(folder: &Path, options: &TinyOptions) -> Setup {
    let model = folder.join("tiny.gguf");
    write_tiny(&model, options).expect("written");
    Setup {
        model: Some(model),
        ..Setup::default()
    }
}

pub(crate) fn options() -> TinyOptions {
    TinyOptions {
        tied: false,
        ..TinyOptions::default()
    }
}

/// Routers of the tiny model that skip the attention of layer 2, and at a high threshold all they may.
pub(crate) fn router(folder: &Path, model: &Path, options: &TinyOptions) -> PathBuf {
    let count = 2 * options.layers;
    let score = |index: usize| if index == 4 { -1.0 } else { 1.0 };
    let router = Router {
        granularity: Granularity::Sublayer,
        weights: vec![0.0; count * options.hidden],
        biases: (0..count).map(score).collect(),
        thresholds: vec![0.5; count],
        epsilon: Some(1e-5),
        prefill: PrefillReading::Masked,
        protected: (0..options.layers).map(|layer| [layer == 0; 2]).collect(),
    };
    let point = |threshold, skip_rate| CalibrationPoint {
        threshold,
        skip_rate,
    };
    let base_model = BaseModel {
        sha256: first_wgpu::pull::sha256(model).expect("readable"),
        name: "tiny".to_owned(),
        layers: options.layers,
        hidden: options.hidden,
    };
    let calibration = vec![point(0.5, 0.1), point(0.9, 0.75)];
    let file = RouterFile {
        base_model,
        decides: Decides::Routers(router),
        calibration,
        provenance: Default::default(),
    };
    let path = folder.join("router");
    file.save(&path).expect("written");
    path
}
