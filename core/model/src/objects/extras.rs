//! What few tasks have, in a place of its own: all others are smaller for it, and a swarm has very many tasks.

use std::ops::Deref;

use bytes::Bytes;

use crate::pb::types;

/// What few tasks have.
#[derive(Clone, PartialEq, Debug, Default)]
#[allow(missing_docs)]
pub struct Extras {
    pub assigned_generic_resources: Vec<types::GenericResource>,
    /// Of tasks of jobs.
    pub job_iteration: Option<u64>,
    pub volumes: Vec<types::VolumeAttachment>,
    /// Encoded fields of newer versions.
    pub unknown: Bytes,
}

/// [`Extras`] that take no room while there are none.
#[derive(Clone, Debug, Default)]
pub struct TaskExtras(Option<Box<Extras>>);

impl TaskExtras {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// To be changed in place.
    pub fn edit(&mut self) -> &mut Extras {
        self.0.get_or_insert_default()
    }
}

impl From<Extras> for TaskExtras {
    fn from(extras: Extras) -> Self {
        let Extras { assigned_generic_resources, job_iteration, volumes, unknown } = &extras;
        let none = assigned_generic_resources.is_empty()
            && job_iteration.is_none()
            && volumes.is_empty()
            && unknown.is_empty();
        Self((!none).then(|| Box::new(extras)))
    }
}

impl Deref for TaskExtras {
    type Target = Extras;

    fn deref(&self) -> &Extras {
        static NONE: Extras = Extras {
            assigned_generic_resources: Vec::new(),
            job_iteration: None,
            volumes: Vec::new(),
            unknown: Bytes::new(),
        };
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl PartialEq for TaskExtras {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_are_as_good_as_empty_ones() {
        let mut edited = TaskExtras::default();
        assert_eq!(edited.edit(), &Extras::default());
        assert_eq!(edited, TaskExtras::default());
        edited.edit().job_iteration = Some(0);
        assert_ne!(edited, TaskExtras::default());
        assert_eq!(TaskExtras::from((*edited).clone()), edited);
        assert_eq!(size_of::<TaskExtras>(), size_of::<usize>());
    }
}
