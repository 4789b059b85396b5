//! What a composed shader says about itself, read by naga: bindings, the layout of `Params`, the
//! workgroup. The host types none of it a second time.

use super::shader::Variant;
use super::texture::Texel;
use crate::error::{Error, Result};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess, TypeInner};
use std::collections::BTreeMap;

/// How a buffer or a texture is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// `var<uniform>`.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
    /// `texture_storage_2d<r32uint, read>` or `<rgba32uint, read>`.
    Texture(Texel),
}

/// One binding of group 0.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The variable's name in WGSL, by which the host binds it.
    pub name: String,
    /// `@binding`.
    pub index: u32,
    /// How it is bound.
    pub kind: BindingKind,
}

/// The `Params` struct.
#[derive(Clone, Debug, Default)]
pub struct ParamsLayout {
    /// Size in bytes, without the padding that uniform buffers add.
    pub size_bytes: usize,
    /// Name and offset in bytes of each field.
    pub fields: Vec<(String, usize)>,
}

/// Everything the host needs to know about a shader.
#[derive(Clone, Debug)]
pub struct Reflection {
    /// Bindings of group 0, in order of index.
    pub bindings: Vec<Binding>,
    /// The run-time values.
    pub params: ParamsLayout,
    /// Invocations of a workgroup.
    pub workgroup_size: [u32; 3],
    /// Bytes of `var<workgroup>` memory.
    pub workgroup_bytes: u32,
    /// Constants of type `u32`, such as how many tokens a workgroup owns.
    pub constants: BTreeMap<String, u32>,
}

/// A shader parsed, specialised and validated.
pub struct Checked {
    /// The composed source.
    pub source: String,
    /// The module with its overrides resolved.
    pub module: naga::Module,
    /// What the validator found out about it.
    pub info: naga::valid::ModuleInfo,
    /// What the host needs.
    pub reflection: Reflection,
}

/// Composes, parses, validates (uniform control flow included) and reflects a variant. Needs no GPU.
pub fn check(variant: &Variant) -> Result<Checked> {
    let source = variant.source()?;
    if let Some(folder) = std::env::var_os("FIRST_DUMP_SHADERS") {
        let path = std::path::Path::new(&folder).join(format!("{}.wgsl", variant.name()));
        std::fs::write(&path, &source).map_err(|error| Error::write(&path, error))?;
    }
    let fail = |what: String| {
        Error::gpu(
            format!("shader {}: {what}", variant.name()),
            "this is a defect of first-wgpu; set FIRST_DUMP_SHADERS=DIR to look at the composed source",
        )
    };
    let parsed = naga::front::wgsl::parse_str(&source)
        .map_err(|error| fail(error.emit_to_string(&source)))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info = validator
        .validate(&parsed)
        .map_err(|error| fail(error.emit_to_string(&source)))?;
    let constants = variant
        .overrides()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    for (name, _) in variant.overrides() {
        if !parsed
            .overrides
            .iter()
            .any(|(_, known)| known.name.as_deref() == Some(name))
        {
            return Err(fail(format!("has no override constant `{name}`")));
        }
    }
    let entry = Some((naga::ShaderStage::Compute, "main"));
    let (module, info) =
        naga::back::pipeline_constants::process_overrides(&parsed, &info, entry, &constants)
            .map_err(|error| fail(error.to_string()))?;
    let (module, info) = (module.into_owned(), info.into_owned());
    let reflection = reflect(&module).map_err(fail)?;
    Ok(Checked {
        source,
        module,
        info,
        reflection,
    })
}

fn constants(module: &naga::Module) -> BTreeMap<String, u32> {
    let named = module.constants.iter().filter_map(|(_, constant)| {
        let name = constant.name.clone()?;
        match module.global_expressions[constant.init] {
            naga::Expression::Literal(naga::Literal::U32(value)) => Some((name, value)),
            _ => None,
        }
    });
    named.collect()
}

fn reflect(module: &naga::Module) -> Result<Reflection, String> {
    let entry = module
        .entry_points
        .iter()
        .find(|entry| entry.name == "main")
        .ok_or("has no entry point `main`")?;
    let mut layouter = naga::proc::Layouter::default();
    layouter
        .update(module.to_ctx())
        .map_err(|error| error.to_string())?;
    let (mut bindings, mut params, mut workgroup_bytes) = (Vec::new(), ParamsLayout::default(), 0);
    for (_, variable) in module.global_variables.iter() {
        let name = variable.name.clone().unwrap_or_default();
        if name == "params" {
            params = params_layout(&module.types[variable.ty].inner)?;
            continue;
        }
        let kind = match variable.space {
            AddressSpace::Uniform => BindingKind::Uniform,
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                BindingKind::ReadWrite
            }
            AddressSpace::Storage { .. } => BindingKind::Read,
            AddressSpace::Handle => BindingKind::Texture(texel(&module.types[variable.ty].inner)?),
            AddressSpace::WorkGroup => {
                workgroup_bytes += layouter[variable.ty].size;
                continue;
            }
            _ => continue,
        };
        let binding = variable
            .binding
            .as_ref()
            .ok_or(format!("`{name}` has no binding"))?;
        if binding.group != 0 {
            return Err(format!(
                "`{name}` is in group {}, expected 0",
                binding.group
            ));
        }
        bindings.push(Binding {
            name,
            index: binding.binding,
            kind,
        });
    }
    bindings.sort_by_key(|binding| binding.index);
    Ok(Reflection {
        bindings,
        params,
        workgroup_size: entry.workgroup_size,
        workgroup_bytes,
        constants: constants(module),
    })
}

fn texel(inner: &TypeInner) -> Result<Texel, String> {
    let TypeInner::Image { class, .. } = inner else {
        return Err("binds something that is neither a buffer nor a texture".to_owned());
    };
    match class {
        naga::ImageClass::Storage { format, access } if *access == StorageAccess::LOAD => {
            match format {
                naga::StorageFormat::R32Uint => Ok(Texel::One),
                naga::StorageFormat::Rgba32Uint => Ok(Texel::Four),
                _ => Err(format!("reads a texture of {format:?}")),
            }
        }
        _ => Err(format!("binds a texture as {class:?}")),
    }
}

fn params_layout(inner: &TypeInner) -> Result<ParamsLayout, String> {
    let TypeInner::Struct { members, span } = inner else {
        return Err("`params` is not a struct".to_owned());
    };
    let fields = members.iter().map(|member| {
        (
            member.name.clone().unwrap_or_default(),
            member.offset as usize,
        )
    });
    Ok(ParamsLayout {
        size_bytes: *span as usize,
        fields: fields.collect(),
    })
}
