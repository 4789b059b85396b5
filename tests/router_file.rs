//! Router files: what was saved loads again, and what does not fit is refused with both sides named.

use first_wgpu::mask::{LayerMask, Masking, PrefillReading};
use first_wgpu::router::file::{BaseModel, Decides, RouterFile};
use first_wgpu::router::{CalibrationPoint, Granularity, Router, threshold_for};
use std::path::Path;

const LAYERS: usize = 3;
const HIDDEN: usize = 4;

fn model() -> BaseModel {
    BaseModel {
        sha256: "ab".repeat(32),
        name: "a model".to_owned(),
        layers: LAYERS,
        hidden: HIDDEN,
    }
}

fn sample(granularity: Granularity) -> RouterFile {
    let count = LAYERS * granularity.routers_per_layer();
    let epsilon = match granularity {
        Granularity::Layer => None,
        Granularity::Sublayer => Some(1e-5),
    };
    let router = Router {
        granularity,
        weights: (0..count * HIDDEN).map(|i| i as f32 / 7.0).collect(),
        biases: (0..count).map(|i| -(i as f32)).collect(),
        thresholds: (0..count).map(|i| i as f32 / 10.0).collect(),
        epsilon,
        prefill: PrefillReading::Full,
        protected: vec![[true, true], [false, true], [false, false]],
    };
    RouterFile {
        base_model: model(),
        decides: Decides::Routers(router),
        calibration: vec![CalibrationPoint {
            threshold: 0.5,
            skip_rate: 0.1,
        }],
        provenance: Default::default(),
    }
}

fn saved(file: &RouterFile) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    file.save(folder.path()).expect("writes");
    folder
}

fn refused(folder: &Path, needle: &str) {
    let error = RouterFile::load(folder).expect_err(needle).to_string();
    assert!(
        error.contains(needle) && !error.contains('\n'),
        "expected `{needle}` in: {error}"
    );
}

#[test]
fn files_round_trip() {
    for granularity in [Granularity::Layer, Granularity::Sublayer] {
        let file = sample(granularity);
        let folder = saved(&file);
        assert_eq!(RouterFile::load(folder.path()).expect("loads"), file);
        let text = std::fs::read_to_string(folder.path().join("router_config.json"));
        let normed = match granularity {
            Granularity::Layer => "\"norm\": \"none\"",
            Granularity::Sublayer => "\"norm\": \"rms\"",
        };
        assert!(text.expect("there").contains(normed), "{normed}");
    }
    let mask = LayerMask::parse("1.attn,2", LAYERS).expect("a mask");
    let masking = Masking::new(mask, PrefillReading::Full);
    let fixed = RouterFile {
        decides: Decides::Mask(masking.clone()),
        calibration: Vec::new(),
        ..sample(Granularity::Layer)
    };
    // In the place of routers, whose tensors are not its own.
    let folder = saved(&sample(Granularity::Layer));
    fixed.save(folder.path()).expect("written");
    let loaded = RouterFile::load(folder.path()).expect("loads");
    assert_eq!(loaded.decides, Decides::Mask(masking));
    assert_eq!(loaded, fixed);
    assert!(!folder.path().join("router.safetensors").exists());
}

#[test]
fn another_model_is_refused_by_both_names() {
    let file = sample(Granularity::Layer);
    file.check(&model()).expect("its own model");
    let others = [
        BaseModel {
            sha256: "cd".repeat(32),
            ..model()
        },
        BaseModel {
            layers: 9,
            ..model()
        },
        BaseModel {
            hidden: 8,
            ..model()
        },
    ];
    for other in others {
        let error = file.check(&other).expect_err("another model").to_string();
        assert!(
            error.contains("abababababab") && error.contains(&other.sha256[..12]),
            "{error}"
        );
        assert!(
            error.contains("3 layers of 4")
                && error.contains(&format!("{} layers of {}", other.layers, other.hidden))
        );
    }
}

#[test]
fn damaged_files_are_refused() {
    let edit = |from: &str, to: &str| {
        let folder = saved(&sample(Granularity::Sublayer));
        let path = folder.path().join("router_config.json");
        let text = std::fs::read_to_string(&path).expect("there");
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replacen(from, to, 1)).expect("writable");
        folder
    };
    refused(edit("\"version\": 1", "\"version\": 2").path(), "found 2");
    refused(edit("\"sublayer\"", "\"layer\"").path(), "thresholds");
    refused(edit("\"sublayer\"", "\"token\"").path(), "token");
    // A word that is misspelt would be as if it were not there.
    for word in ["prefill", "protected", "provenance", "skip_rate", "name"] {
        let end = &word[1..];
        refused(edit(word, end).path(), end);
    }
    // What a file says does not move a terminal's cursor.
    let escape = edit("\"sublayer\"", "\"\\u001b[2J\"");
    refused(escape.path(), "\\u{1b}[2J");
    refused(
        edit("\"layers\": 3", "\"layers\": 99999999999").path(),
        "not a model's shape",
    );
    refused(edit("0,1.mlp", "0,7.mlp").path(), "layer 7");
    refused(edit("\"hidden\": 4", "\"hidden\": 5").path(), "[5]");
    // 32 GiB of weights, by what the configuration says.
    let huge = edit("\"hidden\": 4", "\"hidden\": 1048576");
    let path = huge.path().join("router_config.json");
    let text = std::fs::read_to_string(&path).expect("there");
    let (start, end) = (
        text.find("\"thresholds\"").expect("there"),
        text.find("],").expect("there"),
    );
    let text = format!("{}\"thresholds\": [{}", &text[..start], &text[end..]);
    std::fs::write(&path, text.replacen("\"layers\": 3", "\"layers\": 4096", 1)).expect("writable");
    refused(huge.path(), "[1048576]");
    refused(edit("\"epsilon\": 0.00001", "\"epsilon\": -1").path(), "-1");
    // Beyond f32.
    refused(
        edit("\"epsilon\": 0.00001", "\"epsilon\": 1e39").path(),
        "`epsilon`",
    );

    let folder = edit("\"name\"", &format!("{}\"name\"", " ".repeat(1 << 20)));
    refused(folder.path(), "expected at most");

    let folder = saved(&sample(Granularity::Sublayer));
    let tensors = folder.path().join("router.safetensors");
    let bytes = std::fs::read(&tensors).expect("there");
    for length in [0, 4, 8, 40, bytes.len() - 1] {
        std::fs::write(&tensors, &bytes[..length]).expect("writable");
        refused(folder.path(), "safetensors");
    }
    let mut nan = bytes.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&tensors, &nan).expect("writable");
    refused(folder.path(), "finite");
    std::fs::remove_file(&tensors).expect("there");
    refused(folder.path(), "router.safetensors");
    std::fs::create_dir(&tensors).expect("makes a folder");
    refused(folder.path(), "expected a file");
    std::fs::remove_dir(&tensors).expect("there");
    let file = std::fs::File::create(&tensors);
    file.and_then(|file| file.set_len(1 << 40))
        .expect("a sparse file");
    refused(folder.path(), "expected at most");
}

#[test]
fn decisions_respect_thresholds_and_protection() {
    let file = sample(Granularity::Sublayer);
    let router = file.router().expect("routed");
    assert_eq!(
        router
            .decision()
            .with_threshold(0.5)
            .mask(&[0.0; 6])
            .to_string(),
        "1.attn,2"
    );
    assert_eq!(
        router
            .decision()
            .with_threshold(0.5)
            .mask(&[0.5; 6])
            .to_string(),
        ""
    );
    let file = sample(Granularity::Layer);
    let layer = file
        .router()
        .expect("routed")
        .decision()
        .with_threshold(0.5);
    assert_eq!(layer.mask(&[0.9, 0.9, 0.1]).to_string(), "2");
}

#[test]
fn a_rate_finds_its_threshold() {
    let point = |threshold, skip_rate| CalibrationPoint {
        threshold,
        skip_rate,
    };
    let table = [point(0.7, 0.3), point(0.3, 0.1), point(0.5, 0.2)];
    for (rate, threshold) in [(0.1, 0.3), (0.15, 0.4), (0.2, 0.5), (0.3, 0.7)] {
        let found = threshold_for(&table, rate).expect("in range");
        assert!((found - threshold).abs() < 1e-6, "{rate}: {found}");
    }
    assert!(
        threshold_for(&table, 0.05).is_err()
            && threshold_for(&table, 0.31).is_err()
            && threshold_for(&[], 0.1).is_err()
    );
}

#[test]
fn the_shipped_routers_load() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("routers/smollm2-135m");
    let file = RouterFile::load(&folder).expect("loads");
    let router = file.router().expect("holds routers");
    assert_eq!((router.layers(), router.hidden()), (30, 576));
    assert!(threshold_for(&file.calibration, 0.05).is_ok());
}
