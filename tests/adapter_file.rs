//! Adapter files: what was saved loads again, PEFT's own layout is understood, and what would change a result
//! unseen is refused.

use first_wgpu::adapter::{Lora, LoraAdapter, Target};
use first_wgpu::model::config::Config;
use first_wgpu::model::synthetic;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use std::path::Path;

/// Two layers; two query heads and one key head of four.
fn config() -> Config {
    Config {
        layers: 2,
        hidden: 32,
        heads: 2,
        kv_heads: 1,
        head_dim: 4,
        feed_forward: 64,
        ..synthetic::config("smollm2-135m").expect("a known shape")
    }
}

const RANK: usize = 2;

fn sample(targets: &[Target]) -> LoraAdapter {
    let config = config();
    let mut next = 0.0;
    let mut values = |count: usize| -> Vec<f32> {
        (0..count)
            .map(|_| {
                next += 0.25;
                next
            })
            .collect()
    };
    LoraAdapter::new("someone/model", &config, RANK, 4.0, targets, |_, target| {
        let [rows, columns] = target.shape(&config);
        Lora {
            a: values(RANK * columns),
            b: values(rows * RANK),
        }
    })
}

fn saved(adapter: &LoraAdapter) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    adapter.save(folder.path(), &config()).expect("writes");
    folder
}

fn refused(folder: &Path, needle: &str) {
    let error = LoraAdapter::load(folder, &config())
        .expect_err(needle)
        .to_string();
    assert!(
        error.contains(needle) && !error.contains('\n'),
        "expected `{needle}` in: {error}"
    );
}

fn edit(folder: &Path, key: &str, value: Value) {
    let path = folder.join("adapter_config.json");
    let bytes = std::fs::read(&path).expect("was saved");
    let mut options: Value = serde_json::from_slice(&bytes).expect("is JSON");
    options[key] = value;
    std::fs::write(&path, options.to_string()).expect("writes");
}

/// Writes the tensors again after `change` has seen name, type, shape and bytes of each; `false` drops it.
fn rewrite(
    folder: &Path,
    mut change: impl FnMut(&mut String, &mut Dtype, &mut Vec<usize>, &mut Vec<u8>) -> bool,
) {
    let path = folder.join("adapter_model.safetensors");
    let bytes = std::fs::read(&path).expect("was saved");
    let file = SafeTensors::deserialize(&bytes).expect("is a safetensors file");
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let (mut name, mut dtype) = (name, view.dtype());
        let (mut shape, mut data) = (view.shape().to_vec(), view.data().to_vec());
        if change(&mut name, &mut dtype, &mut shape, &mut data) {
            tensors.push((name, dtype, shape, data));
        }
    }
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.clone(), data).expect("fits");
        (name, view)
    });
    let bytes = safetensors::serialize(views, None).expect("serialises");
    std::fs::write(&path, bytes).expect("writes");
}

#[test]
fn files_round_trip() {
    for targets in [
        &Target::ALL[..],
        &[Target::QProj],
        &[Target::KProj, Target::DownProj],
    ] {
        let adapter = sample(targets);
        let loaded = LoraAdapter::load(saved(&adapter).path(), &config()).expect("loads");
        assert_eq!(loaded, adapter);
        assert_eq!(loaded.scale(), 2.0);
    }
}

#[test]
fn the_same_adapter_is_saved_as_the_same_bytes() {
    let adapter = sample(&Target::ALL);
    let (first, second) = (saved(&adapter), saved(&adapter));
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let bytes =
            |folder: &tempfile::TempDir| std::fs::read(folder.path().join(name)).expect(name);
        assert_eq!(bytes(&first), bytes(&second), "{name}");
    }
}

/// In a head of four, rows 0 1 2 3 of the checkpoint are rows 0 2 1 3 of the model.
#[test]
fn rows_of_queries_and_keys_are_permuted_in_the_file_alone() {
    let adapter = sample(&Target::ALL);
    let folder = saved(&adapter);
    let bytes = std::fs::read(folder.path().join("adapter_model.safetensors")).expect("was saved");
    let file = SafeTensors::deserialize(&bytes).expect("is a safetensors file");
    for target in Target::ALL {
        let part = target.part();
        let name = format!("base_model.model.model.layers.1.{part}.lora_B.weight");
        let found: Vec<f32> =
            bytemuck::pod_collect_to_vec(file.tensor(&name).expect("is there").data());
        let own = &adapter.lora(1, target).expect("is adapted").b;
        let order = match target {
            Target::QProj | Target::KProj => [0, 2, 1, 3],
            _ => [0, 1, 2, 3],
        };
        for (row, from) in order.into_iter().enumerate() {
            assert_eq!(
                found[row * RANK..][..RANK],
                own[from * RANK..][..RANK],
                "row {row} of {name}"
            );
        }
    }
}

#[test]
fn halves_are_read() {
    let adapter = sample(&[Target::KProj]);
    for dtype in [Dtype::F16, Dtype::BF16] {
        let folder = saved(&adapter);
        rewrite(folder.path(), |_, own, _, data| {
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(data);
            let half = |value: &f32| match dtype {
                Dtype::F16 => half::f16::from_f32(*value).to_le_bytes(),
                _ => half::bf16::from_f32(*value).to_le_bytes(),
            };
            *data = values.iter().flat_map(half).collect();
            *own = dtype;
            true
        });
        let loaded = LoraAdapter::load(folder.path(), &config()).expect("loads");
        // Quarters up to 160 are exact in F16; BF16 keeps eight bits of them.
        let most = if dtype == Dtype::F16 {
            0.0
        } else {
            1.0 / 256.0
        };
        let pairs = |layer| {
            let of = |adapter: &LoraAdapter| {
                adapter.lora(layer, Target::KProj).expect("adapted").clone()
            };
            let (own, read) = (of(&adapter), of(&loaded));
            own.a
                .into_iter()
                .chain(own.b)
                .zip(read.a.into_iter().chain(read.b))
        };
        for (own, read) in pairs(0).chain(pairs(1)) {
            assert!(
                (own - read).abs() <= most * own,
                "{dtype:?}: {own} became {read}"
            );
        }
    }
}

#[test]
fn what_peft_writes_besides_is_understood() {
    let folder = saved(&sample(&Target::ALL));
    for (key, value) in [
        ("megatron_core", json!("megatron.core")),
        ("qalora_group_size", json!(16)),
        ("rank_pattern", json!({})),
        ("layers_to_transform", Value::Null),
        ("peft_version", json!("0.21.2")),
        ("lora_alpha", json!(4)),
        ("some_new_option", json!(false)),
        (
            "target_modules",
            (0..2)
                .flat_map(|layer| {
                    Target::ALL.map(|target| format!("model.layers.{layer}.{}", target.part()))
                })
                .collect(),
        ),
    ] {
        edit(folder.path(), key, value);
    }
    let loaded = LoraAdapter::load(folder.path(), &config()).expect("loads");
    assert_eq!(loaded, sample(&Target::ALL));
    // alpha / sqrt(r) = 4 / sqrt(2).
    edit(folder.path(), "use_rslora", json!(true));
    let loaded = LoraAdapter::load(folder.path(), &config()).expect("loads");
    assert!(
        (loaded.scale() - 8f32.sqrt()).abs() < 1e-6,
        "{}",
        loaded.scale()
    );
}

#[test]
fn options_that_would_change_the_result_are_refused() {
    for (key, value) in [
        ("peft_type", json!("LOHA")),
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("modules_to_save", json!(["lm_head"])),
        ("rank_pattern", json!({"q_proj": 4})),
        ("alpha_pattern", json!({"q_proj": 4})),
        ("layers_to_transform", json!([0])),
        ("fan_in_fan_out", json!(true)),
        ("some_new_option", json!("a\nb")),
        ("init_lora_weights", json!("pissa")),
        ("use_rslora", json!(1)),
        ("r", json!(0)),
        ("r", json!(2.5)),
        ("r", json!(1_000_000_000_000_u64)),
        ("lora_alpha", json!(-1)),
        ("lora_alpha", json!(1e300)),
        ("lora_alpha", Value::Null),
        ("target_modules", json!([])),
        ("target_modules", json!(".*_proj")),
        ("target_modules", json!(["q_proj", "lm_head"])),
        ("target_modules", json!([7])),
    ] {
        let folder = saved(&sample(&Target::ALL));
        edit(folder.path(), key, value);
        refused(folder.path(), key);
    }
    // Too large only once it is scaled.
    let folder = saved(&sample(&Target::ALL));
    edit(folder.path(), "lora_alpha", json!(3e38));
    edit(folder.path(), "use_rslora", json!(true));
    refused(folder.path(), "lora_alpha");
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let all = || saved(&sample(&Target::ALL));
    let folder = all();
    std::fs::write(folder.path().join("adapter_config.json"), "{").expect("writes");
    refused(folder.path(), "as JSON");

    let folder = all();
    let path = folder.path().join("adapter_model.safetensors");
    let mut bytes = std::fs::read(&path).expect("was saved");
    bytes.truncate(bytes.len() - 1);
    std::fs::write(&path, &bytes).expect("writes");
    refused(folder.path(), "expected a safetensors file");
    std::fs::remove_file(&path).expect("was there");
    refused(folder.path(), "adapter_model.safetensors");
    std::fs::create_dir(&path).expect("makes a folder");
    refused(folder.path(), "expected a file");

    // Too large to be an adapter of this model, found before it is read.
    let folder = all();
    let file = std::fs::File::create(folder.path().join("adapter_model.safetensors"));
    file.and_then(|file| file.set_len(1 << 40))
        .expect("a sparse file");
    refused(folder.path(), "expected at most");

    let name = "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight";
    let folder = all();
    rewrite(folder.path(), |own, _, _, _| own != name);
    refused(
        folder.path(),
        &format!("expected a tensor `{name}` of [4, 2], found none"),
    );

    let folder = all();
    rewrite(folder.path(), |own, _, shape, _| {
        if own == name {
            shape.reverse();
        }
        true
    });
    refused(
        folder.path(),
        &format!("expected `{name}` of [4, 2], found [2, 4]"),
    );

    let folder = all();
    rewrite(folder.path(), |own, dtype, _, _| {
        if own == name {
            *dtype = Dtype::I32;
        }
        true
    });
    refused(folder.path(), "as F32, F16 or BF16, found I32");

    for value in [f32::NAN, f32::INFINITY] {
        let folder = all();
        rewrite(folder.path(), |own, _, _, data| {
            if own == name {
                data[4..8].copy_from_slice(&value.to_le_bytes());
            }
            true
        });
        refused(
            folder.path(),
            &format!("expected finite numbers in `{name}`"),
        );
    }

    // A third layer, or a target that the configuration does not name.
    let folder = saved(&sample(&[Target::QProj, Target::KProj]));
    edit(folder.path(), "target_modules", json!(["q_proj"]));
    refused(folder.path(), "k_proj.lora_");
    let one_layer = Config {
        layers: 1,
        ..config()
    };
    let error = LoraAdapter::load(all().path(), &one_layer).expect_err("has a layer too many");
    assert!(error.to_string().contains("layers.1."), "{error}");
}
