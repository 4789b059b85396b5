//! The GPUs that are there, in wgpu's word adapters, and what is asked of one.

use crate::error::{Error, Result};
use crate::trace::GpuSummary;

/// What an adapter is, for lists and traces.
pub(super) fn summary(info: &wgpu::AdapterInfo) -> GpuSummary {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    };
    GpuSummary {
        name: info.name.clone(),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        backend: info.backend.to_str().to_owned(),
        kind: kind.to_owned(),
    }
}

pub(super) fn adapters() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.flags = wgpu::InstanceFlags::empty();
    // Not OpenGL, even where another crate has built it in: its libraries are not so much as loaded.
    descriptor.backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    // The fastest kind first, so that index 0 is what most people want.
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters
}

/// The adapter that is meant: by index, by part of its name or backend in any case, or, as `4090`, by a number in it, whole.
pub(super) fn choose(text: &str, names: &[String]) -> Option<usize> {
    let part = |name: &String| name.to_lowercase().contains(&text.to_lowercase());
    let number = |name: &String| name.split_whitespace().any(|word| word == text);
    match text.parse::<usize>() {
        Ok(index) if index < names.len() => Some(index),
        Ok(_) => names.iter().position(number),
        Err(_) => names.iter().position(part),
    }
}

/// What the first adapter that can be opened gives, and the error of the first of all if that is another; if none can be opened,
/// that error.
pub(super) fn first_good<A, T>(
    adapters: &[A],
    open: impl Fn(&A) -> Result<T>,
) -> Result<(T, Option<Error>)> {
    let mut wrong = None;
    for adapter in adapters {
        match open(adapter) {
            Ok(good) => return Ok((good, wrong)),
            Err(error) => {
                wrong.get_or_insert(error);
            }
        }
    }
    Err(wrong.expect("there are adapters"))
}

/// What is asked of a GPU, of what it offers.
pub(super) fn wanted(adapter: &wgpu::Adapter) -> (wgpu::Features, wgpu::Limits) {
    let wanted = wgpu::Features::SUBGROUP
        | wgpu::Features::IMMEDIATES
        | wgpu::Features::PIPELINE_CACHE
        | wgpu::Features::TIMESTAMP_QUERY;
    let features = adapter.features() & wanted;
    let immediates = features.contains(wgpu::Features::IMMEDIATES);
    (features, limits(&adapter.limits(), immediates))
}

fn limits(offered: &wgpu::Limits, immediates: bool) -> wgpu::Limits {
    // The default limits are what kernels are written for; only sizes that follow the model are raised.
    let mut limits = wgpu::Limits::default();
    limits.max_buffer_size = offered.max_buffer_size.max(limits.max_buffer_size);
    limits.max_storage_buffer_binding_size = offered
        .max_storage_buffer_binding_size
        .max(limits.max_storage_buffer_binding_size);
    limits.max_immediate_size = if immediates {
        offered.max_immediate_size.min(64)
    } else {
        0
    };
    // Nothing is drawn: a GPU that could draw less than others will do. Weights lie in textures only where these are wide.
    let offered = limits.clone().or_worse_values_from(offered);
    wgpu::Limits {
        max_texture_dimension_1d: offered.max_texture_dimension_1d,
        max_texture_dimension_2d: offered.max_texture_dimension_2d,
        max_texture_dimension_3d: offered.max_texture_dimension_3d,
        max_texture_array_layers: offered.max_texture_array_layers,
        max_sampled_textures_per_shader_stage: offered.max_sampled_textures_per_shader_stage,
        max_samplers_per_shader_stage: offered.max_samplers_per_shader_stage,
        max_bind_groups_plus_vertex_buffers: offered.max_bind_groups_plus_vertex_buffers,
        max_vertex_buffers: offered.max_vertex_buffers,
        max_vertex_attributes: offered.max_vertex_attributes,
        max_vertex_buffer_array_stride: offered.max_vertex_buffer_array_stride,
        max_inter_stage_shader_variables: offered.max_inter_stage_shader_variables,
        max_color_attachments: offered.max_color_attachments,
        max_color_attachment_bytes_per_sample: offered.max_color_attachment_bytes_per_sample,
        ..limits
    }
}

/// What `--device` knows a GPU by: one that two backends drive is there twice.
pub(super) fn called(adapter: &wgpu::Adapter) -> String {
    let info = adapter.get_info();
    format!("{} {}", info.name, info.backend.to_str())
}

#[cfg(test)]
mod tests {
    use super::{choose, first_good, limits};
    use crate::error::Error;

    #[test]
    fn a_gpu_that_draws_less_is_opened_and_one_that_computes_less_is_not() {
        let default = wgpu::Limits::default();
        let draws_less = wgpu::Limits {
            max_inter_stage_shader_variables: 15,
            max_texture_dimension_2d: 4096,
            max_color_attachments: 4,
            ..default.clone()
        };
        assert!(limits(&draws_less, false).check_limits(&draws_less));
        let computes_less = wgpu::Limits {
            max_compute_invocations_per_workgroup: 128,
            ..default.clone()
        };
        assert!(!limits(&computes_less, false).check_limits(&computes_less));
    }

    #[test]
    fn what_cannot_be_opened_is_passed_over() {
        let open = |good: &Option<u32>| good.ok_or_else(|| Error::gpu("closed", "none"));
        let first = |adapters| first_good(adapters, open).map(|(good, why)| (good, why.is_some()));
        assert_eq!(first(&[None, Some(1), Some(2)]).ok(), Some((1, true)));
        assert_eq!(first(&[Some(1), None]).ok(), Some((1, false)));
        assert!(first_good(&[None, None], open).is_err());
    }

    #[test]
    fn adapters_go_by_index_or_by_name() {
        let names = [
            "NVIDIA GeForce RTX 4090 vulkan",
            "llvmpipe (LLVM 15.0.6, 256 bits) vulkan",
            "NVIDIA GeForce RTX 4090 dx12",
        ];
        let names = names.map(str::to_owned);
        let of = |text: &str| choose(text, &names);
        assert_eq!([of("0"), of("1")], [Some(0), Some(1)]);
        assert_eq!(
            [of("nvidia"), of("LLVMpipe"), of("4090"), of("DX12")],
            [Some(0), Some(1), Some(0), Some(2)]
        );
        assert_eq!(
            [of("3"), of("15"), of("amd")],
            [None; 3],
            "no digit of a version is meant"
        );
    }
}
