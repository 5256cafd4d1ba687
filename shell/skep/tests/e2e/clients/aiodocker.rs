//! aiodocker, a Docker client in Python: the tests that its source archive ships, against our socket.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::clients::peers::{directory, fetched, output};
use crate::support::{Swarm, busybox_archive};

const VERSION: &str = "0.27.0";
/// The tests that need a swarm, and how many they are.
const FILES: [&str; 5] = ["test_swarm.py", "test_services.py", "test_nodes.py", "test_secrets.py", "test_configs.py"];
const TESTS: usize = 32;

/// Instead of the archive's own: a daemon that is there, and images that are there.
const FIXTURES: &str = include_str!("aiodocker_conftest.py");

/// Stands in for Python in the images: it prints what the one script that the tests run prints.
const PYTHON: &str = "#!/bin/sh\ni=0\nwhile [ $i -lt 10 ]; do echo Hello Python; i=$((i + 1)); done\n";

#[test]
fn its_own_tests_pass() {
    let Some((python, tests)) = install() else { return };
    let Some(swarm) = Swarm::start(1) else { return };
    for name in ["python:latest", "python:3.13-alpine", "python:3.14-alpine"] {
        let archive = with_python(swarm.lab.directory()).display().to_string();
        swarm.docker(1, &["import", "-c", r#"CMD ["sleep","1000"]"#, &archive, name]).expect();
    }
    let mut pytest = Command::new(python);
    pytest
        .args(["-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "asyncio_mode=auto"])
        .args(FILES)
        .current_dir(&tests)
        .env("DOCKER_HOST", format!("unix://{}", swarm.socket(1).display()));
    let (ok, said) = output(&mut pytest);
    let passed = said.lines().filter(|line| line.starts_with("PASSED ")).count();
    assert!(ok && passed == TESTS, "{passed} of {TESTS} passed\n{said}");
}

/// An interpreter with the library and pytest, and a directory with the tests and our fixtures.
fn install() -> Option<(PathBuf, PathBuf)> {
    let directory = directory("aiodocker");
    let environment = directory.join("environment");
    let python = environment.join("bin/python");
    if !python.exists() && !fetched(Command::new("python3").args(["-m", "venv"]).arg(&environment)) {
        return None;
    }
    let library = format!("aiodocker=={VERSION}");
    let packages = [&library, "pytest==9.0.3", "pytest-asyncio==1.3.0", "async-timeout~=5.0.1", "packaging"];
    let pip = || {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
        pip
    };
    let archive = directory.join(format!("aiodocker-{VERSION}.tar.gz"));
    let download = || {
        fetched(pip().args(["download", "--no-deps", "--no-binary", "aiodocker", "-d"]).arg(&directory).arg(&library))
    };
    if !fetched(pip().arg("install").args(packages)) || !(archive.exists() || download()) {
        return None;
    }
    let (ok, said) = output(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&directory));
    assert!(ok, "{said}");
    // Beside our fixtures, not theirs.
    let tests = directory.join("tests");
    std::fs::create_dir_all(&tests).expect("a directory");
    for file in FILES {
        let from = directory.join(format!("aiodocker-{VERSION}/tests/{file}"));
        std::fs::copy(&from, tests.join(file)).expect("a test of the archive");
    }
    std::fs::write(tests.join("conftest.py"), FIXTURES).expect("a file");
    Some((python, tests))
}

/// Busybox, and something in Python's place.
fn with_python(directory: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let archive = directory.join("python.tar");
    if archive.exists() {
        return archive;
    }
    std::fs::copy(busybox_archive(directory), &archive).expect("a copy");
    let bin = directory.join("python/bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    std::fs::write(bin.join("python"), PYTHON).expect("a script");
    std::fs::set_permissions(bin.join("python"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let tree = directory.join("python");
    let (ok, said) = output(Command::new("tar").arg("-C").arg(tree).arg("-rf").arg(&archive).arg("./bin/python"));
    assert!(ok, "{said}");
    archive
}
