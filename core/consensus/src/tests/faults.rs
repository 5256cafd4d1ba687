//! Random faults from a seed: drops, partitions, crashes that lose unsynced writes, handovers, members that come and go.

use bytes::Bytes;
use rand_chacha::rand_core::RngCore;
use skep_model::RaftId;

use super::harness::{Group, member};
use crate::{MembershipChange, Mode};

fn one_fault(group: &mut Group, next_member: &mut u64) {
    let alive = group.alive();
    let pick = |group: &mut Group, from: &[u64]| from[group.rng.next_u64() as usize % from.len()];
    match group.rng.next_u64() % 14 {
        0 if alive.len() > 1 => {
            let id = pick(group, &alive);
            group.crash(id);
        }
        1 if alive.len() > 1 => {
            if let Some(leader) = group.leader() {
                group.kill(leader);
            }
        }
        2 | 3 => {
            let down: Vec<u64> = group.nodes.keys().copied().filter(|id| !alive.contains(id)).collect();
            if !down.is_empty() {
                let id = pick(group, &down);
                group.start(id);
            }
        }
        4 => {
            let id = pick(group, &alive);
            group.isolate(id);
        }
        5 => group.cut.clear(),
        6 => {
            if let Some(leader) = group.leader() {
                let to = RaftId(pick(group, &alive));
                // Refused for the leader itself and for strangers, which is as good a step as any.
                let _started = group.consensus(leader).transfer_leadership(to);
                group.settle(leader);
            }
        }
        7 => change_members(group, next_member),
        8 => group.drop_percent = group.rng.next_u64() % 25,
        _ => {
            for id in alive {
                if group.consensus(id).role().is_leader {
                    for _ in 0..group.rng.next_u64() % 8 {
                        group.say(id);
                    }
                }
            }
        }
    }
}

fn change_members(group: &mut Group, next_member: &mut u64) {
    let Some(leader) = group.leader() else { return };
    let members: Vec<u64> = group.consensus(leader).membership().iter().map(|member| member.raft_id.0).collect();
    let term = group.consensus(leader).role().term;
    if members.len() < 5 {
        let id = *next_member;
        let added = group.consensus(leader).propose_membership(term, id, &MembershipChange::Add(member(id)));
        if added.is_ok() {
            *next_member += 1;
            group.settle(leader);
            group.newcomer(id);
        }
    } else {
        let id = RaftId(members[group.rng.next_u64() as usize % members.len()]);
        if group.consensus(leader).propose_membership(term, 1, &MembershipChange::Remove(id)).is_ok() {
            group.settle(leader);
        }
    }
}

fn run(seed: u64, mode: Mode) -> Vec<Bytes> {
    run_with(seed, mode, |_| ())
}

fn run_with(seed: u64, mode: Mode, mut between: impl FnMut(&mut Group)) -> Vec<Bytes> {
    let mut group = Group::of(seed, mode, 3);
    group.snapshot_interval = 20;
    for id in group.alive() {
        group.consensus(id).set_snapshot_policy(20, 5);
    }
    group.slow_disks = true;
    let mut next_member = 4;
    for _ in 0..120 {
        one_fault(&mut group, &mut next_member);
        between(&mut group);
        let ticks = group.rng.next_u64() as usize % 6;
        group.run(ticks);
    }
    for id in group.alive() {
        group.consensus(id).set_mode(mode);
    }
    group.converge();
    assert!(!group.acknowledged.is_empty(), "seed {seed} acknowledged nothing: it tests nothing");
    group.acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_under_faults() {
    for seed in 0..60 {
        run(seed, Mode::Skep);
    }
}

#[test]
fn the_same_holds_at_dockers_pace() {
    for seed in 1000..1015 {
        run(seed, Mode::Docker);
    }
}

/// While a group changes its pace its members go at different ones, and who was away at yet another: that may cost
/// time, never more.
#[test]
fn members_of_different_paces_lose_nothing() {
    for seed in 2000..2030 {
        run_with(seed, Mode::Skep, |group| {
            let alive = group.alive();
            let id = alive[group.rng.next_u64() as usize % alive.len()];
            let mode = if group.rng.next_u64().is_multiple_of(2) { Mode::Docker } else { Mode::Skep };
            group.consensus(id).set_mode(mode);
        });
    }
}

#[test]
fn a_seed_repeats_itself() {
    assert_eq!(run(77, Mode::Skep), run(77, Mode::Skep));
}
