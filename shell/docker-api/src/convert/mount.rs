//! Mounts.

use skep_model::Refusal;
use skep_model::pb::types;

use super::{driver, driver_in, map, text, words};
use crate::json;

/// Outwards.
pub(crate) fn out(mount: &types::Mount) -> json::Mount<'_> {
    json::Mount {
        kind: text(words::word(mount.r#type())),
        source: text(&mount.source),
        target: text(&mount.target),
        read_only: mount.readonly,
        // Never shown, as in Docker: it means nothing on Linux.
        consistency: json::Text::default(),
        bind_options: mount.bind_options.as_ref().map(|options| json::BindOptions {
            propagation: text(words::word(options.propagation())),
            non_recursive: options.nonrecursive,
            create_mountpoint: options.createmountpoint,
            read_only_non_recursive: options.readonlynonrecursive,
            read_only_force_recursive: options.readonlyforcerecursive,
        }),
        volume_options: mount.volume_options.as_ref().map(|options| json::VolumeOptions {
            no_copy: options.nocopy,
            labels: map(&options.labels),
            subpath: text(&options.subpath),
            driver_config: options.driver_config.as_ref().map(driver),
        }),
        tmpfs_options: mount.tmpfs_options.as_ref().map(|options| json::TmpfsOptions {
            size_bytes: options.size_bytes,
            mode: options.mode,
            // Stored as JSON inside a string; what does not parse is shown as absent, as Docker does.
            options: serde_json::from_str::<Option<Vec<Vec<String>>>>(&options.options)
                .ok()
                .flatten()
                .filter(|options| !options.is_empty()),
        }),
    }
}

/// Inwards.
pub(crate) fn into(mount: json::Mount<'_>) -> Result<types::Mount, Refusal> {
    let kind = match mount.kind.as_ref() {
        "" => types::mount::Type::Bind,
        word => words::parse(word).ok_or_else(|| Refusal::invalid(format!("invalid MountType: {word:?}")))?,
    };
    Ok(types::Mount {
        r#type: kind.into(),
        source: mount.source.into_owned(),
        target: mount.target.into_owned(),
        readonly: mount.read_only,
        bind_options: mount.bind_options.map(bind_options).transpose()?.flatten(),
        volume_options: mount.volume_options.map(|options| types::mount::VolumeOptions {
            nocopy: options.no_copy,
            labels: options.labels.into_owned(),
            driver_config: options.driver_config.map(driver_in),
            subpath: options.subpath.into_owned(),
        }),
        tmpfs_options: mount.tmpfs_options.map(tmpfs_options).transpose()?,
        consistency: 0,
    })
}

/// Docker keeps no empty options: without a propagation or a flag they are absent.
fn bind_options(options: json::BindOptions<'_>) -> Result<Option<types::mount::BindOptions>, Refusal> {
    let named = match options.propagation.as_ref() {
        "" => None,
        word => Some(
            words::parse::<types::mount::bind_options::Propagation>(word)
                .ok_or_else(|| Refusal::invalid(format!("invalid MountPropagation: {word:?}")))?,
        ),
    };
    let any = options.non_recursive
        || options.create_mountpoint
        || options.read_only_non_recursive
        || options.read_only_force_recursive;
    Ok((named.is_some() || any).then(|| types::mount::BindOptions {
        propagation: named.unwrap_or_default().into(),
        nonrecursive: options.non_recursive,
        createmountpoint: options.create_mountpoint,
        readonlynonrecursive: options.read_only_non_recursive,
        readonlyforcerecursive: options.read_only_force_recursive,
    }))
}

fn tmpfs_options(options: json::TmpfsOptions) -> Result<types::mount::TmpfsOptions, Refusal> {
    // `null` for none: what Docker stores.
    let text = serde_json::to_string(&options.options)
        .map_err(|error| Refusal::invalid(format!("TmpfsOptions.Options cannot be stored: {error}")))?;
    Ok(types::mount::TmpfsOptions { size_bytes: options.size_bytes, mode: options.mode, options: text })
}
