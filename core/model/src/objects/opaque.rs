//! Objects that we keep and replicate but do not interpret: extensions, resources of their kinds, cluster volumes.

use super::{Meta, ObjectError, name_of, object};
use crate::ids::{ExtensionId, ResourceId, VolumeId};
use crate::kept::Kept;
use crate::pb::objects as pb;

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident, $id:ident, $kind:literal, |$object:ident| $unique:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Debug)]
        #[allow(missing_docs)]
        pub struct $name {
            pub id: $id,
            pub meta: Meta,
            /// The whole message; its id and meta are overwritten by ours when it is written.
            pub body: Kept<pb::$name>,
        }

        object!($name, $id, $kind, |$object| $unique);

        impl TryFrom<Kept<pb::$name>> for $name {
            type Error = ObjectError;

            fn try_from(body: Kept<pb::$name>) -> Result<Self, ObjectError> {
                let id = $id::new(&body.value.id).map_err(|source| ObjectError::Id { kind: $kind, source })?;
                Ok(Self { id, meta: Meta::from(body.value.meta.as_ref()), body })
            }
        }

        impl From<&$name> for Kept<pb::$name> {
            fn from(object: &$name) -> Self {
                let mut body = object.body.clone();
                body.value.id = object.id.to_string();
                body.value.meta = Some(object.meta.into());
                body
            }
        }
    };
}

opaque!(
    /// A user-defined kind of resource.
    Extension, ExtensionId, "extension", |extension| name_of(extension.body.value.annotations.as_ref())
);
opaque!(
    /// An object of a user-defined kind.
    Resource, ResourceId, "resource", |resource| name_of(resource.body.value.annotations.as_ref())
);
opaque!(
    /// A cluster volume.
    Volume, VolumeId, "volume", |volume| name_of(volume.body.value.spec.as_ref().and_then(|spec| spec.annotations.as_ref()))
);
