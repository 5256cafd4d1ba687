//! Hosts see each other, and nothing of them stays.

use std::process::Command;

use skep_lab::{Lab, LabError};

fn lab() -> Option<Lab> {
    match Lab::new(&std::env::temp_dir()) {
        Ok(lab) => Some(lab),
        Err(LabError::NotRoot) => {
            eprintln!("SKIPPED: making hosts needs root");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn hosts_have_names_addresses_and_reach_each_other() {
    let Some(mut lab) = lab() else { return };
    lab.add_host("alpha").unwrap();
    lab.add_host("beta").unwrap();
    let name = lab.hosts()[0].command("hostname").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&name.stdout).trim(), "alpha");
    let other = lab.hosts()[1].address().to_owned();
    let reached = |lab: &Lab| {
        lab.hosts()[0]
            .command("ping")
            .args(["-c", "1", "-W", "1", &other])
            .output()
            .is_ok_and(|out| out.status.success())
    };
    if Command::new("ping").arg("-V").output().is_ok() {
        assert!(reached(&lab));
        lab.hosts()[1].cut_cable().unwrap();
        assert!(!reached(&lab));
    }
}

#[test]
fn a_reboot_ends_all_processes_and_keeps_files() {
    let Some(mut lab) = lab() else { return };
    let host = lab.add_host("gamma").unwrap();
    std::fs::write(host.directory().join("kept"), "yes").unwrap();
    let mut sleeper = host.command("sleep").arg("1000").spawn().unwrap();
    host.reboot().unwrap();
    assert!(!sleeper.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(host.directory().join("kept")).unwrap(), "yes");
    let name = host.command("hostname").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&name.stdout).trim(), "gamma");
}

#[test]
fn nothing_stays_behind() {
    let Some(mut lab) = lab() else { return };
    lab.add_host("delta").unwrap();
    let directory = lab.directory().to_owned();
    let own = directory.file_name().unwrap().to_string_lossy().into_owned();
    drop(lab);
    assert!(!directory.exists());
    let namespaces = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&namespaces.stdout).contains(&own));
}
