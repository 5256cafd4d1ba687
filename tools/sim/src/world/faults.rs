//! Faults as they begin and end.

use std::time::Duration;

use super::{Happening, World};
use crate::network::HostId;
use crate::scenario::{Fault, Mood, Target};

impl World {
    fn target(&self, target: Target) -> HostId {
        match target {
            Target::Host(number) => (number % self.hosts.len().max(1) as u64) as HostId,
            Target::Leader => self.leader().unwrap_or(0),
        }
    }

    pub(crate) fn fault_begins(&mut self, number: usize) {
        if self.healed {
            return;
        }
        let Some(fault) = self.plan.faults.get(number).map(|fault| fault.what) else { return };
        self.say(|| format!("fault {number}: {fault:?}"));
        let (host, lasts) = self.begin(fault);
        if let Some(lasts) = lasts {
            let mask = self.hosts.len() as u64;
            self.after(lasts, Happening::FaultEnds(number, host, mask));
        }
    }

    /// Whom it hits, and how long it lasts.
    fn begin(&mut self, fault: Fault) -> (HostId, Option<Duration>) {
        let count = self.hosts.len();
        match fault {
            Fault::Kill { target, power, down } => {
                let host = self.target(target);
                self.kill(host, power, Some(down));
                (host, None)
            }
            Fault::KillAmidEffects { target, effects, down } => {
                let host = self.target(target);
                self.hosts[host].dies_after = Some((effects, down));
                (host, None)
            }
            Fault::Restart { target, down } => {
                let host = self.target(target);
                self.restart(host, down);
                (host, None)
            }
            Fault::DeadDisk { target } => {
                let host = self.target(target);
                self.disk_dies(host);
                (host, None)
            }
            Fault::ClockPace { target, ppm, lasts } => {
                let host = self.target(target);
                self.hosts[host].clock.set_pace(self.time, ppm);
                (host, Some(lasts))
            }
            Fault::Partition { group, one_way, lasts } => {
                self.partition(count, group, one_way, true);
                (0, Some(lasts))
            }
            Fault::Isolate { target, one_way, lasts } => {
                let host = self.target(target);
                self.partition(count, 1 << host, one_way, true);
                (host, Some(lasts))
            }
            Fault::Loss { permille, lasts } => {
                self.network.loss_permille = permille;
                self.network.duplicate_permille = permille;
                (0, Some(lasts))
            }
            Fault::Delay { longest, lasts } => {
                self.network.extra_delay_us = u64::try_from(longest.as_micros()).unwrap_or(0);
                (0, Some(lasts))
            }
            Fault::Reset { target } => {
                let host = self.target(target);
                self.break_streams_of(host, false);
                self.reset_peers(host);
                (host, None)
            }
            Fault::Stall { target, lasts } => {
                let host = self.target(target);
                self.hosts[host].stalled_until = self.time.after(lasts);
                (host, None)
            }
            Fault::WallJump { target, seconds } => {
                let host = self.target(target);
                self.hosts[host].clock.wall_offset_ns += seconds * 1_000_000_000;
                (host, None)
            }
            Fault::SlowDisk { target, lasts } => {
                let host = self.target(target);
                self.hosts[host].disk.slow += 1;
                (host, Some(lasts))
            }
            Fault::FullDisk { target, lasts } => {
                let host = self.target(target);
                self.hosts[host].disk.failing += 1;
                (host, Some(lasts))
            }
            Fault::Moods { target, mood, lasts } => {
                let host = self.target(target);
                self.hosts[host].mood = mood;
                (host, Some(lasts))
            }
            Fault::Crashes { permille, lasts } => {
                self.troubles.crashes_permille = permille;
                (0, Some(lasts))
            }
            Fault::NoImages { permille, lasts } => {
                self.troubles.no_images_permille = permille;
                (0, Some(lasts))
            }
            Fault::Hangs { permille, lasts } => {
                self.troubles.hangs_permille = permille;
                (0, Some(lasts))
            }
        }
    }

    pub(crate) fn fault_ends(&mut self, number: usize, host: HostId, count: u64) {
        if self.healed {
            return;
        }
        let Some(fault) = self.plan.faults.get(number).map(|fault| fault.what) else { return };
        self.say(|| format!("fault {number} ends"));
        let count = usize::try_from(count).unwrap_or(0);
        match fault {
            Fault::Partition { group, one_way, .. } => self.partition(count, group, one_way, false),
            Fault::Isolate { one_way, .. } => self.partition(count, 1 << host, one_way, false),
            Fault::Loss { .. } => {
                self.network.loss_permille = 0;
                self.network.duplicate_permille = 0;
            }
            Fault::Delay { .. } => self.network.extra_delay_us = 0,
            Fault::ClockPace { .. } => self.hosts[host].clock.set_pace(self.time, 0),
            Fault::SlowDisk { .. } => self.hosts[host].disk.slow = self.hosts[host].disk.slow.saturating_sub(1),
            Fault::FullDisk { .. } => self.hosts[host].disk.failing = self.hosts[host].disk.failing.saturating_sub(1),
            Fault::Moods { .. } => self.hosts[host].mood = Mood::Well,
            Fault::Crashes { .. } => self.troubles.crashes_permille = 0,
            Fault::NoImages { .. } => self.troubles.no_images_permille = 0,
            Fault::Hangs { .. } => self.troubles.hangs_permille = 0,
            _ => {}
        }
    }

    /// Cuts, or mends, the ways between the hosts whose bit is set and the other ones; `one_way` leaves those into
    /// the group open.
    fn partition(&mut self, count: usize, group: u64, one_way: bool, begins: bool) {
        let inside = |host: HostId| group >> (host % 64) & 1 == 1;
        for from in 0..count {
            for to in 0..count {
                let out = inside(from) && !inside(to);
                let into = !inside(from) && inside(to) && !one_way;
                if !(out || into) {
                    continue;
                }
                if begins {
                    self.network.cut(from, to);
                } else {
                    self.network.mend(from, to);
                }
            }
        }
    }
}
