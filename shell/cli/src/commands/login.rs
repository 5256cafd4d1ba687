//! `login` and `logout`: credentials for registries, checked by the daemon and kept in docker's own file.

use std::io::{IsTerminal, Read};

use clap::Args;

use crate::api::Payload;
use crate::context::Context;
use crate::failure::Failure;
use crate::logins::{DOCKER_HUB, Logins};
use crate::terminal;
use crate::value::Value;

/// Longer passwords and tokens are a mistake.
const MAX_PASSWORD_BYTES: u64 = 1 << 20;

#[derive(Debug, Args)]
pub struct LoginArguments {
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short, long)]
    username: Option<String>,
    /// The registry; Docker Hub without one
    server: Option<String>,
}

#[derive(Debug, Args)]
pub struct LogoutArguments {
    /// The registry; Docker Hub without one
    server: Option<String>,
}

pub async fn login(context: &Context, arguments: LoginArguments) -> Result<(), Failure> {
    let mut logins = Logins::load()?;
    if let Some(helper) = logins.helper() {
        return Err(Failure::new(format!(
            "logins are kept by the program docker-credential-{helper}, which only docker calls: log in with docker, \
             or take credsStore out of {}",
            logins.path().display()
        )));
    }
    if arguments.password.is_some() {
        context.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")?;
    }
    let registry = registry(arguments.server.as_deref());
    let (username, password) = ask(context, arguments)?;
    let request = Value::map([
        ("username", Value::from(username.as_str())),
        ("password", Value::from(password.as_str())),
        ("serveraddress", Value::from(registry.as_str())),
    ]);
    let answer = context.client.post("/auth", &[], Payload::Json(request)).await?;
    logins.set(&registry, &username, &password)?;
    context.warn(format!(
        "WARNING! Your password will be stored unencrypted in {}.\nConfigure a credential helper to remove this warning.",
        logins.path().display()
    ))?;
    context.line(answer.text("Status"))
}

pub fn logout(context: &Context, arguments: LogoutArguments) -> Result<(), Failure> {
    let registry = registry(arguments.server.as_deref());
    if Logins::load()?.remove(&registry)? {
        context.line(format!("Removing login credentials for {registry}"))
    } else {
        context.line(format!("Not logged in to {registry}"))
    }
}

fn ask(context: &Context, arguments: LoginArguments) -> Result<(String, String), Failure> {
    let can_ask = std::io::stdin().is_terminal();
    let no_terminal = || Failure::new("Error: Cannot perform an interactive login from a non TTY device");
    let username = match arguments.username {
        Some(username) if !username.is_empty() => username,
        _ if arguments.password_stdin => return Err(Failure::new("Must provide --username with --password-stdin")),
        _ if !can_ask => return Err(no_terminal()),
        _ => {
            context.write_error("Username: ")?;
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            line.trim().to_owned()
        }
    };
    let password = match arguments.password {
        Some(password) => password,
        None if arguments.password_stdin => {
            let mut text = String::new();
            std::io::stdin().take(MAX_PASSWORD_BYTES).read_to_string(&mut text)?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        None if !can_ask => return Err(no_terminal()),
        None => terminal::read_secret_line("Password: ")?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(Failure::new("Error: a user name and a password are needed"));
    }
    Ok((username, password))
}

/// As docker names it in its file: the host alone.
fn registry(server: Option<&str>) -> String {
    let Some(server) = server.filter(|server| !server.is_empty()) else { return DOCKER_HUB.to_owned() };
    let host = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    if matches!(host, "docker.io" | "index.docker.io") { DOCKER_HUB.to_owned() } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_by_their_host() {
        for (server, name) in [
            (None, DOCKER_HUB),
            (Some(""), DOCKER_HUB),
            (Some("docker.io"), DOCKER_HUB),
            (Some("https://index.docker.io/v1/"), DOCKER_HUB),
            (Some("registry.example:5000"), "registry.example:5000"),
            (Some("http://registry.example/v2/"), "registry.example"),
        ] {
            assert_eq!(registry(server), name, "{server:?}");
        }
    }
}
