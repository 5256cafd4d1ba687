//! `version`: of the client and of the daemon.

use clap::Args;

use crate::api::MAX_API_VERSION;
use crate::context::Context;
use crate::failure::Failure;
use crate::template::Template;
use crate::value::Value;

#[derive(Debug, Args)]
pub struct VersionArguments {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long)]
    format: Option<String>,
}

pub async fn version(context: &Context, arguments: VersionArguments) -> Result<(), Failure> {
    // The client's own version is worth showing without a daemon, too.
    let server = context.client.get("/version", &[]).await;
    let negotiated = context.client.negotiated().await.unwrap_or_else(|_| MAX_API_VERSION.to_owned());
    let client = Value::map([
        ("Version", Value::from(env!("CARGO_PKG_VERSION"))),
        ("ApiVersion", Value::from(negotiated)),
        ("DefaultAPIVersion", Value::from(MAX_API_VERSION)),
        ("Os", Value::from(std::env::consts::OS)),
        ("Arch", Value::from(architecture())),
    ]);
    let both = Value::map([("Client", client.clone()), ("Server", server.clone().unwrap_or_default())]);
    match arguments.format.as_deref() {
        None | Some("") => {}
        Some("json") => {
            context.line(both.to_json())?;
            return server.map(drop);
        }
        Some(source) => {
            let problem = |problem| Failure::with_code(format!("template parsing error: {problem}"), 64);
            context.line(Template::parse(source).and_then(|template| template.render(&both)).map_err(problem)?)?;
            return server.map(drop);
        }
    }
    let mut lines = vec!["Client: Skep".to_owned()];
    line(&mut lines, " Version:", client.text("Version"));
    line(&mut lines, " API version:", client.text("ApiVersion"));
    line(&mut lines, " OS/Arch:", &format!("{}/{}", client.text("Os"), client.text("Arch")));
    if let Ok(server) = &server {
        lines.push(String::new());
        let platform = server.text("Platform.Name");
        lines.push(if platform.is_empty() { "Server:".to_owned() } else { format!("Server: {platform}") });
        server_lines(&mut lines, server);
    }
    context.write(lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    server.map(drop)
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn server_lines(lines: &mut Vec<String>, server: &Value) {
    let components = server.list("Components");
    if components.is_empty() {
        line(lines, " Version:", server.text("Version"));
        line(lines, " API version:", &api_versions(server.text("ApiVersion"), server.text("MinAPIVersion")));
        line(lines, " OS/Arch:", &format!("{}/{}", server.text("Os"), server.text("Arch")));
        return;
    }
    for component in components {
        lines.push(format!(" {}:", component.text("Name")));
        line(lines, "  Version:", component.text("Version"));
        let details = component.at("Details");
        if component.text("Name") != "Engine" {
            line(lines, "  GitCommit:", details.text("GitCommit"));
            continue;
        }
        line(lines, "  API version:", &api_versions(details.text("ApiVersion"), details.text("MinAPIVersion")));
        for (title, member) in
            [("  Go version:", "GoVersion"), ("  Git commit:", "GitCommit"), ("  Built:", "BuildTime")]
        {
            if !details.text(member).is_empty() {
                line(lines, title, details.text(member));
            }
        }
        line(lines, "  OS/Arch:", &format!("{}/{}", details.text("Os"), details.text("Arch")));
        line(lines, "  Experimental:", details.text("Experimental"));
    }
}

fn api_versions(newest: &str, oldest: &str) -> String {
    if oldest.is_empty() { newest.to_owned() } else { format!("{newest} (minimum version {oldest})") }
}

fn line(lines: &mut Vec<String>, title: &str, value: &str) {
    lines.push(format!("{title:<19}{value}"));
}
