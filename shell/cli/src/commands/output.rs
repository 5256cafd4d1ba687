//! `logs` of a container.

use clap::Args;

use crate::api::{Channel, Demultiplexer, escape};
use crate::arguments::GoDuration;
use crate::context::Context;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub struct LogsArguments {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long)]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp or relative
    #[arg(long)]
    until: Option<String>,
    /// The container
    container: String,
}

pub async fn logs(context: &Context, arguments: LogsArguments) -> Result<(), Failure> {
    let path = format!("/containers/{}", escape(&arguments.container));
    let container = context.client.get(&format!("{path}/json"), &[]).await?;
    let mut query = vec![("stdout", "1".to_owned()), ("stderr", "1".to_owned()), ("tail", arguments.tail)];
    for (name, on) in
        [("details", arguments.details), ("follow", arguments.follow), ("timestamps", arguments.timestamps)]
    {
        if on {
            query.push((name, "1".to_owned()));
        }
    }
    for (name, stamp) in [("since", arguments.since), ("until", arguments.until)] {
        if let Some(stamp) = stamp {
            query.push((name, since_stamp(&stamp)?));
        }
    }
    let mut pieces =
        context.client.get_stream(&format!("/containers/{}/logs", escape(container.text("Id"))), &query).await?;
    let raw = container.bool("Config.Tty");
    let mut demultiplexer = Demultiplexer::default();
    while let Some(piece) = pieces.next().await? {
        if raw {
            context.write(&piece)?;
            continue;
        }
        for (channel, line) in demultiplexer.feed(&piece)? {
            if channel == Channel::Output { context.write(line)? } else { context.write_error(line)? }
        }
    }
    Ok(())
}

/// A moment as the API takes it, seconds with nine digits: RFC 3339, seconds, or so long ago.
pub fn since_stamp(text: &str) -> Result<String, Failure> {
    let nanos = if let Ok(ago) = text.parse::<GoDuration>() {
        time::OffsetDateTime::now_utc().unix_timestamp_nanos() - i128::from(ago.0)
    } else if text.parse::<f64>().is_ok() {
        return Ok(text.to_owned());
    } else if let Some(time) = crate::human::parse_time(text) {
        time.unix_timestamp_nanos()
    } else {
        // Without a zone, or a date alone: taken as UTC.
        let completed = match text.len() {
            10 => format!("{text}T00:00:00Z"),
            16 => format!("{text}:00Z"),
            _ => format!("{text}Z"),
        };
        let time = crate::human::parse_time(&completed);
        time.ok_or_else(|| Failure::new(format!("failed to parse value as time or duration: {text:?}")))?
            .unix_timestamp_nanos()
    };
    Ok(format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000)))
}

#[cfg(test)]
mod tests {
    use super::since_stamp;

    #[test]
    fn moments() {
        assert_eq!(since_stamp("2024-01-02T03:04:05.5Z").unwrap(), "1704164645.500000000");
        assert_eq!(since_stamp("2024-01-02").unwrap(), "1704153600.000000000");
        assert_eq!(since_stamp("1704164645").unwrap(), "1704164645");
        assert!(since_stamp("yesterday").is_err());
    }
}
