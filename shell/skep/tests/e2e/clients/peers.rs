//! Other people's programs: fetched into the target directory by their own package managers, never into the repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where what was fetched stays for the next run.
pub fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name);
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

/// Runs a command that fetches; loud where it cannot, a failure on CI.
pub fn fetched(command: &mut Command) -> bool {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output();
    let problem = match output {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("CI").is_none(), "on CI nothing is skipped, but {shown} failed: {problem}");
    eprintln!("SKIPPED: {shown} failed: {}", problem.lines().last().unwrap_or_default());
    false
}

/// A command's whole output, and whether it succeeded.
pub fn output(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
