//! Running the system's own tools and saying what failed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What can go wrong while hosts are made.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The tool is missing or could not be started.
    #[error("could not start {program}: is it installed?")]
    Start {
        /// Which tool.
        program: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The tool ran and refused.
    #[error("{program} failed: {message}")]
    Refused {
        /// Which tool, with its words.
        program: String,
        /// What it said.
        message: String,
    },
    /// A file or directory of the lab.
    #[error("{path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Namespaces need root.
    #[error("making hosts needs root (network namespaces, mounts): run this with sudo")]
    NotRoot,
    /// No subnet 10.99.x.0/24 is free.
    #[error("no free subnet left in 10.99.0.0/16 for another lab")]
    NoSubnet,
    /// The host's first process ended at once.
    #[error("host {host} did not come up")]
    HostDied {
        /// Its name.
        host: String,
    },
    /// The host's power was cut and its processes did not end.
    #[error("host {host} still runs after its power was cut")]
    HostLives {
        /// Its name.
        host: String,
    },
}

/// Runs a tool to its end; its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String, LabError> {
    let program = format!("{command:?}");
    let output =
        command.stdin(Stdio::null()).output().map_err(|source| LabError::Start { program: program.clone(), source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(LabError::Refused { program, message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }
}

/// Runs many `ip` commands in one process.
pub(crate) fn ip_batch(lines: &[String]) -> Result<(), LabError> {
    let program = "ip -batch -".to_owned();
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| LabError::Start { program: program.clone(), source })?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(lines.join("\n").as_bytes())
            .and_then(|()| input.write_all(b"\n"))
            .map_err(|source| LabError::Start { program: program.clone(), source })?;
    }
    let output = child.wait_with_output().map_err(|source| LabError::Start { program: program.clone(), source })?;
    if output.status.success() {
        Ok(())
    } else {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Refused { program: format!("{program}: {}", lines.join("; ")), message })
    }
}
