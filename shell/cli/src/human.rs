//! Durations, sizes, ids and names as docker shows them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How long, in the largest unit that fits, in words.
pub fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// `… ago`, from a stamp of the API.
pub fn ago(stamp: &str) -> String {
    format!("{} ago", duration(seconds_since(parse_time(stamp))))
}

pub fn seconds_since(time: Option<OffsetDateTime>) -> i64 {
    time.map_or(0, |time| (OffsetDateTime::now_utc() - time).whole_seconds())
}

/// Go prints the zero time when there is none.
pub fn parse_time(stamp: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(stamp, &Rfc3339).ok()
}

/// A moment as Go's `Time.String` has it: `2024-01-02 15:04:05.123456789 +0000 utc`, as docker shows it.
pub fn go_time(stamp: &str) -> String {
    let Some(time) = parse_time(stamp) else { return stamp.to_owned() };
    let fraction = format!("{:09}", time.nanosecond());
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let clock = format!("{:02}:{:02}:{:02}{dot}{fraction}", time.hour(), time.minute(), time.second());
    let offset = time.offset();
    if offset.is_utc() {
        return format!("{year:04}-{month:02}-{day:02} {clock} +0000 UTC");
    }
    let (hours, minutes, _) = offset.as_hms();
    let sign = if hours < 0 || minutes < 0 { '-' } else { '+' };
    let zone = format!("{sign}{:02}{:02}", hours.abs(), minutes.abs());
    format!("{year:04}-{month:02}-{day:02} {clock} {zone} {zone}")
}

/// Powers of 1000, three digits: `4.26MB`.
pub fn decimal_size(bytes: f64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// Powers of 1000, four digits: `12.35MB`.
pub fn long_decimal_size(bytes: f64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 4)
}

/// Powers of 1024, four digits: `15.5GiB`.
pub fn binary_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

fn scaled(mut size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// Go's `%.<digits>g` for what is neither tiny nor huge.
pub fn significant(number: f64, digits: usize) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let magnitude = number.abs().log10().floor() as i32;
    let decimals = usize::try_from(digits as i32 - 1 - magnitude).unwrap_or(0);
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Twelve characters, without `sha256:`.
pub fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, rest)| rest);
    id.get(..12).unwrap_or(id)
}

/// The first letter large.
pub fn capitalise(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// At most so many characters, the last one `…` when something was cut.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// An image's name for a table: with a tag, the digest is left out.
pub fn image_name(image: &str) -> String {
    let Some((name, _)) = image.split_once('@') else { return familiar(image) };
    let after_slash = name.rsplit('/').next().unwrap_or(name);
    if after_slash.contains(':') { familiar(name) } else { image.to_owned() }
}

fn familiar(name: &str) -> String {
    let tagged = name.rsplit('/').next().unwrap_or(name).contains(':');
    if !tagged {
        return name.to_owned();
    }
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    let official = short.strip_prefix("library/").filter(|_| short.len() < name.len());
    official.unwrap_or(short).to_owned()
}

/// Order of names with numbers in them: `web2` before `web10`.
pub fn natural_order(left: &str, right: &str) -> std::cmp::Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while let (Some(a), Some(b)) = (left.first(), right.first()) {
        if a.is_ascii_digit() && b.is_ascii_digit() {
            let (number_a, rest_a) = take_number(left);
            let (number_b, rest_b) = take_number(right);
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order.is_ne() {
                return order;
            }
            (left, right) = (rest_a, rest_b);
        } else if a == b {
            (left, right) = (&left[1..], &right[1..]);
        } else {
            return a.cmp(b);
        }
    }
    left.len().cmp(&right.len())
}

fn take_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let zeros = text[..end].iter().take_while(|byte| **byte == b'0').count();
    (&text[zeros.min(end)..end], &text[end..])
}

/// Go's `Duration.String`: `1m30s`, `1.5s`, `200ms`, `0s`.
pub fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    let decimal = |value: u64, unit: u64| {
        let fraction = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { format!("{}", value / unit) } else { format!("{}.{fraction}", value / unit) }
    };
    match total {
        0..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(total, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(total, 1_000_000)),
        _ => {
            let (hours, rest) = (total / 3_600_000_000_000, total % 3_600_000_000_000);
            let (minutes, rest) = (rest / 60_000_000_000, rest % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, _) => format!("{sign}{minutes}m{seconds}s"),
                _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (3 * 3600, "3 hours"),
            (49 * 3600, "2 days"),
            (15 * 86400, "2 weeks"),
            (70 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(duration(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(decimal_size(4_261_502.0), "4.26MB");
        assert_eq!(decimal_size(0.0), "0B");
        assert_eq!(decimal_size(1000.0), "1kB");
        assert_eq!(binary_size(16_645_906_432.0), "15.5GiB");
        assert_eq!(binary_size(536_870_912.0), "512MiB");
    }

    #[test]
    fn names() {
        let digest = format!("@sha256:{}", "a".repeat(64));
        assert_eq!(image_name(&format!("busybox:1{digest}")), "busybox:1");
        assert_eq!(image_name(&format!("docker.io/library/busybox:1{digest}")), "busybox:1");
        assert_eq!(image_name(&format!("busybox{digest}")), format!("busybox{digest}"));
        assert_eq!(image_name("localhost:5000/a:2"), "localhost:5000/a:2");
        let mut hosts = ["host10", "host2", "host1", "a"];
        hosts.sort_by(|a, b| natural_order(a, b));
        assert_eq!(hosts, ["a", "host1", "host2", "host10"]);
    }

    #[test]
    fn go_forms() {
        assert_eq!(go_duration(90_000_000_000), "1m30s");
        assert_eq!(go_duration(3_600_000_000_000), "1h0m0s");
        assert_eq!(go_duration(1_500_000_000), "1.5s");
        assert_eq!(go_duration(200_000_000), "200ms");
        assert_eq!(go_time("2024-01-02T03:04:05.120Z"), "2024-01-02 03:04:05.12 +0000 UTC");
    }
}
