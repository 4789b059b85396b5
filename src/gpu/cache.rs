//! Compiled pipelines, kept between runs where the GPU's driver hands them out.

use crate::error::{Error, Result};
use crate::file::write_whole;
use std::path::{Path, PathBuf};

/// The driver's own store of compiled pipelines, and the file that it came from.
pub(super) struct PipelineCache {
    pub(super) raw: wgpu::PipelineCache,
    path: PathBuf,
    loaded: Option<Vec<u8>>,
}

impl PipelineCache {
    /// Opens the file of this GPU in `folder`; `None` where the backend has none. The device must have
    /// `PIPELINE_CACHE`.
    #[allow(unsafe_code)]
    pub(super) fn open(
        device: &wgpu::Device,
        info: &wgpu::AdapterInfo,
        folder: &Path,
    ) -> Option<Self> {
        let path = folder.join(wgpu::util::pipeline_cache_key(info)?);
        // A file that is not there, or cannot be read, is as good as none.
        let loaded = std::fs::read(&path).ok();
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("first"),
            data: loaded.as_deref(),
            fallback: true,
        };
        // SAFETY: the file is of this crate's own writing, from `get_data` of an adapter of the same key;
        // wgpu and the driver check its header, and fall back to an empty cache.
        let raw = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { raw, path, loaded })
    }

    /// Writes what the driver has compiled, if that is news.
    pub(super) fn keep(&self) -> Result<()> {
        let data = self.raw.get_data();
        let Some(data) = data.filter(|data| self.loaded.as_ref() != Some(data)) else {
            return Ok(());
        };
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
        }
        write_whole(&self.path, |file| file.write_all(&data))
    }
}
