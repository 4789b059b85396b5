//! Compute pipelines made from a [`Variant`], and operations: a pipeline with its buffers bound.

use super::buffer::Buffer;
use super::device::{Counters, Gpu};
use super::reflect::{self, BindingKind, Reflection};
use super::shader::Variant;
use super::texture::Texture;
use crate::error::Result;
use std::sync::Arc;

/// A `Params` struct shared with a shader. Implemented by the `params!` macro, checked against the
/// shader's own struct when the pipeline is made.
pub trait Params: bytemuck::Pod {
    /// Name and byte offset of each field.
    const FIELDS: &'static [(&'static str, usize)];
}

/// Declares a `Params` struct in the layout that WGSL gives it.
#[macro_export]
macro_rules! params {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl $crate::gpu::Params for $name {
            const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field)),)*];
        }
    };
}

/// A compute pipeline and what its shader says about itself.
#[derive(Debug)]
pub struct Pipeline {
    pub(super) raw: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    reflection: Reflection,
    variant: Variant,
}

impl Pipeline {
    /// Makes the pipeline of `variant` and asserts that `P` has the layout of the shader's `Params`.
    pub(super) fn new<P: Params>(gpu: &Gpu, variant: &Variant) -> Result<Self> {
        let params = if gpu.class.immediates {
            "lib/params_immediate"
        } else {
            "lib/params_uniform"
        };
        let variant = variant.clone().import("params", params);
        let checked = reflect::check(&variant)?;
        let reflection = checked.reflection;
        assert_layout::<P>(&variant, &reflection);

        let entries: Vec<_> = reflection
            .bindings
            .iter()
            .map(|binding| layout_entry(binding.index, binding.kind, false))
            .collect();
        let layout = gpu
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(variant.kernel),
                entries: &entries,
            });
        let groups = [Some(&layout), Some(&gpu.params_layout)];
        let (bind_group_layouts, immediate_size): (&[_], u32) = if gpu.class.immediates {
            (&groups[..1], reflection.params.size_bytes as u32)
        } else {
            (&groups, 0)
        };
        let pipeline_layout = gpu
            .device
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(variant.kernel),
                bind_group_layouts,
                immediate_size,
            });
        let module = shader_module(gpu, &variant, checked.source);
        let constants: Vec<_> = variant.overrides().collect();
        let raw = gpu
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&variant.name()),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &constants,
                    // Every kernel writes its workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: false,
                },
                cache: gpu.pipeline_cache.as_ref().map(|cache| &cache.raw),
            });
        Ok(Self {
            raw,
            layout,
            reflection,
            variant,
        })
    }

    /// The kernel's name.
    pub fn kernel(&self) -> &'static str {
        self.variant.kernel
    }

    /// The full name of the variant.
    pub fn name(&self) -> String {
        self.variant.name()
    }

    /// Binds buffers and textures by the names of the shader's variables; all of them, and no others.
    pub fn bind<'a, R: Into<Resource<'a>> + Copy>(
        self: &Arc<Self>,
        gpu: &Gpu,
        resources: &[(&str, R)],
    ) -> Op {
        let names = || {
            self.reflection
                .bindings
                .iter()
                .map(|binding| binding.name.as_str())
                .collect::<Vec<_>>()
        };
        for (name, _) in resources {
            assert!(
                names().contains(name),
                "{} has no binding `{name}`, only {:?}",
                self.name(),
                names()
            );
        }
        let entries: Vec<_> = self
            .reflection
            .bindings
            .iter()
            .map(|binding| {
                let found = resources.iter().find(|(name, _)| *name == binding.name);
                let (_, resource) = found.unwrap_or_else(|| {
                    panic!("{}: nothing bound to `{}`", self.name(), binding.name)
                });
                wgpu::BindGroupEntry {
                    binding: binding.index,
                    resource: (*resource).into().binding(),
                }
            })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor {
            label: Some(self.variant.kernel),
            layout: &self.layout,
            entries: &entries,
        };
        Counters::add(&gpu.counters.bind_groups, 1);
        Op {
            pipeline: self.clone(),
            bind_group: gpu.device.create_bind_group(&descriptor),
        }
    }
}

/// What a shader's variable is bound to.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// A range of a buffer.
    Buffer(&'a Buffer),
    /// A texture.
    Texture(&'a Texture),
}

impl<'a> Resource<'a> {
    fn binding(self) -> wgpu::BindingResource<'a> {
        match self {
            Self::Buffer(buffer) => buffer.binding(),
            Self::Texture(texture) => wgpu::BindingResource::TextureView(&texture.view),
        }
    }
}

impl<'a> From<&'a Buffer> for Resource<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self::Buffer(buffer)
    }
}

/// A pipeline with its buffers: everything of a dispatch but its run-time values and its size.
#[derive(Clone, Debug)]
pub struct Op {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) bind_group: wgpu::BindGroup,
}

impl Op {
    /// The kernel's name.
    pub fn kernel(&self) -> &'static str {
        self.pipeline.kernel()
    }

    /// A constant of the shader.
    ///
    /// # Panics
    /// If the shader has none of this name and of type `u32`.
    pub fn constant(&self, name: &str) -> usize {
        let (kernel, known) = (self.kernel(), &self.pipeline.reflection.constants);
        let value = known.get(name);
        *value.unwrap_or_else(|| panic!("`{kernel}` has no constant `{name}`")) as usize
    }

    /// Invocations of a workgroup.
    pub fn workgroup_size(&self) -> [u32; 3] {
        self.pipeline.reflection.workgroup_size
    }
}

pub(super) fn layout_entry(
    binding: u32,
    kind: BindingKind,
    dynamic: bool,
) -> wgpu::BindGroupLayoutEntry {
    let buffer = |ty| wgpu::BindingType::Buffer {
        ty,
        has_dynamic_offset: dynamic,
        min_binding_size: None,
    };
    let storage = |read_only| buffer(wgpu::BufferBindingType::Storage { read_only });
    let ty = match kind {
        BindingKind::Uniform => buffer(wgpu::BufferBindingType::Uniform),
        BindingKind::Read => storage(true),
        BindingKind::ReadWrite => storage(false),
        BindingKind::Texture(texel) => wgpu::BindingType::StorageTexture {
            access: wgpu::StorageTextureAccess::ReadOnly,
            format: texel.format(),
            view_dimension: wgpu::TextureViewDimension::D2,
        },
    };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty,
        count: None,
    }
}

fn assert_layout<P: Params>(variant: &Variant, reflection: &Reflection) {
    let shader = &reflection.params;
    let host: Vec<_> = P::FIELDS
        .iter()
        .map(|(name, offset)| ((*name).to_owned(), *offset))
        .collect();
    assert_eq!(
        host,
        shader.fields,
        "{}: fields of Params on the host and in the shader",
        variant.name()
    );
    assert_eq!(
        size_of::<P>(),
        shader.size_bytes,
        "{}: size of Params on the host and in the shader",
        variant.name()
    );
}

#[allow(unsafe_code)]
fn shader_module(gpu: &Gpu, variant: &Variant, source: String) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(variant.kernel),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    };
    // Loop bounding adds a counter to every loop so that a driver may not treat an endless one as
    // unreachable; it costs a fifth of a matvec on software Vulkan.
    let checks = wgpu::ShaderRuntimeChecks {
        force_loop_bounding: false,
        ..wgpu::ShaderRuntimeChecks::checked()
    };
    // SAFETY: the shaders are this crate's own files, and each of their loops counts to a bound.
    unsafe { gpu.device.create_shader_module_trusted(descriptor, checks) }
}
