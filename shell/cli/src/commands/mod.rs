//! The commands, one module per noun, with docker's flags and outputs.

mod container;
mod dependency;
mod events;
mod exec;
mod image;
mod info;
mod inspect;
mod labels;
mod login;
mod network;
mod node;
mod object;
mod output;
mod service;
mod stack;
mod stats;
mod swarm;
mod system;
mod task;
mod version;

use clap::Subcommand;

use crate::arguments::Filter;
use crate::context::Context;
use crate::failure::Failure;

/// Every command of the client.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Display system-wide information
    Info(info::InfoArguments),
    /// Show the version information
    Version(version::VersionArguments),
    /// Get real time events from the server
    Events(events::EventsArguments),
    /// Manage Swarm
    #[command(subcommand)]
    Swarm(swarm::SwarmCommand),
    /// Manage Swarm nodes
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Manage Swarm services
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Manage Swarm secrets
    #[command(subcommand)]
    Secret(dependency::DependencyCommand),
    /// Manage Swarm configs
    #[command(subcommand)]
    Config(dependency::DependencyCommand),
    /// Manage networks
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Manage Swarm stacks
    #[command(subcommand)]
    Stack(stack::StackCommand),
    /// Return low-level information on Docker objects
    Inspect(object::ObjectArguments),
    /// Manage Docker
    #[command(subcommand)]
    System(system::SystemCommand),
    /// Manage images
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// List images
    Images(image::ListArguments),
    /// Download an image from a registry
    Pull(image::PullArguments),
    /// Load an image from a tar archive or STDIN
    Load(image::LoadArguments),
    /// Import the contents from a tarball to create a filesystem image
    Import(image::ImportArguments),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(image::TagArguments),
    /// Remove one or more images
    Rmi(image::RemoveArguments),
    /// Authenticate to a registry
    Login(login::LoginArguments),
    /// Log out from a registry
    Logout(login::LogoutArguments),
    /// List containers
    Ps(container::ListArguments),
    /// Manage containers
    #[command(subcommand)]
    Container(container::ContainerCommand),
    /// Execute a command in a running container
    Exec(exec::ExecArguments),
    /// Fetch the logs of a container
    Logs(output::LogsArguments),
    /// Display a live stream of container(s) resource usage statistics
    Stats(stats::StatsArguments),
    /// Display the running processes of a container
    Top(container::TopArguments),
    /// Stop one or more running containers
    Stop(container::StopArguments),
    /// Kill one or more running containers
    Kill(container::KillArguments),
}

/// `--filter`, wherever lists are.
#[derive(Debug, Default, clap::Args)]
pub struct FilterArguments {
    /// Filter output based on conditions provided
    #[arg(short = 'f', long = "filter", value_name = "KEY=VALUE")]
    pub filter: Vec<Filter>,
}

/// Carries out a command.
pub async fn execute(context: &Context, command: Command) -> Result<(), Failure> {
    use dependency::Kind;
    match command {
        Command::Info(arguments) => info::info(context, arguments).await,
        Command::Version(arguments) => version::version(context, arguments).await,
        Command::Events(arguments) => events::events(context, arguments).await,
        Command::Swarm(command) => swarm::execute(context, command).await,
        Command::Node(command) => node::execute(context, command).await,
        Command::Service(command) => service::execute(context, command).await,
        Command::Secret(command) => dependency::execute(context, Kind::Secret, command).await,
        Command::Config(command) => dependency::execute(context, Kind::Config, command).await,
        Command::Network(command) => network::execute(context, command).await,
        Command::Stack(command) => stack::execute(context, command).await,
        Command::Inspect(arguments) => object::inspect_any(context, arguments).await,
        Command::System(command) => system::execute(context, command).await,
        Command::Image(command) => image::execute(context, command).await,
        Command::Images(arguments) => image::list(context, arguments).await,
        Command::Pull(arguments) => image::pull(context, arguments).await,
        Command::Load(arguments) => image::load(context, arguments).await,
        Command::Import(arguments) => image::import(context, arguments).await,
        Command::Tag(arguments) => image::tag(context, arguments).await,
        Command::Rmi(arguments) => image::remove(context, arguments).await,
        Command::Login(arguments) => login::login(context, arguments).await,
        Command::Logout(arguments) => login::logout(context, arguments),
        Command::Ps(arguments) => container::list(context, arguments).await,
        Command::Container(command) => container::execute(context, command).await,
        Command::Exec(arguments) => exec::exec(context, arguments).await,
        Command::Logs(arguments) => output::logs(context, arguments).await,
        Command::Stats(arguments) => stats::stats(context, arguments).await,
        Command::Top(arguments) => container::top(context, arguments).await,
        Command::Stop(arguments) => container::stop(context, arguments).await,
        Command::Kill(arguments) => container::kill(context, arguments).await,
    }
}

/// `--env` and `--env-file` of commands that start processes.
fn service_environment(files: &[String], given: &[String]) -> Result<Vec<String>, Failure> {
    service::environment(files, given)
}

/// `X-Registry-Auth` for an image, from the logins of this user.
fn service_credentials(image: &str) -> Result<String, Failure> {
    service::credentials(image)
}
