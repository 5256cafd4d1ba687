//! `Service` and `ServiceSpec`.

use super::{Float, Map, Stamp, TaskSpec, Text, Texts, empty, shape};

shape!(Version {
    index: u64 => "Index" if "empty",
});

shape!(PortConfig<'a> {
    name: Text<'a> => "Name" if "empty",
    protocol: Text<'a> => "Protocol" if "empty",
    target_port: u32 => "TargetPort" if "empty",
    published_port: u32 => "PublishedPort" if "empty",
    publish_mode: Text<'a> => "PublishMode" if "empty",
});

shape!(EndpointSpec<'a> {
    mode: Text<'a> => "Mode" if "empty",
    ports: Vec<PortConfig<'a>> => "Ports" if "empty",
});

shape!(EndpointVirtualIp<'a> {
    network_id: Text<'a> => "NetworkID" if "empty",
    addr: Text<'a> => "Addr" if "empty",
});

shape!(Endpoint<'a> {
    spec: EndpointSpec<'a> => "Spec",
    ports: Vec<PortConfig<'a>> => "Ports" if "empty",
    virtual_ips: Vec<EndpointVirtualIp<'a>> => "VirtualIPs" if "empty",
});

shape!(NetworkAttachmentConfig<'a> {
    target: Text<'a> => "Target" if "empty",
    aliases: Texts<'a> => "Aliases" if "empty",
    driver_opts: Map<'a> => "DriverOpts" if "empty",
});

shape!(ReplicatedService {
    replicas: Option<u64> => "Replicas" if "empty",
});

shape!(ReplicatedJob {
    max_concurrent: Option<u64> => "MaxConcurrent" if "empty",
    total_completions: Option<u64> => "TotalCompletions" if "empty",
});

shape!(GlobalService {});

shape!(ServiceMode {
    replicated: Option<ReplicatedService> => "Replicated" if "empty",
    global: Option<GlobalService> => "Global" if "empty",
    replicated_job: Option<ReplicatedJob> => "ReplicatedJob" if "empty",
    global_job: Option<GlobalService> => "GlobalJob" if "empty",
});

shape!(UpdateConfig<'a> {
    parallelism: u64 => "Parallelism",
    delay: i64 => "Delay" if "empty",
    failure_action: Text<'a> => "FailureAction" if "empty",
    monitor: i64 => "Monitor" if "empty",
    max_failure_ratio: Float => "MaxFailureRatio",
    order: Text<'a> => "Order",
});

shape!(ServiceSpec<'a> {
    name: Text<'a> => "Name" if "empty",
    labels: Map<'a> => "Labels",
    task_template: TaskSpec<'a> => "TaskTemplate",
    mode: ServiceMode => "Mode",
    update_config: Option<UpdateConfig<'a>> => "UpdateConfig" if "empty",
    rollback_config: Option<UpdateConfig<'a>> => "RollbackConfig" if "empty",
    // Before API 1.44; written only to clients before 1.25.
    networks: Vec<NetworkAttachmentConfig<'a>> => "Networks" if "empty",
    endpoint_spec: Option<EndpointSpec<'a>> => "EndpointSpec" if "empty",
});

shape!(UpdateStatus<'a> {
    state: Text<'a> => "State" if "empty",
    started_at: Option<Stamp> => "StartedAt" if "empty",
    completed_at: Option<Stamp> => "CompletedAt" if "empty",
    message: Text<'a> => "Message" if "empty",
});

shape!(ServiceStatus {
    running_tasks: u64 => "RunningTasks",
    desired_tasks: u64 => "DesiredTasks",
    completed_tasks: u64 => "CompletedTasks",
});

shape!(JobStatus {
    job_iteration: Version => "JobIteration",
    last_execution: Stamp => "LastExecution",
});

shape!(Service<'a> {
    id: Text<'a> => "ID",
    version: Version => "Version",
    created_at: Stamp => "CreatedAt",
    updated_at: Stamp => "UpdatedAt",
    spec: ServiceSpec<'a> => "Spec",
    previous_spec: Option<ServiceSpec<'a>> => "PreviousSpec" if "empty",
    endpoint: Endpoint<'a> => "Endpoint",
    update_status: Option<UpdateStatus<'a>> => "UpdateStatus" if "empty",
    service_status: Option<ServiceStatus> => "ServiceStatus" if "empty",
    job_status: Option<JobStatus> => "JobStatus" if "empty",
});
