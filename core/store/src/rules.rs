//! The integrity that every change must keep, on every manager alike (interop §5.5).

use std::sync::Arc;

use skep_model::{Code, Extension, Object, Refusal, Resource};

use crate::change::Action;
use crate::object::{AnyObject, Kind, Stored, with_object};
use crate::read::Find;

/// Why a change does not fit the facts. Every manager comes to the same verdict on the same entry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ApplyError {
    /// Created twice.
    #[error("{kind} {id} already exists")]
    Exists { kind: &'static str, id: String },
    /// Updated or removed, but not there.
    #[error("{kind} {id} not found")]
    Missing { kind: &'static str, id: String },
    /// Names are unique per kind, whatever their case.
    #[error("name conflicts with an existing object: {kind} {name} already exists")]
    NameTaken { kind: &'static str, name: String },
    /// A resource of a kind for which there is no extension.
    #[error("object kind is unregistered")]
    UnknownResourceKind,
    /// Extensions never change.
    #[error("extensions are immutable")]
    ExtensionImmutable,
    /// An extension of which resources exist.
    #[error("cannot delete extension because objects of this type exist in the data store")]
    ExtensionInUse,
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        let code = match &error {
            ApplyError::Exists { .. } | ApplyError::NameTaken { .. } => Code::AlreadyExists,
            ApplyError::Missing { .. } => Code::NotFound,
            ApplyError::UnknownResourceKind => Code::InvalidArgument,
            ApplyError::ExtensionImmutable | ApplyError::ExtensionInUse => Code::FailedPrecondition,
        };
        Refusal::new(code, error.to_string())
    }
}

/// Whether the change fits the facts, in which the object has the unique name `old` so far, if it is there.
pub(crate) fn check(
    facts: &impl Find,
    action: Action,
    object: &AnyObject,
    old: Option<&str>,
) -> Result<(), ApplyError> {
    match (action, object) {
        (Action::Create | Action::Update, AnyObject::Resource(resource)) => check_kind(facts, resource)?,
        (Action::Create, AnyObject::Extension(extension)) => check_table_names(extension)?,
        (Action::Update, AnyObject::Extension(_)) => return Err(ApplyError::ExtensionImmutable),
        (Action::Remove, AnyObject::Extension(extension)) => check_unused(facts, extension)?,
        _ => {}
    }
    with_object!(object, object => check_identity(facts, action, object, old))
}

fn check_identity<T: Stored>(
    facts: &impl Find,
    action: Action,
    object: &Arc<T>,
    old: Option<&str>,
) -> Result<(), ApplyError> {
    match (old, action) {
        (Some(_), Action::Create) => {
            return Err(ApplyError::Exists { kind: T::KIND, id: object.id().to_string() });
        }
        (None, Action::Update | Action::Remove) => {
            return Err(ApplyError::Missing { kind: T::KIND, id: object.id().to_string() });
        }
        _ => {}
    }
    let name = object.unique_name();
    // SwarmKit does not look at a resource's name when it is updated.
    let may_clash = action != Action::Remove
        && !name.is_empty()
        && !(action == Action::Update && T::KIND == Resource::KIND)
        && old.is_none_or(|old| old != name);
    if may_clash && facts.named::<T>(name).is_some_and(|other| other.id() != object.id()) {
        return Err(ApplyError::NameTaken { kind: T::KIND, name: name.to_owned() });
    }
    Ok(())
}

fn check_kind(facts: &impl Find, resource: &Resource) -> Result<(), ApplyError> {
    match facts.named::<Extension>(&resource.body.value.kind) {
        Some(_) => Ok(()),
        None => Err(ApplyError::UnknownResourceKind),
    }
}

fn check_table_names(extension: &Extension) -> Result<(), ApplyError> {
    let name = extension.unique_name();
    if Kind::ALL.iter().any(|kind| kind.word() == name) {
        return Err(ApplyError::NameTaken { kind: Extension::KIND, name: name.to_owned() });
    }
    Ok(())
}

fn check_unused(facts: &impl Find, extension: &Extension) -> Result<(), ApplyError> {
    // The entry may carry the id alone.
    let Some(stored) = facts.find::<Extension>(&extension.id) else { return Ok(()) };
    let used = facts.list::<Resource>().iter().any(|resource| resource.body.value.kind == stored.unique_name());
    if used { Err(ApplyError::ExtensionInUse) } else { Ok(()) }
}
