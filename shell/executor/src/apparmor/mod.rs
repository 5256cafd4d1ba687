//! The AppArmor profile of containers: ours, loaded by the host's `apparmor_parser`, entered in the shim's last step.
//!
//! A host has AppArmor when its kernel has it switched on and the parser is there, without which no profile can be
//! loaded. Start reading at `Profiles::of`.

mod profile;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use skep_model::pb::types::{ContainerSpec, privileges};
use skep_model::{Code, Refusal};

/// Name of the profile, on every host.
pub const PROFILE: &str = "skep-default";
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
const PARSERS: [&str; 3] = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser", "/usr/bin/apparmor_parser"];

/// Whether profiles can be loaded and applied here.
pub fn is_usable() -> bool {
    is_switched_on() && parser().is_some()
}

/// Whether the kernel has it switched on.
pub fn is_switched_on() -> bool {
    fs::read_to_string(ENABLED).is_ok_and(|text| text.starts_with('Y'))
}

fn parser() -> Option<&'static str> {
    PARSERS.into_iter().find(|path| Path::new(path).exists())
}

/// Whether a spec wants none.
pub fn is_disabled(spec: &ContainerSpec) -> bool {
    let mode = spec.privileges.as_ref().and_then(|privileges| privileges.apparmor.as_ref()).map(|given| given.mode());
    mode == Some(privileges::app_armor_opts::AppArmorMode::Disabled)
}

/// Loads the profile when the first container wants it.
#[derive(Debug)]
pub struct Profiles {
    usable: bool,
    loaded: Mutex<bool>,
}

impl Profiles {
    /// Nothing is loaded yet.
    pub fn new(usable: bool) -> Self {
        if !usable && is_switched_on() {
            tracing::warn!(
                "AppArmor is on but apparmor_parser is missing (package apparmor): containers get no profile"
            );
        }
        Self { usable, loaded: Mutex::new(false) }
    }

    /// Name of the profile that a container is to run under; empty for none.
    pub fn name_for(&self, spec: &ContainerSpec) -> &'static str {
        if self.usable && !is_disabled(spec) { PROFILE } else { "" }
    }

    /// The same, loaded; `None` where the host has none, or the spec wants none.
    pub fn of(&self, spec: &ContainerSpec) -> Result<Option<String>, Refusal> {
        let name = self.name_for(spec);
        if name.is_empty() {
            return Ok(None);
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if !*loaded {
            let failed = |error: std::io::Error| format!("the AppArmor profile {PROFILE} cannot be loaded: {error}");
            load().map_err(|error| Refusal::new(Code::Internal, failed(error)))?;
            *loaded = true;
        }
        Ok(Some(name.to_owned()))
    }
}

/// Hands the profile to the parser, which replaces an earlier one.
fn load() -> std::io::Result<()> {
    let parser = parser().ok_or_else(|| std::io::Error::other("apparmor_parser is missing"))?;
    let mut child = Command::new(parser)
        .args(["--replace", "--skip-cache"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(profile::text(PROFILE).as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_model::pb::types::Privileges;

    fn with(mode: privileges::app_armor_opts::AppArmorMode) -> ContainerSpec {
        let apparmor = privileges::AppArmorOpts { mode: mode.into() };
        let privileges = Privileges { apparmor: Some(apparmor), ..Default::default() };
        ContainerSpec { privileges: Some(privileges), ..Default::default() }
    }

    #[test]
    fn a_container_gets_the_profile_unless_it_wants_none() {
        use privileges::app_armor_opts::AppArmorMode as Mode;
        let here = Profiles { usable: true, loaded: Mutex::new(true) };
        assert_eq!(here.of(&ContainerSpec::default()).expect("one").as_deref(), Some(PROFILE));
        assert_eq!(here.of(&with(Mode::Default)).expect("one").as_deref(), Some(PROFILE));
        assert_eq!(here.of(&with(Mode::Disabled)).expect("none"), None);
        let elsewhere = Profiles { usable: false, loaded: Mutex::new(false) };
        assert_eq!(elsewhere.of(&ContainerSpec::default()).expect("none"), None);
    }
}
