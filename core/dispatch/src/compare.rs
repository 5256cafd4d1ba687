//! Equality of tasks in the eyes of the worker.

use skep_model::Task;

/// Equal in all that the worker does not write itself; versions and stamps do not count.
pub fn same_but_status(left: &Task, right: &Task) -> bool {
    left.desired_state == right.desired_state && same_definition(left, right)
}

/// Equal in all but status and desired state: nothing for the controller to update.
pub fn same_definition(left: &Task, right: &Task) -> bool {
    left.spec == right.spec
        && left.service_id == right.service_id
        && left.slot == right.slot
        && left.node_id == right.node_id
        && left.annotations == right.annotations
        && left.service_annotations == right.service_annotations
        && left.networks == right.networks
        && left.endpoint == right.endpoint
        && left.log_driver == right.log_driver
        && left.spec_version == right.spec_version
        && left.extras == right.extras
}
