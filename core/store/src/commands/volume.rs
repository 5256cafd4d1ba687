//! Cluster volumes: kept and shown, but nobody can attach one yet.

use skep_model::pb::messages as m;
use skep_model::{Code, Kept, Refusal, Volume};

use super::lookup::{common_filters, required};
use crate::read::Find;

pub(super) fn not_available() -> Refusal {
    Refusal::new(Code::Unimplemented, "cluster volumes are not available yet: use a local volume or a bind mount")
}

pub(super) fn get(facts: &impl Find, request: m::GetVolumeRequest) -> Result<m::GetVolumeResponse, Refusal> {
    let volume = required::<Volume>(facts, &request.volume_id)?;
    Ok(m::GetVolumeResponse { volume: Some(Kept::from(&*volume)) })
}

pub(super) fn list(facts: &impl Find, request: m::ListVolumesRequest) -> m::ListVolumesResponse {
    let filters = request.filters.unwrap_or_default();
    let (groups, drivers) = (filters.groups.clone(), filters.drivers.clone());
    let volumes = common_filters!(Some(filters))
        .all(facts, |volume: &Volume| volume.body.value.spec.as_ref().and_then(|spec| spec.annotations.as_ref()));
    let passes = |volume: &Volume| {
        let spec = volume.body.value.spec.as_ref();
        let driver = spec.and_then(|spec| spec.driver.as_ref()).map_or("", |driver| driver.name.as_str());
        super::lookup::any_of(spec.map_or("", |spec| spec.group.as_str()), &groups)
            && super::lookup::any_of(driver, &drivers)
    };
    m::ListVolumesResponse {
        volumes: volumes.iter().filter(|volume| passes(volume)).map(|volume| Kept::from(&**volume)).collect(),
    }
}
