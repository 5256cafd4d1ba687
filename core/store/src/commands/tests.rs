mod cluster;
mod dependencies;
mod networks;
mod nodes;
mod resources;
mod services;
mod tasks;
mod versions;
