//! Secrets and configs.

use super::{Base64, Driver, Map, Stamp, Text, Version, empty, shape};

shape!(SecretSpec<'a> {
    name: Text<'a> => "Name" if "empty",
    labels: Map<'a> => "Labels",
    data: Base64 => "Data" if "empty",
    driver: Option<Driver<'a>> => "Driver" if "empty",
    templating: Option<Driver<'a>> => "Templating" if "empty",
});

shape!(Secret<'a> {
    id: Text<'a> => "ID",
    version: Version => "Version",
    created_at: Stamp => "CreatedAt",
    updated_at: Stamp => "UpdatedAt",
    spec: SecretSpec<'a> => "Spec",
});

shape!(ConfigSpec<'a> {
    name: Text<'a> => "Name" if "empty",
    labels: Map<'a> => "Labels",
    data: Base64 => "Data" if "empty",
    templating: Option<Driver<'a>> => "Templating" if "empty",
});

shape!(Config<'a> {
    id: Text<'a> => "ID",
    version: Version => "Version",
    created_at: Stamp => "CreatedAt",
    updated_at: Stamp => "UpdatedAt",
    spec: ConfigSpec<'a> => "Spec",
});
