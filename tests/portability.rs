//! Every composed shader variant validates, stays within WebGPU's default limits, and translates to the
//! languages of all backends. Needs no GPU: a software driver accepts much that a real one does not.

use first_wgpu::gpu::{Variant, reflect, shader};
use first_wgpu::kernels::all_variants;
use naga::back::{hlsl, msl, spv};

/// Both ways in which run-time values reach a shader.
fn with_params() -> Vec<Variant> {
    let both = ["lib/params_immediate", "lib/params_uniform"];
    all_variants()
        .into_iter()
        .flat_map(|variant| both.map(|params| variant.clone().import("params", params)))
        .collect()
}

#[test]
fn every_variant_stays_within_the_default_limits() {
    let limits = wgpu::Limits::default();
    for variant in with_params() {
        let checked = reflect::check(&variant).unwrap_or_else(|error| panic!("{error}"));
        let reflection = &checked.reflection;
        let invocations: u32 = reflection.workgroup_size.iter().product();
        assert!(
            invocations <= limits.max_compute_invocations_per_workgroup,
            "{}: {invocations} invocations",
            variant.name()
        );
        let bytes = reflection.workgroup_bytes;
        assert!(
            bytes <= limits.max_compute_workgroup_storage_size,
            "{}: {bytes} bytes",
            variant.name()
        );
        let storage = reflection
            .bindings
            .iter()
            .filter(|binding| binding.kind != reflect::BindingKind::Uniform)
            .count();
        assert!(
            storage <= limits.max_storage_buffers_per_shader_stage as usize,
            "{}: {storage} buffers",
            variant.name()
        );
        let textures = reflection
            .bindings
            .iter()
            .filter(|binding| matches!(binding.kind, reflect::BindingKind::Texture(_)))
            .count();
        assert!(
            textures <= limits.max_storage_textures_per_shader_stage as usize,
            "{}: {textures} textures",
            variant.name()
        );
    }
}

#[test]
fn every_variant_translates_to_every_backend() {
    for variant in with_params() {
        let checked = reflect::check(&variant).unwrap_or_else(|error| panic!("{error}"));
        let (module, info, name) = (&checked.module, &checked.info, variant.name());
        let options = spv::Options {
            lang_version: (1, 3),
            ..Default::default()
        };
        spv::write_vec(module, info, &options, None)
            .unwrap_or_else(|error| panic!("{name} to SPIR-V: {error}"));
        let options = msl::Options {
            lang_version: (2, 4),
            fake_missing_bindings: true,
            ..Default::default()
        };
        msl::write_string(module, info, &options, &msl::PipelineOptions::default())
            .unwrap_or_else(|error| panic!("{name} to MSL: {error}"));
        // What FXC takes, and what DXC does.
        for shader_model in [hlsl::ShaderModel::V5_1, hlsl::ShaderModel::V6_0] {
            let options = hlsl::Options {
                shader_model,
                fake_missing_bindings: true,
                immediates_target: Some(Default::default()),
                ..Default::default()
            };
            let mut text = String::new();
            hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
                .write(module, info, None)
                .unwrap_or_else(|error| panic!("{name} to HLSL {shader_model:?}: {error}"));
        }
    }
}

#[test]
fn unknown_and_cyclic_imports_are_errors_with_their_place() {
    let unknown = Variant::new("matvec")
        .source()
        .expect_err("`weights` is not bound")
        .to_string();
    assert!(unknown.contains("shaders/matvec.wgsl:"), "{unknown}");
    let cyclic = Variant::new("embed")
        .import("params", "embed")
        .source()
        .expect_err("embed imports itself")
        .to_string();
    assert!(cyclic.contains("cyclic"), "{cyclic}");
}

#[test]
fn variants_cover_every_kernel_file() {
    let variants = all_variants();
    for kernel in shader::kernels() {
        assert!(
            variants.iter().any(|variant| variant.kernel == kernel),
            "no variant of `{kernel}` is checked"
        );
    }
}
