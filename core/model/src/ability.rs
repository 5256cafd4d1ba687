//! What a host must be able to do for a task, beyond plugins, platform and resources: named by Skep's nodes in their
//! own description, asked of them by the scheduler, refused by name where it is missing.
//!
//! A Docker Engine names none, and is asked for none: it knows what to say. In the description each is a plugin of
//! the type [`PLUGIN_TYPE`], a place that SwarmKit's wire has and that Docker's managers keep.

use crate::pb::types::task_spec::Runtime;
use crate::pb::types::{
    ContainerSpec, Mount, NodeDescription, PluginDescription, Privileges, TaskSpec, container_spec, mount, privileges,
};

/// Type of the plugins that stand for abilities.
pub const PLUGIN_TYPE: &str = "Skep";
/// The plugin of that type that each Skep node names: without it, a node with no ability looked like a Docker Engine.
pub const PLUGIN_NODE: &str = "embedded";

/// Something that not every host can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ability {
    /// Confine by an AppArmor profile.
    AppArmor,
    /// Bound processor time.
    CpuLimit,
    /// Credential specs (Windows).
    CredentialSpec,
    /// Other runtimes than containers: plugins as services.
    GenericRuntime,
    /// Hyper-V isolation (Windows).
    HyperV,
    /// Bound memory.
    MemoryLimit,
    /// Named pipes as mounts (Windows).
    NamedPipe,
    /// Bound the number of processes.
    PidsLimit,
    /// Make what is mounted below a bind read-only too.
    RecursiveReadOnly,
    /// Filter system calls.
    Seccomp,
    /// Label processes and mounts for SELinux.
    SeLinux,
    /// Bound swap.
    SwapLimit,
    /// Set the readiness to swap (cgroup v1 alone has it).
    Swappiness,
}

impl Ability {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::AppArmor,
        Self::CpuLimit,
        Self::CredentialSpec,
        Self::GenericRuntime,
        Self::HyperV,
        Self::MemoryLimit,
        Self::NamedPipe,
        Self::PidsLimit,
        Self::RecursiveReadOnly,
        Self::Seccomp,
        Self::SeLinux,
        Self::SwapLimit,
        Self::Swappiness,
    ];

    const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Name of its plugin in a node's description.
    pub fn plugin(self) -> &'static str {
        match self {
            Self::AppArmor => "apparmor",
            Self::CpuLimit => "cpu-limit",
            Self::CredentialSpec => "credential-spec",
            Self::GenericRuntime => "generic-runtime",
            Self::HyperV => "hyperv",
            Self::MemoryLimit => "memory-limit",
            Self::NamedPipe => "named-pipe",
            Self::PidsLimit => "pids-limit",
            Self::RecursiveReadOnly => "recursive-read-only",
            Self::Seccomp => "seccomp",
            Self::SeLinux => "selinux",
            Self::SwapLimit => "swap-limit",
            Self::Swappiness => "swappiness",
        }
    }

    /// What it is, as users say it, in the plural.
    pub fn words(self) -> &'static str {
        match self {
            Self::AppArmor => "AppArmor profiles",
            Self::CpuLimit => "CPU limits",
            Self::CredentialSpec => "credential specs",
            Self::GenericRuntime => "plugins and other generic runtimes",
            Self::HyperV => "Hyper-V containers",
            Self::MemoryLimit => "memory limits",
            Self::NamedPipe => "named pipes of Windows",
            Self::PidsLimit => "limits of processes",
            Self::RecursiveReadOnly => "recursively read-only mounts",
            Self::Seccomp => "system call filters",
            Self::SeLinux => "SELinux contexts",
            Self::SwapLimit => "swap limits",
            Self::Swappiness => "settings of swappiness",
        }
    }

    /// The field of a task's spec that asks for it.
    pub fn field(self) -> &'static str {
        match self {
            Self::AppArmor => "ContainerSpec.Privileges.AppArmor",
            Self::CpuLimit => "Resources.Limits.NanoCPUs",
            Self::CredentialSpec => "ContainerSpec.Privileges.CredentialSpec",
            Self::GenericRuntime => "TaskTemplate.Runtime",
            Self::HyperV => "ContainerSpec.Isolation",
            Self::MemoryLimit => "Resources.Limits.MemoryBytes",
            Self::NamedPipe => "ContainerSpec.Mounts",
            Self::PidsLimit => "Resources.Limits.Pids",
            Self::RecursiveReadOnly => "BindOptions.ReadOnlyForceRecursive",
            Self::Seccomp => "ContainerSpec.Privileges.Seccomp",
            Self::SeLinux => "ContainerSpec.Privileges.SELinuxContext",
            Self::SwapLimit => "Resources.SwapBytes",
            Self::Swappiness => "Resources.MemorySwappiness",
        }
    }
}

/// Several of them; a word of the machine, as the scheduler asks a million times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AbilitySet(u32);

impl AbilitySet {
    /// What a node names; `None` where it names nothing of the kind, and nothing is to be asked of it.
    pub fn described(node: &NodeDescription) -> Option<Self> {
        let plugins = node.engine.as_ref()?.plugins.as_slice();
        let ours = |plugin: &&PluginDescription| plugin.r#type == PLUGIN_TYPE;
        let named = |ability: &Ability| plugins.iter().filter(ours).any(|plugin| plugin.name == ability.plugin());
        plugins.iter().any(|plugin| ours(&plugin)).then(|| Ability::ALL.into_iter().filter(named).collect())
    }

    /// The plugins by which a node names them.
    pub fn plugins(self) -> Vec<PluginDescription> {
        let names = std::iter::once(PLUGIN_NODE).chain(self.iter().map(Ability::plugin));
        names.map(|name| PluginDescription { r#type: PLUGIN_TYPE.to_owned(), name: name.to_owned() }).collect()
    }

    /// One more.
    pub fn insert(&mut self, ability: Ability) {
        self.0 |= ability.bit();
    }

    /// Whether it is one of them.
    pub fn contains(self, ability: Ability) -> bool {
        self.0 & ability.bit() != 0
    }

    /// In order.
    pub fn iter(self) -> impl Iterator<Item = Ability> {
        Ability::ALL.into_iter().filter(move |ability| self.contains(*ability))
    }

    /// The first of these that `present` lacks.
    pub fn missing_from(self, present: Self) -> Option<Ability> {
        Self(self.0 & !present.0).iter().next()
    }
}

impl FromIterator<Ability> for AbilitySet {
    fn from_iter<I: IntoIterator<Item = Ability>>(abilities: I) -> Self {
        abilities.into_iter().fold(Self::default(), |set, ability| Self(set.0 | ability.bit()))
    }
}

/// What a task asks of its host.
pub fn required(spec: &TaskSpec) -> AbilitySet {
    let mut required = AbilitySet::default();
    match &spec.runtime {
        Some(Runtime::Container(container)) => of_container(container, &mut required),
        Some(Runtime::Generic(_)) => {
            required.insert(Ability::GenericRuntime);
        }
        Some(Runtime::Attachment(_)) | None => {}
    }
    let Some(resources) = &spec.resources else { return required };
    let limits = resources.limits.as_ref();
    let asked = [
        (Ability::CpuLimit, limits.is_some_and(|limits| limits.nano_cpus > 0)),
        (Ability::MemoryLimit, limits.is_some_and(|limits| limits.memory_bytes > 0)),
        (Ability::SwapLimit, resources.swap_bytes.is_some()),
        (Ability::Swappiness, resources.memory_swappiness.is_some_and(|value| value >= 0)),
    ];
    asked.into_iter().filter(|(_, asked)| *asked).for_each(|(ability, _)| required.insert(ability));
    required
}

fn of_container(container: &ContainerSpec, required: &mut AbilitySet) {
    let privileges = container.privileges.as_ref();
    let asked = [
        (Ability::PidsLimit, container.pids_limit > 0),
        (Ability::HyperV, container.isolation() == container_spec::Isolation::Hyperv),
        (Ability::NamedPipe, container.mounts.iter().any(|mount| mount.r#type() == mount::Type::Npipe)),
        (Ability::RecursiveReadOnly, container.mounts.iter().any(read_only_all_the_way)),
        (Ability::Seccomp, filters_system_calls(privileges)),
        (Ability::AppArmor, privileges.is_some_and(names_apparmor)),
        (Ability::SeLinux, privileges.is_some_and(labels)),
        (Ability::CredentialSpec, privileges.is_some_and(|privileges| privileges.credential_spec.is_some())),
    ];
    asked.into_iter().filter(|(_, asked)| *asked).for_each(|(ability, _)| required.insert(ability));
}

fn read_only_all_the_way(mount: &Mount) -> bool {
    mount.readonly && mount.bind_options.is_some_and(|options| options.readonlyforcerecursive)
}

fn filters_system_calls(privileges: Option<&Privileges>) -> bool {
    let mode = privileges.and_then(|privileges| privileges.seccomp.as_ref()).map(|options| options.mode());
    mode != Some(privileges::seccomp_opts::SeccompMode::Unconfined)
}

/// Where nothing is said, a profile is applied on hosts that have AppArmor; who says `default` wants one.
fn names_apparmor(privileges: &Privileges) -> bool {
    let mode = privileges.apparmor.as_ref().map(|options| options.mode());
    mode == Some(privileges::app_armor_opts::AppArmorMode::Default)
}

fn labels(privileges: &Privileges) -> bool {
    let given = |context: &privileges::SeLinuxContext| {
        [&context.user, &context.role, &context.r#type, &context.level].iter().any(|part| !part.is_empty())
    };
    privileges.selinux_context.as_ref().is_some_and(given)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::pb::types::{ResourceRequirements, Resources};

    fn asked(container: ContainerSpec, resources: ResourceRequirements) -> Vec<Ability> {
        let spec =
            TaskSpec { runtime: Some(Runtime::Container(container)), resources: Some(resources), ..Default::default() };
        required(&spec).iter().collect()
    }

    #[test]
    fn each_has_words_of_its_own() {
        for pick in [Ability::plugin, Ability::words, Ability::field] {
            let all: BTreeSet<&str> = Ability::ALL.into_iter().map(pick).collect();
            assert_eq!(all.len(), Ability::ALL.len());
        }
    }

    #[test]
    fn a_node_names_them_as_plugins() {
        let able: AbilitySet = [Ability::Seccomp, Ability::PidsLimit].into_iter().collect();
        let engine = |plugins| crate::pb::types::EngineDescription { plugins, ..Default::default() };
        let node = |plugins| NodeDescription { engine: Some(engine(plugins)), ..Default::default() };
        assert_eq!(AbilitySet::described(&node(able.plugins())), Some(able));
        assert_eq!(AbilitySet::described(&node(AbilitySet::default().plugins())), Some(AbilitySet::default()));
        let volume = PluginDescription { r#type: "Volume".to_owned(), name: "local".to_owned() };
        assert_eq!(AbilitySet::described(&node(vec![volume])), None, "a Docker Engine");
        let wanted: AbilitySet = [Ability::AppArmor, Ability::Seccomp].into_iter().collect();
        assert_eq!(wanted.missing_from(able), Some(Ability::AppArmor));
        assert_eq!(able.missing_from(able), None);
    }

    #[test]
    fn a_plain_task_asks_for_the_default_filter_alone() {
        assert_eq!(asked(ContainerSpec::default(), ResourceRequirements::default()), [Ability::Seccomp]);
        let unconfined = privileges::SeccompOpts {
            mode: privileges::seccomp_opts::SeccompMode::Unconfined.into(),
            ..Default::default()
        };
        let disabled = privileges::AppArmorOpts { mode: privileges::app_armor_opts::AppArmorMode::Disabled.into() };
        let privileges = Privileges { seccomp: Some(unconfined), apparmor: Some(disabled), ..Default::default() };
        let spec = ContainerSpec { privileges: Some(privileges), ..Default::default() };
        assert_eq!(asked(spec, ResourceRequirements::default()), []);
    }

    #[test]
    fn what_is_set_is_asked_for() {
        let limits = Resources { nano_cpus: 1, memory_bytes: 1, ..Default::default() };
        let resources = ResourceRequirements {
            limits: Some(limits),
            swap_bytes: Some(0),
            memory_swappiness: Some(60),
            ..Default::default()
        };
        let privileges = Privileges { apparmor: Some(privileges::AppArmorOpts::default()), ..Default::default() };
        let spec = ContainerSpec { privileges: Some(privileges), pids_limit: 5, ..Default::default() };
        let expected = [
            Ability::AppArmor,
            Ability::CpuLimit,
            Ability::MemoryLimit,
            Ability::PidsLimit,
            Ability::Seccomp,
            Ability::SwapLimit,
            Ability::Swappiness,
        ];
        assert_eq!(asked(spec, resources), expected);
    }
}
